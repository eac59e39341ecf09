"""Loops in a table: their records stand there once, and what moves with the step is moved.

A loop's records are followed by one that ends the step: it moves the words that hold places by
their strides, and goes back, or after the last step sets them as they were. Threads share no words
that change: each has the records for itself, and a record before them leads it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from graphc.machine import this
from graphc.schedule.levels import (
    BARRIER,
    MEETINGS,
    RECORD_HEAD,
    SHARED,
    SPLIT,
    TURN,
    Record,
    Schedule,
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


def repeated(first: list[Part], second: list[Part], count: int, reverse: bool) -> Repeat:
    """Return the loop whose first two steps were taken down as ``first`` and ``second``."""
    pairs = zip(leaves(first), leaves(second), strict=True)
    strides = [
        [b - a for a, b in zip(one.arguments, two.arguments, strict=True)] for one, two in pairs
    ]
    return Repeat(first, count, strides, reverse)


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
        _append(whole, _loop(part, threads, walkers), threads)
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
    whole.divisible_nanoseconds += part.divisible_nanoseconds
    whole.barriers += part.barriers
    whole.planes += part.planes


def _loop(loop: Repeat, threads: int, walkers: int) -> Schedule:
    """Return the records of a loop, for each thread its own."""
    meeting = _divides(loop, threads)
    copy, copies = _copied(loop, threads, meeting), walkers if meeting else 1
    size = len(copy.schedule.words) + PADDING
    result = Schedule([RECORD_HEAD + 2, 0, 0, SPLIT, 1, 0, size, copies])
    result.levels = copy.schedule.levels
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
    result, alone = _Copy(), not _divides(loop, threads)
    looks: list[int] = []
    schedule = result.schedule
    meets = not alone  # the first record of a step follows the last of the one before
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
            schedule.divisible_nanoseconds += part.expected * inner.schedule.divisible_nanoseconds
            result.places += [start + place for place in inner.places]
            meets = _divides(part, threads)
            continue
        shared = _is_shared(part, threads)
        if part.mark:
            looks.append(len(schedule.words))
            meets = meeting
        result.places.append(len(schedule.words) + RECORD_HEAD)
        level = 1 + max((own for _, own in schedule.levels), default=-1)
        schedule.add(part, level, part.extent, SHARED * shared | BARRIER * (meets or shared))
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
    return any(_is_shared(record, threads) for record in leaves(loop.parts))


def _is_shared(record: Record, threads: int) -> bool:
    saved = record.nanoseconds * (1 - 1 / threads)
    return threads > 1 and record.extent > 1 and saved > MEETINGS * this().rates.meeting
