"""Where the extreme elements are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import Array, Composite, Sample, function, reduced_shape, register
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor, apply
from graphc.ops.batched import grown
from graphc.ops.cast import cast
from graphc.ops.comparison import equal, logical_or, where
from graphc.ops.creation import iota_along
from graphc.ops.operands import as_tensor
from graphc.ops.reduce import keep, max, min
from graphc.ops.rounding import isnan
from graphc.ops.shape import ravel
from graphc.types import BOOL, INT32, INT64, AnyDim, Dim, TensorType, normalize_axis

SECTION = "Searching"

_FEW = 1 << 30
"""Elements whose places are found as short integers, of which a vector holds more."""


@grown()
class Search(Composite):
    """Place of the first extreme element along ``axis``; a NaN is more extreme than all."""

    axis: int
    find: ClassVar[Callable[..., Any]]
    extreme: ClassVar[Callable[..., Tensor]]

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        shape = reduced_shape(x.shape, (self.axis,), False)
        if x.shape[self.axis] == 0:
            raise ShapeError(f"attempt to get {self.name} of an empty sequence")
        return TensorType(INT64, shape)

    def nonnegative(self, *types: TensorType) -> tuple[AnyDim, ...]:
        length = types[0].shape[self.axis]
        return (length - 1,) if isinstance(length, Dim) else ()

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        return np.asarray(type(self).find(x, self.axis), INT64)

    def value_bounds(self, *types: TensorType) -> tuple[AnyDim, AnyDim] | None:
        return 0, types[0].shape[self.axis]

    def expand(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        length = x.type.shape[self.axis]
        found = equal(x, type(self).extreme(x, self.axis, keepdims=True))
        if x.dtype.kind == "f":
            found = logical_or(found, isnan(x))  # then the extreme is NaN, and equals nothing
        known = isinstance(length, int) and length <= _FEW
        dtype = INT32 if known else INT64
        none = constant(np.iinfo(dtype).max, dtype)
        place = min(where(found, iota_along(x, self.axis, dtype), none), self.axis)
        return cast(place, INT64)


@register
class Argmax(Search):
    """Place of the first greatest element along ``axis``."""

    axis: int

    find = np.argmax
    extreme = max


@register
class Argmin(Search):
    """Place of the first least element along ``axis``."""

    axis: int

    find = np.argmin
    extreme = min


def _search(op: type[Argmax] | type[Argmin], x: Any, axis: int | None, keepdims: bool) -> Tensor:
    given = as_tensor(x)
    t = cast(given, INT32) if given.dtype == BOOL else given
    axes = tuple(range(t.ndim)) if axis is None else (normalize_axis(axis, t.ndim),)
    found = apply(op(0), ravel(t)) if axis is None else apply(op(*axes), t)
    return keep(found, t, axes) if keepdims else found


def _samples() -> Iterable[Sample]:
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    ties = np.array([[1.0, 3.0, 3.0], [np.nan, 0.0, np.nan], [np.inf, -np.inf, np.inf],
                     [-np.inf] * 3, [2.0, np.nan, np.inf], [-np.inf, np.inf, np.nan]])  # fmt: skip
    for value in (x, ties, (x * 2).astype("int32"), x > 0, x[:, :1], x[:, :, 0]):
        for axis in (None, 0, -1):
            for keepdims in (False, True):
                yield Sample((value,), (("axis", axis), ("keepdims", keepdims)), False)
    yield Sample((x[:0],), (("axis", 1),), False)
    yield Sample((np.array(2.0),), (), False)


@function(samples=_samples, reference=np.argmax, section=SECTION)
def argmax(x: Any, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Return the place of the first greatest element along ``axis`` (None: of flat ``x``).

    The result is int64; a NaN counts as the greatest.
    """
    return _search(Argmax, x, axis, keepdims)


@function(samples=_samples, reference=np.argmin, section=SECTION)
def argmin(x: Any, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Return the place of the first least element along ``axis`` (None: of flat ``x``).

    The result is int64; a NaN counts as the least.
    """
    return _search(Argmin, x, axis, keepdims)
