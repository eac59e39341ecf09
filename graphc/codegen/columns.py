"""Reductions that keep the last axis: ``y[j] = sum_r x[r, j]``, such as a bias's gradient.

The folded axis runs outside and the kept one inside, as they lie in memory. Eight rows at a
time are added up in registers before they meet the sums in memory, which are of a wider type:
the error does not grow with the number of rows.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Any

import numpy as np

from graphc.codegen.kernel import KernelCall
from graphc.codegen.nest import CHUNK_INDEX, Axis, NestPrinter
from graphc.ir.op import Elementwise, Reduction
from graphc.kernel.value import Element, Integer, Name, Value
from graphc.plan.program import LoopNest
from graphc.types import size_of

_ROWS = 8
"""Rows added up at once."""

_UNROLLED_COST = 8.0
"""Cost of an element, in multiplications, up to which those of all rows are written out."""

NARROW_BYTES = range(32, 256)
"""Of kept elements: fewer fill no vector; of more, what is left after the vectors is little."""


class ColumnPrinter(NestPrinter):
    """Writes a fold whose kept last axes run innermost; one text serves all but narrow ones."""

    def __init__(self, nest: LoopNest) -> None:
        super().__init__(nest, generic=not _is_narrow(nest))
        assert self.group.column is not None
        start, stop = self.group.column
        (self.fold,) = (n for n in self.group.nodes if isinstance(n.op, Reduction))
        self.before = [a for a in self.axes if a.covers[-1] < start]
        self.folded = [a for a in self.axes if start <= a.covers[0] < stop]
        self.kept = [a for a in self.axes if a.covers[0] >= stop]
        division = nest.division
        self.finishing = division is not None and division.finishing
        self.leaving = division is not None and not division.finishing
        if self.finishing:
            assert division is not None
            self.folded = [Axis((), division.count, CHUNK_INDEX)]

    def kernel(self, name: str) -> KernelCall:
        """Return the kernel."""
        with ExitStack() as loops:
            if self.leaving:
                loops.enter_context(self.chunks())
            for axis in self.before:
                loops.enter_context(self._open(axis))
            self._fill()
            self._fold()
            self._round()
        return self.writer.finish(name)

    # -- loops ----------------------------------------------------------------------------------

    def _open(self, axis: Axis) -> AbstractContextManager[Name]:
        """Open a loop outside the fold; the outermost is divided among threads."""
        if axis is (*self.before, *self.kept)[0] and not self.leaving:
            return self.writer.parallel(axis.index, axis.dim)
        return self.loop(axis)

    def _columns(self) -> ExitStack:
        """Open the loops over the kept axes."""
        stack = ExitStack()
        for axis in self.kept:
            stack.enter_context(self._open(axis))
        return stack

    # -- the fold -------------------------------------------------------------------------------

    def _sum(self) -> Element:
        """Return the element in which the rows add up."""
        if self.leaving:
            return self.part(self.fold, written=True)
        return self.element(self.nest.wide or self.nest.stores[self.fold], written=True)

    def _sum_dtype(self) -> np.dtype[Any]:
        """Return the data type in which the rows add up."""
        if self.leaving or self.nest.wide is not None:
            return self.sum_dtype(self.fold)
        return self.fold.dtype

    def _fill(self) -> None:
        op, dtype = self._op(), self._sum_dtype()
        with self._columns():
            self.writer.store(self._sum(), op.initial(self.writer.literal_of(dtype), dtype))

    def _round(self) -> None:
        """Convert the sums to the type of the result."""
        if self.leaving or self.nest.wide is None:
            return
        with self._columns():
            self.writer.let(self.names[self.fold], self._sum().cast(self.fold.dtype))
            self.save(self.fold)

    def _fold(self) -> None:
        *outer, last = self.folded
        with ExitStack() as loops:
            for axis in outer:
                loops.enter_context(self.loop(axis))
            start, stop = self.bounds(last)
            if self._unrolls(last):
                self._rows_together(last, start, stop)
                rows = stop if start == Integer(0) else stop - start
                start = stop - rows % _ROWS
            with self.writer.loop(last.index, stop, start), self._columns():
                self._add(self._value())

    def _unrolls(self, last: Axis) -> bool:
        cost = sum(n.op.cost for n in self.group.nodes if isinstance(n.op, Elementwise))
        long = not isinstance(last.dim, int) or last.dim >= _ROWS
        return long and (self.finishing or cost <= _UNROLLED_COST)

    def _rows_together(self, last: Axis, start: Value, stop: Value) -> None:
        """Write the loop over whole groups of rows, each added up before it is added."""
        op, name, dtype = self._op(), self.names[self.fold], self._dtype()
        with self.writer.loop("r", stop - (_ROWS - 1), start, _ROWS) as r, self._columns():
            total = self.writer.let(name, op.initial(self.writer.literal_of(dtype), dtype))
            with self.writer.loop("k", _ROWS) as k:
                self.writer.let(last.index.name, r + k)
                self.writer.let(name, op.combine(total, self._value()))
            self._add(total)

    def _value(self) -> Value:
        """Compute the operand at the present row and column; return it as an expression."""
        if self.finishing:
            return self.part(self.fold).load(self._dtype())
        for node in self.group.nodes:
            if node is not self.fold:
                self.compute(node)
                if node in self.nest.stores:
                    self.save(node)
        return self.converted(self.fold)

    def _add(self, value: Value) -> None:
        dtype = self._sum_dtype()
        total = self._op().combine(self._sum().load(dtype), value.cast(dtype))
        self.writer.store(self._sum(), total)

    def _dtype(self) -> np.dtype[Any]:
        """Return the data type of what is folded."""
        return self.sum_dtype(self.fold) if self.finishing else self.fold.dtype

    def _op(self) -> Reduction:
        assert isinstance(self.fold.op, Reduction)
        return self.fold.op


def _is_narrow(nest: LoopNest) -> bool:
    """Tell whether LLVM must know how many elements are kept, for they do not fill its vectors.

    Those left after the vectors go one by one, and it writes what is more than an addition, such
    as a look for NaN, as branches, which are taken as the data falls. Loops of known lengths it
    writes out instead.
    """
    group = nest.group
    assert group.column is not None
    if group.column[0] == 0 and (nest.division is None or nest.division.finishing):
        return False  # threads divide them: what a call gets of them is known when it runs
    (fold,) = (n for n in group.nodes if isinstance(n.op, Reduction))
    assert isinstance(fold.op, Reduction)
    nbytes = size_of(group.dims[group.column[1] :]) * fold.dtype.itemsize
    if not isinstance(nbytes, int) or nbytes >= NARROW_BYTES.stop:
        return False
    left = nbytes % NARROW_BYTES.start
    return nbytes < NARROW_BYTES.start or (left > 0 and fold.op.cost > 1.0)
