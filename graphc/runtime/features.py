"""What the processor offers a tile kernel: vector width, registers, masks and caches."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

from graphc.config import options
from graphc.jit.processor import features

SYSFS = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True)
class Isa:
    """A vector instruction set: bytes in a register, registers, masked access, multiply-adds."""

    vector_bytes: int
    registers: int
    masks: bool
    """Whether loads and stores of some lanes only cost the same as full ones."""
    fma: bool
    """Whether one instruction multiplies and adds with a single rounding."""


AVX512 = Isa(64, 32, masks=True, fma=True)
AVX2 = Isa(32, 16, masks=False, fma=True)
NEON = Isa(16, 32, masks=False, fma=True)
BASELINE = Isa(16, 16, masks=False, fma=False)


def isa_of(names: frozenset[str]) -> Isa:
    """Return the widest instruction set among the features that LLVM knows by ``names``."""
    if "avx512f" in names:
        return AVX512
    if "neon" in names:
        return NEON
    return replace(AVX2 if "avx" in names else BASELINE, fma=bool(names & {"fma", "fma4"}))


@functools.cache
def host() -> Isa:
    """Return the instruction set that kernels are compiled for."""
    return isa_of(features())


@functools.cache
def cache_bytes(level: int, default: int) -> int:
    """Return the size of the data cache at ``level`` (1, 2, 3), or ``default`` where unknown.

    The option ``machine`` may say another than this machine's.
    """
    chosen = options().caches()
    if level in chosen:
        return chosen[level] or default
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
