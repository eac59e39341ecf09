"""Loops in a table: their records stand there once, and what moves with the step is moved.

A loop's records are followed by one that ends the step: it moves the words that hold places by
their strides, and goes back, or after the last step sets them as they were. Threads share no words
that change: each has the records for itself, and a record before them leads it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import gcd
from typing import TypeAlias

from graphc.emit.kernel import in_steps
from graphc.machine import this
from graphc.schedule.footprint import Slice
from graphc.schedule.levels import (
    BARRIER,
    MEETINGS,
    RECORD_HEAD,
    SHARED,
    SPLIT,
    TURN,
    Record,
    Schedule,
    apart,
)

Part: TypeAlias = "Record | Repeat"

EXPECTED = 16
"""Steps that a loop is taken to have at most, where only memory tells."""

PADDING = 8
"""Words between the records of two threads: no cache line has two writers."""

TURN_HEAD = 5
"""Arguments of the record that ends a step before those that say what moves: steps left, steps,
words back to the first record, words on to what follows the loop, and the number of moves."""


@dataclass
class Repeat:
    """Records to be run ``count`` times."""

    parts: list[Part]
    count: int
    strides: list[list[int]]
    """For each record in it, those of loops within it too: by how much its arguments move."""
    reverse: bool = False
    """Whether the last step comes first."""
    slices: list[list[tuple[Slice, int]]] = field(default_factory=list)
    """What each record touches in the first step, and by how many bytes it moves from step to
    step; none if it is not the same in all."""

    entry: int = 0
    """Where the code is that runs all steps of its only record, or 0."""

    @property
    def expected(self) -> int:
        """How many steps to expect."""
        looks = any(part.mark for part in self.parts if isinstance(part, Record))
        return min(self.count, EXPECTED) if looks else self.count

    @property
    def nanoseconds(self) -> float:
        return self.expected * sum(part.nanoseconds for part in self.parts)


def leaves(parts: Sequence[Part]) -> Iterator[Record]:
    """Yield the records of ``parts``, those in loops once."""
    for part in parts:
        if isinstance(part, Repeat):
            yield from leaves(part.parts)
        else:
            yield part


def repeated(
    first: list[Part], second: list[Part], count: int, reverse: bool, entries: Mapping[str, int]
) -> Repeat:
    """Return the loop whose first two steps were taken down as ``first`` and ``second``."""
    pairs = list(zip(leaves(first), leaves(second), strict=True))
    strides = [
        [b - a for a, b in zip(one.arguments, two.arguments, strict=True)] for one, two in pairs
    ]
    loop = Repeat(first, count, strides, reverse)
    if len(first) == 1 and isinstance(first[0], Record) and not first[0].guards:
        loop.entry = entries.get(in_steps(first[0].kernel), 0)
    if all([s[1:] for s in a.slices] == [s[1:] for s in b.slices] for a, b in pairs):
        loop.slices = [
            [(s, t.first - s.first) for s, t in zip(a.slices, b.slices, strict=True)]
            for a, b in pairs
        ]
    return loop


@dataclass
class _Copy:
    """The words of a loop for one thread."""

    schedule: Schedule = field(default_factory=Schedule)
    places: list[int] = field(default_factory=list)
    """Where the arguments of each record start."""


def with_loops(
    parts: Sequence[Part],
    threads: int,
    walkers: int,
    arrange: Callable[[list[Record], int], Schedule],
) -> Schedule:
    """Return the table of ``parts``; ``arrange`` does it for what stands between loops.

    ``threads`` of the ``walkers`` that walk it share its rows.
    """
    whole = Schedule()
    between: list[Record] = []
    for part in parts:
        if isinstance(part, Record):
            between.append(part)
            continue
        if between:
            _append(whole, arrange(between, threads), threads)
        between = []
        _append(whole, _at_once(part, threads) or _loop(part, threads, walkers), threads)
    if between:
        _append(whole, arrange(between, threads), threads)
    if threads > 1 and whole.words:  # repeated, the first record follows the last
        whole.words[3] |= BARRIER
    return whole


def _append(whole: Schedule, part: Schedule, threads: int) -> None:
    """Put ``part`` behind the table, all threads meeting between the two."""
    start, level = len(whole.words), 1 + max((level for _, level in whole.levels), default=-1)
    if threads > 1 and whole.words and part.words:
        part.words[3] |= BARRIER
        whole.barriers += 1
    whole.words += part.words
    whole.moving += [(start + word, name) for word, name in part.moving]
    whole.levels += [(number, level + own) for number, own in part.levels]
    whole.records += part.records
    whole.divisible_nanoseconds += part.divisible_nanoseconds
    whole.barriers += part.barriers
    whole.planes += part.planes


def _at_once(loop: Repeat, threads: int) -> Schedule | None:
    """Return the one record that runs all steps of a loop, if there is code for that.

    Not where threads had better share each step.
    """
    if not loop.entry:
        return None
    rows, (record,) = own_rows(loop, threads), leaves(loop.parts)
    if not rows and _is_shared(record, threads):
        return None
    words = [*record.arguments, loop.count, *loop.strides[0]]
    whole = replace(
        record, entry=loop.entry, arguments=words, nanoseconds=loop.nanoseconds,
        kernel=in_steps(record.kernel),
    )  # fmt: skip
    result = Schedule()
    result.add(whole, 0, rows or record.extent, SHARED * (rows > 0))
    result.divisible_nanoseconds = loop.nanoseconds * (rows > 0)
    return result


def _loop(loop: Repeat, threads: int, walkers: int) -> Schedule:
    """Return the records of a loop, for each thread its own."""
    meeting = _divides(loop, threads)
    copy, copies = _copied(loop, threads, meeting), walkers if meeting else 1
    size = len(copy.schedule.words) + PADDING
    result = Schedule([RECORD_HEAD + 2, 0, 0, SPLIT, 1, 0, size, copies])
    result.levels, result.records = copy.schedule.levels, copy.schedule.records
    result.barriers = copy.schedule.barriers
    result.divisible_nanoseconds = copy.schedule.divisible_nanoseconds
    start, turn = len(result.words), len(copy.schedule.words) - _turn_words(loop)
    for thread in range(copies):
        words = list(copy.schedule.words)
        words[turn + RECORD_HEAD + 3] = PADDING + (copies - 1 - thread) * size
        result.words += [*words, *[0] * PADDING]
        at = start + thread * size
        result.moving += [(at + word, name) for word, name in copy.schedule.moving]
    return result


def _moves(loop: Repeat) -> list[tuple[int, int, int]]:
    """Return (record, argument, stride) of what moves from step to step."""
    return [
        (record, argument, stride)
        for record, strides in enumerate(loop.strides)
        for argument, stride in enumerate(strides)
        if stride
    ]


def _turn_words(loop: Repeat) -> int:
    return RECORD_HEAD + TURN_HEAD + 2 * len(_moves(loop))


def _copied(loop: Repeat, threads: int, meeting: bool) -> _Copy:
    """Return the records of a loop, each of which follows all before it.

    ``meeting`` says whether all threads take it.
    """
    result, rows = _Copy(), own_rows(loop, threads)
    looks: list[int] = []
    schedule = result.schedule
    # The first record of a step follows the last of the one before.
    meets = not rows and any(_is_shared(record, threads) for record in leaves(loop.parts))
    for part in loop.parts:
        if isinstance(part, Repeat):
            inner = _copied(part, threads, meeting)
            level = 1 + max((own for _, own in schedule.levels), default=-1)
            start = len(schedule.words)
            if meets or _divides(part, threads):
                inner.schedule.words[3] |= BARRIER
            schedule.words += inner.schedule.words
            schedule.moving += [(start + word, name) for word, name in inner.schedule.moving]
            schedule.levels += [(number, level + own) for number, own in inner.schedule.levels]
            schedule.records += inner.schedule.records
            schedule.divisible_nanoseconds += part.expected * inner.schedule.divisible_nanoseconds
            result.places += [start + place for place in inner.places]
            meets = _divides(part, threads)
            continue
        shared = bool(rows) or _is_shared(part, threads)
        if part.mark:
            looks.append(len(schedule.words))
            meets = meeting
        result.places.append(len(schedule.words) + RECORD_HEAD)
        # Where threads do not meet, one may be at any record while another is: all are of a level,
        # so that no two buffers in the loop share memory.
        level = 0 if rows else 1 + max((own for _, own in schedule.levels), default=-1)
        meets = not rows and (meets or shared)
        schedule.add(part, level, rows or part.extent, SHARED * shared | BARRIER * meets)
        schedule.divisible_nanoseconds += part.nanoseconds * shared
        if part.mark:  # with room for what is known at the end
            schedule.words += [0, loop.count, int(loop.reverse)]
            schedule.words[looks[-1]] += 3
        meets = shared
    end, moves = len(schedule.words), _moves(loop)
    for at in looks:
        schedule.words[at + RECORD_HEAD + 1] = end - at
    back = end - (schedule.words[0] if 0 in looks else 0)  # to what follows the look at the number
    places = [end - result.places[record] - argument for record, argument, _ in moves]
    pairs = [n for at, (*_, stride) in zip(places, moves, strict=True) for n in (at, stride)]
    schedule.words += [_turn_words(loop), 0, 0, TURN, 1, 0]
    schedule.words += [loop.count, loop.count, back, 0, len(moves), *pairs]
    return result


def _divides(loop: Repeat, threads: int) -> bool:
    """Tell whether threads share some record of a loop."""
    shared = any(_is_shared(record, threads) for record in leaves(loop.parts))
    return shared or own_rows(loop, threads) > 0


def _is_shared(record: Record, threads: int) -> bool:
    saved = record.nanoseconds * (1 - 1 / threads)
    return threads > 1 and record.extent > 1 and saved > MEETINGS * this().rates.meeting


def own_rows(loop: Repeat, threads: int) -> int:
    """Return the number of rows that each thread can take its share of through all steps.

    Each then works on rows that no other thread touches in any step, as the samples of a batch in a
    recurrent network are, and threads need not meet. 0 if rows are not so, or few, or not worth it.
    """
    records = [part for part in loop.parts if isinstance(part, Record)]
    if threads < 2 or not loop.slices or len(records) != len(loop.parts):
        return 0
    if any(r.mark or r.guards for r in records):
        return 0
    saved = loop.nanoseconds * (1 - 1 / threads)
    rows = gcd(*(r.extent for r in records))
    if rows < threads or saved <= MEETINGS * this().rates.meeting:
        return 0
    touched = [(r, *own) for r, slices in zip(records, loop.slices, strict=True) for own in slices]
    written = [one for one in touched if one[1].written]
    for count in dict.fromkeys((rows, gcd(rows, *(r.units for r in records)))):
        if count >= threads and all(
            _never_meet(one, other, count, loop.count) for one in written for other in touched
        ):
            return count
    return 0


Touched: TypeAlias = tuple[Record, Slice, int]
"""A record, what it touches, and how that moves from step to step."""


def _never_meet(one: Touched, other: Touched, rows: int, steps: int) -> bool:
    """Tell whether what two records touch, in whatever steps, meets in equal rows only."""
    (a, s, ds), (b, t, dt) = one, other
    s0, t0 = (_in_all(x, d, steps) for x, d in ((s, ds), (t, dt)))
    if s0.first >= t0.stop(b.extent) or t0.first >= s0.stop(a.extent):
        return True
    if not ds and not dt:
        return apart(a, s, b, t, rows)
    if s.lines > 1 or t.lines > 1:
        return False
    own = s.row(a.extent // rows)
    if own is not None and not ds % (rows * own[0]) and not dt % (rows * own[0]):
        # whole steps one behind the other: in any two of them, rows lie as in the first
        away = (t.first - s.first) % (rows * own[0])
        return any(
            apart(a, s, b, t.moved(s.first + way - t.first), rows)
            for way in (away, away - rows * own[0])
        )
    return apart(a, s0, b, t0, rows)


def _in_all(s: Slice, moves: int, steps: int) -> Slice:
    """Return what is touched in any step, each iteration's as one piece."""
    way = (steps - 1) * moves
    return Slice(s.first + min(0, way), s.span + abs(way), *s[2:])
