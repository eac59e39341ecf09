"""Memory and tables for any number of rows: what a batch size needs is planned when it first comes.

Sizes may change from call to call, as episodes and texts do. So everything is kept that has been
planned, up to a number of bytes; and where buffers lie is taken over from a larger size, if they
are needed at the same times.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType

from graphc.codegen.kernel import KernelCall
from graphc.collector import paused
from graphc.config import options
from graphc.ir.op import Array
from graphc.ir.source import address_of, aligned_empty
from graphc.ir.tensor import PHASES
from graphc.plan.cost import Cost
from graphc.plan.memory import ArenaPlan, Lifetimes, level_lifetimes, plan_arena
from graphc.plan.program import BY_PHASE, STEP, Call, Program
from graphc.run.checks import CallChecks
from graphc.run.frame import CaptureFrame, Known
from graphc.run.places import far, parameters_written, pointers
from graphc.run.sizes import SizeChecks, out_of_memory
from graphc.run.table import Bound, Table, arranged
from graphc.run.timetable import timetable
from graphc.schedule.epoch import accounting, gathering
from graphc.schedule.footprint import Pointer, Prediction
from graphc.schedule.levels import Schedule
from graphc.types import show_sizes, with_batch

KEPT_BYTES = 64 << 20
"""Bytes of tables that are kept; those of the size that has not come for longest go first."""

AHEAD = 8
"""An arena that must grow does so by this part of the rows more, for sizes still larger."""


class Batches:
    """Binds a program to memory. Everything lies in one arena, as large as any size needed."""

    def __init__(
        self,
        program: Program,
        calls: Sequence[KernelCall],
        functions: ModuleType,
        persistent: Mapping[str, Array],
        added: Mapping[str, int],
        main: str,
        *checks: CallChecks | SizeChecks,
    ) -> None:
        """``main`` is the function that makes all calls; ``checks`` see every size that is new."""
        self._program = program
        self._functions = functions
        self._persistent = persistent
        self._added = added
        self._main = main
        self._pairs = list(zip(program.calls, calls, strict=True))
        self._costs = {call: Cost(call) for call in program.calls}
        self._buffers = [b for b in program.buffers if b.kind in ("arena", "input")]
        self._calls = [call for call, _ in self.calls_of(main)]
        self._kept = parameters_written(program, persistent)
        self._apart = {
            b.name: Pointer(far(i), b.dtype.itemsize, b.name) for i, b in enumerate(self._buffers)
        }
        self._known: Known = {}
        self._checks = checks
        self._bound: OrderedDict[int, Bound] = OrderedDict()
        self.nbytes = 0
        """What is kept, about, beside the arena."""
        self._plans: dict[tuple[tuple[int, int], ...], ArenaPlan] = {}
        self.entries: Mapping[str, int] | None = None
        """Addresses of the kernels by name; none as long as they are not machine code."""
        self.arena = aligned_empty(0)

    def __iter__(self) -> Iterator[Bound]:
        """Go through what is kept."""
        return iter(self._bound.values())

    def bind(self, batch: int) -> Bound:
        """Return memory and tables for ``batch`` rows.

        Raises :class:`AllocationError` if there cannot be so much, and what its checks raise.
        """
        bound = self._bound.get(batch)
        if bound is not None:
            self._bound.move_to_end(batch)
        else:
            with paused():
                bound = self._bind(batch)
        if bound.memory.arena is not self.arena:
            bound.place(self.arena)
        return bound

    def table(self, bound: Bound, function: str, moved: Mapping[str, Array]) -> Table:
        """Return the captured function, whose pointers into the buffers ``moved`` can be moved.

        What calls wait for is decided with every buffer in the arena, where some share memory:
        that serves as well where one lies elsewhere, and not the other way round.
        """
        threads = options().thread_count()
        found = bound.tables.get((function, threads))
        if found is None:
            own = bound.addresses()
            addresses = {n: own[n] if n in own else address_of(a) for n, a in moved.items()}
            places = pointers(self._persistent)
            places |= {b.name: Pointer(own[b.name], b.dtype.itemsize) for b in self._buffers}
            places |= {n: Pointer(addresses[n], a.itemsize, n) for n, a in moved.items()}
            with paused():
                schedule = self._captured(function, bound.batch, places, threads)
                found = Table(schedule, threads, addresses)
            self._keep(bound, function, found)
        return found

    def described(self, batch: int) -> tuple[int, str]:
        """Return the bytes of an arena for ``batch`` rows and no others, and what runs in a step.

        That is text, in order; none if it is Python that runs.
        """
        with paused():
            schedule, lifetimes = self._schedule(batch)
            nbytes = plan_arena(self._buffers, batch, lifetimes).nbytes
        if schedule is None:
            return nbytes, ""
        return nbytes, timetable(schedule, self._calls, batch, options().thread_count())

    def predictions(self, function: str, batch: int) -> Iterator[Prediction]:
        """Yield what is known of every call that a module's function makes."""
        training = function == "train_epoch"
        if training:
            yield from (gathering(b.nbytes(batch) // batch, batch) for b in self._program.inputs)
        for call, kernel in self.calls_of(function):
            yield Prediction(
                kernel.name,
                self._costs[call].nanoseconds(batch),
                kernel.touches,
                kernel.parts,
                kernel.guards,
                tuple([loop.number for loop in call.loops]),
            )
        if training:
            yield from accounting(self._program.outputs[s].buffer.dtype for s in self._added)

    def calls_of(self, function: str) -> list[tuple[Call, KernelCall]]:
        """Return the calls of the program that a module's function makes, in order."""
        if function in PHASES:
            own = PHASES.index(function)
            return [p for p in self._pairs if p[0].phase == own and p[0].made != STEP]
        return [pair for pair in self._pairs if pair[0].made != BY_PHASE]

    # -- a size that is new ------------------------------------------------------------------------

    def _bind(self, batch: int) -> Bound:
        for check in self._checks:
            check.batch(batch)
        schedule, lifetimes = self._schedule(batch)
        plan = self._plan(batch, lifetimes)
        if plan.nbytes > self.arena.nbytes:
            try:
                self.arena = aligned_empty(plan.nbytes)
            except MemoryError:
                sizes = [(b.tensor, b.nbytes(batch)) for b in self._buffers]
                what = f"inputs and intermediate values for {show_sizes(batch)}"
                raise out_of_memory(what, sizes) from None
            for other in self._bound.values():
                self.nbytes -= other.leave()  # or the old arena stays
        bound = Bound(batch, plan, self._persistent, sum(self._added.values()))
        self._bound[batch] = bound
        self.nbytes += bound.nbytes
        if schedule is not None and plan.apart:
            threads = options().thread_count()
            addresses = {name: pointer.address for name, pointer in self._apart.items()}
            self._keep(bound, self._main, Table(schedule, threads, addresses))
        return bound

    def _keep(self, bound: Bound, function: str, table: Table) -> None:
        """Keep a table with the others of its size; let go those of other sizes, if need be."""
        self.nbytes += bound.keep(function, table)
        while self.nbytes > KEPT_BYTES and len(self._bound) > 1:
            batch = next(iter(self._bound))
            self.nbytes -= self._bound.pop(batch).nbytes

    def _schedule(self, batch: int) -> tuple[Schedule | None, Lifetimes | None]:
        """Return the table of a whole step, and on which of its levels buffers are needed.

        The step is captured as if no memory were shared, with each buffer far from the others.
        If that much can be had, the table stays as it is but for the addresses.
        """
        if self.entries is None:
            return None, None
        places = {**pointers(self._persistent), **self._apart}
        threads = options().thread_count()
        schedule = self._captured(self._main, batch, places, threads, self._known)
        return schedule, level_lifetimes(
            self._buffers, self._calls, schedule.levels, end=len(self._program.calls)
        )

    def _plan(self, batch: int, lifetimes: Lifetimes | None) -> ArenaPlan:
        """Return where buffers lie: where they do for more rows, if that is in the arena."""
        key = None if lifetimes is None else tuple(lifetimes.values())
        known = None if key is None else self._plans.get(key)
        if known is not None and known.nbytes <= self.arena.nbytes and known.holds(batch):
            return known
        plan = self._ahead(batch, lifetimes)
        if key is not None and plan.apart:
            self._plans[key] = plan
        return plan

    def _ahead(self, batch: int, lifetimes: Lifetimes | None) -> ArenaPlan:
        """Return where buffers lie, with room for some rows more unless it is the first size."""
        ahead = batch + batch // AHEAD if self.arena.nbytes else batch
        rows = with_batch(batch, ahead)
        plan = plan_arena(self._buffers, rows, lifetimes)
        if rows == batch or (plan.nbytes <= self.arena.nbytes and plan.holds(batch)):
            return plan
        exact = plan_arena(self._buffers, batch, lifetimes)
        return exact if exact.nbytes <= self.arena.nbytes or not plan.holds(batch) else plan

    def _captured(
        self,
        function: str,
        batch: int,
        places: Mapping[str, Pointer],
        threads: int,
        known: Known | None = None,
    ) -> Schedule:
        """Return the calls of one of the module's functions as a table for so many threads."""
        assert self.entries is not None
        predictions = self.predictions(function, batch)
        frame = CaptureFrame(places, batch, self.entries, predictions, self._kept, known)
        getattr(self._functions, function)(frame)
        return arranged(frame.records, threads)
