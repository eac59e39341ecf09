"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows: there, a file that is open cannot be deleted
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.graphc-tmp")

_swept: set[Path] = set()
"""Folders from which this process has removed what others left."""


def write_whole(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write ``content`` to a temporary file beside ``path``, and move it there.

    A failure leaves the file that was there untouched. With ``durable`` the bytes and the move
    have reached the disk when this returns. Temporary files that killed processes have left in the
    folder are removed: at every durable write, and at the first of others.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    if durable or path.parent not in _swept:
        _swept.add(path.parent)
        _sweep(path.parent)
    file, temporary = _opened(path)
    try:
        with file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
            if fcntl is not None:
                temporary.replace(path)  # while it is locked: nobody sweeps it
        if fcntl is None:
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def _opened(path: Path) -> tuple[BinaryIO, Path]:
    """Return a new file beside ``path``, locked as long as this process has it open."""
    while True:
        temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.graphc-tmp")
        file = temporary.open("xb")
        _is_free(file)
        if temporary.exists():  # else somebody swept it before it was locked
            return file, temporary
        file.close()


def _is_free(file: BinaryIO) -> bool:
    """Lock a file; tell whether nobody else had. Where there are no locks, nobody knows."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove the temporary files of processes that are no more: those that nobody has locked."""
    with suppress(OSError):
        for path in folder.iterdir():
            if _TEMPORARY.fullmatch(path.name):
                if fcntl is None:
                    with suppress(OSError):
                        path.unlink()
                    continue
                with suppress(OSError), path.open("r+b") as file:
                    if _is_free(file):
                        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a move in ``folder`` durable, where folders can be opened (not on Windows)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
