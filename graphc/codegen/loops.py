"""Fused loop nests as text.

A row kernel walks its outer axes and, for each of their points, runs its inner loops one
after the other: a reduction is finished by one inner loop and used from the next on. Values
that an earlier loop computed are read back if they were stored, else computed again; those
that are dear wait for that in the memory of a later result.

Sums are accurate: up to :data:`BLOCK` elements are added up in the registers of a vectorised
loop, and the sums of such blocks in a wider type (pairwise summation with two levels: Higham,
*The accuracy of floating point summation*, SIAM J. Sci. Comput. 14, 1993).
"""

from __future__ import annotations

from collections.abc import Set
from contextlib import ExitStack

from graphc.codegen.columns import ColumnPrinter
from graphc.codegen.folds import FoldPrinter, Pass
from graphc.codegen.kernel import STACK_BYTES, KernelCall
from graphc.codegen.nest import CHUNK_INDEX, Axis
from graphc.codegen.short import ShortPrinter
from graphc.ir.op import Elementwise, Reduction
from graphc.ir.tensor import Tensor
from graphc.kernel.code import HI, LO
from graphc.kernel.value import Integer, Name, Value, least
from graphc.machine.record import TYPICAL
from graphc.plan.fusion import CHEAP
from graphc.plan.program import LoopNest
from graphc.types import size_of

_NAMED = 3  # operations named in a kernel's name

BLOCK = 2048
"""Elements added up in the type of the result."""

STREAM_BYTES = TYPICAL.third
"""Size of a result from which on it is written past the caches: as much as they hold in all."""

STREAM_BLOCK = 1024
"""Elements that wait for that in the first cache."""

_SHORT = range(9, 100)
"""Lengths of loops that LLVM writes out whole, whereupon it finds no vectors in them."""


def loop_kernel(nest: LoopNest) -> KernelCall:
    """Return the kernel of a fused group."""
    names = [n.op.name for n in nest.nodes if n.inputs]
    shown = names[:1] + names[-2:] if len(names) > _NAMED else names
    name = "_".join(shown) or nest.nodes[0].op.name
    if nest.division is not None:
        name += "_finish" if nest.division.finishing else "_parts"
    if nest.group.column is not None:
        return ColumnPrinter(nest).kernel(name)
    if nest.group.folds and (short := ShortPrinter(nest)).pays():
        return short.kernel(name)
    return _RowPrinter(nest).kernel(name)


class _RowPrinter(FoldPrinter):
    """Writes a group row by row."""

    def __init__(self, nest: LoopNest) -> None:
        super().__init__(nest)
        self.writer.generic = nest.division is not None or self._is_unrolled_badly()
        self.home = dict(nest.stores)
        """Where a value that an earlier pass computed is read back."""
        self.done: set[Tensor] = set()
        """Nodes whose values lie at their homes."""

    def kernel(self, name: str) -> KernelCall:
        """Return the kernel."""
        self.writer.reassociate = self.group.folds and not self._is_written_out()
        division = self.nest.division
        if self._streamed():
            self._stream(self._streamed())
        elif division is None:
            self._rows()
        elif division.finishing:
            self._finish()
        else:
            self._leave()
        return self.writer.finish(name)

    def _rows(self) -> None:
        inner, outer, hoisted = self.inner, self.axes[: self.inner], self.hoisted()
        with ExitStack() as loops:
            for level in range(inner + 1):
                if level == 1:
                    loops.enter_context(self.writer.parallel(outer[0].index, outer[0].dim))
                elif level > 1:
                    loops.enter_context(self.loop(outer[level - 1]))
                if level < inner:
                    self._block([n for n in hoisted if self.level(n) == level])
            if not inner:
                loops.enter_context(self.writer.parallel("_", 1))
            rest = [n for n in self.group.nodes if n not in set(hoisted)]
            if not self.folded:
                self._block(rest)
            else:
                self._passes(rest)

    def _streamed(self) -> list[Tensor]:
        """Return the results that are too large for the caches, of a single loop.

        Each has a block on the stack: of very many, the first.
        """
        read = {access.buffer for access in self.nest.loads.values()}
        found = [
            node
            for node, access in self.nest.stores.items()
            if len(self.axes) == 1 and not self.group.folds and access.buffer not in read
            and node.dtype.kind != "b" and access.layout.strides[-1] == 1
            and isinstance(node.type.nbytes, int) and node.type.nbytes >= STREAM_BYTES
        ]  # fmt: skip
        return found[: STACK_BYTES // (8 * STREAM_BLOCK)]

    def _stream(self, streamed: list[Tensor]) -> None:
        """Write the loop in blocks, from which large results go past the caches to memory."""
        (axis,), writer = self.axes, self.writer
        self._block([n for n in self.group.nodes if not self.level(n)])
        inside = [n for n in self.group.nodes if self.level(n)]
        targets = {n: self.element(self.nest.stores[n], written=True).pointer for n in streamed}
        blocks = {
            n: writer.block(f"block_{self.names[n]}", n.dtype, "stream", Integer(STREAM_BLOCK))
            for n in streamed
        }
        with writer.loop("b", HI, LO, STREAM_BLOCK) as b:
            stop = writer.let("stop", least(b + STREAM_BLOCK, HI))
            with writer.parallel(axis.index, axis.dim, b, stop):
                self._values(inside)
                for node in inside:
                    if node in blocks:
                        writer.store(blocks[node][axis.index - b], self.value(node))
                    elif node in self.nest.stores:
                        self.save(node)
            for node, target in targets.items():
                writer.do("stream.write", target, b, blocks[node], stop - b)
        writer.do("stream.fence")

    def _block(self, nodes: list[Tensor]) -> None:
        """Compute ``nodes``, then store: a new value may replace one that others read here."""
        self._values(nodes)
        for node in nodes:
            if node in self.nest.stores:
                self.save(node)

    def _values(self, nodes: list[Tensor]) -> None:
        """Write the values of elementwise nodes and of reductions over axes of length 1."""
        for node in nodes:
            if isinstance(node.op, Reduction):
                self._fold_of_one(node)
            else:
                self.compute(node)

    def _fold_of_one(self, node: Tensor) -> None:
        """Write a reduction over axes of length 1."""
        assert isinstance(node.op, Reduction)
        lit = self.writer.literal_of(node.dtype)
        value = node.op.combine(node.op.initial(lit, node.dtype), self.converted(node))
        self.writer.let(self.names[node], value)

    def _is_written_out(self) -> bool:
        """Tell whether LLVM writes the loops along a row out, and makes vectors of rows.

        It would add in one order in the vectors, and in another in what is left of the rows.
        """
        length = size_of(a.dim for a in self.folded)
        return isinstance(length, int) and length < _SHORT.start

    def _is_unrolled_badly(self) -> bool:
        """Tell whether the kernel must learn its lengths at run time, lest loops are unrolled.

        Most elementary functions keep LLVM from that, and it makes the best of lengths it knows;
        but not the exponential of float32, of which softmax is made. Of a length in several blocks
        it gives each too few sums at a time, which then wait for one another.
        """
        length = size_of(a.dim for a in self.folded)
        if self.group.folds and isinstance(length, int) and length > BLOCK:
            return True
        alone = self.widest == 8 or self.loops() == 1
        kept = self.is_dear(within=False) or (self.is_dear(within=True) and alone)
        return self.group.folds and length in _SHORT and not kept

    # -- passes over a row ------------------------------------------------------------------------

    def _passes(self, nodes: list[Tensor]) -> None:
        """Write the sequence of inner loops for one point of the outer axes."""
        passes = self.passes(nodes)
        self._park(passes)
        for turn in passes:
            self._block(turn.before)
            if turn.folds or turn.saves:
                self._pass(turn)
                for node in turn.folds:
                    if node in self.nest.stores:
                        self.save(node)

    def _pass(self, turn: Pass) -> None:
        """Write one loop over the inner axes; the last of them in blocks where sums are long."""
        *outer, last = self.folded
        long = [n for n in turn.folds if self._is_long(n)]
        for node in turn.folds:
            self._begin(node, self._total(node))
        with ExitStack() as loops:
            for axis in outer:
                loops.enter_context(self.loop(axis))
            start, stop = self.bounds(last)
            if long and not _within_block(last):
                start = loops.enter_context(self.writer.loop("b", stop, start, BLOCK))
                stop = least(start + BLOCK, stop)
            for node in long:
                self._begin(node, self.value(node))
            with self.writer.loop(last.index, stop, start):
                self._body(turn)
            for node in long:
                self._combine(node, self._total(node), self.value(node))
        if self.nest.division is None:
            self._round(long)

    def _body(self, turn: Pass) -> None:
        written = []
        for node in self._needed(turn, self.done):
            if node in self.done:
                element = self.element(self.home[node], written=True)
                self.writer.let(self.names[node], element.load(node.dtype))
                continue
            self.compute(node)
            if node in self.home:
                self.writer.store(self.element(self.home[node], written=True), self.value(node))
                written.append(node)
        for node in turn.folds:
            self._combine(node, self.value(node), self.converted(node))
        self.done.update(written)

    def _needed(self, turn: Pass, done: Set[Tensor]) -> list[Tensor]:
        """Return the elementwise nodes that a pass reads (those ``done``) or computes."""
        found: set[Tensor] = set()
        stack = [*turn.saves, *(x for fold in turn.folds for x in self.inside(fold))]
        while stack:
            node = stack.pop()
            if node in found or self.level(node) <= self.inner or isinstance(node.op, Reduction):
                continue
            found.add(node)
            if node not in done:
                stack.extend(self.inside(node))
        return [n for n in self.group.nodes if n in found]

    # -- folds ------------------------------------------------------------------------------------

    def _is_long(self, node: Tensor) -> bool:
        """Tell whether a fold must be done in blocks to be accurate."""
        assert isinstance(node.op, Reduction)
        if node.op.wide(node.dtype) is None:
            return False
        return self.nest.division is not None or not _within_block(*self.folded)

    def _total(self, node: Tensor) -> Name:
        """Return the variable of the whole of a fold; long ones are of a wider type."""
        if self._is_long(node):
            return Name(f"wide_{self.names[node]}", self.sum_dtype(node))
        return self.value(node)

    def _begin(self, node: Tensor, total: Name) -> None:
        assert isinstance(node.op, Reduction)
        dtype = total.dtype
        self.writer.let(total.name, node.op.initial(self.writer.literal_of(dtype), dtype))

    def _combine(self, node: Tensor, total: Name, value: Value) -> None:
        assert isinstance(node.op, Reduction)
        self.writer.let(total.name, node.op.combine(total, value.cast(total.dtype)))

    def _round(self, nodes: list[Tensor]) -> None:
        for node in nodes:
            self.writer.let(self.names[node], self._total(node).cast(node.dtype))

    # -- divided folds ----------------------------------------------------------------------------

    def _leave(self) -> None:
        """Write the folds of each chunk of the first axis, whose parts are left in memory."""
        (turn,) = self.passes([n for n in self.group.nodes if self.stage[n] == 0])
        with self.chunks():
            self._block(turn.before)
            self._pass(turn)
            for node in turn.folds:
                self.writer.store(self.part(node, written=True), self._total(node))

    def _finish(self) -> None:
        """Write the fold of the parts, and what is computed from the results."""
        assert self.nest.division is not None
        passes = self.passes(self.group.nodes)
        folds = passes[0].folds
        with self.writer.parallel("_", 1):
            self._block(passes[0].before)
            for node in folds:
                self._begin(node, self._total(node))
            with self.writer.loop(CHUNK_INDEX, self.writer.integer(self.nest.division.count)):
                for node in folds:
                    part = self.part(node).load(self.sum_dtype(node))
                    self._combine(node, self._total(node), part)
            self._round([n for n in folds if self._is_long(n)])
            for node in folds:
                if node in self.nest.stores:
                    self.save(node)
            for turn in passes[1:]:
                self._block(turn.before)

    # -- values that wait -------------------------------------------------------------------------

    def _park(self, passes: list[Pass]) -> None:
        """Give dear values that several passes need a home in the memory of a later result."""
        turns: dict[Tensor, list[int]] = {}
        done: set[Tensor] = set()
        for number, turn in enumerate(passes):
            for node in self._needed(turn, done):
                turns.setdefault(node, []).append(number)
            done.update(turn.saves)
        taken: set[Tensor] = set()
        for node, needed in turns.items():
            assert isinstance(node.op, Elementwise)
            if len(needed) < 2 or node.op.cost <= CHEAP or node in self.nest.stores:
                continue
            host = next((h for h in passes[needed[-1]].saves
                         if h not in taken and self._hosts(h, node)), None)  # fmt: skip
            if host is not None:
                self.home[node] = self.nest.stores[host]
                taken.add(host)

    def _hosts(self, host: Tensor, node: Tensor) -> bool:
        """Tell whether ``node`` can wait where ``host`` is stored, behind it, in every place."""
        read = {a.buffer for a in self.nest.loads.values()}
        moving = {m for m in self.group.maps[host] if m is not None}
        return (
            host.dtype == node.dtype
            and len(moving) == len(self.group.dims)
            and self.nest.stores[host].buffer not in read
            and host.id > node.id
        )


def _within_block(*axes: Axis) -> bool:
    """Tell whether so many elements are known to be no more than a block."""
    size = size_of(a.dim for a in axes)
    return isinstance(size, int) and size <= BLOCK
