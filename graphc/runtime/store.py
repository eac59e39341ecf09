"""Object code on disk: content-addressed, private to the user, checked before it is loaded.

An entry is a header, the SHA-256 of the code, and the code. A truncated or changed entry is
treated as absent and written again. Writers use a file of their own and rename it, so two
processes may compile the same kernel at once.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from graphc.files import write_whole

_MAGIC = b"graphc-object-1\n"
_DIGEST_BYTES = 32


class Store:
    """A folder of object code. An unusable folder only means that nothing is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.usable = _make_private(folder)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.o"

    def read(self, key: str) -> bytes | None:
        """Return the code stored under ``key``, or None if there is none that is sound."""
        if not self.usable:
            return None
        try:
            with self._path(key).open("rb") as file:
                if not _is_ours(os.fstat(file.fileno())):
                    return None
                content = file.read()
        except OSError:
            return None
        start = len(_MAGIC) + _DIGEST_BYTES
        code = content[start:]
        if content[:start] != _MAGIC + hashlib.sha256(key.encode() + code).digest():
            return None
        return code

    def has(self, key: str) -> bool:
        """Tell whether there is an entry, be it sound or not."""
        return self.usable and self._path(key).exists()

    def lack(self, key: str) -> str:
        """Return why there is nothing to read under ``key``: ``"<kernel>_<machine>"``."""
        if not self.usable:
            return "no private folder"
        if self.has(key):
            return "damaged, or of another user"
        kernel = key.rpartition("_")[0]
        others = any(self.folder.glob(f"{kernel}_*.o"))
        return "stored for another version or machine" if others else "new"

    def write(self, key: str, code: bytes) -> None:
        """Store ``code`` under ``key``; a full or read-only disk is no error."""
        if not self.usable:
            return
        digest = hashlib.sha256(key.encode() + code).digest()
        with suppress(OSError):
            write_whole(self._path(key), _MAGIC + digest + code)


def _make_private(folder: Path) -> bool:
    """Make ``folder`` with mode 0700; return whether it is ours alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if not _is_ours(status):
            return False
        if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError:
        return False
    return True


def _is_ours(status: os.stat_result) -> bool:
    """Tell whether a file belongs to this user: another's may have been planted."""
    return os.name != "posix" or status.st_uid == os.getuid()
