"""What all kernels of fused groups share: their loops, names and values."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.codegen.kernel import KernelWriter, merge_axes
from graphc.ir.layout import Layout
from graphc.ir.op import Elementwise, Reduction
from graphc.ir.source import Constant
from graphc.ir.tensor import Tensor
from graphc.kernel.value import Element, Integer, Name, Value, least, summed
from graphc.plan.program import Access, LoopNest
from graphc.types import AnyDim, Shape, size_of

CHUNK_INDEX = Name("c")
"""The index of the chunks of a divided fold."""


@dataclass(frozen=True)
class Axis:
    """A loop: the domain axes it covers, its length and the name of its index."""

    covers: tuple[int, ...]
    dim: AnyDim
    index: Name


class NestPrinter:
    """Writes one loop nest; what its kinds have in common."""

    def __init__(self, nest: LoopNest, generic: bool = False) -> None:
        self.nest = nest
        self.group = nest.group
        self.writer = KernelWriter(generic=generic)
        self.members = set(self.group.nodes)
        self.axes = self._axes()
        self.depth_of = self._depths()
        self.names = self._names()

    # -- loops --------------------------------------------------------------------------------

    def _axes(self) -> list[Axis]:
        """Merge neighbouring domain axes that every operand walks as one."""
        dims, group = self.group.dims, self.group
        touched = [*self.nest.loads.values(), *self.nest.stores.values()]
        walks = [a.layout.strides for a in touched]
        if self.nest.division is not None:
            walks += [part.layout.strides[1:] for part in self.nest.division.parts.values()]
        for node in group.nodes:
            if isinstance(node.op, Elementwise) and node.op.indexed:
                walks.extend(self._index_strides(node))
        borders = {group.inner, *(group.column or ())}
        merged = merge_axes(range(len(dims)), dims, walks, borders)
        return [
            Axis(tuple(covers), size_of(dims[d] for d in covers), Name(f"i{number}"))
            for number, covers in enumerate(merged)
        ]

    def _index_strides(self, node: Tensor) -> list[tuple[AnyDim, ...]]:
        """Return the strides by which an indexed op's place moves along the domain."""
        where = self.group.maps[node]
        if isinstance(node.op, Elementwise) and node.op.indexed == "flat":
            layouts = [Layout.contiguous(node.type.shape).strides]
        else:
            layouts = [tuple(int(k == a) for k in range(node.ndim)) for a in range(node.ndim)]
        result = []
        for strides in layouts:
            walk: list[AnyDim] = [0] * len(self.group.dims)
            for domain, stride in zip(where, strides, strict=True):
                if domain is not None:
                    walk[domain] = stride
            result.append(tuple(walk))
        return result

    def _depths(self) -> dict[int, int]:
        """Return for every domain axis the number of loops that are open where it has moved."""
        return {d: n + 1 for n, axis in enumerate(self.axes) for d in axis.covers}

    def _names(self) -> dict[Tensor, str]:
        counts: dict[str, int] = {}
        names = {}
        for node in self.group.nodes:
            number = counts.get(node.op.name, 0)
            counts[node.op.name] = number + 1
            names[node] = f"{node.op.name}_{number}"
        return names

    def indices(self) -> list[Value]:
        """Return the index of each loop, as the layouts over the loops want them."""
        return [axis.index for axis in self.axes]

    def place(self) -> list[Value]:
        """Return where along each loop the value lies that is computed."""
        return self.indices()

    def element(
        self, access: Access, written: bool = False, indices: Sequence[Value] | None = None
    ) -> Element:
        """Return the element of ``access`` at the present point of the loops, or at ``indices``."""
        strides = tuple(access.layout.strides[axis.covers[-1]] for axis in self.axes)
        shape: Shape = tuple(axis.dim for axis in self.axes)
        over = Access(access.buffer, Layout(access.layout.offset, strides), shape)
        return self.writer.element(over, indices or self.indices(), written)

    def loop(self, axis: Axis) -> AbstractContextManager[Name]:
        """Open a loop over ``axis``, within the present chunk."""
        start, stop = self.bounds(axis)
        plain = not self.group.folds and self.group.column is None
        return self.writer.loop(axis.index, stop, start, lanes=plain and axis is self.axes[-1])

    # -- divided folds ----------------------------------------------------------------------------

    def chunks(self) -> AbstractContextManager[Name]:
        """Open the loop over the chunks of a divided fold."""
        assert self.nest.division is not None
        return self.writer.parallel(CHUNK_INDEX, self.nest.division.count)

    def bounds(self, axis: Axis) -> tuple[Value, Value]:
        """Return where a loop over ``axis`` starts and stops, within the present chunk."""
        division, stop = self.nest.division, self.writer.integer(axis.dim)
        if division is None or division.finishing or axis.covers[0] != 0:
            return Integer(0), stop
        dims = self.group.dims
        chunk = self.writer.integer(division.chunk * size_of(dims[d] for d in axis.covers[1:]))
        start = self.writer.let("start", CHUNK_INDEX * chunk)
        return start, self.writer.let("stop", least(start + chunk, stop))

    def part(self, fold: Tensor, written: bool = False) -> Element:
        """Return the element that holds the part of ``fold`` for the present chunk."""
        assert self.nest.division is not None
        access = self.nest.division.parts[fold]
        first, *rest = access.layout.strides
        strides = (first, *(rest[axis.covers[-1]] for axis in self.axes))
        shape = (self.nest.division.count, *(axis.dim for axis in self.axes))
        over = Access(access.buffer, Layout(0, strides), shape)
        return self.writer.element(over, [CHUNK_INDEX, *self.indices()], written)

    def sum_dtype(self, fold: Tensor) -> np.dtype[Any]:
        """Return the data type in which the parts of a fold are combined."""
        assert isinstance(fold.op, Reduction)
        return fold.op.wide(fold.dtype) or fold.dtype

    # -- values ---------------------------------------------------------------------------------

    def level(self, node: Tensor) -> int:
        """Return how many loops must be open for the value of ``node`` to be known."""
        moving = [self.depth_of[m] for m in self.group.maps[node] if m is not None]
        return max(moving, default=0)

    def value(self, node: Tensor) -> Name:
        """Return the variable that holds the value of ``node``."""
        return Name(self.names[node], node.dtype)

    def operand(self, node: Tensor, position: int) -> Value:
        """Return one operand of ``node``."""
        tensor = node.inputs[position]
        base = self.nest.places.place[tensor].base
        if base in self.members:
            return self.value(base)
        if (node, position) in self.nest.loads:
            return self.element(self.nest.loads[node, position]).load(tensor.dtype)
        if isinstance(base.op, Constant):
            return self.writer.lit(base.op.value.array.item(), base.dtype)
        return self.writer.integer(base.op.dim).cast(base.dtype)  # type: ignore[attr-defined]

    def compute(self, node: Tensor) -> None:
        """Write ``name = expression`` for an elementwise node."""
        op = node.op
        assert isinstance(op, Elementwise)
        args = [self.operand(node, i) for i in range(len(node.inputs))]
        if op.indexed:
            indices = self.place()
            places = []
            for walk in self._index_strides(node):
                strides = [walk[axis.covers[-1]] for axis in self.axes]
                places.append(summed(self.writer.terms(indices, strides)))
            args = [*places, *args]
        dtype = node.inputs[0].dtype if node.inputs else node.dtype
        literal = self.writer.literal_of(_literal_dtype(node, dtype))
        self.writer.let(self.names[node], op.scalar(literal, *args).cast(node.dtype))

    def save(self, node: Tensor) -> None:
        self.writer.store(self.element(self.nest.stores[node], written=True), self.value(node))

    def converted(self, node: Tensor) -> Value:
        """Return the operand of a reduction in the data type of its result."""
        return self.operand(node, 0).cast(node.dtype)

    def inside(self, node: Tensor) -> list[Tensor]:
        """Return the members of the group that ``node`` reads."""
        bases = [self.nest.places.place[x].base for x in node.inputs]
        return [b for b in bases if b in self.members]


def _literal_dtype(node: Tensor, operand: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """Return the type in which the expression of ``node`` writes its numbers."""
    return node.dtype if node.dtype.kind != "b" and operand.kind == "b" else operand
