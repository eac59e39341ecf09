"""Places in one arena, shared by buffers whose lifetimes do not overlap.

Greedy by size (Pisarchyk and Lee, *Efficient Memory Management for Deep Neural Net Inference*,
2020): the largest buffer first, each at the lowest offset free over its whole lifetime.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from graphc.machine import known
from graphc.plan.program import Buffer, Call

ALIGNMENT = 64

ROOMY = 0.5
"""Part of the second cache up to which it does not matter how large the arena is."""

GENEROUS = 2.5
"""How many times larger the arena may be, for calls to run side by side: with a deep network's
activations, their gradients stay until the products that update the weights, twice as much."""

Lifetimes = Mapping[Buffer, tuple[int, int]]
"""First and last moment at which a buffer holds a value, on some clock."""


@dataclass(frozen=True)
class ArenaPlan:
    """Byte offset and room of every arena buffer, and the bytes of the whole."""

    offsets: dict[Buffer, int]
    rooms: dict[Buffer, int]
    """Bytes that each may take."""
    nbytes: int
    apart: bool = False
    """Whether buffers that live on one level are apart."""

    def holds(self, batch: int) -> bool:
        """Tell whether there is room for a batch of ``batch`` rows."""
        return all(b.nbytes(batch) <= room for b, room in self.rooms.items())


def aligned(nbytes: int) -> int:
    """Return ``nbytes`` rounded up to whole cache lines."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def plan_arena(buffers: Sequence[Buffer], batch: int, levels: Lifetimes | None = None) -> ArenaPlan:
    """Place ``buffers`` for a batch of ``batch`` rows.

    A buffer lives from the call that writes it first to the last that touches it, both
    included: within one call no operand shares memory with a result. Calls of one level may run in
    any order; if the arena does not grow too much, buffers that live on one of ``levels`` are kept
    apart as well, so that no call waits for memory.
    """
    calls = {b: (b.born, b.dies) for b in buffers}
    if levels is None:
        return _placed(buffers, batch, [calls])
    apart = _placed(buffers, batch, [calls, levels], apart=True)
    if apart.nbytes <= max(ROOMY * known().second, GENEROUS * _needed(buffers, batch)):
        return apart  # whatever the other is
    tight = _placed(buffers, batch, [calls])
    return tight if apart.nbytes > GENEROUS * tight.nbytes else apart


def level_lifetimes(
    buffers: Sequence[Buffer], calls: Sequence[Call], levels: Iterable[tuple[int, int]], end: int
) -> Lifetimes:
    """Return the levels from which and to which each buffer is needed.

    ``levels`` are pairs (number of a call, level); one call may be on several. What dies with
    the program's ``end``, the number of its calls, is needed after the last.
    """
    needed: dict[Buffer, list[int]] = {b: [] for b in buffers}
    for number, level in set(levels):
        for buffer in calls[number].needs:
            if buffer in needed:
                needed[buffer].append(level)
    last = max((level for found in needed.values() for level in found), default=0)
    return {
        b: (
            -1 if b.born < 0 else min(found, default=0),
            last if b.dies >= end else max(found, default=-1),
        )
        for b, found in needed.items()
    }


def _needed(buffers: Sequence[Buffer], batch: int) -> int:
    """Return the bytes that hold values during one call, at most: no arena is smaller."""
    change = Counter[int]()
    for b in buffers:
        nbytes = aligned(b.nbytes(batch))
        change[b.born] += nbytes
        change[b.dies + 1] -= nbytes
    return max(accumulate(change[moment] for moment in sorted(change)), default=0)


def _placed(
    buffers: Sequence[Buffer], batch: int, clocks: Sequence[Lifetimes], apart: bool = False
) -> ArenaPlan:
    """Let buffers share a place if one is done, on all the clocks, before the other is born."""
    sizes = [aligned(b.nbytes(batch)) for b in buffers]
    count = len(buffers)
    lives = np.array([[clock[b] for b in buffers] for clock in clocks], np.int64).reshape(
        len(clocks), count, 2
    )
    starts = np.zeros(count, np.int64)
    # Those placed, from the start of the arena: where each starts and ends, in memory and time.
    low, high = np.zeros((2, count), np.int64)
    births, deaths = np.zeros((2, len(clocks), count), np.int64)
    for placed, i in enumerate(sorted(range(count), key=lambda i: (-sizes[i], i))):
        born, dies = lives[:, i, :, None].swapaxes(0, 1)
        before = np.logical_and.reduce(deaths[:, :placed] < born)
        after = np.logical_and.reduce(births[:, :placed] > dies)
        others = np.logical_not(before | after).nonzero()[0]
        # The gap before each of them starts where all that lie below it have ended.
        below = np.zeros(len(others) + 1, np.int64)
        np.maximum.accumulate(high[others], out=below[1:])
        fits = (below[:-1] + sizes[i] <= low[others]).nonzero()[0]
        starts[i] = start = below[fits[0] if len(fits) else -1]
        at = low[:placed].searchsorted(start, "right")
        for kept, value in (
            (low, start),
            (high, start + sizes[i]),
            (births, born[:, 0]),
            (deaths, dies[:, 0]),
        ):
            kept[..., at + 1 : placed + 1] = kept[..., at:placed].copy()
            kept[..., at] = value
    offsets = {b: int(start) for b, start in zip(buffers, starts, strict=True)}
    rooms = dict(zip(buffers, sizes, strict=True))
    return ArenaPlan(offsets, rooms, int(high.max(initial=0)), apart)
