"""From the calls of a step, in order, to a table that a team of threads can share.

Threads take the same part of every range, so a call may follow another without waiting if it
reads the rows that its own thread wrote: whole layers, forward and back, form such a *chain*.
Where rows meet (a weight's gradient), all threads must, too. Each call is put on the lowest
*level* that what it depends on in memory allows, and only levels are divided by barriers.

A chain whose rows overflow the cache runs in blocks of rows, from its first call to its last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import gcd
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np

from graphc.ir.op import Array
from graphc.machine import known, this
from graphc.schedule.footprint import Slice

RECORD_HEAD = 6
"""Words before the arguments: record length, entry address, rows, how to share them, and how many
times to run them, each time so many iterations further on."""

SHARED = 1
"""In the sharing word: the threads divide the rows, else the first takes them all."""

BARRIER = 2
"""In the sharing word: all threads meet before this record."""

CHAIN = 4
"""In the sharing word: the head of a chain. Its arguments are the rows of a block, and the
words of the records that run block by block."""

GUARD = 8
"""In the sharing word: the record may stop the table. Its first argument points to the verdict,
which is not 0 then, and no thread runs a record that follows."""

SPLIT = 16
"""In the sharing word: the threads part, each to its own copy of what follows. The arguments are
the number of words of one, and of copies: threads for which there is none go past them."""

TURN = 32
"""In the sharing word: the end of a loop's step, see :mod:`graphc.schedule.loops`."""

START = 64
"""In the sharing word: before the first step of a loop, its number of steps is read. Arguments are
the address, the words from this record to that of the turn, the steps there may be, and whether the
last comes first."""

CHECK = 128
"""In the sharing word: before the turn, it is read whether there is another step. Arguments are
those of :data:`START`."""

FACTOR = 8
"""Bits by which the sharing word holds the iterations of a row."""

MEETINGS = 3.0
"""What dividing a level must save, in barriers: the threads come at different times."""

BLOCK = 48
"""Rows of a block are a multiple of this: whole tiles of a matrix product."""

WINDOW = 1024
"""Slices looked back at. What lies further back is waited for."""


@dataclass(slots=True)
class Record:
    """A kernel call with addresses."""

    entry: int
    extent: int
    arguments: list[int]
    slices: tuple[Slice, ...]
    nanoseconds: float
    numbers: tuple[int, ...]
    """Places in the order of the program: of the call, and of others that it stands for."""
    moving: tuple[tuple[int, str], ...] = ()
    """(argument, name of its buffer) for pointers whose buffer may lie elsewhere next time."""
    kernel: str = ""
    times: int = 1
    """How often to run its iterations, each time ``pitch`` further on: as columns of a matrix."""
    pitch: int = 0
    guards: bool = False
    """Whether it may stop the table."""
    mark: int = 0
    """:data:`START` or :data:`CHECK`, of a record that calls no kernel."""
    place: int = field(init=False, repr=False, compare=False)
    """Its place among the records that are scheduled."""
    group: Group = field(init=False, repr=False, compare=False)

    @property
    def units(self) -> int:
        """The number of parts that no row can cut, such as the products of a batch."""
        return self.extent // max((s.every for s in self.slices), default=1)


@dataclass(eq=False, slots=True)
class Group:
    """Records of one level whose rows correspond: a chain."""

    level: int
    rows: int
    records: list[Record]
    units: int
    """The greatest common divisor of the records' units."""


@dataclass
class Schedule:
    """A table of words, and the predicted time of what threads divide in it."""

    words: list[int] = field(default_factory=list)
    moving: list[tuple[int, str]] = field(default_factory=list)
    """(word, name of the buffer it points into), as :attr:`Record.moving`."""
    levels: list[tuple[int, int]] = field(default_factory=list)
    """(number of a record, its level)."""
    records: list[Record] = field(default_factory=list)
    """Those that call kernels, in the order of the table; of loops once."""
    divisible_nanoseconds: float = 0.0
    barriers: int = 0
    planes: list[Array] = field(default_factory=list)
    """Memory that records point into, beside that of the program."""

    @property
    def table(self) -> Array:
        return np.array(self.words, np.int64)

    def add(self, record: Record, level: int, rows: int, sharing: int) -> None:
        """Append a record of ``rows`` rows."""
        sharing |= record.extent // max(1, rows) << FACTOR | GUARD * record.guards | record.mark
        start = len(self.words) + RECORD_HEAD
        self.moving += [(start + position, name) for position, name in record.moving]
        self.levels += [(number, level) for number in record.numbers]
        self.records += [] if record.mark else [record]
        length = RECORD_HEAD + len(record.arguments)
        head = [length, record.entry, rows, sharing, record.times, record.pitch]
        self.words += [*head, *record.arguments]

    def add_group(self, group: Group, threads: int, shared: int, meet: bool) -> None:
        """Append the records of a group, in blocks of rows where they overflow the cache."""
        block = _block(group, threads if shared else 1)
        head = len(self.words)
        if block:
            self.words += [
                RECORD_HEAD + 2,
                0,
                group.rows,
                CHAIN | shared | BARRIER * meet,
                1,
                0,
                block,
                0,
            ]
        for number, record in enumerate(group.records):
            first = meet and number == 0 and not block
            self.add(record, group.level, group.rows, shared | BARRIER * first)
        if block:
            self.words[head + RECORD_HEAD + 1] = len(self.words) - head - self.words[head]


def in_order(records: Iterable[Record]) -> Schedule:
    """Return the table in which one thread runs the records as they come."""
    schedule = Schedule()
    for place, record in enumerate(records):
        schedule.add(record, place, record.extent, 0)
    return schedule


def by_levels(records: Sequence[Record], threads: int) -> Schedule:
    """Return the table that ``threads`` threads can share."""
    schedule, alone = Schedule(), True
    for groups in _Levels(records, threads).groups():
        busy = sum(r.nanoseconds for g in groups if g.rows > 1 for r in g.records)
        shared = threads > 1 and busy * (1 - 1 / threads) > MEETINGS * this().rates.meeting
        schedule.divisible_nanoseconds += busy * shared
        meet = shared or not alone
        schedule.barriers += meet
        for group in groups:
            schedule.add_group(group, threads, SHARED * (shared and group.rows > 1), meet)
            meet = False
            group.records.clear()  # they refer to it: no cycle is left
        alone = not shared
    if not alone:  # repeated, the first record follows the last
        schedule.barriers += not schedule.words[3] & BARRIER
        schedule.words[3] |= BARRIER
    return schedule


def _block(group: Group, threads: int) -> int:
    """Return the rows of a block, or 0 if a thread's rows need not be cut."""
    if len(group.records) < 2 or group.rows == 1:
        return 0
    moving: dict[tuple[int, int], int] = {}
    fixed: dict[int, int] = {}
    for record in group.records:
        for s in record.slices:
            row = s.row(record.extent // group.rows)
            if row is None:
                fixed[s.first] = max(fixed.get(s.first, 0), s.stop(record.extent) - s.first)
            else:
                moving[s.first, row[0]] = max(moving.get((s.first, row[0]), 0), row[1])
    cache = known().second
    whole, row_bytes = sum(fixed.values()), max(1, sum(moving.values()))
    share = -(-group.rows // threads)
    if 2 * whole > cache or whole + share * row_bytes <= cache:
        return 0
    block = max(2, cache // 2 // row_bytes // BLOCK) * BLOCK
    return block if block < share else 0


Meeting: TypeAlias = tuple[Record, Slice, Slice]
"""A record before, its slice, and the slice of the new record that meets it."""


class _Levels:
    """The groups of each level, as records are added in order."""

    def __init__(self, records: Iterable[Record], threads: int) -> None:
        self._threads = threads
        self._groups: dict[Group, None] = {}
        self._floor = 0
        self._top = 0
        self._count = 0
        self._starts = np.zeros(WINDOW, np.int64)
        self._stops = np.zeros(WINDOW, np.int64)
        self._written = np.zeros(WINDOW, bool)
        self._slices: list[tuple[Record, Slice]] = []
        for place, record in enumerate(records):
            record.place = place
            self._add(record)

    def groups(self) -> list[list[Group]]:
        """Return the groups of every level, in order."""
        levels: list[list[Group]] = [[] for _ in range(self._top + 1)]
        for group in self._groups:
            group.records.sort(key=attrgetter("place"))
            levels[group.level].append(group)
        return [groups for groups in levels if groups]

    def _add(self, record: Record) -> None:
        """Put ``record`` on its level."""
        touched = np.array([(s.first, s.stop(record.extent)) for s in record.slices], np.int64)
        starts, stops = touched.reshape(-1, 2).T
        written = np.array([s.written for s in record.slices], bool)
        meetings = self._meetings(record, starts, stops, written)
        level = max([self._floor, *(other.group.level for other, _, _ in meetings)])
        close = [m for m in meetings if m[0].group.level == level]
        group = self._join(record, close) if close else None
        record.group = group or self._new_group(level + bool(close), record)
        self._remember(record, starts, stops, written)

    def _new_group(self, level: int, record: Record) -> Group:
        group = Group(level, record.extent, [record], record.units)
        self._groups[group] = None
        self._top = max(self._top, level)
        return group

    def _meetings(
        self, record: Record, starts: Array, stops: Array, written: Array
    ) -> list[Meeting]:
        """Return the pairs of slices that meet in memory, where one of both is written."""
        n, own = self._count, record.slices
        found = self._starts[:n] < stops[:, None]
        found &= self._stops[:n] > starts[:, None]
        found &= self._written[:n] | written[:, None]
        places = found.ravel().nonzero()[0].tolist()  # of two axes it takes four times as long
        return [(*self._slices[place % n], own[place // n]) for place in places]

    def _join(self, record: Record, meetings: Sequence[Meeting]) -> Group | None:
        """Put ``record`` into the one group of all whom it meets on their level, if it can be."""
        groups = list(dict.fromkeys(other.group for other, _, _ in meetings))
        if record.guards or any(g.records[0].guards for g in groups):
            return None  # in a chain, nobody looks at a verdict
        counts = [record.extent, *(g.rows for g in groups)]
        units = gcd(record.units, *(g.units for g in groups))
        for rows in dict.fromkeys((gcd(*counts), gcd(*counts, units))):
            if rows == 1 and max(counts) == 1:
                break
            if 1 < rows >= self._threads and all(
                apart(other, theirs, record, own, rows) for other, theirs, own in _outer(meetings)
            ):
                break
        else:
            return None
        first, *others = groups
        for group in others:
            first.records += group.records
            for moved in group.records:
                moved.group = first
            del self._groups[group]
        first.rows, first.units = rows, units
        first.records.append(record)
        return first

    def _remember(self, record: Record, starts: Array, stops: Array, written: Array) -> None:
        if self._count + len(record.slices) > WINDOW:
            half = self._count // 2
            gone = [r.group.level for r, _ in self._slices[:half]]
            self._floor = max(self._floor, max(gone) + 1)
            rest = self._count - half
            for array in (self._starts, self._stops, self._written):
                array[:rest] = array[half : self._count]
            self._slices = self._slices[half:]
            self._count = rest
        end = self._count + len(record.slices)
        self._starts[self._count : end] = starts
        self._stops[self._count : end] = stops
        self._written[self._count : end] = written
        self._slices += [(record, s) for s in record.slices]
        self._count = end


def _outer(meetings: Sequence[Meeting]) -> Iterator[Meeting]:
    """Yield, of meetings that differ in where they are alone, the first and the last in memory."""
    alike: dict[tuple[Any, ...], list[Meeting]] = {}
    for meeting in meetings:
        other, theirs, own = meeting
        found = alike.setdefault((other.extent, theirs[1:], own), [meeting, meeting])
        if theirs.first < found[0][1].first:
            found[0] = meeting
        elif theirs.first > found[1][1].first:
            found[1] = meeting
    for found in alike.values():
        yield from found


def apart(a: Record, s: Slice, b: Record, t: Slice, rows: int) -> bool:
    """Tell whether two slices meet in equal rows only."""
    if s.stride <= 0 or t.stride <= 0 or s.pitch != t.pitch:
        return False
    one, two = a.extent // rows, b.extent // rows
    if one % s.every or two % t.every:
        return False
    one, two = one // s.every, two // t.every
    row = one * s.stride
    if row != two * t.stride:
        return False
    ends = s.first + row - s.stride + s.span, t.first + row - t.stride + t.span
    return max(ends) - min(s.first, t.first) <= row
