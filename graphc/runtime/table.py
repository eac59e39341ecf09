"""Captured functions, and the memory of one batch size that they work in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphc.ir.op import Array
from graphc.ir.source import address_of
from graphc.plan.memory import ArenaPlan
from graphc.runtime.descent import take_steps
from graphc.runtime.ownership import own_weights
from graphc.runtime.pace import Pace
from graphc.runtime.schedule import Record, Schedule, by_levels, in_order

WORTH_SCHEDULING = 4_000.0
"""Predicted nanoseconds of a step below which it runs on one thread, call by call."""


def arranged(records: Sequence[Record], threads: int) -> Schedule:
    """Return captured records as a table for so many threads."""
    records = take_steps(records)
    if sum(r.nanoseconds for r in records) < WORTH_SCHEDULING:
        return in_order(own_weights(records, 1)[0])
    owned, planes = own_weights(records, threads)
    schedule = by_levels(owned, threads)
    schedule.planes = planes
    return schedule


class Table:
    """The words of a captured function, and where in them are pointers that move."""

    def __init__(self, schedule: Schedule, threads: int, addresses: Mapping[str, int]) -> None:
        """``addresses`` are those with which the buffers that move were captured."""
        self.words = schedule.table
        self.pace = Pace(schedule.divisible_nanoseconds * 1e-9, threads)
        self._planes = schedule.planes
        found: dict[str, list[int]] = {name: [] for name in addresses}
        for word, name in schedule.moving:
            found[name].append(word)
        places = {name: np.array(words, np.int64) for name, words in found.items()}
        self._places = {n: (at, self.words[at] - addresses[n]) for n, at in places.items()}
        """By buffer, its words and how far behind its start each points."""

    def point_into(self, memory: Mapping[str, Array]) -> None:
        """Let the pointers that move point into the arrays of ``memory``."""
        for name, array in memory.items():
            words, offsets = self._places[name]
            self.words[words] = offsets + address_of(array)


class Bound:
    """The memory and tables of one batch size."""

    def __init__(self, batch: int, plan: ArenaPlan, memory: dict[str, Array], scalars: int) -> None:
        self.batch = batch
        self.plan = plan
        self.memory = memory
        self.tables: dict[tuple[str, int], Table] = {}
        """By function and number of threads."""
        self.outputs: dict[str, Array] = {}
        """Where the outputs lie, as arrays; filled as they are asked for."""
        self.order = np.zeros(0, np.int64)
        self.cursor = np.zeros(1, np.int64)
        self.sums = np.zeros(max(1, scalars))
        self.chunk = 1
        """Steps of an epoch to take before Python has a turn."""
