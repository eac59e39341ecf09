"""Activations that shrink, gate or replace; at kinks the derivative is PyTorch's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.ir.op import Array, Sample, function
from graphc.ir.tensor import Tensor
from graphc.ops.activation import SECTION
from graphc.ops.arithmetic import abs, numbers
from graphc.ops.comparison import where
from graphc.ops.elementwise import unary
from graphc.ops.exponential import sigmoid
from graphc.ops.operands import common
from graphc.ops.shape import reshape
from graphc.ops.slices import part
from graphc.ops.trigonometric import tanh
from graphc.types import normalize_axis, show_dim

_ONE = np.float32(1)
"""Makes floats of integers, as the functions do, and leaves other floats as they are."""


def _prelus() -> Iterable[Sample]:
    x = np.random.default_rng(0).uniform(-2.0, 2.0, (2, 3, 4))
    for weight in (np.array([0.25]), np.asarray(0.1), np.array([0.1, -0.2, 0.3, 1.5])):
        yield Sample((x, weight))
    yield Sample((np.array([-1, 2]), np.array([0.5])), (), False)


@function(samples=_prelus, reference=lambda x, w: np.where(x > 0, x, x * w * _ONE), section=SECTION)
def prelu(x: Any, weight: Any) -> Tensor:
    """Return ``x`` where it is positive, else ``weight * x``.

    ``weight`` is one number, or one for each channel, the last of two axes and more (He et al.,
    2015, arXiv:1502.01852).
    """
    t, w = common("prelu", x, weight, floating=True)
    channels = t.type.shape[-1] if t.ndim > 1 else 1
    if w.ndim > 1 or w.type.size not in (1, channels):
        raise ShapeError(
            f"prelu: the weight {w.describe()} needs 1 element, or one for each of the "
            f"{show_dim(channels)} channels of {t.describe()}"
        )
    slope = reshape(w, ()) if w.type.size == 1 else w
    return where(t > 0, t, slope * t)


def _halves() -> Iterable[Sample]:
    x = np.random.default_rng(0).standard_normal((2, 4, 6))
    yield Sample((x,))
    yield Sample((x,), (("axis", 1),))
    yield Sample((x[0],), (("axis", -2),))


def _numpy_glu(x: Array, axis: int = -1) -> Any:
    a, b = np.split(x * _ONE, 2, axis)
    return a / (1 + np.exp(-b))


@function(samples=_halves, reference=_numpy_glu, section=SECTION)
def glu(x: Any, axis: int = -1) -> Tensor:
    """Return the first half along ``axis`` times the sigmoid of the second.

    Dauphin et al., 2017, arXiv:1612.08083.
    """
    (t,) = common("glu", x, floating=True)
    place = normalize_axis(axis, t.ndim)
    length = t.type.shape[place]
    if not isinstance(length, int) or length % 2:
        raise ShapeError(f"glu: axis {axis} of {t.describe()} needs an even length to be halved")
    half = length // 2
    return part(t, place, 0, half) * sigmoid(part(t, place, half, half))


@function(
    samples=unary(0.6, 3.0, -3.0, -0.5, 0.0, 0.5, 0.3),
    reference=lambda x, lambd=0.5: np.where(np.abs(x * _ONE) <= lambd, 0, x * _ONE),
    section=SECTION,
)
def hardshrink(x: Any, lambd: float = 0.5) -> Tensor:
    """Return ``x``, but 0 where it is no further from 0 than ``lambd``."""
    (t,) = common("hardshrink", x, floating=True)
    return where(abs(t) <= lambd, 0, t)


def _numpy_softshrink(x: Any, lambd: float = 0.5) -> Any:
    x = x * _ONE
    return np.where(np.abs(x) <= lambd, 0, x - np.sign(x) * x.dtype.type(lambd))


@function(
    samples=unary(0.6, 3.0, -3.0, -0.5, 0.0, 0.5, 0.3),
    reference=_numpy_softshrink,
    section=SECTION,
)
def softshrink(x: Any, lambd: float = 0.5) -> Tensor:
    """Return ``x`` moved towards 0 by ``lambd``, 0 where that is further than to 0."""
    if not lambd >= 0:
        raise ArgumentError(f"softshrink: lambd must not be negative, got {lambd}")
    (t,) = common("softshrink", x, floating=True)
    return where(abs(t) <= lambd, 0, where(t > 0, t - lambd, t + lambd))


@function(
    samples=unary(-3.0, 3.0, 0.0, 100.0), reference=lambda x: x - np.tanh(x * _ONE), section=SECTION
)
def tanhshrink(x: Any) -> Tensor:
    """Return ``x - tanh(x)``."""
    (t,) = common("tanhshrink", x, floating=True)
    return t - tanh(t)


def _thresholds() -> Iterable[Sample]:
    x = np.random.default_rng(0).uniform(-2.0, 2.0, (3, 4))
    yield Sample((x, 0.25, 7.0))
    yield Sample((np.array([-1.0, 0.5, 0.25]), 0.25, -1.0), (), False)
    yield Sample((np.array([-1, 1, 5]), 2, 20))


@function(
    samples=_thresholds, reference=lambda x, t, v: np.where(x <= t, type(v)(v), x), section=SECTION
)
def threshold(x: Any, threshold: float, value: float) -> Tensor:
    """Return ``x`` where it is above ``threshold``, else ``value``; NaN stays NaN."""
    (t,) = numbers("threshold", x)
    return where(t <= threshold, value, t)
