"""Several tensors between each other's elements."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from graphc.ir.layout import Layout
from graphc.ir.op import Array, Assembly, register
from graphc.ir.tensor import Tensor, apply
from graphc.ops.batched import Case, batching
from graphc.ops.slices import Slice
from graphc.types import AnyDim, Shape, TensorType, shape_at


def _total(dims: Iterable[AnyDim]) -> AnyDim:
    total: AnyDim = 0
    for dim in dims:
        total = total + dim
    return total


@register
class Interleave(Assembly):
    """Zeros of ``shape`` in which element i of an operand stands at ``i * steps + place``."""

    steps: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]
    """One for each operand, all less than ``steps``."""
    shape: Shape

    def infer(self, *types: TensorType) -> TensorType:
        return types[0].with_shape(self.shape)

    def numpy(self, *arrays: Array) -> Array:
        result = np.zeros(shape_at(self.shape, 0), arrays[0].dtype)
        for place, x in zip(self.places, arrays, strict=True):
            at = (slice(p, None, s) for p, s in zip(place, self.steps, strict=True))
            result[tuple(at)] = x
        return result

    def fill(self) -> float | int | None:
        return None if len(self.places) == math.prod(self.steps) else 0

    def regions(self, out: TensorType, *types: TensorType) -> Sequence[Layout]:
        strides = Layout.contiguous(out.shape).strides
        spread = tuple(s * step for s, step in zip(strides, self.steps, strict=True))
        return [
            Layout(_total(p * s for p, s in zip(place, strides, strict=True)), spread)
            for place in self.places
        ]

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return [
            apply(Slice(place, self.steps, x.type.shape), g)
            for place, x in zip(self.places, inputs, strict=True)
        ]

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        given = [(t, p) for t, p in zip(tangents, self.places, strict=True) if t is not None]
        if not given:
            return None
        own = Interleave(self.steps, tuple(p for _, p in given), self.shape)
        return apply(own, *(t for t, _ in given))


@batching(Interleave)
def _samples_interleaved(case: Case) -> Tensor:
    op = case.node.op
    assert isinstance(op, Interleave)
    places = tuple((0, *place) for place in op.places)
    new = Interleave((1, *op.steps), places, (case.size, *op.shape))
    return apply(new, *map(case.whole, range(len(case.operands))))
