"""Change of shape without change of elements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import Array, Layout, Sample, View, function, register, unbroadcast
from graphc.ir.tensor import Tensor, apply
from graphc.ops.operands import as_tensor
from graphc.types import (
    AnyDim,
    Dim,
    Shape,
    TensorType,
    as_shape,
    broadcast_shapes,
    normalize_axis,
    show_shape,
    size_of,
)

SECTION = "Shapes"


@register
@dataclass(frozen=True)
class Reshape(View):
    """The same elements in row-major order under another shape."""

    shape: Shape

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        if x.size != size_of(self.shape):
            raise ShapeError(
                f"cannot reshape array of shape {show_shape(x.shape)} into shape "
                f"{show_shape(self.shape)}"
            )
        return x.with_shape(self.shape)

    def numpy(self, *arrays: Array) -> Array:
        return np.reshape(arrays[0], self.shape)  # type: ignore[arg-type]

    def layout(self, layout: Layout, x: TensorType, out: TensorType) -> Layout | None:
        if layout.is_contiguous(x.shape):
            return Layout.contiguous(out.shape)
        kept = [(d, s) for d, s in zip(x.shape, layout.strides, strict=True) if d != 1]
        if [d for d, _ in kept] != [d for d in out.shape if d != 1]:
            return None
        strides = iter(s for _, s in kept)
        return Layout(layout.offset, tuple(0 if d == 1 else next(strides) for d in out.shape))

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (reshape(g, inputs[0].type.shape),)

    def jvp(
        self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor
    ) -> Tensor | None:
        (t,) = tangents
        return None if t is None else apply(self, t)


@register
@dataclass(frozen=True)
class PermuteDims(View):
    """Axes in another order."""

    axes: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        if sorted(self.axes) != list(range(x.ndim)):
            raise ShapeError(f"axes {self.axes} don't match an array of dimension {x.ndim}")
        return x.with_shape(tuple(x.shape[a] for a in self.axes))

    def numpy(self, *arrays: Array) -> Array:
        return np.transpose(arrays[0], self.axes)

    def layout(self, layout: Layout, x: TensorType, out: TensorType) -> Layout | None:
        return Layout(layout.offset, tuple(layout.strides[a] for a in self.axes))

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        inverse = tuple(sorted(range(g.ndim), key=self.axes.__getitem__))
        return (permute_dims(g, inverse),)

    def jvp(
        self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor
    ) -> Tensor | None:
        (t,) = tangents
        return None if t is None else apply(self, t)


@register
@dataclass(frozen=True)
class BroadcastTo(View):
    """Axes of length 1, and new axes in front, repeated to ``shape``."""

    shape: Shape

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        if x.ndim > len(self.shape) or broadcast_shapes(x.shape, self.shape) != self.shape:
            raise ShapeError(
                f"cannot broadcast shape {show_shape(x.shape)} to shape {show_shape(self.shape)}"
            )
        return x.with_shape(self.shape)

    def numpy(self, *arrays: Array) -> Array:
        return np.broadcast_to(arrays[0], self.shape)  # type: ignore[arg-type]

    def layout(self, layout: Layout, x: TensorType, out: TensorType) -> Layout | None:
        lead: tuple[AnyDim, ...] = (0,) * (out.ndim - x.ndim)
        own = zip(layout.strides, x.shape, out.shape[out.ndim - x.ndim :], strict=True)
        return Layout(layout.offset, lead + tuple(s if d == to else 0 for s, d, to in own))

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (unbroadcast(g, inputs[0].type.shape),)

    def jvp(
        self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor
    ) -> Tensor | None:
        (t,) = tangents
        return None if t is None else apply(self, t)


def _complete(shape: Sequence[Any], size: AnyDim) -> Shape:
    """Return ``shape`` with its one ``-1`` replaced by what is left of ``size``."""
    holes = [a for a, d in enumerate(shape) if isinstance(d, (int, np.integer)) and d == -1]
    if not holes:
        return as_shape(shape)
    if len(holes) > 1:
        raise ShapeError("can only specify one unknown dimension")
    known = as_shape([d for a, d in enumerate(shape) if a != holes[0]])
    rest = _divide(size, size_of(known))
    if rest is None:
        raise ShapeError(f"cannot reshape array of size {size} into shape {tuple(shape)}")
    result = list(known)
    result.insert(holes[0], rest)
    return tuple(result)


def _divide(size: AnyDim, by: AnyDim) -> AnyDim | None:
    """Return ``size / by`` if it is whole for every batch, else None."""
    if isinstance(by, int):
        if by == 0:
            return 0 if size == 0 else None
        if isinstance(size, int):
            return size // by if size % by == 0 else None
        if size.scale % by == 0 and size.offset % by == 0:
            return Dim(size.scale // by, size.offset // by, size.atom)
        return None
    if isinstance(size, Dim) and size.atom == by.atom and size.offset * by.scale == by.offset * size.scale:
        return size.scale // by.scale if size.scale % by.scale == 0 else None
    return None


def _reshapes() -> Iterable[Sample]:
    x = np.arange(24.0).reshape(2, 3, 4)
    for shape in ((24,), (4, 6), (-1, 8), (2, -1, 2), (1, 24, 1), (2, 3, 4)):
        yield Sample((x, shape))
    yield Sample((x[:0], (0, 5)))


@function(samples=_reshapes, reference=np.reshape, section=SECTION)
def reshape(x: Any, shape: Any) -> Tensor:
    """Return the elements of ``x`` in row-major order under ``shape``.

    One dimension may be -1 (what is left), and ``None`` stands for the batch.
    """
    t = as_tensor(x)
    dims = (shape,) if isinstance(shape, (int, np.integer, Dim)) or shape is None else tuple(shape)
    target = _complete(dims, t.size)
    return t if target == t.type.shape else apply(Reshape(target), t)


def _permutations() -> Iterable[Sample]:
    x = np.arange(24.0).reshape(2, 3, 4)
    for axes in ((0, 1, 2), (2, 1, 0), (1, 2, 0), (-1, 0, 1)):
        yield Sample((x, axes))


@function(samples=_permutations, reference=np.transpose, section=SECTION)
def permute_dims(x: Any, axes: Sequence[int]) -> Tensor:
    """Return ``x`` with its axes in the order ``axes``."""
    t = as_tensor(x)
    order = tuple(normalize_axis(a, t.ndim) for a in axes)
    return t if order == tuple(range(t.ndim)) and t.ndim else apply(PermuteDims(order), t)


def _broadcasts() -> Iterable[Sample]:
    x = np.arange(3.0).reshape(3, 1)
    for shape in ((3, 4), (2, 3, 4), (3, 1)):
        yield Sample((x, shape))


@function(samples=_broadcasts, reference=np.broadcast_to, section=SECTION)
def broadcast_to(x: Any, shape: Any) -> Tensor:
    """Return ``x`` repeated to ``shape`` by NumPy's broadcasting rules."""
    t = as_tensor(x)
    target = as_shape(shape)
    return t if target == t.type.shape else apply(BroadcastTo(target), t)
