"""Matrix products."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import (
    CLOSED,
    MATRIX_PRODUCT,
    Array,
    Contraction,
    Notation,
    Sample,
    function,
    register,
    unbroadcast,
)
from graphc.ir.tensor import Tensor, apply
from graphc.ops.arithmetic import multiply
from graphc.ops.cast import cast
from graphc.ops.operands import as_tensor, common
from graphc.ops.reduce import any, sum
from graphc.ops.shape import moveaxis, permute_dims, ravel, reshape
from graphc.ops.slices import diagonal
from graphc.types import (
    BOOL,
    AnyDim,
    TensorType,
    broadcast_shapes,
    normalize_axis,
    show_dim,
    size_of,
)

SECTION = "Linear algebra"


def _check_core(k: AnyDim, other: AnyDim) -> None:
    if k != other:
        raise ShapeError(
            f"mismatch in the core dimension: {show_dim(k)} is different from {show_dim(other)}"
        )


@register
class Matmul(Contraction):
    """``A @ B`` on the last two axes; leading axes broadcast."""

    transpose_a: bool = False
    transpose_b: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        a, b = types
        (m, k), (rows, n) = a.shape[-2:], b.shape[-2:]
        if self.transpose_a:
            m, k = k, m
        if self.transpose_b:
            rows, n = n, rows
        _check_core(k, rows)
        return a.with_shape((*broadcast_shapes(a.shape[:-2], b.shape[:-2]), m, n))

    def numpy(self, *arrays: Array) -> Array:
        a, b = arrays
        a = np.swapaxes(a, -1, -2) if self.transpose_a else a
        b = np.swapaxes(b, -1, -2) if self.transpose_b else b
        return np.asarray(np.matmul(a, b))

    def notation(self, out: TensorType, *types: TensorType) -> Notation:
        flags = (self.transpose_a, self.transpose_b)
        left, right = ("^T" if flag else "" for flag in flags)
        text = f"{{0}}{left} {{1}}{right}"
        needed = tuple(CLOSED if flag else MATRIX_PRODUCT for flag in flags)
        return Notation(text, text.replace("^T", r"^{{\top}}"), MATRIX_PRODUCT, needed)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        # C = A B: dA = dC B^T, dB = A^T dC; an operand that enters transposed leaves so.
        a, b = inputs
        ta, tb = self.transpose_a, self.transpose_b
        da = product(b, g, tb, True) if ta else product(g, b, False, not tb)
        db = product(g, a, True, ta) if tb else product(a, g, not ta, False)
        return unbroadcast(da, a.type.shape), unbroadcast(db, b.type.shape)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (a, b), (ta, tb) = inputs, tangents
        left = None if ta is None else apply(self, ta, b)
        right = None if tb is None else apply(self, a, tb)
        if left is None or right is None:
            return left if right is None else right
        return left + right

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        k = types[0].shape[-2 if self.transpose_a else -1]
        return out.size * k * 2


def product(a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool) -> Tensor:
    """Return the product of matrices, each taken transposed where so flagged."""
    return apply(Matmul(transpose_a, transpose_b), a, b)


def _samples() -> Iterable[Sample]:
    rng = np.random.default_rng(0)
    shapes = [((3, 4), (4, 5)), ((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 5)),
              ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)),
              ((1, 1), (1, 1)), ((0, 4), (4, 5)), ((3, 0), (0, 5))]  # fmt: skip
    for a, b in shapes:
        yield Sample((rng.standard_normal(a), rng.standard_normal(b)))


@function(samples=_samples, reference=np.matmul, section=SECTION)
def matmul(x: Any, y: Any) -> Tensor:
    """Return the matrix product ``x @ y`` of any ranks, as ``numpy.matmul``."""
    a, b = common("matmul", x, y)
    if not a.ndim or not b.ndim:
        raise ShapeError("an operand is a scalar; use multiply")
    _check_core(a.type.shape[-1], b.type.shape[-2 if b.ndim > 1 else -1])
    if a.ndim > 2 and b.ndim == 2:
        # One product of all rows: the gradient of b is one too, not a sum of many.
        rows = reshape(a, (size_of(a.type.shape[:-1]), a.type.shape[-1]))
        flat = apply(Matmul(), rows, b)
        return reshape(flat, (*a.type.shape[:-1], b.type.shape[-1]))
    left = a if a.ndim > 1 else reshape(a, (1, *a.type.shape))
    right = b if b.ndim > 1 else reshape(b, (*b.type.shape, 1))
    out = apply(Matmul(), left, right)
    if a.ndim > 1 and b.ndim > 1:
        return out
    shape = list(out.type.shape)
    if b.ndim == 1:
        shape.pop()
    if a.ndim == 1:
        shape.pop(-1 if b.ndim == 1 else -2)
    return reshape(out, shape)


def _vectors() -> Iterable[Sample]:
    rng = np.random.default_rng(0)
    for a, b in (((3,), (4,)), ((2, 3), (2,)), ((0,), (4,)), ((1,), (1,)), ((), (2,))):
        yield Sample((rng.standard_normal(a), rng.standard_normal(b)))


@function(samples=_vectors, reference=np.outer, section=SECTION)
def outer(x: Any, y: Any) -> Tensor:
    """Return the matrix of products ``x_i y_j`` of two flattened operands."""
    a, b = (ravel(t) for t in common("outer", x, y))
    return multiply(reshape(a, (a.size, 1)), b)


def _pairs() -> Iterable[Sample]:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 2, 3, 4))
    yield Sample((a, b))
    yield Sample((a, b[0, 0]))
    yield Sample((a[:, :1], b))
    yield Sample((a[..., :0], b[..., :0]))
    for axis in (0, -2):
        yield Sample((a, b), (("axis", axis),))


@function(samples=_pairs, reference=np.vecdot, section=SECTION)
def vecdot(x: Any, y: Any, *, axis: int = -1) -> Tensor:
    """Return the sums of products of vectors along ``axis``; the other axes broadcast."""
    a, b = common("vecdot", x, y)
    for t in (a, b):
        normalize_axis(axis, t.ndim)
    a, b = moveaxis(a, axis, -1), moveaxis(b, axis, -1)
    _check_core(a.type.shape[-1], b.type.shape[-1])
    products = multiply(a, b)
    if products.dtype == BOOL:
        return any(products, -1)
    return cast(sum(products, -1), products.dtype)


def _contractions() -> Iterable[Sample]:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3, 4)), rng.standard_normal((3, 4, 5))
    yield Sample((a, b))
    yield Sample((a, b), (("axes", ([1, 2], [0, 1])),))
    yield Sample((a, b), (("axes", ([-1, 1], [1, 0])),))
    yield Sample((a, b), (("axes", (1, 0)),))
    yield Sample((a[0], b[:1]), (("axes", 0),))
    yield Sample((a, b[:, 0]), (("axes", ((1,), (0,))),))
    yield Sample((a[:, :0], b[:0]), (("axes", (1, 0)),))
    yield Sample((a, b[:, :, 0]), (("axes", 2),))


def _axes(t: Tensor, given: int | Sequence[int]) -> Sequence[int]:
    listed = (given,) if isinstance(given, (int, np.integer)) else given
    return [normalize_axis(int(axis), t.ndim) for axis in listed]


@function(samples=_contractions, reference=np.tensordot, section=SECTION)
def tensordot(x: Any, y: Any, *, axes: Any = 2) -> Tensor:
    """Return the sum of products over ``axes``: a number of axes, or the axes of each operand.

    ``axes=2`` contracts the last two of ``x`` with the first two of ``y``.
    """
    a, b = common("tensordot", x, y)
    if isinstance(axes, (int, np.integer)):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise ShapeError(f"cannot contract {axes} axes of operands of {a.ndim} and {b.ndim}")
        left: Sequence[int] = range(a.ndim - int(axes), a.ndim)
        right: Sequence[int] = range(int(axes))
    else:
        left, right = (_axes(t, given) for t, given in zip((a, b), axes, strict=True))
    summed = [a.type.shape[k] for k in left]
    if summed != [b.type.shape[k] for k in right]:
        raise ShapeError("shape-mismatch for sum")
    rows = [k for k in range(a.ndim) if k not in left]
    columns = [k for k in range(b.ndim) if k not in right]
    shape = [*(a.type.shape[k] for k in rows), *(b.type.shape[k] for k in columns)]
    k = size_of(summed)
    a = reshape(permute_dims(a, (*rows, *left)), (size_of(a.type.shape[i] for i in rows), k))
    b = reshape(permute_dims(b, (*right, *columns)), (k, size_of(b.type.shape[i] for i in columns)))
    return reshape(apply(Matmul(), a, b), shape)


def _dots() -> Iterable[Sample]:
    rng = np.random.default_rng(0)
    for a, b in (((4,), (4,)), ((3, 4), (4,)), ((3, 4), (4, 5)), ((2, 3, 4), (5, 4, 2)),
                 ((), (3,))):  # fmt: skip
        yield Sample((rng.standard_normal(a), rng.standard_normal(b)))


@function(samples=_dots, reference=np.dot, section=SECTION)
def dot(x: Any, y: Any) -> Tensor:
    """Return ``sum(x[..., :] * y[..., :, i])``, or the product with a scalar, as ``numpy.dot``."""
    a, b = common("dot", x, y)
    if not a.ndim or not b.ndim:
        return multiply(a, b)
    return tensordot(a, b, axes=(-1, -2 if b.ndim > 1 else -1))


def _traces() -> Iterable[Sample]:
    x = np.arange(24.0).reshape(2, 3, 4)
    yield from (Sample((x[0],), (("offset", k),)) for k in (0, 1, -2))
    yield Sample((x[0],))


@function(samples=_traces, reference=np.trace, section=SECTION)
def trace(x: Any, *, offset: int = 0) -> Tensor:
    """Return the sum of the diagonal ``x[..., i, i + offset]`` of the last two axes."""
    t = as_tensor(x)
    return sum(diagonal(t, offset, -2, -1), -1)
