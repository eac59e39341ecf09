"""Matrix products."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import Array, Contraction, Sample, function, register, unbroadcast
from graphc.ir.tensor import Tensor, apply
from graphc.ops.operands import common
from graphc.ops.shape import permute_dims, reshape
from graphc.types import AnyDim, TensorType, broadcast_shapes

SECTION = "Linear algebra"


@register
@dataclass(frozen=True)
class Matmul(Contraction):
    """``A @ B`` on the last two axes; leading axes broadcast."""

    transpose_a: bool = False
    transpose_b: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        a, b = types
        (m, k), (l, n) = a.shape[-2:], b.shape[-2:]
        if self.transpose_a:
            m, k = k, m
        if self.transpose_b:
            l, n = n, l
        if k != l:
            raise ShapeError(f"mismatch in the core dimension: {k} is different from {l}")
        return a.with_shape((*broadcast_shapes(a.shape[:-2], b.shape[:-2]), m, n))

    def numpy(self, *arrays: Array) -> Array:
        a, b = arrays
        a = np.swapaxes(a, -1, -2) if self.transpose_a else a
        b = np.swapaxes(b, -1, -2) if self.transpose_b else b
        return np.matmul(a, b)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        # C = A B: dA = dC B^T, dB = A^T dC; an operand that enters transposed leaves so.
        a, b = inputs
        ta, tb = self.transpose_a, self.transpose_b
        da = product(b, g, tb, True) if ta else product(g, b, False, not tb)
        db = product(g, a, True, ta) if tb else product(a, g, not ta, False)
        return unbroadcast(da, a.type.shape), unbroadcast(db, b.type.shape)

    def jvp(
        self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor
    ) -> Tensor | None:
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


def transpose(x: Tensor) -> Tensor:
    """Swap the last two axes."""
    return permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


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
        raise ShapeError("matmul: an operand is a scalar; use multiply")
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
