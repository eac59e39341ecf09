"""Determinants: products of the pivots of triangular factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.op import Array, Composite, function, register
from graphc.ir.tensor import Tensor, apply
from graphc.ops.arithmetic import abs
from graphc.ops.batched import merged
from graphc.ops.comparison import where
from graphc.ops.exponential import log
from graphc.ops.linalg import trace
from graphc.ops.lu import Solve, inverse, matrices, pivots
from graphc.ops.reduce import prod, sum
from graphc.ops.rounding import sign
from graphc.ops.shape import reshape
from graphc.ops.stacks import SECTION, each, of_each, square_matrices, stacked
from graphc.types import TensorType


@register
@merged()
class Determinant(Composite):
    """The product of the pivots and the sign; ``det(A) A^-T`` is its derivative."""

    def infer(self, *types: TensorType) -> TensorType:
        return types[0].with_shape(types[0].shape[:1])

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        return each(lambda a: (np.linalg.det(a),), [x.shape[:1]], x)[0]

    def expand(self, *inputs: Tensor) -> Tensor:
        values, signs = pivots(inputs[0])
        return prod(values, axis=1) * signs

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (reshape(g * out, (*out.type.shape, 1, 1)) * inverse(inputs[0], True),)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (t,), (a,) = tangents, inputs
        return None if t is None else out * trace(apply(Solve(), a, t))


@register
@merged()
class LogDeterminant(Composite):
    """``log |det A|``; its derivative is ``A^-T``."""

    def infer(self, *types: TensorType) -> TensorType:
        return types[0].with_shape(types[0].shape[:1])

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        return each(lambda a: (np.linalg.slogdet(a)[1],), [x.shape[:1]], x)[0]

    def expand(self, *inputs: Tensor) -> Tensor:
        values, _ = pivots(inputs[0])
        return sum(log(abs(values)), axis=1)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (reshape(g, (*out.type.shape, 1, 1)) * inverse(inputs[0], True),)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (t,), (a,) = tangents, inputs
        return None if t is None else trace(apply(Solve(), a, t))


# -- functions ------------------------------------------------------------------------------------


@function(samples=matrices, reference=of_each(lambda a: (np.linalg.det(a),), ""),
          section=SECTION, name="linalg.det")  # fmt: skip
def det(x: Any) -> Tensor:
    """Return the determinants of square matrices: 0 if singular, where the derivative is NaN."""
    t = square_matrices("det", x)
    return reshape(apply(Determinant(), stacked(t)), t.type.shape[:-2])


@function(samples=matrices, reference=of_each(np.linalg.slogdet, "", ""),
          section=SECTION, name="linalg.slogdet")  # fmt: skip
def slogdet(x: Any) -> tuple[Tensor, Tensor]:
    """Return the sign of the determinant, and the logarithm of its magnitude.

    0 and -inf of a singular matrix.
    """
    t = square_matrices("slogdet", x)
    values, signs = pivots(stacked(t))
    lead = t.type.shape[:-2]
    turned = prod(sign(values), axis=1) * signs
    return reshape(turned, lead), reshape(apply(LogDeterminant(), stacked(t)), lead)


def _numpy_logdet(a: Any) -> Any:
    sign, size = np.linalg.slogdet(a)
    return (size if sign > 0 else -np.inf if sign == 0 else np.nan,)


@function(samples=matrices, reference=of_each(_numpy_logdet, ""),
          section=SECTION, name="linalg.logdet")  # fmt: skip
def logdet(x: Any) -> Tensor:
    """Return the logarithms of determinants: NaN of negative ones, as in PyTorch."""
    turned, size = slogdet(x)
    return where(turned < 0, np.nan, size)
