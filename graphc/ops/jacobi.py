"""Eigenvalues of symmetric matrices and singular values, by Jacobi's rotations.

Golub and Van Loan, *Matrix Computations*, 4th ed., sections 8.5 and 8.6.3 (Hestenes' one-sided
method). They are exact also for small values beside great ones, and simple; of large matrices
LAPACK takes fewer operations.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.op import Access, Array, Emitter, Loops, register
from graphc.ir.results import Multiple
from graphc.kernel.value import Integer, Name, Value, select, vmath
from graphc.ops.batched import merged
from graphc.ops.stacks import each, poison
from graphc.types import AnyDim, Several, TensorType

SWEEPS = 40
"""Through all pairs, at most: they end when a sweep has found nothing to turn, after six to ten."""


def _turn(e: Emitter, half_gap: Value, product: Value) -> tuple[Name, Name, Name]:
    """Write the tangent, cosine and sine that take ``product`` to 0, given half a difference."""
    dtype = product.dtype
    one = e.lit(1, dtype)
    ratio = e.let("ratio", half_gap / product)
    size = vmath("abs", ratio) + vmath("hypot", ratio, one)
    tangent = e.let("tangent", select(ratio < 0, -one, one) / size)
    cosine = e.let("cosine", one / vmath("hypot", tangent, one))
    return tangent, cosine, e.let("sine", tangent * cosine)


def _rotate(e: Emitter, x: Access, s: Value, p: Value, q: Value, turn: tuple[Name, Name]) -> None:
    """Write the rotation of rows ``p`` and ``q``."""
    cosine, sine = turn
    with e.loop("k", x.shape[2]) as k:
        first, second = e.let("first", x.at(s, p, k)), e.let("second", x.at(s, q, k))
        e.store(x.at(s, p, k), cosine * first - sine * second)
        e.store(x.at(s, q, k), sine * first + cosine * second)


@register
@merged()
class SymmetricJacobi(Multiple, Loops):
    """Eigenvalues in no order, eigenvectors in rows, and what is left of symmetric matrices."""

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        return Several.of([x.with_shape(x.shape[:2]), x, x])

    def numpy(self, *arrays: Array) -> Any:
        (x,) = arrays
        w, v = each(np.linalg.eigh, [x.shape[:2], x.shape], x)
        return w, v.swapaxes(1, 2), x

    def loops(self, e: Emitter, out: Any, *ins: Access) -> None:
        (x,) = ins
        w, v, a = out
        count, dtype = x.shape[1], x.dtype
        zero, one = e.lit(0, dtype), e.lit(1, dtype)
        eps = e.lit(float(np.finfo(dtype).eps) / 8, dtype)
        with e.parallel("s", x.dims[0]) as s:
            bad = poison(e, x, s)
            with e.loop("i", count) as i, e.loop("j", count) as j:
                e.store(a.at(s, i, j), x.at(s, i, j))
                e.store(v.at(s, i, j), select(i.equals(j), one, zero) + bad)
            active = e.let("active", select(bad.equals(0), Integer(1), Integer(0)))
            with e.loop("sweep", Integer(SWEEPS)), e.when(active > 0):
                e.let("active", Integer(0))
                with e.loop("p", count) as p, e.loop("q", count, p + 1) as q:
                    left = e.let("left", a.at(s, p, q))
                    low, high = e.let("low", a.at(s, p, p)), e.let("high", a.at(s, q, q))
                    least = vmath("minimum", vmath("abs", low), vmath("abs", high))
                    with e.when(vmath("abs", left) > eps * least):
                        e.let("active", Integer(1))
                        tangent, cosine, sine = _turn(e, (high - low) * e.lit(0.5, dtype), left)
                        _rotate(e, a, s, p, q, (cosine, sine))
                        with e.loop("k", count) as k:
                            e.store(a.at(s, k, p), a.at(s, p, k))
                            e.store(a.at(s, k, q), a.at(s, q, k))
                        e.store(a.at(s, p, p), low - tangent * left)
                        e.store(a.at(s, q, q), high + tangent * left)
                        e.store(a.at(s, p, q), zero)
                        e.store(a.at(s, q, p), zero)
                        _rotate(e, v, s, p, q, (cosine, sine))
            with e.loop("i", count) as i:
                e.store(w.at(s, i), a.at(s, i, i) + bad)

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return types[0].size * types[0].shape[1] * 24


@register
@merged()
class OneSidedJacobi(Multiple, Loops):
    """Singular values, in no order, of matrices no higher than wide, and rows of both bases.

    ``A = U^T diag(s) V``: the second result is ``V``, with rows as long as those of ``A``, the
    third ``U``. A row of ``V`` for a singular value 0 is perpendicular to the others.
    """

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        square = (*x.shape[:2], x.shape[1])
        return Several.of([x.with_shape(x.shape[:2]), x, x.with_shape(square)])

    def numpy(self, *arrays: Array) -> Any:
        (x,) = arrays
        square = (*x.shape[:2], x.shape[1])

        def rows(a: Array) -> tuple[Array, Array, Array]:
            u, s, v = np.linalg.svd(a, full_matrices=False)
            return s, v, u.T

        return each(rows, [x.shape[:2], x.shape, square], x)

    def loops(self, e: Emitter, out: Any, *ins: Access) -> None:
        (x,) = ins
        sizes, v, u = out
        count, dtype = x.shape[1], x.dtype
        zero, one = e.lit(0, dtype), e.lit(1, dtype)
        with e.parallel("s", x.dims[0]) as s:
            bad = poison(e, x, s)
            scale = e.let("scale", zero)
            with e.loop("i", count) as i, e.loop("j", x.shape[2]) as j:
                e.let("scale", vmath("maximum", scale, vmath("abs", x.at(s, i, j))))
            e.let("scale", select(scale > 0, scale, one))
            with e.loop("i", count) as i:
                with e.loop("j", x.shape[2]) as j:
                    e.store(v.at(s, i, j), x.at(s, i, j) / scale)
                with e.loop("j", count) as j:
                    e.store(u.at(s, i, j), select(i.equals(j), one, zero) + bad)
            active = e.let("active", select(bad.equals(0), Integer(1), Integer(0)))
            with e.loop("sweep", Integer(SWEEPS)), e.when(active > 0):
                e.let("active", Integer(0))
                with e.loop("p", count) as p, e.loop("q", count, p + 1) as q:
                    self._pair(e, v, u, (s, p, q))
            with e.loop("i", count) as i:
                size = self._length(e, v, s, i)
                e.store(sizes.at(s, i), size * scale + bad)
                over = e.let("over", select(size.equals(0), one, size))
                with e.loop("j", x.shape[2]) as j:
                    e.store(v.at(s, i, j), v.at(s, i, j) / over + bad)
            with e.loop("i", count) as i, e.when(sizes.at(s, i).equals(0)):
                self._complete(e, v, s, i)

    def _pair(self, e: Emitter, v: Access, u: Access, at: tuple[Name, Name, Name]) -> None:
        """Write the rotation that makes rows ``p`` and ``q`` perpendicular, if they are not yet."""
        s, p, q = at
        dtype = v.dtype
        zero = e.lit(0, dtype)
        low, high, both = e.let("low", zero), e.let("high", zero), e.let("both", zero)
        with e.loop("k", v.shape[2]) as k:
            first, second = e.let("first", v.at(s, p, k)), e.let("second", v.at(s, q, k))
            e.let("low", low + first * first)
            e.let("high", high + second * second)
            e.let("both", both + first * second)
        eps = e.lit(float(np.finfo(dtype).eps) * 2, dtype)
        near = vmath("sqrt", low) * vmath("sqrt", high) * eps
        with e.when(vmath("abs", both) > near):
            e.let("active", Integer(1))
            _, cosine, sine = _turn(e, (high - low) * e.lit(0.5, dtype), both)
            _rotate(e, v, s, p, q, (cosine, sine))
            _rotate(e, u, s, p, q, (cosine, sine))

    @staticmethod
    def _length(e: Emitter, v: Access, s: Name, i: Value) -> Value:
        total = e.let("total", e.lit(0, v.dtype))
        with e.loop("k", v.shape[2]) as k:
            e.let("total", total + v.at(s, i, k) * v.at(s, i, k))
        return e.let("size", vmath("sqrt", total))

    def _complete(self, e: Emitter, v: Access, s: Name, i: Name) -> None:
        """Write a row perpendicular to all others: of the axis that is furthest from them."""
        dtype = v.dtype
        zero, one = e.lit(0, dtype), e.lit(1, dtype)
        best, at = e.let("best", e.lit(np.inf, dtype)), e.let("at", Integer(0))
        with e.loop("k", v.shape[2]) as k:
            seen = e.let("seen", zero)
            with e.loop("r", v.shape[1]) as r:
                e.let("seen", seen + v.at(s, r, k) * v.at(s, r, k))
            less = e.let("less", seen < best)
            e.let("best", select(less, seen, best))
            e.let("at", select(less, k, at))
        with e.loop("k", v.shape[2]) as k:
            e.store(v.at(s, i, k), select(k.equals(at), one, zero))
        with e.loop("again", Integer(2)):
            with e.loop("r", v.shape[1]) as r, e.when(r.differs(i)):
                both = e.let("both", zero)
                with e.loop("k", v.shape[2]) as k:
                    e.let("both", both + v.at(s, i, k) * v.at(s, r, k))
                with e.loop("k", v.shape[2]) as k:
                    e.store(v.at(s, i, k), v.at(s, i, k) - both * v.at(s, r, k))
            size = self._length(e, v, s, i)
            with e.loop("k", v.shape[2]) as k:
                e.store(v.at(s, i, k), v.at(s, i, k) / size)

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return types[0].size * types[0].shape[1] * 48
