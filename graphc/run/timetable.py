"""A table as text: what runs when a function is called, on which threads, and where they meet.

It is read back from the words that are replayed: it shows what runs, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graphc.plan.program import Call
from graphc.schedule.levels import (
    BARRIER,
    CHAIN,
    CHECK,
    RECORD_HEAD,
    SHARED,
    SPLIT,
    START,
    TURN,
    Record,
    Schedule,
)
from graphc.schedule.loops import PADDING
from graphc.types import show_sizes

MEETING = "-- all threads meet"


@dataclass(frozen=True)
class Entry:
    """A record of a table that calls a kernel."""

    record: Record
    rows: int
    """What threads divide, or blocks: each row is so many iterations."""
    shared: bool
    meets: bool
    """Whether all threads meet before it."""
    around: tuple[str, ...]
    """The loops and blocks that it is part of, outermost first."""
    times: int
    """How often it runs, at most."""


def entries(schedule: Schedule) -> Iterator[Entry]:
    """Yield the records that call kernels, in the order of the table; those of loops once."""
    words, records, walked = schedule.words, iter(schedule.records), list(_walk(schedule.words))
    loops = [
        (at - words[at + RECORD_HEAD + 2], at, words[at + RECORD_HEAD + 1])
        for at, sharing in walked
        if sharing & TURN
    ]
    told = [at for at, sharing in walked if sharing & (START | CHECK)]
    looks = {at + words[at + RECORD_HEAD + 1] for at in told}  # turns whose number memory tells
    chains: list[tuple[int, int, int]] = []
    meets = False
    for at, sharing in walked:
        meets |= bool(sharing & BARRIER)
        if sharing & CHAIN:
            start, own = at + words[at], at + RECORD_HEAD
            chains.append((start, start + words[own + 1], words[own]))
        if sharing & (CHAIN | SPLIT | TURN | START | CHECK):
            continue
        steps = sorted((x for x in loops if x[0] <= at < x[1]), key=lambda x: x[0])
        around = [f"{'up to ' * (turn in looks)}{count:,} steps" for _, turn, count in steps]
        around += [f"blocks of {rows} rows" for x, y, rows in chains if x <= at < y]
        times = math.prod(count for _, _, count in steps)
        shared = bool(sharing & SHARED)
        yield Entry(next(records), words[at + 2], shared, meets, tuple(around), times)
        meets = False


def _walk(words: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield where each record starts, and how it is shared; of copies for threads, the first."""
    at, skips = 0, dict[int, int]()
    while at < len(words):
        if at in skips:
            at = skips[at]
            continue
        length, sharing, own = words[at], words[at + 3], at + RECORD_HEAD
        yield at, sharing
        if sharing & SPLIT:
            size, copies = words[own : own + 2]
            skips[at + length + size - PADDING] = at + length + size * copies
        at += length


def timetable(schedule: Schedule, calls: Sequence[Call], batch: int, threads: int) -> str:
    """Return the records of a function as lines; ``calls`` are those that it makes."""
    found = list(entries(schedule))
    alone = sum(e.times * e.record.nanoseconds for e in found)
    lines = [
        f"{show_sizes(batch)}; threads: {threads}; kernels: {len(found)}; "
        f"predicted on one thread: {alone / 1e3:,.1f} us",
        "",
        f"{'us':>9}  {'iterations':<16} {'threads':<8} {'kernel':<36} computes",
    ]
    around: tuple[str, ...] = ()
    for entry in found:
        if entry.meets:
            lines.append(MEETING)
        same = next(
            (n for n, (x, y) in enumerate(zip(around, entry.around, strict=False)) if x != y),
            min(len(around), len(entry.around)),
        )
        lines += [f"{'':9}  {'  ' * n}{entry.around[n]}:" for n in range(same, len(entry.around))]
        around = entry.around
        lines.append(_line(entry, calls))
    return "\n".join(lines)


def _line(entry: Entry, calls: Sequence[Call]) -> str:
    record = entry.record
    nodes = dict.fromkeys(n.op.name for number in record.numbers for n in calls[number].nodes)
    each = record.extent // max(1, entry.rows)
    count = f"{entry.rows:,} x {each:,}" if each > 1 else f"{entry.rows:,}"
    indent = "  " * len(entry.around)
    return (
        f"{record.nanoseconds / 1e3:9.2f}  {indent}{count:<{16 - len(indent)}} "
        f"{'all' if entry.shared else 'one':<8} {record.kernel:<36} {', '.join(nodes)}"
    ).rstrip()
