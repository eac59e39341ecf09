"""Triangles and one-hot codes, by comparing places: they fuse with what is around them."""

from __future__ import annotations

from collections.abc import Iterable
from operator import index
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir.op import Array, Sample, function
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor
from graphc.ops.cast import cast
from graphc.ops.comparison import equal, less_equal, where
from graphc.ops.creation import iota, iota_along
from graphc.ops.operands import as_tensor
from graphc.ops.shape import expand_dims
from graphc.types import FLOAT32, DTypeLike, as_dtype, normalize_axis

SECTION = "Masks"


def _squares() -> Iterable[Sample]:
    x = np.arange(1.0, 25.0).reshape(2, 3, 4)
    x[0, 0, 3] = x[0, 2, 0] = np.inf  # what is masked must not leak
    yield from (Sample((x,), (("k", k),), differentiable=False) for k in (0, 1, -1, 9, -9))
    yield from (Sample((a,)) for a in (x[1], x[1, :1], x[1, :, :1], x[:0]))
    yield from (Sample((a,)) for a in (x[1] > 3, x[1].astype("int32")))


@function(samples=_squares, reference=np.tril, section=SECTION)
def tril(x: Any, *, k: int = 0) -> Tensor:
    """Return the matrices ``x`` with zeros above diagonal ``k``."""
    t = _matrices(x)
    rows, columns = iota_along(t, t.ndim - 2), iota_along(t, t.ndim - 1)
    return where(less_equal(columns, rows + index(k)), t, constant(0, t.dtype))


@function(samples=_squares, reference=np.triu, section=SECTION)
def triu(x: Any, *, k: int = 0) -> Tensor:
    """Return the matrices ``x`` with zeros below diagonal ``k``."""
    t = _matrices(x)
    rows, columns = iota_along(t, t.ndim - 2), iota_along(t, t.ndim - 1)
    return where(less_equal(rows + index(k), columns), t, constant(0, t.dtype))


def _matrices(x: Any) -> Tensor:
    t = as_tensor(x)
    if t.ndim < 2:
        raise ShapeError(f"expected at least 2 dimensions, got {t.ndim}")
    return t


def _classes() -> Iterable[Sample]:
    for indices in (np.array([0, 2, 1]), np.array([[3, -1], [7, 0]], np.int32), np.array(1)):
        for axis in (-1, 0):
            yield Sample((indices, 4), (("axis", axis),))
    yield Sample((np.array([0, 2]), 3), (("dtype", "bool"),))
    yield Sample((np.array([], int), 3))


def _numpy_one_hot(
    indices: Array, num_classes: int, *, dtype: DTypeLike = FLOAT32, axis: int = -1
) -> Array:
    hot = np.equal(indices[..., None], np.arange(num_classes)).astype(dtype)
    return np.moveaxis(hot, -1, axis)


@function(samples=_classes, reference=_numpy_one_hot, section=SECTION)
def one_hot(
    indices: Any, num_classes: int, *, dtype: DTypeLike = FLOAT32, axis: int = -1
) -> Tensor:
    """Return 1 at the place ``indices`` of a new ``axis`` of ``num_classes``, 0 elsewhere.

    An index outside ``[0, num_classes)`` gives zeros, as in JAX.
    """
    t = as_tensor(indices)
    if t.dtype.kind != "i":
        raise DTypeError(f"one_hot needs integers, got {t.describe()}")
    rank = t.ndim + 1
    place = normalize_axis(axis, rank)
    shape = tuple(index(num_classes) if a == place else 1 for a in range(rank))
    return cast(equal(expand_dims(t, place), iota(shape, place, t.dtype)), as_dtype(dtype))
