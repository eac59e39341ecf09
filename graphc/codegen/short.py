"""Folds along short rows: one row in each lane of a vector.

A row of ten elements fills no vector. So the loop over the rows of a block is the innermost, and
LLVM makes vectors of it; the short axis runs outside and folds each row in order. A row's bits do
not depend on the rows beside it: blocks are computed whole, and of the last one only the rows
that there are are read and stored.

What the passes over a block hand on lies in blocks on the stack, which stay in the first cache
(:mod:`graphc.emit.rows`). Rows are transposed once on their way in and once on their way out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import ExitStack

from graphc.codegen.folds import FoldPrinter, Pass
from graphc.codegen.kernel import STACK_BYTES, KernelCall
from graphc.ir.layout import Layout
from graphc.ir.op import Elementwise, Reduction
from graphc.ir.tensor import Tensor
from graphc.kernel.code import HI, LO, Block, Comment
from graphc.kernel.value import UINT8, Element, Integer, Name, Pointer, Value, least, summed
from graphc.machine.record import LINE
from graphc.plan.fusion import CHEAP
from graphc.plan.program import Access, Buffer, LoopNest
from graphc.types import BOOL, AnyDim

_DEAR_TOTALS = range(2, 41)
_FLOAT32 = range(9, 41)
_FLOAT64 = range(9, 16)
_DEAR_FLOAT64 = (*range(2, 8), *_FLOAT64)
"""Lengths of rows for which this was measured to be the faster way, with AVX-512."""


_ROW, _AT, _COUNT = Name("r"), Name("at"), Name("count")
"""A row of a block, the place in it of an element, and how many rows there are."""


class ShortPrinter(FoldPrinter):
    """Writes a group that folds short rows; one text serves all their lengths."""

    def __init__(self, nest: LoopNest) -> None:
        super().__init__(nest, generic=True)
        self.outer = self.axes[: self.inner]
        self.rows = LINE // self.widest
        """Rows of a block: those of one vector, of the widest type."""
        hoisted = set(self.hoisted())
        self.nodes = dict.fromkeys(n for n in self.group.nodes if n not in hoisted)
        self.blocks: dict[str, Block] = {}
        """How each block is made."""
        self.operands: dict[tuple[Buffer, Layout], Element] = {}
        """The element of a block that holds an operand."""
        self.kept: set[Tensor] = set()
        """Nodes whose values lie in blocks once they are computed."""
        self.done: set[Tensor] = set()
        """Those of them that are."""

    def pays(self) -> bool:
        """Tell whether this is faster than row by row: where a row ends before its vectors do.

        The logarithm of a row takes as long as those of a vector of rows. Else, several loops must
        make up for the transposition, and LLVM must not have found vectors across rows by itself,
        as it does where it writes the loops along them out.
        """
        length = self.folded[0].dim if self._fits() else None
        if not isinstance(length, int):
            return False
        if (len(self.nodes) + len(self.nest.loads)) * length * LINE > STACK_BYTES:
            return False
        if self.is_dear(within=False):
            return length in _DEAR_TOTALS
        dear = self.is_dear(within=True)
        if self.loops() < (2 if dear else 3):
            return False
        if self.widest == 4:
            return length in _FLOAT32
        return length in (_DEAR_FLOAT64 if dear else _FLOAT64)

    def _fits(self) -> bool:
        """Tell whether there is one short axis and enough rows, and all results are theirs."""
        if self.nest.division is not None or not self.outer or len(self.folded) != 1:
            return False
        rows = self.outer[-1].dim
        stored = [self.nest.stores[n] for n in self.nodes if n in self.nest.stores]
        return (
            (not isinstance(rows, int) or rows >= self.rows // 2)
            and all(self.level(n) >= self.inner for n in self.nodes)
            and all(self._steps(access)[0] != 0 for access in stored)
        )

    def kernel(self, name: str) -> KernelCall:
        """Return the kernel."""
        writer, lanes = self.writer, self.outer[-1]
        with ExitStack() as loops:
            for level, axis in enumerate(self.outer):
                for node in (n for n in self.hoisted() if self.level(n) == level):
                    self.compute(node)
                    if node in self.nest.stores:
                        self.save(node)
                start, stop = (Integer(0), writer.integer(axis.dim)) if level else (LO, HI)
                step = self.rows if axis is lanes else 1
                if level:
                    loops.enter_context(writer.loop(axis.index, stop, start, step))
                else:
                    loops.enter_context(writer.parallel(axis.index, axis.dim, start, stop, step))
            writer.let(_COUNT.name, least(stop - lanes.index, self.rows))
            self._block()
        head = Comment(f"{self.rows} rows at a time, one in each lane of a vector")
        writer.body[:0] = [head, *self.blocks.values()]
        return writer.finish(name)

    def _block(self) -> None:
        """Write what is done with a block of rows."""
        passes = self.passes(list(self.nodes))
        self.kept = self._handed_on(passes)
        self._read()
        folds = [n for turn in passes for n in turn.folds]
        for number, turn in enumerate(passes):
            begun = folds if number == 0 else []
            if begun or turn.before:
                with self.writer.loop(_ROW, self.rows):
                    for fold in begun:
                        self._begin(fold)
                    self._values(turn.before)
            if turn.folds or turn.saves:
                self._pass(turn)
        self._write()

    def _pass(self, turn: Pass) -> None:
        """Write one loop along the rows."""
        (axis,) = self.folded
        with self.loop(axis), self.writer.loop(_ROW, self.rows):
            self.writer.let(_AT.name, axis.index * self.rows + _ROW)
            self._values(self._goals(turn))
            for fold in turn.folds:
                self._combine(fold)
        self.done.update(turn.folds)

    # -- values -----------------------------------------------------------------------------------

    def _values(self, goals: Iterable[Tensor]) -> None:
        """Write the values of ``goals`` and of all they need, which may lie in blocks."""
        for node in self._needed(goals, self.done):
            if node not in self.done:
                self.compute(node)
                if node in self.kept:
                    self.writer.store(self._home(node), self.value(node))
                    self.done.add(node)
            elif self.level(node) > self.inner:
                self.writer.let(self.names[node], self._home(node).load(node.dtype))

    def _goals(self, turn: Pass) -> list[Tensor]:
        """Return what a loop along the rows must know to fold and to save."""
        return [*turn.saves, *(x for fold in turn.folds for x in self.inside(fold))]

    def _needed(self, goals: Iterable[Tensor], done: Set[Tensor]) -> list[Tensor]:
        """Return the nodes that ``goals`` follow from, back to those ``done``."""
        found: set[Tensor] = set()
        stack = list(goals)
        while stack:
            node = stack.pop()
            if node not in found:
                found.add(node)
                stack.extend(self.inside(node) if node not in done else ())
        return [n for n in self.nodes if n in found]

    def _handed_on(self, passes: Sequence[Pass]) -> set[Tensor]:
        """Return the nodes that lie in blocks: results, folds, and what later loops read.

        Those compute again what is cheap and differs along the rows.
        """
        kept = {n for n in self.nodes if n in self.nest.stores or isinstance(n.op, Reduction)}
        done: set[Tensor] = set()
        for turn in passes:
            for goals in (turn.before, self._goals(turn)):
                needed = self._needed(goals, done)
                kept.update(done.intersection(needed))
                done.update(n for n in needed if n in kept or not self._is_cheap(n))
            done.update(turn.folds)
        return kept

    def _is_cheap(self, node: Tensor) -> bool:
        op = node.op
        return isinstance(op, Elementwise) and op.cost <= CHEAP and self.level(node) > self.inner

    def _begin(self, fold: Tensor) -> None:
        assert isinstance(fold.op, Reduction)
        value = fold.op.initial(self.writer.literal_of(fold.dtype), fold.dtype)
        self.writer.store(self._home(fold), value)

    def _combine(self, fold: Tensor) -> None:
        assert isinstance(fold.op, Reduction)
        total = self._home(fold).load(fold.dtype)
        value = fold.op.combine(total, self.converted(fold))
        self.writer.store(self._home(fold), value)

    def operand(self, node: Tensor, position: int) -> Value:
        base = self.nest.places.place[node.inputs[position]].base
        if base in self.done and self.level(base) == self.inner:
            return self._home(base).load(base.dtype)
        access = self.nest.loads.get((node, position))
        if access is None or (access.buffer, access.layout) not in self.operands:
            return super().operand(node, position)
        return self.operands[access.buffer, access.layout].load(access.buffer.dtype)

    def place(self) -> list[Value]:
        *outer, lanes = (axis.index for axis in self.outer)
        return [*outer, lanes + _ROW, *(axis.index for axis in self.folded)]

    # -- blocks -----------------------------------------------------------------------------------

    def _home(self, node: Tensor) -> Element:
        """Return the element of a block that holds a node's value."""
        return self._made(f"block_{self.names[node]}", node, self.level(node) > self.inner)

    def _made(self, name: str, like: Tensor, within: bool) -> Element:
        """Return the present element of a block of rows, or with ``within`` of their elements."""
        (axis,) = self.folded
        pointer = Pointer(name, UINT8 if like.dtype == BOOL else like.dtype)
        rows = Integer(self.rows)
        size = rows * self.writer.integer(axis.dim) if within else rows
        self.blocks[name] = Block(pointer, "rows", size)
        return pointer[_AT if within else _ROW]

    def _steps(self, access: Access) -> tuple[AnyDim, AnyDim]:
        """Return the strides from row to row, and along them."""
        strides = access.layout.strides
        return strides[self.outer[-1].covers[-1]], strides[self.folded[0].covers[-1]]

    # -- memory -----------------------------------------------------------------------------------

    def _read(self) -> None:
        """Move the operands of a block's rows into blocks."""
        moves = {}
        for (node, position), access in self.nest.loads.items():
            key = access.buffer, access.layout
            row, step = self._steps(access)
            if node not in self.nodes or row == 0 or key in self.operands:
                continue
            name = f"block_{self.writer.pointer(access.buffer, written=False).name}"
            while name in moves:
                name += "_"
            moves[name] = access
            self.operands[key] = self._made(name, node.inputs[position], step != 0)
        self._move(moves)

    def _write(self) -> None:
        """Move the results out of their blocks."""
        stores = {n: a for n, a in self.nest.stores.items() if n in self.kept}
        self._move({f"block_{self.names[n]}": a for n, a in stores.items()}, out=True)

    def _move(self, moves: Mapping[str, Access], out: bool = False) -> None:
        """Move rows into the blocks by name, or ``out`` of them.

        Whole rows are transposed in registers, others taken element by element.
        """
        (axis,), writer = self.folded, self.writer
        length = writer.integer(axis.dim)
        single: dict[bool, list[tuple[Element, Element]]] = {False: [], True: []}
        for name, access in moves.items():
            row, step = self._steps(access)
            block = self.blocks[name].pointer
            first: list[Value] = [*(a.index for a in self.outer), Integer(0)]
            start = self.element(access, out, first)
            if step == 1 and access.buffer.dtype.itemsize * self.rows == LINE:
                there = (start.pointer, start.index, writer.integer(row))
                if out:
                    writer.do("rows.store", *there, block, _COUNT, length)
                else:
                    writer.do("rows.load", block, *there, _COUNT, length)
                continue
            inside = block[axis.index * self.rows + _ROW if step != 0 else _ROW]
            steps = writer.terms([_ROW, axis.index], [row, step])
            outside = start.pointer[summed([(start.index, 1), *steps])]
            single[step != 0].append((outside, inside) if out else (inside, outside))
        for within, pairs in single.items():
            with ExitStack() as loops:
                if pairs and within:
                    loops.enter_context(self.loop(axis))
                if pairs:
                    loops.enter_context(writer.loop(_ROW, _COUNT))
                for target, source in pairs:
                    writer.store(target, source)
