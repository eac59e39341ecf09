"""Windows that slide along axes: a view, whatever they overlap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.ir.layout import Layout
from graphc.ir.op import Array, Assembly, Linear, Sample, View, function, register
from graphc.ir.tensor import Tensor, apply
from graphc.ops.batched import SIZE, grown
from graphc.ops.operands import as_tensor
from graphc.ops.shape import SECTION, broadcast_to, reshape
from graphc.types import (
    AnyDim,
    Dim,
    Shape,
    TensorType,
    dim_at,
    dim_ceildiv,
    normalize_axes,
    normalize_axis,
    shape_at,
    show_dim,
)


def _seen(
    layout: Layout, axes: Sequence[int], steps: Sequence[int], apart: Sequence[int]
) -> Layout:
    """Return where element k of window o is, of a tensor with one axis more for each of ``axes``.

    That is at ``o * steps + k * apart`` of the axis, and at k of its own.
    """
    strides = list(layout.strides)
    rank = len(strides) - len(axes)
    for own, (axis, step, gap) in enumerate(zip(axes, steps, apart, strict=True), rank):
        strides[own] = layout.strides[axis] * gap + layout.strides[own]
        strides[axis] = layout.strides[axis] * step
    return Layout(layout.offset, tuple(strides))


def _numbers(
    shape: Shape, axes: Sequence[int], steps: Sequence[int], apart: Sequence[int]
) -> Shape:
    """Return the number of windows along each axis, behind which stand those of their lengths."""
    result, rank = list(shape), len(shape) - len(axes)
    for own, (axis, step, gap) in enumerate(zip(axes, steps, apart, strict=True), rank):
        span = (shape[own] - 1) * gap
        result[axis] = dim_ceildiv(shape[axis] - span, step)
    return tuple(result)


def _strided(x: Array, shape: Shape, layout: Layout) -> Array:
    """Return the elements of a row-major ``x`` that ``layout`` says."""
    strides = [dim_at(s, 0) * x.itemsize for s in layout.strides]
    return np.lib.stride_tricks.as_strided(x, shape_at(shape, 0), strides)


@register
@grown()
class Windows(Linear, View):
    """Element k of window o along ``axes``, number k of a last axis: ``x[o * step + k * gap, k]``.

    There is a last axis for each of ``axes``, as long as its windows. With what repeats along them,
    windows overlap.
    """

    axes: tuple[int, ...]
    steps: tuple[int, ...]
    gaps: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        if any(isinstance(d, int) and d < 0 for d in self.nonnegative(x)):
            raise ShapeError(f"windows along axes {self.axes} do not fit {x}")
        return x.with_shape(_numbers(x.shape, self.axes, self.steps, self.gaps))

    def nonnegative(self, *types: TensorType) -> tuple[AnyDim, ...]:
        (x,) = types
        rank = x.ndim - len(self.axes)
        sizes = x.shape[rank:]
        needs = [x.shape[axis] - 1 - (size - 1) * gap
                 for axis, size, gap in zip(self.axes, sizes, self.gaps, strict=True)]  # fmt: skip
        return tuple(dict.fromkeys(d for d in needs if isinstance(d, Dim) or d < 0))

    def numpy(self, *arrays: Array) -> Array:
        x = np.ascontiguousarray(arrays[0])
        shape = _numbers(x.shape, self.axes, self.steps, self.gaps)
        layout = _seen(Layout.contiguous(x.shape), self.axes, self.steps, self.gaps)
        return _strided(x, shape, layout)

    def layout(self, layout: Layout, x: TensorType, out: TensorType) -> Layout | None:
        return _seen(layout, self.axes, self.steps, self.gaps)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        shape = inputs[0].type.shape
        return (apply(EmbedWindows(self.axes, self.steps, self.gaps, shape), g),)


@register
@grown(shape=SIZE)
class EmbedWindows(Linear, Assembly):
    """Zeros of ``shape`` with the operand where windows see it."""

    axes: tuple[int, ...]
    steps: tuple[int, ...]
    gaps: tuple[int, ...]
    shape: Shape

    def infer(self, *types: TensorType) -> TensorType:
        return types[0].with_shape(self.shape)

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        result = np.zeros(shape_at(self.shape, 0), x.dtype)
        layout = _seen(Layout.contiguous(result.shape), self.axes, self.steps, self.gaps)
        _strided(result, x.shape, layout)[...] = x
        return result

    def fill(self) -> float | int | None:
        return 0

    def regions(self, out: TensorType, *types: TensorType) -> Sequence[Layout]:
        return (_seen(Layout.contiguous(out.shape), self.axes, self.steps, self.gaps),)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (apply(Windows(self.axes, self.steps, self.gaps), g),)


def _samples() -> Iterable[Sample]:
    x = np.arange(60.0).reshape(3, 4, 5) / 7
    yield Sample((x, (2, 3)), (("axis", (1, 2)),))
    yield Sample((x, (2, 3)), (("axis", (2, 0)), ("stride", (2, 1))))
    yield Sample((x, 3), (("axis", -1), ("stride", 2)))
    yield Sample((x, 2), (("axis", 2), ("dilation", 3)))
    yield Sample((x, (2, 2)), (("axis", (1, 2)), ("stride", 2), ("dilation", (1, 2))))
    yield Sample((x, (1, 4, 5)))
    yield Sample((x[:, :, 0], (1, 1)), (("stride", 3),))
    yield Sample((x[:0], 2), (("axis", 1),))
    yield Sample((x[0, 0], 2))


def _each(value: int | Sequence[int], count: int, name: str) -> tuple[int, ...]:
    """Return one positive number for each of ``count`` axes."""
    listed = (value,) * count if isinstance(value, (int, np.integer)) else tuple(value)
    if len(listed) != count:
        raise ArgumentError(f"{name} has {len(listed)} numbers for {count} axes")
    if any(int(number) < 1 for number in listed):
        raise ArgumentError(f"{name} must be positive, not {value}")
    return tuple(int(number) for number in listed)


def _numpy_windows(
    x: Array, window_shape: Any, axis: Any = None, *, stride: Any = 1, dilation: Any = 1
) -> Array:
    axes = [a % x.ndim for a in np.atleast_1d(range(x.ndim) if axis is None else axis)]
    sizes = _each(window_shape, len(axes), "window_shape")
    steps, gaps = (_each(given, len(axes), "") for given in (stride, dilation))
    spans = tuple((size - 1) * gap + 1 for size, gap in zip(sizes, gaps, strict=True))
    seen = np.lib.stride_tricks.sliding_window_view(x, spans, tuple(axes))
    cut = [slice(None)] * x.ndim + [slice(None, None, gap) for gap in gaps]
    for a, step in zip(axes, steps, strict=True):
        cut[a] = slice(None, None, step)
    return np.asarray(seen[tuple(cut)])


@function(samples=_samples, reference=_numpy_windows, section=SECTION)
def sliding_window_view(
    x: Any,
    window_shape: int | Sequence[int],
    axis: int | Sequence[int] | None = None,
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """Return the windows of ``x`` along ``axis`` (default: all axes), as new last axes.

    As ``numpy.lib.stride_tricks.sliding_window_view``, but a window begins every ``stride``
    elements, and its own are ``dilation`` apart: one number, or one for each axis.
    """
    t = as_tensor(x)
    listed = range(t.ndim) if axis is None else axis
    listed = (listed,) if isinstance(listed, (int, np.integer)) else tuple(listed)
    normalize_axes(listed, t.ndim)  # all different
    axes = tuple(normalize_axis(a, t.ndim) for a in listed)
    sizes = _each(window_shape, len(axes), "window_shape")
    steps, gaps = _each(stride, len(axes), "stride"), _each(dilation, len(axes), "dilation")
    for a, size, gap in zip(axes, sizes, gaps, strict=True):
        length, span = t.type.shape[a], (size - 1) * gap + 1
        if isinstance(length, int) and length < span:
            raise ShapeError(
                "window shape cannot be larger than input array shape: a window spans "
                f"{span} elements of {show_dim(length)} along axis {a}"
            )
    shape = t.type.shape
    repeated = broadcast_to(reshape(t, (*shape, *(1 for _ in axes))), (*shape, *sizes))
    return apply(Windows(axes, steps, gaps), repeated)
