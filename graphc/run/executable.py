"""A program ready to run: its memory, its captured tables, and how it is called."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from graphc import forks
from graphc.build.loader import LOADER
from graphc.codegen.module import Module
from graphc.errors import IndexingError
from graphc.ir.graph import Graph
from graphc.ir.op import Array
from graphc.ir.sizes import OpenSizes
from graphc.ir.source import address_of, aligned_empty
from graphc.ir.tensor import Tensor
from graphc.lazy import lazy_module
from graphc.plan.program import Access, Program
from graphc.run.batches import Batches
from graphc.run.checks import CallChecks, check_indices
from graphc.run.frame import PlainFrame
from graphc.run.places import (
    direct_outputs,
    phases_of_outputs,
    place_persistent,
    view_of,
)
from graphc.run.replay import replay, serve
from graphc.run.report import Report
from graphc.run.sizes import SizeChecks, out_of_memory
from graphc.run.source import (
    alone_in_loops,
    define_functions,
    define_kernels,
    kernels_of,
    write_source,
)
from graphc.run.table import Bound
from graphc.types import dim_at, shape_at, size_of, with_batch

if TYPE_CHECKING:
    from graphc.print import c
else:
    c = lazy_module("graphc.print.c")

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
        sums: Sequence[str] = (),
        *,
        step: bool = False,
    ) -> None:
        self.graph = graph
        self.optimized_graph = optimized
        self.program = program
        self.scalars = tuple(scalars)
        self._added = {
            name: math.prod(shape_at(program.outputs[name].shape, 0))
            for name in (*self.scalars, *sums)
        }
        """What an epoch adds up, and how many numbers each is."""
        self._phases = phases_of_outputs(program)
        self.source = module.text
        self._calls = module.calls
        self._open = OpenSizes(graph.inputs)
        self._report_at = report
        self._lock = forks.lock()
        self._batch = 1
        self._plain = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
        start = time.perf_counter()
        self.source_path = write_source(module)
        self._module = define_kernels(self.source_path, module, plain=self._plain)
        alone = () if self._plain else alone_in_loops(program.calls, module.calls)
        kernels = () if self._plain else (*kernels_of(self._module, alone), replay, serve)
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
        self._direct = direct_outputs(program)
        main = "train_step" if step else "call"
        self._batches = Batches(
            program, module.calls, self._module, self._persistent, self._added, main,
            SizeChecks(optimized, program.buffers), self._checks,
        )  # fmt: skip
        entries, statistics = LOADER.load(kernels)
        if not self._plain:
            self._batches.entries = entries
        self.cache_hits, self.cache_misses = statistics.hits, statistics.misses
        self.loads = statistics.notes
        self.compile_seconds = time.perf_counter() - start

    # -- what a user looks at ----------------------------------------------------------------------

    @property
    def report(self) -> Report:
        """Costs for the batch size of the last call (1 before any)."""
        result = self._report_at(self._batch)
        result.arena_bytes, result.schedule = self._batches.described(self._batch)
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
    def c_source(self) -> str:
        """The generated kernels as C11; of those that ship with graphc, the names."""
        kernels = dict.fromkeys(call.kernel for call in self._calls)
        generated = [k for k in kernels if not isinstance(k, str)]
        return c.source(generated, [k for k in kernels if isinstance(k, str)])

    @property
    def arena_bytes(self) -> int:
        """Bytes that the arena takes now."""
        return int(self._batches.arena.nbytes)

    # -- running ----------------------------------------------------------------------------------

    def call(self, feeds: Sequence[Array]) -> dict[str, Array]:
        """Compute everything, updates included; return fresh arrays by output name.

        Large inputs are read, and large outputs written, where they lie.
        """
        with self._lock:
            bound = self._bind(self._open.of(feeds))
            self._checks.call(feeds, bound.batch)
            moved = self._read_in_place(bound, feeds)
            results = self._results(bound, moved)
            output = self._execute(bound, "call", moved)
            for name in self.program.outputs:
                if name not in results:
                    results[name] = output(name).copy()
                elif name not in self._direct:
                    results[name][...] = output(name)
            return {name: results[name] for name in self.program.outputs}

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

        Yields, at least every 0.2 s, the samples done, and what the scalars, times the rows of
        their batches, and the sums add up to. The parameters are then those of a finished step.
        """
        samples, totals = 0, np.zeros(sum(self._added.values()))
        arrays = [a.copy() if self._is_written(a) else a for a in arrays]
        with self._lock:
            sizes = self._open.of(arrays)
            self._checks.epoch(arrays, order, with_batch(sizes, batch_size))
        full, rest = divmod(len(order), batch_size)
        for batch, steps in ((batch_size, full), (rest, 1 if rest else 0)):
            if not steps:
                continue
            while steps:
                with self._lock:
                    bound = self._bind(with_batch(sizes, batch))
                    take = min(bound.chunk, steps)
                    totals += self._steps(bound, arrays, order[samples:], take)
                steps -= take
                samples += take * batch
                yield samples, totals.copy()

    def _steps(self, bound: Bound, arrays: Sequence[Array], order: Array, steps: int) -> Array:
        """Take ``steps`` steps over the rows ``order``; return what they add up."""
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
        return bound.sums[: sum(self._added.values())]

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

    def _results(self, bound: Bound, moved: dict[str, Array]) -> dict[str, Array]:
        """Return new arrays for large outputs; note in ``moved`` what kernels write there.

        Where there is no memory for them, nothing has been computed yet, and nothing replaced.
        """
        if bound.large is None:
            sizes = {n: self._size(n, bound.batch) for n in self.program.outputs}
            bound.large = {name: size for name, size in sizes.items() if size >= LARGE}
        results = {}
        try:
            for name, nbytes in bound.large.items():
                access = self.program.outputs[name]
                memory = aligned_empty(nbytes).view(access.buffer.dtype)
                results[name] = memory.reshape(shape_at(access.shape, bound.batch))
                if name in self._direct:
                    moved[access.buffer.name] = results[name]
        except MemoryError:
            needed = [(self.graph.outputs[name], size) for name, size in bound.large.items()]
            raise out_of_memory("outputs", needed) from None
        return results

    def _size(self, output: str, batch: int) -> int:
        access = self.program.outputs[output]
        return dim_at(size_of(access.shape), batch) * access.buffer.dtype.itemsize

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
            plain = PlainFrame(
                {**bound.memory.everything(), **moved, **self._flat}, bound.batch, times
            )
            getattr(self._module, function)(plain)
        else:
            table = self._batches.table(bound, function, moved)
            if moved:
                table.point_to({name: address_of(array) for name, array in moved.items()})
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
        raise IndexingError(  # a slice that the loop has passed
            f"{guard.node.op.name}: an index in {guard.operand.describe()} is out of bounds for "
            f"an axis of size {dim_at(guard.high, bound.batch)} in a step of a loop"
            f"\n  at {guard.node.loc}"
        )

    def _output(self, bound: Bound, moved: Mapping[str, Array], name: str) -> Array:
        """Return an output where it lies after a run with the buffers ``moved``."""
        if not moved and name in bound.outputs:
            return bound.outputs[name]
        access = self.program.outputs[name]
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
        batch = self._open.of(feeds)
        bound = self._bind(batch)
        self._checks.call(feeds, batch)
        for buffer, value in zip(self.program.inputs, feeds, strict=True):
            np.copyto(bound.memory[buffer.name], value, casting="same_kind")
        return bound

    def _bind(self, batch: int) -> Bound:
        """Return memory and tables for ``batch`` rows."""
        bound = self._batches.bind(batch)
        self._batch = batch
        return bound
