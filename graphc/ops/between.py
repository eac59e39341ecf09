"""Values between others: linear interpolation, and integrals of lines between points."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import Array, Sample, function
from graphc.ir.tensor import Tensor
from graphc.ops.comparison import where
from graphc.ops.operands import as_tensor, common
from graphc.ops.reduce import sum
from graphc.ops.shape import reshape
from graphc.ops.slices import part
from graphc.types import normalize_axis

SECTION = "Arithmetic"


def _weights() -> Iterable[Sample]:
    a, b, w = np.random.default_rng(0).uniform(-2.0, 2.0, (3, 3, 4))
    yield Sample((a, b, w))
    yield Sample((a, b[0], 0.3))
    yield Sample((a[:, :1], b, np.array([0.0, 0.2, 0.5, 1.0])))


def _numpy_lerp(a: Any, b: Any, weight: Any) -> Any:
    a, b = a * np.float32(1), b * np.float32(1)
    return np.where(weight < 0.5, a + weight * (b - a), b - (b - a) * (1 - weight))


@function(samples=_weights, reference=_numpy_lerp, section=SECTION)
def lerp(a: Any, b: Any, weight: Any) -> Tensor:
    """Return ``a + weight (b - a)``, exactly ``a`` and ``b`` at weights 0 and 1, as PyTorch's."""
    x, y, w = common("lerp", a, b, weight, floating=True)
    gap = y - x
    return where(w < 0.5, x + w * gap, y - gap * (1 - w))


def _curves() -> Iterable[Sample]:
    rng = np.random.default_rng(0)
    y = rng.standard_normal((3, 5, 4))
    yield Sample((y,))
    for axis in (0, 1):
        yield Sample((y,), (("axis", axis), ("dx", 0.5)))
    yield Sample((y, np.cumsum(rng.uniform(0.1, 1.0, 4))))
    yield Sample((y, np.cumsum(rng.uniform(0.1, 1.0, 5))), (("axis", 1),))
    yield Sample((y, np.cumsum(rng.uniform(0.1, 1.0, y.shape), 1)), (("axis", 1),))
    yield Sample((y[..., :1],))


def _numpy_trapezoid(y: Any, x: Any = None, **kwargs: Any) -> Array:
    kind = np.result_type(y, np.float32) if np.asarray(y).dtype.kind != "f" else None
    return np.asarray(np.trapezoid(np.asarray(y, kind), x, **kwargs))


@function(samples=_curves, reference=_numpy_trapezoid, section=SECTION)
def trapezoid(y: Any, x: Any = None, *, dx: float = 1.0, axis: int = -1) -> Tensor:
    """Return the integral along ``axis`` of the lines between points ``y``, as ``numpy.trapezoid``.

    They are ``dx`` apart, or lie at ``x``, of one axis or of the shape of ``y``.
    """
    if x is None:
        (t,) = common("trapezoid", y, floating=True)
        place = normalize_axis(axis, t.ndim)
        low, high = _ends(t, place)
        return sum(low + high, place) * (0.5 * dx)
    t, at = common("trapezoid", y, x, floating=True)
    place = normalize_axis(axis, t.ndim)
    if at.ndim == 1 and t.ndim > 1:
        at = reshape(at, tuple(at.type.shape[0] if a == place else 1 for a in range(t.ndim)))
    if at.ndim != t.ndim or at.type.shape[place] != t.type.shape[place]:
        raise ShapeError(
            f"trapezoid: the points {as_tensor(x).describe()} need one axis of the length of axis "
            f"{axis} of {t.describe()}, or its shape"
        )
    (low, high), (first, second) = _ends(t, place), _ends(at, place)
    return sum((second - first) * (low + high), place) * 0.5


def _ends(t: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return all elements along ``axis`` but the last, and all but the first."""
    length = t.type.shape[axis]
    if length == 0:
        raise ShapeError(f"trapezoid: {t.describe()} has 0 points along axis {axis}")
    return part(t, axis, 0, length - 1), part(t, axis, 1, length - 1)
