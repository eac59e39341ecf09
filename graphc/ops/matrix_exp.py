"""The exponential of matrices, by scaling and squaring.

Moler and Van Loan, *Nineteen dubious ways to compute the exponential of a matrix, twenty-five years
later*, SIAM Review 45, 2003, method 3, with Taylor's series.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.ir.op import Access, Array, Emitter, Loops, Sample, function, register
from graphc.ir.results import Multiple, results
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Integer, Name, Value, select, vmath
from graphc.ops.batched import merged
from graphc.ops.creation import zeros_like
from graphc.ops.manipulation import concat
from graphc.ops.shape import matrix_transpose
from graphc.ops.slices import part
from graphc.ops.stacks import SECTION, poison, square_matrices, stacked, unstacked
from graphc.types import AnyDim, Several, TensorType

_TERMS = 18
"""Of the series: the next one is below the rounding of float64 where the norm is at most 1."""
_HALVINGS = 60
"""Of the norm, at most; beyond the exponential of all but special matrices is infinite."""


@register
@merged()
class MatrixExp(Multiple, Loops):
    """``I + A + A^2 / 2 + ...``, and a matrix that it took; NaN if an element is not finite."""

    def infer(self, *types: TensorType) -> TensorType:
        return Several.of([types[0], types[0]])

    def numpy(self, *arrays: Array) -> Any:
        (x,) = arrays
        found = np.empty_like(x)
        for s, a in enumerate(x):
            norm, halvings, one = np.abs(a).sum(0).max(initial=0), 0, np.eye(len(a), dtype=a.dtype)
            while norm > 1 and halvings < _HALVINGS:
                norm, halvings = norm / 2, halvings + 1
            value = one + (a - a).sum()
            for k in range(_TERMS, 0, -1):
                value = one + (a * a.dtype.type(0.5**halvings / k)) @ value
            for _ in range(halvings):
                value = value @ value
            found[s] = value
        return found, found

    def loops(self, e: Emitter, out: Any, *ins: Access) -> None:
        (x,) = ins
        value, rest = out
        count, dtype = x.shape[1], x.dtype
        zero, one = e.lit(0, dtype), e.lit(1, dtype)
        with e.parallel("s", x.dims[0]) as s:
            bad = poison(e, x, s)
            norm = e.let("norm", zero)
            with e.loop("j", count) as j:
                total = e.let("total", zero)
                with e.loop("i", count) as i:
                    e.let("total", total + vmath("abs", x.at(s, i, j)))
                e.let("norm", vmath("maximum", norm, total))
            scale, halvings = e.let("scale", one), e.let("halvings", Integer(0))
            with e.loop("halve", Integer(_HALVINGS)), e.when(norm > 1):
                e.let("norm", norm * e.lit(0.5, dtype))
                e.let("scale", scale * e.lit(0.5, dtype))
                e.let("halvings", halvings + 1)
            with e.loop("i", count) as i, e.loop("j", count) as j:
                e.store(value.at(s, i, j), select(i.equals(j), one, zero) + bad)
            terms = e.let("terms", e.lit(_TERMS, dtype))
            with e.loop("term", Integer(_TERMS)):
                factor = e.let("factor", scale / terms)
                self._product(e, (x, value, rest), s, factor)
                with e.loop("i", count) as i, e.loop("j", count) as j:
                    e.store(value.at(s, i, j), rest.at(s, i, j) + select(i.equals(j), one, zero))
                e.let("terms", terms - one)
            with e.loop("squaring", halvings):
                self._product(e, (value, value, rest), s, one)
                with e.loop("i", count) as i, e.loop("j", count) as j:
                    e.store(value.at(s, i, j), rest.at(s, i, j))

    @staticmethod
    def _product(e: Emitter, parts: tuple[Access, Access, Access], s: Name, by: Value) -> None:
        """Write ``c = by a b``."""
        a, b, c = parts
        count = a.shape[1]
        with e.loop("i", count) as i:
            with e.loop("j", count) as j:
                e.store(c.at(s, i, j), e.lit(0, a.dtype))
            with e.loop("k", count) as k:
                element = e.let("element", a.at(s, i, k) * by)
                with e.loop("j", count) as j:
                    e.store(c.at(s, i, j), c.at(s, i, j) + element * b.at(s, k, j))

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return types[0].size * types[0].shape[1] * 2 * (_TERMS + 2)

    def vjps(self, gs: Any, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (_beside(matrix_transpose(inputs[0]), gs[0]) if 0 in gs else None,)

    def jvps(self, tangents: Any, out: Tensor, *inputs: Tensor) -> Any:
        return {} if tangents[0] is None else {0: _beside(inputs[0], tangents[0])}


def _beside(a: Tensor, t: Tensor) -> Tensor:
    """Return the derivative at ``a`` along ``t``: a block of the one of ``[[a, t], [0, a]]``.

    Najfeld and Havel, *Derivatives of the matrix exponential and their computation*, 1995.
    """
    count = a.type.shape[1]
    above, below = concat([a, t], axis=2), concat([zeros_like(a), a], axis=2)
    whole = results(apply(MatrixExp(), concat([above, below], axis=1)))[0]
    return part(part(whole, 1, 0, count), 2, count, count)


def _matrices() -> Iterable[Sample]:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 4))
    yield Sample((x,))
    yield Sample((x[0, 0] * 5,), (), False)
    yield Sample((x[0, 0, :1, :1],))
    yield Sample((x[:0],))
    yield Sample((np.array([[2, 1], [1, 1]]),))


def _numpy_exp(x: Any) -> Any:
    x = x * np.float32(1)
    with np.errstate(all="ignore"):
        return MatrixExp().numpy(x.reshape(-1, *x.shape[-2:]))[0].reshape(x.shape)


@function(samples=_matrices, reference=_numpy_exp, section=SECTION, name="linalg.matrix_exp")
def matrix_exp(x: Any) -> Tensor:
    """Return the exponentials ``I + x + x x / 2 + ...`` of square matrices, as PyTorch's."""
    t = square_matrices("matrix_exp", x)
    return unstacked(results(apply(MatrixExp(), stacked(t)))[0], t.type.shape[:-2])
