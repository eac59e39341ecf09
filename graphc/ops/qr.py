"""Orthogonal factors by Householder's reflections, and least squares by them.

Golub and Van Loan, *Matrix Computations*, 4th ed., section 5.2; the signs are LAPACK's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.ir.op import Access, Array, Emitter, Loops, Sample, function, register
from graphc.ir.results import Multiple, results
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import select, vmath
from graphc.ops.batched import merged
from graphc.ops.creation import zeros_like
from graphc.ops.linalg import product
from graphc.ops.manipulation import concat
from graphc.ops.masks import tril, triu
from graphc.ops.operands import as_tensor
from graphc.ops.shape import expand_dims, matrix_transpose, squeeze
from graphc.ops.slices import part
from graphc.ops.stacks import (
    SECTION,
    each,
    floats,
    least_dim,
    poison,
    solution,
    stacked,
    together,
    unstacked,
)
from graphc.ops.triangular import SolveTriangular
from graphc.types import AnyDim, Several, TensorType


@register
@merged()
class HouseholderQr(Multiple, Loops):
    """``Q^T``, of orthonormal rows, and triangular ``R`` with ``Q R = A``, no wider than high.

    The third result is the reflections, in rows as well: columns of ``A`` are worked on as what
    lies together. All are NaN if an element is not finite.
    """

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        stack, rows, columns = x.shape
        turned = x.with_shape((stack, columns, rows))
        return Several.of([turned, x.with_shape((stack, columns, columns)), turned])

    def numpy(self, *arrays: Array) -> Any:
        (x,) = arrays
        shapes = [x.shape, (*x.shape[:1], x.shape[2], x.shape[2])]
        q, r = each(np.linalg.qr, shapes, x)
        turned = q.swapaxes(1, 2)
        return turned, r, turned

    def loops(self, e: Emitter, out: Any, *ins: Access) -> None:
        (x,) = ins
        q, r, v = out
        rows, columns, dtype = x.shape[1], x.shape[2], x.dtype
        zero, one = e.lit(0, dtype), e.lit(1, dtype)
        with e.parallel("s", x.dims[0]) as s:
            bad = poison(e, x, s)
            with e.loop("i", rows) as i, e.loop("j", columns) as j:
                e.store(v.at(s, j, i), x.at(s, i, j))
                e.store(q.at(s, j, i), select(i.equals(j), one, zero) + bad)
            with e.loop("k", columns) as k:  # r is the column's end, then what it makes of others
                below = e.let("below", zero)
                with e.loop("i", rows, k + 1) as i:
                    e.let("below", vmath("hypot", below, v.at(s, k, i)))
                first = e.let("first", v.at(s, k, k))
                none = e.let("none", below.equals(0))
                size = e.let("size", vmath("hypot", first, below))
                end = e.let("end", select(none, first, select(first > 0, -size, size)))
                divisor = e.let("divisor", select(none, one, end))
                e.store(r.at(s, k, k), end + bad)
                # LAPACK's: v_0 = 1 after division by first - end, tau = (end - first) / end
                tau = e.let("tau", select(none, zero, (end - first) / divisor))
                gap = e.let("gap", select(none, one, first - end))
                with e.loop("i", rows, k + 1) as i:
                    e.store(v.at(s, k, i), v.at(s, k, i) / gap)
                e.store(v.at(s, k, k), tau)
                with e.loop("j", columns, k + 1) as j:
                    total = e.let("total", v.at(s, j, k))
                    with e.loop("i", rows, k + 1) as i:
                        e.let("total", total + v.at(s, k, i) * v.at(s, j, i))
                    e.let("total", total * tau)
                    e.store(v.at(s, j, k), v.at(s, j, k) - total)
                    with e.loop("i", rows, k + 1) as i:
                        e.store(v.at(s, j, i), v.at(s, j, i) - total * v.at(s, k, i))
                    e.store(r.at(s, k, j), v.at(s, j, k) + bad)
                    e.store(r.at(s, j, k), zero + bad)
            with e.loop("step", columns) as step:
                k = e.let("k", columns - 1 - step)
                tau = e.let("tau", v.at(s, k, k))
                with e.loop("j", columns, k) as j:
                    total = e.let("total", q.at(s, j, k))
                    with e.loop("i", rows, k + 1) as i:
                        e.let("total", total + v.at(s, k, i) * q.at(s, j, i))
                    e.let("total", total * tau)
                    e.store(q.at(s, j, k), q.at(s, j, k) - total)
                    with e.loop("i", rows, k + 1) as i:
                        e.store(q.at(s, j, i), q.at(s, j, i) - total * v.at(s, k, i))

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return types[0].size * types[0].shape[2] * 4

    def vjps(
        self, gs: Mapping[int, Tensor], out: Tensor, *inputs: Tensor
    ) -> Sequence[Tensor | None]:
        # Walter and Lehmann, Algorithmic differentiation of linear algebra functions, 2010
        turned, r, _ = results(out)
        q, gr = matrix_transpose(turned), gs.get(1)
        gq = matrix_transpose(gs[0]) if 0 in gs else None
        inner = zeros_like(r)
        if gr is not None:
            inner = product(r, gr, False, True)
        if gq is not None:
            inner = inner - product(gq, q, True, False)
        lower = tril(inner, k=-1)
        both = product(q, lower + matrix_transpose(tril(inner)), False, False)
        if gq is not None:
            both = both + gq
        return (_over(both, r, True),)

    def jvps(
        self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor
    ) -> Mapping[int, Tensor]:
        (t,) = tangents
        if t is None:
            return {}
        turned, r, _ = results(out)
        q, moved = matrix_transpose(turned), _over(t, r)
        inner = product(q, moved, True, False)
        lower = tril(inner, k=-1)
        turn = lower - matrix_transpose(lower)
        tq = moved - product(q, inner - turn, False, False)
        return {0: matrix_transpose(tq), 1: product(triu(inner - turn), r, False, False)}


def _over(x: Tensor, r: Tensor, transposed: bool = False) -> Tensor:
    """Return ``x R^-1``, or ``x R^-T``."""
    solved = apply(SolveTriangular(False, not transposed), r, matrix_transpose(x))
    return matrix_transpose(solved)


def _factored(t: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors of a stack of matrices; of wide ones, those of the square part first."""
    rows, columns = t.type.shape[-2:]
    count = least_dim(rows, columns) if rows != columns else columns
    turned, r, _ = results(apply(HouseholderQr(), part(t, 2, 0, count)))
    q = matrix_transpose(turned)
    if count == columns:
        return q, r
    rest = product(q, part(t, 2, count, columns - count), True, False)
    return q, concat([r, rest], axis=2)


# -- functions ------------------------------------------------------------------------------------


def _shapes() -> Iterable[Sample]:
    x = np.random.default_rng(0).standard_normal((2, 5, 4))
    yield Sample((x,))
    yield Sample((x[0],))
    yield Sample((x[:, :4],))
    yield Sample((x[:, :2],))
    yield Sample((x[0, :, :1],))
    yield Sample((x[:0],))
    yield Sample((x,), (("mode", "r"),))
    yield Sample((np.array([[2, 1], [1, 1]]),))


def _numpy_qr(x: Any, mode: str = "reduced") -> Any:
    x = x * np.float32(1)
    stack, (m, n) = x.reshape(-1, *x.shape[-2:]), x.shape[-2:]
    k = min(m, n)
    found = each(np.linalg.qr, [(len(stack), m, k), (len(stack), k, n)], stack)
    q, r = (v.reshape(*x.shape[:-2], *v.shape[1:]) for v in found)
    return r if mode == "r" else (q, r)


@function(samples=_shapes, reference=_numpy_qr, section=SECTION, name="linalg.qr")
def qr(x: Any, mode: str = "reduced") -> Tensor | tuple[Tensor, Tensor]:
    """Return ``Q``, of orthonormal columns, and upper triangular ``R`` with ``Q R = x``.

    ``Q`` has as many columns as the shorter side of ``x``; with ``mode="r"`` there is ``R`` only.
    Derivatives need the first columns to be linearly independent.
    """
    if mode not in ("reduced", "r"):
        raise ArgumentError(f'qr: mode is "reduced" or "r", and {mode!r} is not supported')
    (t,) = floats("qr", x)
    q, r = (unstacked(v, t.type.shape[:-2]) for v in _factored(stacked(t)))
    return r if mode == "r" else (q, r)


def _equations() -> Iterable[Sample]:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5, 3)), rng.standard_normal((2, 5, 2))
    yield Sample((a, b))
    yield Sample((a[0], b[0, :, 0]))
    yield Sample((a[:, :3], b[:, :3]))
    yield Sample((a[:, :2], b[0, :2]))
    yield Sample((np.array([[2, 1], [1, 1], [0, 1]]), np.array([[1], [3], [2]])))


def _numpy_lstsq(a: Any, b: Any) -> Any:
    return solution(lambda a, b: np.linalg.lstsq(a, b)[0], a, b)


@function(samples=_equations, reference=_numpy_lstsq, section=SECTION, name="linalg.lstsq")
def lstsq(a: Any, b: Any) -> Tensor:
    """Return the ``x`` with the least ``|a x - b|``; where many have it, the shortest one.

    The rows or columns of ``a``, whichever are fewer, must be linearly independent; else the result
    is infinite or NaN, or rounding errors decide it. ``b`` holds matrices, or is one vector.
    """
    vector = as_tensor(b).ndim == 1
    left, right = floats("lstsq", a, expand_dims(b, 1) if vector else b)
    rows, columns = left.type.shape[-2:]
    if rows != right.type.shape[-2]:
        raise ShapeError(
            f"lstsq: the matrices {left.describe()} and the right sides {as_tensor(b).describe()} "
            "need one number of rows"
        )
    first, second, lead = together(left, right)
    if rows == columns or least_dim(rows, columns) == columns:
        q, r = _factored(first)
        found = apply(SolveTriangular(False), r, product(q, second, True, False))
    else:
        q, r = _factored(matrix_transpose(first))
        found = product(q, apply(SolveTriangular(False, True), r, second), False, False)
    found = unstacked(found, lead)
    return squeeze(found, -1) if vector else found
