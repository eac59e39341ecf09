"""Systems of linear equations and determinants, by triangular factors with partial pivoting.

Golub and Van Loan, *Matrix Computations*, 4th ed., section 3.4. A matrix that is singular, or that
holds NaN or infinity, has no solution: it is NaN, where NumPy raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.ir.op import Access, Array, Composite, Emitter, Loops, Sample, function, register
from graphc.ir.results import Multiple, results
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Integer, select, vmath
from graphc.ops.along import ScatterAddAlongAxis
from graphc.ops.batched import merged
from graphc.ops.cast import cast
from graphc.ops.comparison import equal
from graphc.ops.creation import iota
from graphc.ops.linalg import matmul, product
from graphc.ops.operands import as_tensor
from graphc.ops.shape import broadcast_to, expand_dims, reshape, squeeze
from graphc.ops.slices import diagonal
from graphc.ops.stacks import (
    SECTION,
    check_square,
    floats,
    of_each,
    poison,
    solution,
    square_matrices,
    stacked,
    together,
    unstacked,
)
from graphc.types import INT64, AnyDim, Several, TensorType


@register
@merged()
class LuFactor(Multiple, Loops):
    """``L`` below the diagonal, ``U`` on and above it, of ``P A = L U``; ``P``'s rows and sign.

    Of a column, the element of greatest magnitude is the pivot. All of it is NaN if an element is
    not finite. Derivatives are those of what is made of it.
    """

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        return Several.of([x, TensorType(INT64, x.shape[:2]), x.with_shape(x.shape[:1])])

    def result_bounds(self, number: int, *types: TensorType) -> tuple[AnyDim, AnyDim] | None:
        return (0, types[0].shape[1]) if number == 1 else None

    def numpy(self, *arrays: Array) -> Any:
        (x,) = arrays
        factors, count = x.copy(), x.shape[1]
        order = np.tile(np.arange(count), (len(x), 1))
        signs = np.ones(len(x), x.dtype)
        for s, a in enumerate(factors):
            a += (a - a).sum()
            for k in range(count):
                column = np.abs(a[k:, k])
                at = k + int(np.argmax(np.where(np.isnan(column), -1, column)))
                if at != k:
                    a[[k, at]], order[s, [k, at]] = a[[at, k]], order[s, [at, k]]
                    signs[s] = -signs[s]
                if a[k, k] != 0:
                    a[k + 1 :, k] /= a[k, k]
                a[k + 1 :, k + 1 :] -= np.outer(a[k + 1 :, k], a[k, k + 1 :])
        return factors, order, signs

    def loops(self, e: Emitter, out: Any, *ins: Access) -> None:
        (x,) = ins
        a, order, signs = out
        count, dtype = x.shape[1], x.dtype
        with e.parallel("s", x.dims[0]) as s:
            rest = poison(e, x, s)
            with e.loop("i", count) as i:
                e.store(order.at(s, i), i)
                with e.loop("j", count) as j:
                    e.store(a.at(s, i, j), x.at(s, i, j) + rest)
            turned = e.let("turned", e.lit(1, dtype))
            with e.loop("k", count) as k:
                best = e.let("best", vmath("abs", a.at(s, k, k)))
                at = e.let("at", k)
                with e.loop("i", count, k + 1) as i:
                    size = e.let("size", vmath("abs", a.at(s, i, k)))
                    more = e.let("more", size > best)
                    e.let("best", select(more, size, best))
                    e.let("at", select(more, i, at))
                with e.when(at.differs(k)):
                    e.let("turned", -turned)
                    kept = e.let("kept", order.at(s, k))
                    e.store(order.at(s, k), order.at(s, at))
                    e.store(order.at(s, at), kept)
                    with e.loop("j", count) as j:
                        held = e.let("held", a.at(s, k, j))
                        e.store(a.at(s, k, j), a.at(s, at, j))
                        e.store(a.at(s, at, j), held)
                pivot = e.let("pivot", a.at(s, k, k))
                divisor = e.let("divisor", select(pivot.equals(0), e.lit(1, dtype), pivot))
                with e.loop("i", count, k + 1) as i:
                    factor = e.let("factor", a.at(s, i, k) / divisor)
                    e.store(a.at(s, i, k), factor)
                    with e.loop("j", count, k + 1) as j:
                        e.store(a.at(s, i, j), a.at(s, i, j) - factor * a.at(s, k, j))
            e.store(signs.at(s), turned)

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return types[0].size * types[0].shape[1]


@register
@merged()
class LuSolve(Loops):
    """``X`` of ``A X = B``, or ``P X`` of ``A^T X = B``, by the factors of ``A``.

    NaN if ``A`` is singular. Operands are the factors, the order of rows, and ``B``.
    """

    transposed: bool

    def infer(self, *types: TensorType) -> TensorType:
        return types[2]

    def numpy(self, *arrays: Array) -> Array:
        factors, order, b = arrays
        x = np.empty_like(b)
        for s, a in enumerate(factors):
            if (np.diagonal(a) == 0).any() or not np.isfinite(a).all():
                x[s] = np.nan
                continue
            lower, upper = np.tril(a, -1) + np.eye(len(a), dtype=a.dtype), np.triu(a)
            if self.transposed:
                x[s] = np.linalg.solve(lower.T, np.linalg.solve(upper.T, b[s]))
            else:
                x[s] = np.linalg.solve(upper, np.linalg.solve(lower, b[s, order[s]]))
        x[np.broadcast_to(~np.isfinite(b).all(1, keepdims=True), x.shape)] = np.nan
        return x

    def loops(self, e: Emitter, out: Access, *ins: Access) -> None:
        a, order, b = ins
        count, columns, dtype = b.shape[1], b.shape[2], b.dtype
        with e.parallel("s", b.dims[0]) as s:
            bad = e.let("bad", e.lit(0, dtype))
            with e.loop("i", count) as i:
                none = a.at(s, i, i).equals(0)
                e.let("bad", bad + select(none, e.lit(np.nan, dtype), e.lit(0, dtype)))
            with e.loop("j", columns) as j:
                rest = e.let("rest", bad)
                with e.loop("i", count) as i:
                    value = b.at(s, i, j)
                    e.let("rest", rest + (value - value))
                with e.loop("i", count) as i:
                    at = i if self.transposed else order.at(s, i)
                    e.store(out.at(s, i, j), b.at(s, at, j) + rest)
            for upper in (True, False) if self.transposed else (False, True):
                with e.loop("step", count) as step:
                    i = e.let("i", step if upper is self.transposed else count - 1 - step)
                    first, last = (Integer(0), i) if upper is self.transposed else (i + 1, count)
                    with e.loop("k", last, first) as k:
                        factor = e.let("factor", a.at(s, *((k, i) if self.transposed else (i, k))))
                        with e.loop("j", columns) as j:
                            e.store(out.at(s, i, j), out.at(s, i, j) - factor * out.at(s, k, j))
                    if upper:
                        pivot = e.let("pivot", a.at(s, i, i))
                        with e.loop("j", columns) as j:
                            e.store(out.at(s, i, j), out.at(s, i, j) / pivot)

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return out.size * types[0].shape[1] * 2


@register
@merged()
class Solve(Composite):
    """``X`` of ``A X = B``, or of ``A^T X = B``: ``dX = solve(A, dB - dA X)``.

    The solves of values and derivatives with one matrix share its factors.
    """

    transposed: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        return types[1]

    def numpy(self, *arrays: Array) -> Array:
        a, b = arrays
        factors, order, _ = LuFactor().numpy(a)
        solved = LuSolve(self.transposed).numpy(factors, order, b)
        if self.transposed:
            np.put_along_axis(x := np.empty_like(b), order[..., None], solved, 1)
            return x
        return solved

    def expand(self, *inputs: Tensor) -> Tensor:
        a, b = inputs
        factors, order, _ = results(apply(LuFactor(), a))
        solved = apply(LuSolve(self.transposed), factors, order, b)
        if not self.transposed:
            return solved
        places = broadcast_to(reshape(order, (*order.type.shape, 1)), solved.type.shape)
        return apply(ScatterAddAlongAxis(1, solved.type.shape[1]), solved, places)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        a, _ = inputs
        back = apply(Solve(not self.transposed), a, g)
        if self.transposed:
            return -product(out, back, False, True), back
        return -product(back, out, False, True), back

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (a, _), (ta, tb) = inputs, tangents
        if ta is not None:
            moved = product(ta, out, self.transposed, False)
            tb = -moved if tb is None else tb - moved
        return None if tb is None else apply(self, a, tb)


def pivots(t: Tensor) -> tuple[Tensor, Tensor]:
    """Return the diagonals of triangular factors, and the signs of the orders of rows."""
    factors, _, signs = results(apply(LuFactor(), t))
    return diagonal(factors, 0, 1, 2), signs


def inverse(t: Tensor, transposed: bool = False) -> Tensor:
    """Return the inverses of a stack of matrices, or their transposes."""
    size = t.type.shape[-1]
    one = broadcast_to(_identity(size, t), t.type.shape)
    return apply(Solve(transposed), t, one)


def _identity(size: AnyDim, like: Tensor) -> Tensor:
    rows, columns = (iota((size, size), axis, INT64) for axis in (0, 1))
    return cast(equal(rows, columns), like.dtype)


# -- functions ------------------------------------------------------------------------------------


def _well_conditioned() -> np.ndarray[Any, Any]:
    """Return well conditioned matrices."""
    return np.random.default_rng(0).standard_normal((2, 3, 4, 4)) + 3 * np.eye(4)


def _systems() -> Iterable[Sample]:
    a, rng = _well_conditioned(), np.random.default_rng(1)
    b = rng.standard_normal((2, 3, 4, 2))
    yield Sample((a, b))
    yield Sample((a[0, 0], b[0, 0]))
    yield Sample((a[0, 0], b[0, 0, :, 0]))
    yield Sample((a[:, :1], b[0, :1]))
    yield Sample((np.array([[[0.0, 2.0], [3.0, 1.0]]]), np.array([[[1.0], [2.0]]])))
    yield Sample((a[:0], b[:0]))
    yield Sample((np.array([[2, 1], [1, 1]]), np.array([[1], [3]])))


@function(
    samples=_systems,
    reference=lambda a, b: solution(np.linalg.solve, a, b),
    section=SECTION,
    name="linalg.solve",
)
def solve(a: Any, b: Any) -> Tensor:
    """Return ``x`` of ``a x = b``; ``b`` holds matrices, or is one vector. Leading axes broadcast.

    NaN where ``a`` is singular, or holds NaN or infinity; a column of ``b`` that does is NaN.
    """
    vector = as_tensor(b).ndim == 1
    left, right = floats("solve", a, expand_dims(b, 1) if vector else b)
    check_square("solve", left)
    if left.type.shape[-1] != right.type.shape[-2]:
        raise ShapeError(
            f"solve: the matrices {left.describe()} and the right sides {as_tensor(b).describe()} "
            "need one number of rows"
        )
    first, second, lead = together(left, right)
    found = unstacked(apply(Solve(), first, second), lead)
    return squeeze(found, -1) if vector else found


def matrices() -> Iterable[Sample]:
    """Return samples of functions of square matrices; the last one is singular."""
    a = _well_conditioned()
    yield Sample((a,))
    yield Sample((a[0, 0],))
    yield Sample((a[0, 0, :1, :1],))
    yield Sample((a[:0],))
    yield Sample((np.array([[2, 1], [1, 1]]),))
    yield Sample((np.array([[1.0, 2.0], [2.0, 4.0]]),), (), False)


@function(samples=matrices, reference=of_each(lambda a: (np.linalg.inv(a),), "nn"),
          section=SECTION, name="linalg.inv")  # fmt: skip
def inv(x: Any) -> Tensor:
    """Return the inverses of square matrices; NaN if singular. ``solve`` is more exact."""
    t = square_matrices("inv", x)
    return unstacked(inverse(stacked(t)), t.type.shape[:-2])


def _powers() -> Iterable[Sample]:
    a = _well_conditioned()[0] / 3
    for n in (0, 1, 2, 5, -1, -3):
        yield Sample((a, n))
    yield Sample((a[:0], 3))


def _numpy_power(x: Any, n: int) -> Any:
    x = x * np.float32(1)
    if n < 0:
        x, n = of_each(lambda a: (np.linalg.inv(a),), "nn")(x), -n
    return np.linalg.matrix_power(x, n)


@function(samples=_powers, reference=_numpy_power, section=SECTION, name="linalg.matrix_power")
def matrix_power(x: Any, n: int) -> Tensor:
    """Return square matrices to the integer power ``n``; of the inverse, if it is negative."""
    t = square_matrices("matrix_power", x)
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise ArgumentError(f"matrix_power: n must be an integer, got {n!r}")
    if n < 0:
        t, n = inv(t), -n
    if n == 0:
        return broadcast_to(_identity(t.type.shape[-1], t), t.type.shape)
    power: Tensor | None = None
    while n:
        if n % 2:
            power = t if power is None else matmul(power, t)
        n //= 2
        t = matmul(t, t) if n else t
    assert power is not None
    return power
