"""Reductions along axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir.op import Array, Literal, Reduction, Sample, function, reduced_shape, register
from graphc.ir.tensor import Tensor, apply
from graphc.ops.operands import as_tensor
from graphc.ops.shape import broadcast_to, reshape
from graphc.types import BOOL, INT64, normalize_axes

SECTION = "Reductions"


def spread(t: Tensor, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Broadcast ``t``, a reduction of ``x`` along ``axes``, back to the shape of ``x``."""
    kept = reduced_shape(x.type.shape, axes, True)
    return broadcast_to(reshape(t, kept), x.type.shape)


@register
@dataclass(frozen=True)
class Sum(Reduction):
    """Sum of the elements along ``axes``."""

    axes: tuple[int, ...]
    keepdims: bool = False

    def result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return INT64 if dtype == BOOL else dtype

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        out = self.result_dtype(x.dtype)
        return np.asarray(np.sum(x, axis=self.axes, keepdims=self.keepdims, dtype=out))

    def initial(self, lit: Literal, dtype: np.dtype[Any]) -> str:
        return lit(0)

    def combine(self, acc: str, x: str) -> str:
        return f"{acc} + {x}"

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        (x,) = inputs
        return (spread(g, x, self.axes),)

    def jvp(
        self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor
    ) -> Tensor | None:
        (t,) = tangents
        return None if t is None else apply(self, t)


def _samples() -> Iterable[Sample]:
    """Operands that every reduction is tried on."""
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    yield Sample((x,))
    for axis in (0, 1, -1, (0, 2), (0, 1, 2), ()):
        for keepdims in (False, True):
            yield Sample((x,), (("axis", axis), ("keepdims", keepdims)))
    yield Sample((x[:, :, 0].astype("int32"),), (("axis", 0),), differentiable=False)


@function(samples=_samples, reference=np.sum, section=SECTION)
def sum(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return the sum of the elements of ``x`` along ``axis`` (default: all axes)."""
    t = as_tensor(x)
    return apply(Sum(normalize_axes(axis, t.ndim), keepdims), t)
