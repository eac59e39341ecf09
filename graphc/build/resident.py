"""Memory that loading a library took, given back.

LLVM is a library of 180 MB. To load it is to relocate it and to run 700 constructors, which
touch 35 MB, most of which is not needed again. Those pages are what the file holds, so the kernel
may take them back whenever it wants to, and reads them anew when they are touched. Here it is told
that it may do so now: a process that compiles and trains takes 20 MB less at its peak.
"""

from __future__ import annotations

import ctypes
import mmap
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) .(.).. \S+ \S+ \S+ *(.*)")


def release(library: str) -> None:
    """Give back the pages of a shared library that are as in its file (Linux; else nothing)."""
    with suppress(OSError, AttributeError):
        advise = ctypes.CDLL(None).madvise
        with Path("/proc/self/smaps").open(encoding="utf-8", errors="replace") as lines:
            for start, stop in list(unmodified(lines, library)):
                advise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), mmap.MADV_DONTNEED)


def unmodified(lines: Iterable[str], library: str) -> Iterator[tuple[int, int]]:
    """Yield where the parts of ``library`` lie that have no page of this process's own.

    ``lines`` are in the format of ``/proc/PID/smaps``. Relocated tables are pages of its own; what
    may be written is left out, for another thread may do so meanwhile.
    """
    part = None
    for line in lines:
        if head := _HEAD.match(line):
            fixed = head[3] == "-" and library in head[4].rpartition("/")[2]
            part = (int(head[1], 16), int(head[2], 16)) if fixed else None
        elif part and line.split() == ["Anonymous:", "0", "kB"]:
            yield part
