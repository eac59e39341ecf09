"""Eigenvalues of symmetric matrices, singular values, and the norms that are made of them.

The sign of a vector is such that its first component of the greatest magnitude is positive.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError
from graphc.ir.op import Array, Composite, Sample, function, register
from graphc.ir.results import Multiple, packed, results
from graphc.ir.tensor import Tensor, apply
from graphc.ops.along import take_along_axis
from graphc.ops.arithmetic import abs
from graphc.ops.batched import merged
from graphc.ops.comparison import equal, where
from graphc.ops.creation import filled, iota
from graphc.ops.jacobi import OneSidedJacobi, SymmetricJacobi
from graphc.ops.linalg import product
from graphc.ops.norms import vector_norm
from graphc.ops.operands import common
from graphc.ops.reduce import max, min, sum
from graphc.ops.searching import argmax
from graphc.ops.shape import (
    broadcast_to,
    expand_dims,
    matrix_transpose,
    moveaxis,
    reshape,
)
from graphc.ops.slices import diagonal
from graphc.ops.sorting import ordered
from graphc.ops.stacks import SECTION, each, floats, least_dim, square_matrices, stacked, unstacked
from graphc.types import INT64, Several, TensorType, normalize_axes

_TIE = 1 - 1e-3
"""Of the greatest magnitude: components above it are taken for the greatest as well."""


def signs_of(rows: Array) -> Array:
    """Return the factor that gives each row its sign; rows of nothing keep theirs."""
    if not rows.shape[-1]:
        return np.ones((*rows.shape[:-1], 1), rows.dtype)
    size = np.abs(rows)
    place = np.argmax(size >= _TIE * size.max(-1, keepdims=True), -1)
    first = np.take_along_axis(rows, place[..., None], -1)
    return np.where(first < 0, -1, 1).astype(rows.dtype)


def _signs(rows: Tensor) -> Tensor:
    if rows.type.shape[-1] == 0:
        return filled((*rows.type.shape[:-1], 1), 1.0, rows.dtype)
    size = abs(rows)
    place = argmax(size >= max(size, axis=-1, keepdims=True) * _TIE, axis=-1)
    first = take_along_axis(rows, expand_dims(place, -1), -1)
    return where(first < 0, -1.0, 1.0)


def _on_diagonal(v: Tensor) -> Tensor:
    """Return matrices with the rows of ``v`` on the diagonal."""
    size = v.type.shape[-1]
    rows, columns = (iota((size, size), axis, INT64) for axis in (0, 1))
    return where(equal(rows, columns), expand_dims(v, -1), 0)


def _over_gaps(x: Tensor, v: Tensor) -> Tensor:
    """Return ``x_ij / (v_j - v_i)``, 0 where they are equal."""
    gap = expand_dims(v, -2) - expand_dims(v, -1)
    same = equal(gap, 0)
    return where(same, 0, x / where(same, 1, gap))


def _sorted_rows(values: Tensor, descending: bool, *rows: Tensor) -> tuple[Tensor, ...]:
    values, order = ordered(values, 1, descending)
    places = expand_dims(order, -1)
    return values, *(
        take_along_axis(r, broadcast_to(places, (*order.type.shape, r.type.shape[2])), 1)
        for r in rows
    )


@register
@merged()
class Eigh(Multiple, Composite):
    """Eigenvalues, ascending, and eigenvectors, in columns, of symmetric matrices.

    ``dw_i = v_i^T dA v_i``; ``dV = V (F * (V^T dA V))``, ``F_ij = 1 / (w_j - w_i)``, 0 if equal.
    """

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        return Several.of([x.with_shape(x.shape[:2]), x])

    def numpy(self, *arrays: Array) -> Any:
        (x,) = arrays
        w, v = each(np.linalg.eigh, [x.shape[:2], x.shape], x)
        rows = v.swapaxes(1, 2)
        return w, (rows * signs_of(rows)).swapaxes(1, 2)

    def expand(self, *inputs: Tensor) -> Tensor:
        w, rows, _ = results(apply(SymmetricJacobi(), *inputs))
        w, rows = _sorted_rows(w, False, rows)
        return packed(w, matrix_transpose(rows * _signs(rows)))

    def vjps(
        self, gs: Mapping[int, Tensor], out: Tensor, *inputs: Tensor
    ) -> Sequence[Tensor | None]:
        w, v = results(out)
        inner: Tensor | None = _on_diagonal(gs[0]) if 0 in gs else None
        if 1 in gs:
            turned = _over_gaps(product(v, gs[1], True, False), w)
            inner = turned if inner is None else inner + turned
        if inner is None:
            return (None,)
        return (product(product(v, inner, False, False), v, False, True),)

    def jvps(
        self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor
    ) -> Mapping[int, Tensor]:
        (t,) = tangents
        if t is None:
            return {}
        w, v = results(out)
        inner = product(v, product(t, v, False, False), True, False)
        turned = product(v, _over_gaps(inner, w), False, False)
        return {0: diagonal(inner, 0, 1, 2), 1: turned}


@register
@merged()
class Svd(Multiple, Composite):
    """``U``, singular values, descending, and ``V^T``, of matrices no wider than high.

    Derivatives as by Townsend, *Differentiating the singular value decomposition*, 2016; parts that
    equal singular values divide by 0 are 0.
    """

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        stack, _, columns = x.shape
        square = x.with_shape((stack, columns, columns))
        return Several.of([x, x.with_shape((stack, columns)), square])

    def numpy(self, *arrays: Array) -> Any:
        (x,) = arrays
        s, u, v = OneSidedJacobi().numpy(x.swapaxes(1, 2))
        signs = signs_of(u)
        return (u * signs).swapaxes(1, 2), s, v * signs

    def expand(self, *inputs: Tensor) -> Tensor:
        parts = results(apply(OneSidedJacobi(), matrix_transpose(*inputs)))
        s, u, v = _sorted_rows(parts[0], True, *parts[1:])
        signs = _signs(u)
        return packed(matrix_transpose(u * signs), s, v * signs)

    def vjps(
        self, gs: Mapping[int, Tensor], out: Tensor, *inputs: Tensor
    ) -> Sequence[Tensor | None]:
        u, s, v = results(out)
        row, column = expand_dims(s, -2), expand_dims(s, -1)
        inner: Tensor | None = _on_diagonal(gs[1]) if 1 in gs else None
        outer: Tensor | None = None
        if 0 in gs:
            both = product(u, gs[0], True, False)
            turned = _over_gaps(both - matrix_transpose(both), s * s) * row
            inner = turned if inner is None else inner + turned
            outer = (gs[0] - product(u, both, False, False)) * _inverse(row)
        if 2 in gs:
            both = product(v, gs[2], False, True)
            turned = _over_gaps(both - matrix_transpose(both), s * s) * column
            inner = turned if inner is None else inner + turned
        if inner is None:
            return (None,)
        left = product(u, inner, False, False)
        left = left if outer is None else left + outer
        return (product(left, v, False, False),)

    def jvps(
        self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor
    ) -> Mapping[int, Tensor]:
        (t,) = tangents
        if t is None:
            return {}
        u, s, v = results(out)
        row, column = expand_dims(s, -2), expand_dims(s, -1)
        moved = product(t, v, False, True)
        p = product(u, moved, True, False)
        q = matrix_transpose(p)
        tu = product(u, _over_gaps(p * row + q * column, s * s), False, False)
        tu = tu + (moved - product(u, p, False, False)) * _inverse(row)
        turned = _over_gaps(p * column + q * row, s * s)
        return {0: tu, 1: diagonal(p, 0, 1, 2), 2: product(turned, v, True, False)}


def _inverse(x: Tensor) -> Tensor:
    none = equal(x, 0)
    return where(none, 0, 1 / where(none, 1, x))


# -- functions ------------------------------------------------------------------------------------


def _symmetric() -> Iterable[Sample]:
    x = np.random.default_rng(3).standard_normal((2, 3, 4, 4))
    a = x + x.swapaxes(-1, -2)
    yield Sample((a,))
    yield Sample((a[0, 0],))
    yield Sample((a[:0],))
    yield Sample((np.array([[2, 1], [1, 1]]),))
    yield Sample((np.diag([3.0, 1.0, 2.0]),))


def _numpy_eigh(x: Any) -> Any:
    x = x * np.float32(1)
    a = (x + x.swapaxes(-1, -2)) * x.dtype.type(0.5)
    w, v = Eigh().numpy(a.reshape(-1, *x.shape[-2:]))
    return w.reshape(x.shape[:-1]), v.reshape(x.shape)


@function(samples=_symmetric, reference=_numpy_eigh, section=SECTION, name="linalg.eigh")
def eigh(x: Any) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, ascending, and eigenvectors in columns, of symmetric matrices.

    The symmetric part ``(x + x^T) / 2`` is taken. Of equal eigenvalues the vectors are any basis,
    and what their derivatives would divide by 0 is 0.
    """
    t = square_matrices("eigh", x)
    stack = stacked(t)
    w, v = results(apply(Eigh(), (stack + matrix_transpose(stack)) * 0.5))
    return unstacked(w, t.type.shape[:-2]), unstacked(v, t.type.shape[:-2])


@function(samples=_symmetric, reference=lambda x: _numpy_eigh(x)[0], section=SECTION,
          name="linalg.eigvalsh")  # fmt: skip
def eigvalsh(x: Any) -> Tensor:
    """Return the eigenvalues of symmetric matrices, ascending; see :func:`eigh`."""
    return eigh(x)[0]


def _shapes() -> Iterable[Sample]:
    x = np.random.default_rng(0).standard_normal((2, 4, 3))
    yield Sample((x,))
    yield Sample((x[0],))
    yield Sample((x[:, :3],))
    yield Sample((x[:, :2],))
    yield Sample((x[0, :, :1],))
    yield Sample((x[:0],))
    yield Sample((np.array([[2, 1], [1, 1]]),))


def _numpy_svd(x: Any) -> Any:
    x = x * np.float32(1)
    m, n = x.shape[-2:]
    if m < n:
        u, s, v = _numpy_svd(x.swapaxes(-1, -2))
        return v.swapaxes(-1, -2), s, u.swapaxes(-1, -2)
    found = Svd().numpy(x.reshape(-1, m, n))
    return tuple(part.reshape(*x.shape[:-2], *part.shape[1:]) for part in found)


@function(samples=_shapes, reference=_numpy_svd, section=SECTION, name="linalg.svd")
def svd(x: Any, full_matrices: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``U``, singular values, descending, and ``V^T`` with ``U diag(s) V^T = x``.

    As many columns of ``U`` and rows of ``V^T`` as the shorter side of ``x`` has: NumPy's
    ``full_matrices=True`` is not supported.
    """
    if full_matrices:
        raise ArgumentError("svd: full_matrices=True is not supported; leave it False")
    (t,) = floats("svd", x)
    rows, columns = t.type.shape[-2:]
    lead = t.type.shape[:-2]
    stack = stacked(t)
    if rows == columns or least_dim(rows, columns) == columns:
        u, s, v = results(apply(Svd(), stack))
    else:
        v, s, u = results(apply(Svd(), matrix_transpose(stack)))
        u, v = matrix_transpose(u), matrix_transpose(v)
    return unstacked(u, lead), unstacked(s, lead), unstacked(v, lead)


@function(samples=_shapes, reference=lambda x: _numpy_svd(x)[1], section=SECTION,
          name="linalg.svdvals")  # fmt: skip
def svdvals(x: Any) -> Tensor:
    """Return the singular values, descending; see :func:`svd`."""
    return svd(x)[1]


def _norms() -> Iterable[Sample]:
    x = np.random.default_rng(0).standard_normal((2, 4, 3))
    yield Sample((x,))
    yield Sample((x[0, 0],), (("ord", 3),))
    for ord in (None, "fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf):
        yield Sample((x,), (("ord", ord), ("axis", (1, 2)), ("keepdims", ord == 2)))
    yield Sample((x[1],), (("ord", 2),))
    for ord in (None, 1, math.inf, 2.5):
        yield Sample((x,), (("ord", ord), ("axis", 1)))


def _numpy_norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    x = x * np.float32(1)
    try:
        return np.asarray(np.linalg.norm(x, ord, axis, keepdims), x.dtype)
    except np.linalg.LinAlgError:  # of NaN there are no singular values
        value = np.full(np.max(x, axis, keepdims=keepdims).shape, np.nan, x.dtype)
        rows = np.moveaxis(x, axis or (0, 1), (-2, -1))
        for at in np.ndindex(rows.shape[:-2]):
            if np.isfinite(rows[at]).all():
                value[at] = np.linalg.norm(rows[at], ord)
        return value


@function(samples=_norms, reference=_numpy_norm, section=SECTION, name="linalg.norm")
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the norm of vectors, along one axis, or of matrices, along two: ``numpy.linalg.norm``.

    Of matrices ``ord`` is None or ``"fro"``, ``"nuc"``, 1, -1, 2, -2 or an infinity; for vectors
    see :func:`vector_norm`. Without ``axis`` and ``ord`` it is that of all elements.
    """
    (t,) = common("norm", x, floating=True)
    if axis is None and ord is not None and t.ndim not in (1, 2):
        raise ArgumentError(f"norm: an ord without an axis needs 1 or 2 axes, got {t.describe()}")
    axes = normalize_axes(axis, t.ndim)
    if len(axes) == 1 or (axis is None and ord is None):
        if isinstance(ord, str):
            raise ArgumentError(f"norm: ord of vectors must be a number, got {ord!r}")
        return vector_norm(t, axis=axes, ord=2 if ord is None else ord, keepdims=keepdims)
    if len(axes) != 2:
        raise ArgumentError(f"norm: axis must be one axis or two, got {axis!r}")
    if ord is None or ord == "fro":
        return vector_norm(t, axis=axes, keepdims=keepdims)
    if ord in ("nuc", 2, -2):
        rows = moveaxis(t, axis if axis is not None else (0, 1), (-2, -1))
        values = svdvals(rows)
        value = {"nuc": sum, 2: max, -2: min}[ord](values, axis=-1)
        dims = [1 if a in axes else d for a, d in enumerate(t.type.shape)]
        return reshape(value, dims) if keepdims else value
    if ord not in (1, -1, math.inf, -math.inf):
        raise ArgumentError(f"norm: {ord!r} is no norm of matrices")
    first, second = axes if axis is None else (a % t.ndim for a in axis)
    within, along = (first, second) if ord in (1, -1) else (second, first)
    sums = sum(abs(t), axis=within, keepdims=True)
    value = (max if ord > 0 else min)(sums, axis=along, keepdims=True)
    dims = [d for a, d in enumerate(t.type.shape) if a not in axes]
    return value if keepdims else reshape(value, dims)
