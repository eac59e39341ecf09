"""Products of vectors and of matrices other than the contractions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import Sample, function
from graphc.ir.tensor import Tensor
from graphc.ops.linalg import SECTION
from graphc.ops.manipulation import stack
from graphc.ops.operands import common
from graphc.ops.shape import moveaxis, reshape
from graphc.types import AnyDim, normalize_axis


def _spaces() -> Iterable[Sample]:
    a, b = np.random.default_rng(0).standard_normal((2, 4, 3, 3))
    yield Sample((a, b))
    yield Sample((a, b[0]), (("axis", 1),))
    yield Sample((a[0, 0], b[0]))
    yield Sample((np.array([1, 2, 3]), np.array([3, -1, 2])))


def _numpy_cross(x: Any, y: Any, axis: int = -1) -> Any:
    return np.linalg.cross(*np.broadcast_arrays(x, y), axis=axis)


@function(samples=_spaces, reference=_numpy_cross, section=SECTION)
def cross(x: Any, y: Any, *, axis: int = -1) -> Tensor:
    """Return vectors perpendicular to those of 3 elements along ``axis``; the others broadcast."""
    a, b = common("cross", x, y)
    for t in (a, b):
        if t.type.shape[normalize_axis(axis, t.ndim)] != 3:
            raise ShapeError(f"cross: axis {axis} of {t.describe()} needs 3 elements")
    rank = max(a.ndim, b.ndim)
    place = normalize_axis(axis, rank)
    (a1, a2, a3), (b1, b2, b3) = (
        [moveaxis(reshape(t, (1,) * (rank - t.ndim) + t.type.shape), place, 0)[k] for k in range(3)]
        for t in (a, b)
    )
    parts = (a2 * b3 - a3 * b2, a3 * b1 - a1 * b3, a1 * b2 - a2 * b1)
    return stack(parts, axis=place)


def _blocks() -> Iterable[Sample]:
    rng = np.random.default_rng(0)
    for a, b in (((2, 3), (4, 2)), ((3,), (2,)), ((2,), (3, 2)), ((2, 1, 2), (3, 2)), ((), (2,))):
        yield Sample((rng.standard_normal(a), rng.standard_normal(b)))
    yield Sample((np.array([[1, 2]]), np.array([[0, 1], [2, 3]])))


@function(samples=_blocks, reference=np.kron, section=SECTION)
def kron(x: Any, y: Any) -> Tensor:
    """Return the Kronecker product: blocks of ``y`` times each element of ``x``."""
    a, b = common("kron", x, y)
    rank = max(a.ndim, b.ndim)
    first, second = ((1,) * (rank - t.ndim) + t.type.shape for t in (a, b))
    left: list[AnyDim] = [d for n in first for d in (n, 1)]
    right: list[AnyDim] = [d for n in second for d in (1, n)]
    shape = [n * m for n, m in zip(first, second, strict=True)]
    return reshape(reshape(a, left) * reshape(b, right), shape)
