"""A program ready to run: its memory, its captured tables, and how it is called."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import numpy as np

from graphc.codegen.kernel import KernelCall
from graphc.codegen.module import Module
from graphc.collector import paused
from graphc.config import options
from graphc.errors import ShapeError
from graphc.ir.graph import Graph
from graphc.ir.op import Array
from graphc.ir.source import address_of, aligned_empty
from graphc.ir.tensor import PHASES, Tensor
from graphc.plan.cost import nanoseconds
from graphc.plan.memory import ArenaPlan, level_lifetimes, plan_arena
from graphc.plan.program import Access, Call, Program
from graphc.runtime.checks import CallChecks, check_indices
from graphc.runtime.epoch import accounting, gathering
from graphc.runtime.frame import CaptureFrame, PlainFrame, Pointer, Prediction
from graphc.runtime.loader import LOADER
from graphc.runtime.places import (
    direct_outputs,
    far,
    parameters_written,
    phases_of_outputs,
    place_persistent,
    pointers,
    view_of,
)
from graphc.runtime.replay import replay, serve
from graphc.runtime.report import Report
from graphc.runtime.schedule import Schedule
from graphc.runtime.source import define_functions, define_kernels, kernels_of, write_source
from graphc.runtime.table import Bound, Table, arranged
from graphc.types import BATCH, shape_at

MAX_BATCHES = 32
"""Batch sizes whose captured tables are kept."""

LARGE = 256 << 10
"""Bytes of an input or output from which pointing at it costs less than copying it."""

CONTROL_SECONDS = 0.1
"""Aim for the time between two returns of an epoch to Python; the promise is 0.2 s."""

NOTHING: Mapping[str, Array] = MappingProxyType({})


class Executable:
    """Runs a program. Calls from several threads take turns."""

    def __init__(
        self,
        graph: Graph,
        optimized: Graph,
        program: Program,
        module: Module,
        report: Callable[[int], Report],
        scalars: Sequence[str] = (),
        *,
        step: bool = False,
    ) -> None:
        self.graph = graph
        self.optimized_graph = optimized
        self.program = program
        self.scalars = tuple(scalars)
        self._main = "train_step" if step else "call"
        self._phases = phases_of_outputs(program)
        self.source = module.text
        self._calls = module.calls
        self._batched = [
            i for i, t in enumerate(graph.inputs) if t.type.shape and t.type.shape[0] == BATCH
        ]
        self._report_at = report
        self._lock = threading.RLock()
        self._batch = 1
        self._bound: OrderedDict[int, Bound] = OrderedDict()
        self._arena = aligned_empty(0)
        self._plain = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
        start = time.perf_counter()
        self.source_path = write_source(module)
        self._module = define_kernels(self.source_path, module)
        kernels = () if self._plain else (*kernels_of(self._module), replay, serve)
        LOADER.begin(kernels)  # LLVM is at work beside what follows
        define_functions(self._module, module)
        self._persistent, self._flat = place_persistent(program, module)
        self._checks = CallChecks(graph)
        self._written = [
            self._persistent[b.name]
            for b in dict.fromkeys(b for call in program.calls for b in call.writes)
            if b.name in self._persistent
        ]
        verdict = self._persistent.get("verdict")
        self._verdict = None if verdict is None else memoryview(verdict.data)
        self._kept = parameters_written(program, self._persistent)
        self._placeable = [b for b in program.buffers if b.kind in ("arena", "input")]
        self._direct = direct_outputs(program)
        self._entries, statistics = LOADER.load(kernels)
        self.cache_hits, self.cache_misses = statistics.hits, statistics.misses
        self.loads = statistics.notes
        self.compile_seconds = time.perf_counter() - start

    # -- what a user looks at ----------------------------------------------------------------------

    @property
    def report(self) -> Report:
        """Costs for the batch size of the last call (1 before any)."""
        result = self._report_at(self._batch)
        bound = self._bound.get(self._batch)
        plan = self._plan(self._batch)[0] if bound is None else bound.plan
        result.arena_bytes = plan.nbytes
        result.cache_hits, result.cache_misses = self.cache_hits, self.cache_misses
        result.compile_seconds, result.loads = self.compile_seconds, self.loads
        return result

    @property
    def kernel_texts(self) -> dict[str, str]:
        """For each node of the graph, by its key, the text of the kernel that computes it."""
        texts: dict[Tensor | None, str] = {}
        for call, kernel in zip(self.program.calls, self._calls, strict=True):
            own = kernel.kernel if isinstance(kernel.kernel, str) else kernel.kernel.text
            texts.update(dict.fromkeys(call.nodes, own))
        images = self.optimized_graph.images
        found = {self.graph.keys[node]: texts.get(images.get(node)) for node in self.graph.nodes}
        return {key: text for key, text in found.items() if text is not None}

    @property
    def arena_bytes(self) -> int:
        """Bytes that the arena takes now."""
        return int(self._arena.nbytes)

    # -- running ----------------------------------------------------------------------------------

    def call(self, feeds: Sequence[Array]) -> dict[str, Array]:
        """Compute everything, updates included; return fresh arrays by output name.

        Large inputs are read, and large outputs written, where they lie.
        """
        with self._lock:
            bound = self._bind(self._batch_of(feeds))
            self._checks.call(feeds, bound.batch)
            moved = self._read_in_place(bound, feeds)
            results = {}
            for name, buffer in self._direct.items():
                own = bound.memory[buffer.name]
                if own.nbytes >= LARGE:
                    results[name] = aligned_empty(own.nbytes).view(own.dtype).reshape(own.shape)
                    moved[buffer.name] = results[name]
            output = self._execute(bound, "call", moved)
            return {
                name: results[name] if name in results else output(name).copy()
                for name in self.program.outputs
            }

    def forward(self, feeds: Sequence[Array]) -> dict[str, Array]:
        """Compute the outputs of a training program; return fresh arrays. Nothing is updated."""
        with self._lock:
            bound = self._feed(feeds)
            for phase in self._phases:
                output = self._execute(bound, phase)
            return {name: output(name).copy() for name in self.program.outputs}

    def gradients(self, feeds: Sequence[Array]) -> dict[Tensor, Array]:
        """Compute the gradients; return fresh arrays by parameter. Nothing is updated."""
        with self._lock:
            bound = self._feed(feeds)
            for phase in ("forward", "backward"):
                self._execute(bound, phase)
            found = self.program.gradients.items()
            return {p: self._persistent[b.name].copy() for p, b in found}

    def train_step(self, feeds: Sequence[Array]) -> Array:
        """Take one training step; return the values of the scalars."""
        with self._lock:
            output = self._execute(self._feed(feeds), "train_step")
            return np.array([output(s) for s in self.scalars], np.float64)

    def epoch(
        self, arrays: Sequence[Array], order: Array, batch_size: int
    ) -> Iterator[tuple[int, Array]]:
        """Take a step for each batch of the rows ``order``, gathered inside compiled code.

        Yields, at least every 0.2 s, the samples done and the sums of the scalars weighted by
        batch size. The parameters are then those of a finished step.
        """
        samples, totals = 0, np.zeros(len(self.scalars))
        arrays = [a.copy() if self._is_written(a) else a for a in arrays]
        with self._lock:
            self._checks.epoch(arrays, order, batch_size)
        full, rest = divmod(len(order), batch_size)
        for batch, steps in ((batch_size, full), (rest, 1 if rest else 0)):
            if not steps:
                continue
            while steps:
                with self._lock:
                    bound = self._bind(batch)
                    take = min(bound.chunk, steps)
                    totals += self._steps(bound, arrays, order[samples:], take)
                steps -= take
                samples += take * batch
                yield samples, totals.copy()

    def _steps(self, bound: Bound, arrays: Sequence[Array], order: Array, steps: int) -> Array:
        """Take ``steps`` steps over the rows ``order``; return the sums of the scalars."""
        start = time.perf_counter()
        rows = steps * bound.batch
        if len(bound.order) < len(order):
            bound.order = np.zeros(len(order), np.int64)
        bound.order[:rows] = order[:rows]
        bound.cursor[0] = 0
        bound.sums[...] = 0
        memory = {"order": bound.order, "cursor": bound.cursor, "sums": bound.sums}
        for buffer, array in zip(self.program.inputs, arrays, strict=True):
            memory[f"data_{buffer.name}"] = array.reshape(-1).view(np.uint8)
            memory[f"bytes_{buffer.name}"] = bound.memory[buffer.name].reshape(-1).view(np.uint8)
        self._execute(bound, "train_epoch", memory, steps)
        elapsed = max(time.perf_counter() - start, 1e-9)
        bound.chunk = max(1, min(2 * bound.chunk, int(steps * CONTROL_SECONDS / elapsed)))
        return bound.sums[: len(self.scalars)]

    def _read_in_place(self, bound: Bound, feeds: Sequence[Array]) -> dict[str, Array]:
        """Copy inputs to their places; return the large ones, which are read where they lie."""
        moved = {}
        for buffer, value in zip(self.program.inputs, feeds, strict=True):
            own = bound.memory[buffer.name]
            if own.nbytes < LARGE or not self._is_readable(value, own):
                np.copyto(own, value, casting="same_kind")
                value = own
            if own.nbytes >= LARGE:
                moved[buffer.name] = value
        return moved

    def _is_readable(self, value: Array, own: Array) -> bool:
        """Tell whether kernels can read ``value`` itself, while they write what they write."""
        flags = value.flags
        return (
            flags.c_contiguous
            and flags.aligned
            and value.dtype == own.dtype
            and not self._is_written(value)
        )

    def _is_written(self, value: Array) -> bool:
        """Tell whether a run may change what ``value`` shows: a parameter's values, say."""
        return any(np.may_share_memory(value, a) for a in self._written)

    def _execute(
        self, bound: Bound, function: str, moved: Mapping[str, Array] = NOTHING, times: int = 1
    ) -> Callable[[str], Array]:
        """Run one of the module's functions; return what shows an output where it lies.

        The buffers ``moved`` lie elsewhere than in the memory of ``bound`` in this run: kernels
        and outputs look for a buffer in the same two places.
        """
        if self._plain:
            plain = PlainFrame({**bound.memory, **moved, **self._flat}, bound.batch, times)
            getattr(self._module, function)(plain)
        else:
            table = self._table(bound, function, moved)
            table.point_into(moved)
            table.pace.replay(table.words, times)
        self._heed(bound, moved)
        return partial(self._output, bound, moved)

    def _heed(self, bound: Bound, moved: Mapping[str, Array]) -> None:
        """Raise :class:`IndexingError` if a guard has stopped what was run."""
        if self._verdict is None or not self._verdict[0]:
            return
        guard = self.program.guards[self._verdict[0] - 1]
        self._verdict[0] = 0
        indices = self._view(bound, moved, guard.indices)
        check_indices(indices, guard.low, guard.high, bound.batch, guard.node, guard.operand)

    def _table(self, bound: Bound, function: str, moved: Mapping[str, Array]) -> Table:
        """Return the captured function, whose pointers into the buffers ``moved`` can be moved.

        What calls wait for is decided with every buffer in the arena, where some share memory:
        that serves as well where one lies elsewhere, and not the other way round.
        """
        threads = options().thread_count()
        if (function, threads) not in bound.tables:
            addresses = {n: address_of(bound.memory.get(n, a)) for n, a in moved.items()}
            places = pointers(bound.memory) | {
                n: Pointer(addresses[n], a.itemsize, n) for n, a in moved.items()
            }
            with paused():
                schedule = self._captured(function, bound.batch, places, threads)
            bound.tables[function, threads] = Table(schedule, threads, addresses)
        return bound.tables[function, threads]

    def _captured(
        self, function: str, batch: int, places: Mapping[str, Pointer], threads: int
    ) -> Schedule:
        """Return the calls of one of the module's functions as a table for so many threads."""
        predictions = self._predict(function, batch)
        frame = CaptureFrame(places, batch, self._entries, predictions, self._kept)
        getattr(self._module, function)(frame)
        return arranged(frame.records, threads)

    def _predict(self, function: str, batch: int) -> Iterator[Prediction]:
        """Yield what is known of every call that a module's function makes."""
        training = function == "train_epoch"
        if training:
            yield from (gathering(b.nbytes(batch) // batch, batch) for b in self.program.inputs)
        for call, kernel in self._pairs(function):
            yield Prediction(
                kernel.name,
                nanoseconds(call, batch),
                kernel.touches,
                kernel.parts,
                kernel.descent,
                kernel.guards,
            )
        if training:
            yield from accounting(self.program.outputs[s].buffer.dtype for s in self.scalars)

    def _pairs(self, function: str) -> list[tuple[Call, KernelCall]]:
        """Return the calls of the program that a module's function makes, in order."""
        pairs = list(zip(self.program.calls, self._calls, strict=True))
        if function == "call":
            return pairs
        phases = [PHASES.index(function)] if function in PHASES else range(len(PHASES))
        return [pair for phase in phases for pair in pairs if pair[0].phase == phase]

    def _output(self, bound: Bound, moved: Mapping[str, Array], name: str) -> Array:
        """Return an output where it lies after a run with the buffers ``moved``."""
        access = self.program.outputs[name]
        if name in bound.outputs and access.buffer.name not in moved:
            return bound.outputs[name]
        found = self._view(bound, moved, access)
        if access.buffer.name not in moved:
            bound.outputs[name] = found
        return found

    def _view(self, bound: Bound, moved: Mapping[str, Array], access: Access) -> Array:
        """Return what ``access`` sees in its buffer, which is looked for where the kernels do."""
        buffer = access.buffer.name
        array = moved[buffer] if buffer in moved else bound.memory[buffer]
        return view_of(array, access, bound.batch)

    # -- memory ------------------------------------------------------------------------------------

    def _feed(self, feeds: Sequence[Array]) -> Bound:
        batch = self._batch_of(feeds)
        bound = self._bind(batch)
        self._checks.call(feeds, batch)
        for buffer, value in zip(self.program.inputs, feeds, strict=True):
            np.copyto(bound.memory[buffer.name], value, casting="same_kind")
        return bound

    def _batch_of(self, feeds: Sequence[Array]) -> int:
        if not self._batched:
            return 1
        batch = len(feeds[self._batched[0]])
        for place in self._batched:
            if len(feeds[place]) != batch:
                raise ShapeError(
                    f"the inputs disagree on the batch: {self.graph.inputs[place].name} has "
                    f"{len(feeds[place])} rows, another has {batch}"
                )
        return batch

    def _bind(self, batch: int) -> Bound:
        """Return memory and tables for ``batch`` rows."""
        self._batch = batch
        if batch in self._bound:
            self._bound.move_to_end(batch)
            return self._bound[batch]
        self._checks.batch(batch)
        with paused():
            plan, schedule = self._plan(batch)
        if plan.nbytes > self._arena.nbytes:
            self._arena = aligned_empty(plan.nbytes)
            self._bound.clear()
        memory = dict(self._persistent)
        for buffer in self._placeable:
            start = plan.offsets[buffer]
            piece = self._arena[start : start + buffer.nbytes(batch)]
            memory[buffer.name] = piece.view(buffer.dtype).reshape(shape_at(buffer.shape, batch))
        bound = self._bound[batch] = Bound(batch, plan, memory, len(self.scalars))
        if schedule is not None:
            symbols = {b.name: far(i) for i, b in enumerate(self._placeable)}
            table = Table(schedule, options().thread_count(), symbols)
            table.point_into({name: memory[name] for name in symbols})
            bound.tables[self._main, options().thread_count()] = table
        if len(self._bound) > MAX_BATCHES:
            self._bound.popitem(last=False)
        return bound

    def _plan(self, batch: int) -> tuple[ArenaPlan, Schedule | None]:
        """Return the places of inputs and intermediate values, and the table of a whole step.

        The step is captured as if no memory were shared, with each buffer far from the others.
        If that much can be had, the table stays as it is but for the addresses.
        """
        buffers = self._placeable
        if self._plain:
            return plan_arena(buffers, batch), None
        apart = {b.name: Pointer(far(i), b.dtype.itemsize, b.name) for i, b in enumerate(buffers)}
        places = {**pointers(self._persistent), **apart}
        schedule = self._captured(self._main, batch, places, options().thread_count())
        calls = [call for call, _ in self._pairs(self._main)]
        plan = plan_arena(buffers, batch, level_lifetimes(buffers, calls, schedule.levels))
        return plan, schedule if plan.apart else None
