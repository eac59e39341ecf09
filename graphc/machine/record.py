"""One frozen record of a machine: what is known of it, and what only trying tells.

Every choice that depends on a machine is made from a record. Rates are of one core, in what it does
in a nanosecond, as in the roofline model: Williams, Waterman and Patterson, *Roofline: an
insightful visual performance model for multicore architectures*, 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.machine.isa import AVX512, Isa

LINE = 64
"""Bytes that caches exchange at once, on all processors that graphc has met; some fetch two."""

USUAL = (32 << 10, 512 << 10, 8 << 20)
"""Bytes of the caches where the system does not tell."""

CALL = 15.0
"""Nanoseconds that a call takes which has nothing to do."""

WAIT = 3
"""Cycles of an addition, on all processors that graphc has met: it tells how long one takes."""

TURN = 5
"""Cycles that it takes to start a loop and to end one whose lanes add up."""


SINGLE = 0.7
"""Cycles of an element that lanes do not take: two are loaded in a cycle, and one or two stored."""

COMPARING, EXPONENTS = 2.0, 0.85
"""Times of an elementary function, by that of its multiplications: with what it compares and
shifts, and where the processor takes exponents apart and looks into tables in registers (AVX-512's
VSCALEF, VGETEXP and VPERMI2PS)."""

_GIGAHERTZ = 3.0
_UNITS = 2
"""Of a present core: cycles in a nanosecond, and vectors that it multiplies in one."""


@dataclass(frozen=True)
class Rates:
    """How fast one core is, and how fast threads meet."""

    flops: float
    """Operations of float32 in registers in a nanosecond; a multiply-add is two."""
    first: float
    """Bytes read and written in a nanosecond, half each, in the first cache."""
    second: float
    third: float
    memory: float
    meeting: float
    """Nanoseconds until two threads that come to a barrier at once have left it."""
    read_first: float
    """Bytes in a nanosecond that are only read, in the first cache."""
    read_second: float
    read_third: float
    read_memory: float
    addition: float
    """Nanoseconds of an addition that waits for the one before."""

    @property
    def product_flops(self) -> float:
        """Operations in a nanosecond of a matrix product in float32; half in float64."""
        return 0.8 * self.flops

    @property
    def loop_flops(self) -> float:
        """Operations in a nanosecond of a fused loop, which seldom multiplies and adds at once."""
        return 0.45 * self.flops


@dataclass(frozen=True)
class Machine:
    """A machine, as graphc sees it."""

    processor: str
    """LLVM's name for it."""
    features: frozenset[str]
    """What code may use of it, by LLVM's names."""
    isa: Isa
    caches: tuple[int, int, int]
    """Bytes of the first, second and third cache for data, 0 where unknown."""
    processors: int
    """Those that the process may use."""
    rates: Rates
    tried: bool = False
    """Whether the rates were measured; else they follow from the rest."""

    @property
    def first(self) -> int:
        """Bytes of the first cache, or what is usual."""
        return self.caches[0] or USUAL[0]

    @property
    def second(self) -> int:
        """Bytes of the second cache, or what is usual."""
        return self.caches[1] or USUAL[1]

    @property
    def third(self) -> int:
        """Bytes of the third cache, which cores may share, or what is usual."""
        return self.caches[2] or USUAL[2]

    @property
    def dearness(self) -> float:
        """How much longer elementary functions take than their multiplications."""
        return EXPONENTS if self.isa.masks else COMPARING

    def moving(self, nbytes: int, read: int, written: int) -> float:
        """Return the nanoseconds that it takes to read and write so many bytes, of ``nbytes``.

        Moving is half reading, half writing, so that both rates tell what writing alone takes.
        """
        rates, level = self.rates, self._level(nbytes)
        both = (rates.first, rates.second, rates.third, rates.memory)[level]
        reading = (rates.read_first, rates.read_second, rates.read_third, rates.read_memory)[level]
        writing = max(2 / both - 1 / reading, 1 / both)
        return read / reading + written * writing

    def _level(self, nbytes: int) -> int:
        """Return the number of the cache that holds so many bytes, from 0; 3 is memory."""
        caches = (self.first, self.second, self.third)
        return next((n for n, size in enumerate(caches) if nbytes <= size), 3)


def expected(isa: Isa) -> Rates:
    """Return the rates of a present core with such vectors, where nothing was tried."""
    lanes = isa.vector_bytes // 4
    return Rates(
        flops=_GIGAHERTZ * _UNITS * lanes * (2 if isa.fma else 1),
        first=4.0 * isa.vector_bytes,
        second=2.0 * isa.vector_bytes,
        third=30.0,
        memory=20.0,
        meeting=200.0,
        read_first=4.0 * isa.vector_bytes,
        read_second=2.0 * isa.vector_bytes,
        read_third=40.0,
        read_memory=20.0,
        addition=WAIT / _GIGAHERTZ,
    )


TYPICAL = Machine(
    "typical", frozenset(), AVX512, (32 << 10, 1 << 20, 32 << 20), 8, expected(AVX512)
)
"""The machine for which text is written, which is the same on all."""

CYCLES = {
    "load": 7, "fadd": 2, "fsub": 2, "fmul": 4, "@llvm.fma": 4, "fdiv": 13, "@llvm.sqrt": 20,
    ".scalef.": 6, ".perm": 5, ".vpermi2": 5, "14.p": 5, "avx512.mask": 3, "@llvm.rint": 3,
}  # fmt: skip
"""Latencies by what the text of an instruction contains, as AMD's Zen 5 has them; of others, 1.

Only their order matters, in which processors are alike."""
