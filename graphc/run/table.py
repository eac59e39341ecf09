"""Captured functions, and the memory of one batch size that they work in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from graphc.ir.op import Array
from graphc.ir.source import address_of
from graphc.machine import this
from graphc.plan.memory import ArenaPlan
from graphc.run.pace import Pace
from graphc.schedule.levels import Record, Schedule, by_levels, in_order
from graphc.schedule.loops import Part, with_loops
from graphc.schedule.ownership import own_weights
from graphc.types import shape_at

OBJECT_BYTES = 128
"""What a small object of Python takes, about."""

WORTH_SCHEDULING = 20.0
"""Length of a step, in barriers, below which it runs on one thread, call by call."""


def arranged(parts: Sequence[Part], threads: int) -> Schedule:
    """Return captured records, and loops of them, as a table for so many threads."""
    records = [part for part in parts if isinstance(part, Record)]
    if len(records) == len(parts):
        return _without_loops(records, threads)
    short = sum(p.nanoseconds for p in parts) < WORTH_SCHEDULING * this().rates.meeting
    return with_loops(parts, 1 if short else threads, threads, _without_loops)


def _without_loops(records: Sequence[Record], threads: int) -> Schedule:
    if sum(r.nanoseconds for r in records) < WORTH_SCHEDULING * this().rates.meeting:
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
        self.threads = threads
        self.pace = Pace(schedule.divisible_nanoseconds * 1e-9, threads)
        self._planes = schedule.planes
        found: dict[str, list[int]] = {name: [] for name in addresses}
        for word, name in schedule.moving:
            found[name].append(word)
        places = {name: np.array(words, np.int64) for name, words in found.items()}
        self._places = {n: (at, self.words[at] - addresses[n]) for n, at in places.items()}
        """By buffer, its words and how far behind its start each points."""

    @property
    def nbytes(self) -> int:
        """What it takes, about."""
        pointing = 2 * sum(OBJECT_BYTES + words.nbytes for words, _ in self._places.values())
        return self.words.nbytes + pointing + sum(p.nbytes for p in self._planes)

    def moves(self, names: Iterable[str]) -> bool:
        """Tell whether all buffers of these names may lie elsewhere."""
        return all(name in self._places for name in names)

    def point_to(self, addresses: Mapping[str, int]) -> None:
        """Let the pointers into the buffers named point to where these start now."""
        for name, address in addresses.items():
            words, offsets = self._places[name]
            self.words[words] = offsets + address


class Memory(dict[str, Array]):
    """The buffers of one batch size as arrays by name, made as they are asked for."""

    def __init__(self, batch: int, plan: ArenaPlan, persistent: Mapping[str, Array]) -> None:
        super().__init__()
        self.arena: Array | None = None
        """Where what is not persistent lies: nowhere, until it is placed."""
        self.batch = batch
        self.offsets = {b.name: (b, offset) for b, offset in plan.offsets.items()}
        self._persistent = persistent

    def __missing__(self, name: str) -> Array:
        if name in self._persistent:
            array = self._persistent[name]
        else:
            assert self.arena is not None
            buffer, start = self.offsets[name]
            piece = self.arena[start : start + buffer.nbytes(self.batch)]
            array = piece.view(buffer.dtype).reshape(shape_at(buffer.shape, self.batch))
        self[name] = array
        return array

    def everything(self) -> dict[str, Array]:
        """Return all buffers by name."""
        return {name: self[name] for name in (*self._persistent, *self.offsets)}


class Bound:
    """The memory and tables of one batch size."""

    def __init__(
        self, batch: int, plan: ArenaPlan, persistent: Mapping[str, Array], sums: int
    ) -> None:
        self.batch = batch
        self.plan = plan
        self.memory = Memory(batch, plan, persistent)
        self.tables: dict[tuple[str, int], Table] = {}
        """By function and number of threads."""
        self.outputs: dict[str, Array] = {}
        """Where the outputs lie, as arrays; filled as they are asked for."""
        self.large: dict[str, int] | None = None
        """Bytes of outputs that are large; filled at the first call."""
        self.nbytes = 10 * OBJECT_BYTES
        """What it keeps, about, beside the arena."""
        self.order = np.zeros(0, np.int64)
        self.cursor = np.zeros(1, np.int64)
        self.sums = np.zeros(max(1, sums))
        self.chunk = 1
        """Steps of an epoch to take before Python has a turn."""

    def addresses(self) -> dict[str, int]:
        """Return where the buffers in the arena start."""
        assert self.memory.arena is not None
        return self._addresses(self.memory.arena)

    def _addresses(self, arena: Array) -> dict[str, int]:
        start = address_of(arena)
        return {name: start + offset for name, (_, offset) in self.memory.offsets.items()}

    def place(self, arena: Array) -> None:
        """Let the buffers lie in ``arena`` from now on."""
        self.leave()
        for table in self.tables.values():
            table.point_to(self._addresses(arena))
        self.memory.arena = arena

    def leave(self) -> int:
        """Forget the arena, with tables that point into it for good; return the bytes of these."""
        self.memory.arena = None
        self.memory.clear()
        self.outputs.clear()
        lost = [key for key, table in self.tables.items() if not table.moves(self.memory.offsets)]
        freed = sum(self.tables.pop(key).nbytes for key in lost)
        self.nbytes -= freed
        return freed

    def keep(self, function: str, table: Table) -> int:
        """Keep a captured function; return the bytes that come with it."""
        self.tables[function, table.threads] = table
        added = table.nbytes + OBJECT_BYTES * len(self.memory.offsets)
        self.nbytes += added
        return added
