"""Places in one arena, shared by buffers whose lifetimes do not overlap.

Greedy by size (Pisarchyk and Lee, *Efficient Memory Management for Deep Neural Net Inference*,
2020): the largest buffer first, each at the lowest offset free over its whole lifetime.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from graphc.plan.program import Buffer

ALIGNMENT = 64

ROOMY = 512 << 10
"""Bytes below which no memory is used twice in a step: it would stay in the second cache anyway,
and calls that share no memory need not wait for each other."""


@dataclass(frozen=True)
class ArenaPlan:
    """Byte offset of every arena buffer, and the bytes of the whole."""

    offsets: dict[Buffer, int]
    nbytes: int


def aligned(nbytes: int) -> int:
    """Return ``nbytes`` rounded up to whole cache lines."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def plan_arena(buffers: Sequence[Buffer], batch: int) -> ArenaPlan:
    """Place ``buffers`` for a batch of ``batch`` rows.

    A buffer lives from the call that writes it first to the last that touches it, both
    included: within one call no operand shares memory with a result.
    """
    sizes = {b: aligned(b.nbytes(batch)) for b in buffers}
    if sum(sizes.values()) <= ROOMY:
        ends = list(accumulate(sizes.values(), initial=0))
        return ArenaPlan(dict(zip(buffers, ends[:-1], strict=True)), ends[-1])
    order = sorted(range(len(buffers)), key=lambda i: (-sizes[buffers[i]], i))
    placed: list[tuple[int, int, int, int]] = []  # (offset, end, born, dies), by offset
    offsets: dict[Buffer, int] = {}
    total = 0
    for i in order:
        buffer = buffers[i]
        size = sizes[buffer]
        at = 0
        for offset, end, born, dies in placed:
            if born > buffer.dies or dies < buffer.born:
                continue
            if at + size <= offset:
                break
            at = max(at, end)
        offsets[buffer] = at
        insort(placed, (at, at + size, buffer.born, buffer.dies))
        total = max(total, at + size)
    return ArenaPlan(offsets, total)
