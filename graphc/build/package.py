"""What this graphc is, for the key of stored machine code."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from graphc.lazy import IMPORTED


def sources(package: Path) -> bytes:
    """Return a hash of every module of a package: of its folder, or of the archive it lies in.

    What has changed on disk since graphc was imported may not be what runs here: the hash is then
    one that no other process has.
    """
    digest = hashlib.sha256()
    for path in _files(package):
        with path.open("rb") as file:
            content = file.read()
            changed = os.fstat(file.fileno()).st_ctime_ns > IMPORTED
        name = path.relative_to(package).as_posix() if path.is_relative_to(package) else ""
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
        if changed:
            digest.update(os.urandom(16))
    return digest.digest()


def _files(package: Path) -> list[Path]:
    """Return the files of which a package is made; at least one."""
    if not package.is_dir():  # within an archive
        return [next(path for path in package.parents if path.is_file())]
    kinds = (".py", ".pyc")
    found = [p for p in package.rglob("*") if p.suffix in kinds and p.parent.name != "__pycache__"]
    return sorted(found)
