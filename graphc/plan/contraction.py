"""Products over groups of axes: which axes are a matrix product, and which stand around it.

Rows, columns and depth of a product may each be several axes of an operand, as where a reshape that
no strides can say made one of them: windows of an image, heads of attention. What walks as one axis
in all that it touches is one. Then the last of each group is the product's, and the others are
loops around it, as in loops over GEMM (Di Napoli and others, *Towards an Efficient Use of the BLAS
Library for Multilinear Tensor Contractions*, 2014): no operand is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.ir.layout import Axes, Layout
from graphc.plan.program import Access, Axis, Buffer, MatrixProduct
from graphc.types import NOMINAL_BATCH, AnyDim, Shape, dim_at, never_below, size_of

AROUND, COLUMNS, DEPTH = 3, 1, 3
"""Axes around a product that a kernel takes, of those that rows, columns and depth belong to."""

RUN = 8
"""Steps of depth that follow one another, of the innermost axis, for which starting a run pays."""

WORTH = 64
"""Multiply-adds of a product from which loops around it cost less than to copy an operand."""


@dataclass(frozen=True)
class Operand:
    """A buffer seen as a tensor, each of whose axes is a group of axes."""

    buffer: Buffer
    offset: AnyDim
    axes: tuple[Axes, ...]

    @classmethod
    def of(cls, access: Access) -> Operand:
        own = zip(access.shape, access.layout.strides, strict=True)
        axes = tuple(((dim, stride),) for dim, stride in own)
        return cls(access.buffer, access.layout.offset, axes)

    @property
    def shape(self) -> Shape:
        return tuple(size_of(d for d, _ in group) for group in self.axes)

    @property
    def is_forward(self) -> bool:
        """Whether no axis is walked backwards."""
        return all(never_below(s, 0) for group in self.axes for _, s in group)

    def swapped(self) -> Operand:
        *lead, rows, columns = self.axes
        return Operand(self.buffer, self.offset, (*lead, columns, rows))

    def broadcast(self, lead: Shape) -> Operand:
        """Return this with the leading axes ``lead``, repeated by strides of 0."""
        *own, rows, columns = self.axes
        missing = len(lead) - len(own)
        axes: list[Axes] = [((d, 0),) for d in lead[:missing]]
        for group, dim in zip(own, lead[missing:], strict=True):
            axes.append(group if size_of(d for d, _ in group) == dim else ((dim, 0),))
        return Operand(self.buffer, self.offset, (*axes, rows, columns))

    def access(self) -> Access:
        """Return this with every axis of a group by itself."""
        flat = [axis for group in self.axes for axis in group]
        layout = Layout(self.offset, tuple(s for _, s in flat))
        return Access(self.buffer, layout, tuple(d for d, _ in flat))


def product(a: Operand, b: Operand, out: Access) -> MatrixProduct | None:
    """Return the product of operands with equal leading axes, or None if one must be copied."""
    own = Operand.of(out)
    batch: list[Axis] = []
    for left, right, result in zip(a.axes[:-2], b.axes[:-2], own.axes[:-2], strict=True):
        found = _together(left, right, result)
        if found is None:
            return None
        batch.extend(found)
    rows = _together(a.axes[-2], None, own.axes[-2])
    columns = _together(None, b.axes[-1], own.axes[-1])
    depth = _together(a.axes[-1], b.axes[-2], None)
    if rows is None or columns is None or depth is None:
        return None
    if size_of(x.size for x in batch) != 1 and all(x.right == 0 or x.size == 1 for x in batch):
        rows, batch = [*batch, *rows], []  # one right matrix: there are more rows of the left
    *around, m = _merged(rows)
    around = [*(x for x in _merged(batch) if x.size != 1), *around] if batch else around
    *others, n = _merged(columns)
    folded = _merged(depth)
    k = next((x for x in reversed(folded) if _nominal(x) >= RUN), max(folded, key=_nominal))
    folded.remove(k)
    loops = len(around) > 1 or others or folded
    if len(around) > AROUND or len(others) > COLUMNS or len(folded) > DEPTH:
        return None
    if loops and _nominal(m) * _nominal(n) * _nominal(k) < WORTH:
        return None
    step = around[-1] if len(around) == 1 else Axis(1, 0, 0, 0)
    batched = size_of(x.size for x in around)

    def matrix(x: Operand, step: AnyDim, rows: AnyDim, columns: AnyDim, shape: Shape) -> Access:
        return Access(x.buffer, Layout(x.offset, (step, rows, columns)), shape)

    return MatrixProduct(
        matrix(a, step.left, m.left, k.left, (batched, m.size, k.size)),
        matrix(b, step.right, k.right, n.right, (batched, k.size, n.size)),
        matrix(own, step.out, m.out, n.out, (batched, m.size, n.size)),
        batched, m.size, n.size, k.size,
        *((tuple(around), tuple(others), tuple(folded)) if loops else ()),
    )  # fmt: skip


def _nominal(axis: Axis) -> int:
    return dim_at(axis.size, NOMINAL_BATCH)


def _together(left: Axes | None, right: Axes | None, out: Axes | None) -> list[Axis] | None:
    """Return the axes that walk what is given, or None if the groups differ otherwise."""
    given = [group for group in (left, right, out) if group is not None]
    sizes = [d for d, _ in max(given, key=len)]
    walks = []
    for group in (left, right, out):
        strides: list[AnyDim] = [0] * len(sizes)
        if group is not None and [d for d, _ in group] == sizes:
            strides = [s for _, s in group]
        elif group is not None:
            if len(group) != 1:
                return None
            step = group[0][1]
            for place in reversed(range(len(sizes))):
                strides[place], step = step, sizes[place] * step
        walks.append(strides)
    return [Axis(*x) for x in zip(sizes, *walks, strict=True)]


def _merged(axes: Sequence[Axis]) -> list[Axis]:
    """Return one axis for neighbours that walk as one; the last of all if none is longer than 1."""
    result: list[Axis] = []
    for x in axes:
        if x.size == 1:
            continue
        if result and result[-1].strides == tuple(x.size * s for s in x.strides):
            result[-1] = Axis(result[-1].size * x.size, *x.strides)
        else:
            result.append(x)
    return result or [axes[-1]]
