"""What the processor offers a tile kernel: vector width, registers, masks and caches."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graphc.forks import whole
from graphc.lazy import lazy_module

if TYPE_CHECKING:
    from graphc.jit import llvm
else:
    llvm = lazy_module("graphc.jit.llvm")

SYSFS = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True)
class Isa:
    """A vector instruction set: bytes in a register, registers, and masked memory access."""

    vector_bytes: int
    registers: int
    masks: bool
    """Whether loads and stores of some lanes only cost the same as full ones."""


AVX512 = Isa(64, 32, True)
AVX2 = Isa(32, 16, False)
NEON = Isa(16, 32, False)
BASELINE = Isa(16, 16, False)


def isa_of(names: frozenset[str]) -> Isa:
    """Return the widest instruction set among the features that LLVM knows by ``names``."""
    if "avx512f" in names:
        return AVX512
    if "avx" in names:
        return AVX2
    return NEON if "neon" in names else BASELINE


@functools.cache
def features() -> dict[str, bool]:
    """Return what code may use of the processor, by the names that LLVM has for features.

    Numba compiles for other features where its environment variables say so.
    """
    chosen = os.environ.get("NUMBA_CPU_FEATURES")
    if chosen is not None:
        return {name[1:]: name[0] == "+" for name in chosen.split(",") if name}
    try:
        with whole(logs=False):
            found = dict(llvm.binding.get_host_cpu_features())
    except RuntimeError:  # LLVM cannot tell on this system
        return {}
    avx = os.environ.get("NUMBA_ENABLE_AVX", "1") not in ("", "0")
    return {name: has and (avx or not name.startswith("avx")) for name, has in found.items()}


@functools.cache
def host() -> Isa:
    """Return the instruction set that kernels are compiled for."""
    return isa_of(frozenset(name for name, present in features().items() if present))


@functools.cache
def cache_bytes(level: int, default: int) -> int:
    """Return the size of the data cache at ``level`` (1, 2, 3), or ``default`` where unknown."""
    for index in SYSFS.glob("index*"):
        try:
            found, kind, size = ((index / f).read_text().strip() for f in ("level", "type", "size"))
        except OSError:
            continue
        if int(found) == level and kind != "Instruction" and size.endswith("K"):
            return int(size[:-1]) * 1024
    return default


DEPTH = 512
"""Most steps of K that a matrix product takes before it adds to C in memory."""


def panel_depth(row_bytes: int) -> int:
    """Return how many steps of K a product takes at once: the rows of a panel of B.

    A panel takes a sixteenth of the second cache.
    """
    return max(64, min(DEPTH, cache_bytes(2, 512 << 10) // (16 * row_bytes)))
