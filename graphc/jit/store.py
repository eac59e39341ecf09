"""What is compiled or tried, on disk: private to the user, checked before it is used.

An entry is a header, a SHA-256, and the content: object code, or the rates of a machine. The hash
is that of the entry's key, of all that the content depends on and of the content, so that an entry
that is truncated, changed or of something else is treated as absent and written again. Writers use
a file of their own and rename it, so two processes may write the same entry at once.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from graphc.files import write_whole

_MAGIC = b"graphc-object-2\n"
_DIGEST_BYTES = 32
_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class Store:
    """A folder of object code. An unusable folder only means that nothing is kept."""

    def __init__(self, folder: Path, suffix: str = ".o") -> None:
        self.folder, self._suffix = folder, suffix
        self.usable = _make_private(folder)

    def path(self, key: str) -> Path:
        """Return where the entry of ``key`` is, or would be."""
        return self.folder / f"{key}{self._suffix}"

    def read(self, key: str, identity: str) -> bytes | None:
        """Return the code of ``identity`` stored under ``key``, or None if none is sound."""
        if not self.usable:
            return None
        try:
            # A pipe that stands there would wait for a writer.
            with open(os.open(self.path(key), os.O_RDONLY | _AT_ONCE), "rb") as file:
                if not _is_ours(os.fstat(file.fileno())):
                    return None
                content = file.read()
        except OSError:
            return None
        start = len(_MAGIC) + _DIGEST_BYTES
        code = content[start:]
        return code if content[:start] == _head(key, identity, code) else None

    def has(self, key: str) -> bool:
        """Tell whether there is an entry, be it sound or not."""
        return self.usable and self.path(key).exists()

    def lack(self, key: str) -> str:
        """Return why there is nothing to read under ``key``: ``"<kernel>_<machine>"``."""
        if not self.usable:
            return "no private folder"
        if self.has(key):
            return "damaged, or of another user"
        kernel = key.rpartition("_")[0]
        others = any(self.folder.glob(f"{kernel}_*.o"))
        return "stored for another version or machine" if others else "new"

    def write(self, key: str, identity: str, code: bytes) -> None:
        """Store the code of ``identity`` under ``key``; a full or read-only disk is no error."""
        if not self.usable:
            return
        with suppress(OSError):
            write_whole(self.path(key), _head(key, identity, code) + code)


def _head(key: str, identity: str, code: bytes) -> bytes:
    """Return what stands before the code of a sound entry."""
    parts = [key.encode(), identity.encode(), code]
    lengths = b"".join(len(part).to_bytes(8, "little") for part in parts)
    return _MAGIC + hashlib.sha256(b"".join([lengths, *parts])).digest()


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
    """Tell whether a file or folder belongs to this user: another's may have been planted.

    What is neither, such as a pipe, nobody has put there to be read.
    """
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return False
    return os.name != "posix" or status.st_uid == os.getuid()
