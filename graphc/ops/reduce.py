"""Reductions along axes, by associative folds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import (
    Array,
    Linear,
    Reduction,
    Sample,
    function,
    reduced_shape,
    register,
)
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Literal, Value, vmath
from graphc.ops.cast import cast
from graphc.ops.comparison import equal
from graphc.ops.cumulative import exclusive_product
from graphc.ops.operands import as_tensor
from graphc.ops.shape import broadcast_to, permute_dims, reshape
from graphc.ops.slices import flip
from graphc.types import (
    BOOL,
    FLOAT64,
    INT32,
    INT64,
    AnyDim,
    Dim,
    TensorType,
    normalize_axes,
    size_of,
)

SECTION = "Reductions"


def spread(t: Tensor, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Broadcast ``t``, a reduction of ``x`` along ``axes``, back to the shape of ``x``."""
    return broadcast_to(keep(t, x, axes), x.type.shape)


def keep(t: Tensor, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return ``t``, a reduction of ``x`` along ``axes``, with those axes of length 1."""
    return reshape(t, reduced_shape(x.type.shape, axes, True))


def _widened(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the data type in which elements of ``dtype`` are added up: NumPy's."""
    return INT64 if dtype in (BOOL, INT32) else dtype


@register
class Sum(Linear, Reduction):
    """Sum of the elements along ``axes``."""

    axes: tuple[int, ...]
    keepdims: bool = False

    def result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return _widened(dtype)

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        out = self.result_dtype(x.dtype)
        return np.asarray(np.sum(x, axis=self.axes, keepdims=self.keepdims, dtype=out))

    def initial(self, lit: Literal, dtype: np.dtype[Any]) -> Value:
        return lit(0)

    def combine(self, acc: Value, x: Value) -> Value:
        return acc + x

    def wide(self, dtype: np.dtype[Any]) -> np.dtype[Any] | None:
        return FLOAT64 if dtype.kind == "f" else None

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        (x,) = inputs
        return (spread(g, x, self.axes),)


@register
class Prod(Reduction):
    """Product of the elements along ``axes``.

    Its derivative by one element is the product of all others, taken as the products before
    and behind it, so that zeros need no division.
    """

    axes: tuple[int, ...]
    keepdims: bool = False

    def result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return _widened(dtype)

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        out = self.result_dtype(x.dtype)
        return np.asarray(np.prod(x, axis=self.axes, keepdims=self.keepdims, dtype=out))

    def initial(self, lit: Literal, dtype: np.dtype[Any]) -> Value:
        return lit(1)

    def combine(self, acc: Value, x: Value) -> Value:
        return acc * x

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        (x,) = inputs
        return (keep(g, x, self.axes) * self._others(x),)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (x,), (t,) = inputs, tangents
        return None if t is None else sum(t * self._others(x), self.axes, keepdims=self.keepdims)

    def _others(self, x: Tensor) -> Tensor:
        """Return for each element the product of all others along the axes."""
        kept = [a for a in range(x.ndim) if a not in self.axes]
        order = (*kept, *self.axes)
        lines = permute_dims(x, order)
        shape = lines.type.shape
        count = size_of(shape[len(kept) :])
        flat = reshape(lines, (*shape[: len(kept)], count))
        last = flat.ndim - 1
        behind = flip(exclusive_product(flip(flat, last), last), last)
        others = reshape(exclusive_product(flat, last) * behind, shape)
        inverse = sorted(range(x.ndim), key=order.__getitem__)
        return permute_dims(others, inverse)


class Extremum(Reduction):
    """The greatest or least element along ``axes``; NaN if one is.

    Its derivative is shared equally by the elements that attain it, as in JAX and PyTorch's
    ``amax``. Without elements there is none, which is an error, as in NumPy: when declared, or
    where a length depends on the batch, when the function is called.
    """

    cost = 2.0  # it looks for a NaN as well
    ufunc: ClassVar[np.ufunc]

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        out = Reduction.infer(self, x)
        if 0 in [x.shape[a] for a in self.axes]:
            raise ShapeError(
                f"zero-size array to reduction operation {type(self).ufunc.__name__} "
                "which has no identity"
            )
        return out

    def nonnegative(self, *types: TensorType) -> tuple[AnyDim, ...]:
        (x,) = types
        return tuple(x.shape[a] - 1 for a in self.axes if isinstance(x.shape[a], Dim))

    @abstractmethod
    def least(self, dtype: np.dtype[Any]) -> float | int | bool:
        """Return the neutral element."""

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        value = type(self).ufunc.reduce(
            x, axis=self.axes, keepdims=self.keepdims, initial=self.least(x.dtype)
        )
        return np.asarray(value, x.dtype)

    def initial(self, lit: Literal, dtype: np.dtype[Any]) -> Value:
        return lit(self.least(dtype))

    def combine(self, acc: Value, x: Value) -> Value:
        # the first operand is tested for NaN: not the total, which the next element waits for
        return vmath(type(self).ufunc.__name__, x, acc)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        (x,) = inputs
        attained = self._attained(out, x)
        count = sum(attained, self.axes, keepdims=True)
        return (keep(g, x, self.axes) / count * attained,)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (x,), (t,) = inputs, tangents
        if t is None:
            return None
        attained = self._attained(out, x)
        count = sum(attained, self.axes, keepdims=self.keepdims)
        return sum(t * attained, self.axes, keepdims=self.keepdims) / count

    def _attained(self, out: Tensor, x: Tensor) -> Tensor:
        """Return 1 where an element is the result, else 0."""
        return cast(equal(x, keep(out, x, self.axes)), x.dtype)


@register
class Max(Extremum):
    """Greatest element along ``axes``."""

    axes: tuple[int, ...]
    keepdims: bool = False

    ufunc = np.maximum

    def least(self, dtype: np.dtype[Any]) -> float | int | bool:
        if dtype.kind == "f":
            return -np.inf
        return False if dtype == BOOL else int(np.iinfo(dtype).min)


@register
class Min(Extremum):
    """Least element along ``axes``."""

    axes: tuple[int, ...]
    keepdims: bool = False

    ufunc = np.minimum

    def least(self, dtype: np.dtype[Any]) -> float | int | bool:
        if dtype.kind == "f":
            return np.inf
        return True if dtype == BOOL else int(np.iinfo(dtype).max)


@register
class All(Reduction):
    """Whether all booleans along ``axes`` are true."""

    axes: tuple[int, ...]
    keepdims: bool = False

    def numpy(self, *arrays: Array) -> Array:
        return np.asarray(np.all(arrays[0], axis=self.axes, keepdims=self.keepdims))

    def initial(self, lit: Literal, dtype: np.dtype[Any]) -> Value:
        return lit(True)

    def combine(self, acc: Value, x: Value) -> Value:
        return acc & x


@register
class Any_(Reduction):
    """Whether any boolean along ``axes`` is true."""

    name = "any"

    axes: tuple[int, ...]
    keepdims: bool = False

    def numpy(self, *arrays: Array) -> Array:
        return np.asarray(np.any(arrays[0], axis=self.axes, keepdims=self.keepdims))

    def initial(self, lit: Literal, dtype: np.dtype[Any]) -> Value:
        return lit(False)

    def combine(self, acc: Value, x: Value) -> Value:
        return acc | x


# -- public functions ----------------------------------------------------------------------------


def along(*extra: Sample, empty: bool = True, neutral: bool = True) -> Iterable[Sample]:
    """Return operands that every reduction is tried on, and ``extra`` ones.

    ``empty`` says whether it takes no elements, ``neutral`` whether it then gives a number.
    """
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    yield Sample((x,))
    yield Sample((x[0, 0, 0],))
    for axis in (0, 1, -1, (0, 2), (-1, 0), (0, 1, 2), ()):
        for keepdims in (False, True):
            yield Sample((x,), (("axis", axis), ("keepdims", keepdims)))
    yield Sample((x[:, :1],), (("axis", 1),))
    yield Sample((x[:, :0],), (("axis", 0),))
    if empty:
        yield Sample((x[:, :0],), (("axis", 1),), neutral)
        yield Sample((x[:0],), (), neutral)
    yield Sample((x[:, :, 0].astype("int32"),), (("axis", 0),), differentiable=False)
    yield Sample((x > 0,), (("axis", -1),), differentiable=False)
    yield from extra


def _zeros() -> Iterable[Sample]:
    """Operands with no, one and two zeros in a line."""
    x = np.random.default_rng(1).uniform(0.5, 2.0, (3, 4))
    x[1, 2] = x[2, 0] = x[2, 3] = 0.0
    return along(Sample((x,), (("axis", 1),)), Sample((x[1],)))


def _ties() -> Iterable[Sample]:
    x = np.array([[1.0, 3.0, 3.0], [np.nan, 0.0, np.inf]])
    return along(Sample((x,), (("axis", 1),), differentiable=False), empty=False)


def _truths() -> Iterable[Sample]:
    for sample in along(Sample((np.array([0.0, np.nan, -1.0]),)), Sample((np.zeros((2, 3)),))):
        yield Sample(sample.args, sample.kwargs, differentiable=False)


@function(samples=along, reference=np.sum, section=SECTION)
def sum(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return the sum of the elements of ``x`` along ``axis`` (default: all axes).

    Booleans and int32 add up in int64; the sum of nothing is 0.
    """
    t = as_tensor(x)
    return apply(Sum(normalize_axes(axis, t.ndim), keepdims), t)


@function(samples=_zeros, reference=np.prod, section=SECTION)
def prod(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return the product of the elements of ``x`` along ``axis`` (default: all axes).

    Booleans and int32 multiply in int64; the product of nothing is 1.
    """
    t = as_tensor(x)
    return apply(Prod(normalize_axes(axis, t.ndim), keepdims), t)


@function(samples=_ties, reference=np.max, section=SECTION)
def max(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return the greatest element of ``x`` along ``axis`` (default: all axes), NaN if one is.

    Elements that tie share the derivative equally.
    """
    t = as_tensor(x)
    return apply(Max(normalize_axes(axis, t.ndim), keepdims), t)


@function(samples=_ties, reference=np.min, section=SECTION)
def min(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return the least element of ``x`` along ``axis`` (default: all axes), NaN if one is.

    Elements that tie share the derivative equally.
    """
    t = as_tensor(x)
    return apply(Min(normalize_axes(axis, t.ndim), keepdims), t)


@function(samples=_truths, reference=np.all, section=SECTION)
def all(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return whether all elements of ``x`` along ``axis`` differ from 0; True for none."""
    t = cast(as_tensor(x), BOOL)
    return apply(All(normalize_axes(axis, t.ndim), keepdims), t)


@function(samples=_truths, reference=np.any, section=SECTION)
def any(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return whether any element of ``x`` along ``axis`` differs from 0; False for none."""
    t = cast(as_tensor(x), BOOL)
    return apply(Any_(normalize_axes(axis, t.ndim), keepdims), t)


@function(samples=_truths, reference=np.count_nonzero, section=SECTION)
def count_nonzero(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return the number of elements of ``x`` along ``axis`` that differ from 0, in int64."""
    return sum(cast(as_tensor(x), BOOL), axis, keepdims=keepdims)
