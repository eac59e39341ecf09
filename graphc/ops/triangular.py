"""Triangular systems, and the triangular factor of positive definite matrices.

Golub and Van Loan, *Matrix Computations*, 4th ed., sections 3.1 and 4.2. What has no solution is
NaN, where NumPy raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import Access, Array, Emitter, Loops, Sample, function, register
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Integer, select, vmath
from graphc.ops.batched import merged
from graphc.ops.linalg import product
from graphc.ops.masks import tril, triu
from graphc.ops.operands import as_tensor
from graphc.ops.shape import expand_dims, matrix_transpose, squeeze
from graphc.ops.stacks import (
    SECTION,
    check_square,
    each,
    floats,
    poison,
    reference_stacks,
    square_matrices,
    stacked,
    together,
    unstacked,
)
from graphc.types import AnyDim, TensorType


@register
@merged()
class SolveTriangular(Loops):
    """``X`` of ``T X = B``, or of ``T^T X = B``; ``T`` is one triangle, the rest is not looked at.

    With ``unit`` its diagonal is 1 whatever it holds. Of a 0 there, what depends on it is NaN or
    infinite.
    """

    lower: bool
    transposed: bool = False
    unit: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        return types[1]

    def numpy(self, *arrays: Array) -> Array:
        t, b = arrays
        x = b.copy()
        count, lower = b.shape[1], self.lower
        t = np.swapaxes(t, 1, 2) if self.transposed else t
        with np.errstate(all="ignore"):
            for i in range(count) if lower is not self.transposed else reversed(range(count)):
                part = slice(0, i) if lower is not self.transposed else slice(i + 1, count)
                x[:, i] -= (t[:, i, part, None] * x[:, part]).sum(1)
                if not self.unit:
                    x[:, i] /= t[:, i, i, None]
        return x

    def loops(self, e: Emitter, out: Access, *ins: Access) -> None:
        t, b = ins
        count, columns = b.shape[1], b.shape[2]
        forward = self.lower is not self.transposed
        with e.parallel("s", b.dims[0]) as s, e.loop("step", count) as step:
            i = e.let("i", step if forward else count - 1 - step)
            with e.loop("j", columns) as j:
                e.store(out.at(s, i, j), b.at(s, i, j))
            first, last = (Integer(0), i) if forward else (i + 1, count)
            with e.loop("k", last, first) as k:
                factor = e.let("factor", t.at(s, *((k, i) if self.transposed else (i, k))))
                with e.loop("j", columns) as j:
                    e.store(out.at(s, i, j), out.at(s, i, j) - factor * out.at(s, k, j))
            if not self.unit:
                pivot = e.let("pivot", t.at(s, i, i))
                with e.loop("j", columns) as j:
                    e.store(out.at(s, i, j), out.at(s, i, j) / pivot)

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return out.size * types[0].shape[1]

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        back = apply(self.replaced(transposed=not self.transposed), inputs[0], g)
        pair = (out, back) if self.transposed else (back, out)
        return -self._triangle(product(*pair, False, True)), back

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        tt, tb = tangents
        if tt is not None:
            moved = product(self._triangle(tt), out, self.transposed, False)
            tb = -moved if tb is None else tb - moved
        return None if tb is None else apply(self, inputs[0], tb)

    def _triangle(self, t: Tensor) -> Tensor:
        """Return the part that is looked at."""
        return tril(t, k=-int(self.unit)) if self.lower else triu(t, k=int(self.unit))


@register
@merged()
class Cholesky(Loops):
    """The lower triangle ``L`` with ``L L^T = A``, of symmetric ``A``; NaN if there is none."""

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        return each(lambda a: (np.linalg.cholesky(a),), [x.shape], x)[0]

    def loops(self, e: Emitter, out: Access, *ins: Access) -> None:
        (x,) = ins
        count, dtype = x.shape[1], x.dtype
        with e.parallel("s", x.dims[0]) as s:
            bad = poison(e, x, s)
            with e.loop("i", count) as i, e.loop("j", count, i) as j:
                e.store(out.at(s, i, j), x.at(s, i, j))
            with e.loop("k", count) as k:  # by rows of the transpose: they lie together
                pivot = e.let("pivot", out.at(s, k, k))
                wrong = select(pivot > 0, e.lit(0, dtype), e.lit(np.nan, dtype))
                e.let(bad.name, bad + wrong)
                root = e.let("root", vmath("sqrt", pivot))
                with e.loop("j", count, k) as j:
                    e.store(out.at(s, k, j), out.at(s, k, j) / root)
                with e.loop("i", count, k + 1) as i:
                    factor = e.let("factor", out.at(s, k, i))
                    with e.loop("j", count, i) as j:
                        e.store(out.at(s, i, j), out.at(s, i, j) - factor * out.at(s, k, j))
            with e.loop("i", count) as i:
                e.store(out.at(s, i, i), out.at(s, i, i) + bad)
                with e.loop("j", count, i + 1) as j:
                    e.store(out.at(s, j, i), out.at(s, i, j) + bad)
                    e.store(out.at(s, i, j), e.lit(0, dtype) + bad)

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return out.size * out.shape[1]

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        # Murray, Differentiation of the Cholesky decomposition, arXiv:1602.07527, section 3
        inner = half(product(out, g, True, False))
        inner = (inner + matrix_transpose(inner)) * 0.5
        left = apply(SolveTriangular(True, True), out, inner)
        return (matrix_transpose(apply(SolveTriangular(True, True), out, matrix_transpose(left))),)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (t,) = tangents
        if t is None:
            return None
        left = apply(SolveTriangular(True), out, t)
        inner = apply(SolveTriangular(True), out, matrix_transpose(left))
        return product(out, half(inner), False, False)


def half(t: Tensor) -> Tensor:
    """Return the lower triangle with half the diagonal."""
    return (tril(t) + tril(t, k=-1)) * 0.5


# -- functions ------------------------------------------------------------------------------------


def _systems() -> Iterable[Sample]:
    rng = np.random.default_rng(0)
    t = rng.standard_normal((2, 3, 4, 4)) + 3 * np.eye(4)
    b = rng.standard_normal((2, 3, 4, 2))
    for lower in (False, True):
        for trans in (False, True):
            yield Sample((t, b), (("lower", lower), ("trans", trans)))
    yield Sample((t[0, 0] / 4, b[0, 0]), (("lower", True), ("unit_diagonal", True)))
    yield Sample((t[0, 0] / 4, b[0, 0, :, 0]), (("unit_diagonal", True), ("trans", True)))
    yield Sample((t[:, :1], b[0, :1]))
    yield Sample((t[:0], b[:0]))
    yield Sample((np.array([[2, 1], [1, 1]]), np.array([[1], [3]])))


def _numpy_triangular(
    a: Any, b: Any, *, lower: bool = False, trans: bool = False, unit_diagonal: bool = False
) -> Any:
    options = {"lower": lower, "trans": trans, "unit_diagonal": unit_diagonal}
    if np.ndim(b) == 1:
        return _numpy_triangular(a, b[:, None], **options)[..., 0]
    left, right, lead = reference_stacks(a, b)
    found = SolveTriangular(lower, trans, unit_diagonal).numpy(left, right)
    return found.reshape((*lead, *right.shape[1:]))


@function(samples=_systems, reference=_numpy_triangular, section=SECTION,
          name="linalg.solve_triangular")  # fmt: skip
def solve_triangular(
    a: Any, b: Any, *, lower: bool = False, trans: bool = False, unit_diagonal: bool = False
) -> Tensor:
    """Return ``x`` of ``a x = b`` for upper (or ``lower``) triangular ``a``, as SciPy's.

    ``trans`` solves with the transpose of ``a``; a ``unit_diagonal`` is taken for ones. The other
    triangle is not looked at. ``b`` holds matrices, or is one vector; leading axes broadcast.
    """
    vector = as_tensor(b).ndim == 1
    left, right = floats("solve_triangular", a, expand_dims(b, 1) if vector else b)
    check_square("solve_triangular", left)
    if left.type.shape[-1] != right.type.shape[-2]:
        raise ShapeError(
            f"solve_triangular: the matrices {left.describe()} and the right sides "
            f"{as_tensor(b).describe()} need one number of rows"
        )
    first, second, lead = together(left, right)
    op = SolveTriangular(bool(lower), bool(trans), bool(unit_diagonal))
    found = unstacked(apply(op, first, second), lead)
    return squeeze(found, -1) if vector else found


def _positive() -> Iterable[Sample]:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 4))
    a = x @ x.swapaxes(-1, -2) + 2 * np.eye(4)
    for upper in (False, True):
        yield Sample((a,), (("upper", upper),))
    yield Sample((a[0, 0],))
    yield Sample((a[:0],))
    yield Sample((np.array([[2, 1], [1, 1]]),))
    yield Sample((np.array([[1.0, 2.0], [2.0, 1.0]]),), (), False)


def _numpy_cholesky(x: Any, *, upper: bool = False) -> Any:
    x = x * np.float32(1)
    a = (x + x.swapaxes(-1, -2)) * x.dtype.type(0.5)
    stack = a.reshape(-1, *x.shape[-2:])
    found = Cholesky().numpy(stack).reshape(x.shape)
    return found.swapaxes(-1, -2) if upper else found


@function(samples=_positive, reference=_numpy_cholesky, section=SECTION,
          name="linalg.cholesky")  # fmt: skip
def cholesky(x: Any, *, upper: bool = False) -> Tensor:
    """Return ``L`` of ``x = L L^T``, or its transpose, for symmetric positive definite matrices.

    The symmetric part ``(x + x^T) / 2`` is taken, so that derivatives are symmetric. NaN if it is
    not positive definite.
    """
    t = square_matrices("cholesky", x)
    stack = stacked(t)
    found = apply(Cholesky(), (stack + matrix_transpose(stack)) * 0.5)
    return unstacked(matrix_transpose(found) if upper else found, t.type.shape[:-2])
