"""Lengths of vectors and matrices."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.errors import ArgumentError
from graphc.ir.op import Sample, function
from graphc.ir.tensor import Tensor
from graphc.ops.arithmetic import abs, square
from graphc.ops.cast import cast
from graphc.ops.comparison import equal, not_equal, where
from graphc.ops.exponential import pow, sqrt
from graphc.ops.operands import common
from graphc.ops.reduce import max, min, sum
from graphc.types import normalize_axes

SECTION = "Linear algebra"


def _vectors() -> Iterable[Sample]:
    x = np.random.default_rng(4).uniform(0.5, 2.0, (3, 4)) * [1.0, -1.0, 1.0, -1.0]
    for ord in (2, 1, 3, 0.5, 0, math.inf, -math.inf, -2):
        smooth = ord != 0
        yield Sample((x,), (("ord", ord), ("axis", 1)), smooth)
    yield Sample((x,))
    yield Sample((x,), (("axis", (0, 1)), ("keepdims", True)))
    yield Sample((np.zeros((2, 3)),), (("axis", 1),), False)


@function(samples=_vectors, reference=np.linalg.vector_norm, section=SECTION)
def vector_norm(x: Any, *, axis: Any = None, ord: float = 2, keepdims: bool = False) -> Tensor:
    """Return ``sum(|x|^ord)^(1 / ord)`` along ``axis`` (default: all axes).

    ``ord`` may be infinite for the greatest or least magnitude, and 0 for the number of elements
    that are not 0. The derivative is 0 where all elements are 0, and by elements that are 0,
    as in PyTorch; so it is finite everywhere.
    """
    (t,) = common("vector_norm", x, floating=True)
    if isinstance(ord, bool) or not isinstance(ord, (int, float)) or math.isnan(ord):
        raise ArgumentError(f"vector_norm: ord must be a number, got {ord!r}")
    axes = normalize_axes(axis, t.ndim)
    if math.isinf(ord):
        return (max if ord > 0 else min)(abs(t), axes, keepdims=keepdims)
    if ord == 0:
        return sum(cast(not_equal(t, 0), t.dtype), axes, keepdims=keepdims)
    if ord == 1:
        return sum(abs(t), axes, keepdims=keepdims)
    if ord == 2:
        total = sum(square(t), axes, keepdims=keepdims)
        nothing = equal(total, 0)
        return where(nothing, 0, sqrt(where(nothing, 1, total)))
    absent = equal(t, 0)
    zero = 0.0 if ord > 0 else math.inf  # 0^ord
    powers = where(absent, zero, pow(where(absent, 1, abs(t)), ord))
    total = sum(powers, axes, keepdims=keepdims)
    edge = equal(total, zero)
    return where(edge, 0, pow(where(edge, 1, total), 1 / ord))
