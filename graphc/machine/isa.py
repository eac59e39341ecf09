"""What a processor offers kernels: vectors, registers, masks and multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass, replace


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
