"""Activation functions of neural networks; at kinks the derivative is PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.errors import ArgumentError
from graphc.ir.op import Array, Sample, function, register
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Literal, Value, select, vmath
from graphc.ops.arithmetic import abs, numbers, square
from graphc.ops.comparison import clip, logical_or, where
from graphc.ops.elementwise import Math, Partials, Piecewise, unary
from graphc.ops.exponential import erf, exp, sigmoid
from graphc.ops.operands import common
from graphc.ops.trigonometric import tanh

SECTION = "Activations"

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
"""Constants that keep mean 0 and variance 1 (Klambauer et al., 2017, arXiv:1706.02515)."""

_TANH_CUBE = 0.044715
_FAR = 100.0
"""Coefficient of ``x^3`` in GELU's tanh form (Hendrycks and Gimpel, 2016, arXiv:1606.08415)."""


# -- piecewise linear -------------------------------------------------------------------------


@register
class Relu(Piecewise):
    """``max(x, 0)``, NaN for NaN; its derivative is 0 at 0."""

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        return np.asarray(np.maximum(x, x.dtype.type(0)))

    def scalar(self, lit: Literal, *args: Value) -> Value:
        return vmath("relu", *args)

    def push(self, t: Tensor, place: int, out: Tensor, *inputs: Tensor) -> Tensor:
        return where(out <= 0, 0, t)


@register
class LeakyRelu(Piecewise):
    """``x`` where it is positive, else ``slope * x``; its derivative is ``slope`` at 0."""

    slope: float

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        return np.where(x > 0, x, x * x.dtype.type(self.slope))

    def scalar(self, lit: Literal, *args: Value) -> Value:
        (x,) = args
        return select(x > 0, x, x * lit(self.slope))

    def push(self, t: Tensor, place: int, out: Tensor, *inputs: Tensor) -> Tensor:
        signed = out if self.slope >= 0 else inputs[0]
        return where(signed > 0, t, t * self.slope)


@register
class Hardtanh(Piecewise):
    """``x`` confined to ``low`` and ``high``; its derivative is 0 on the bounds and beyond."""

    low: float
    high: float

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        return np.clip(x, x.dtype.type(self.low), x.dtype.type(self.high))

    def scalar(self, lit: Literal, *args: Value) -> Value:
        return vmath("minimum", vmath("maximum", *args, lit(self.low)), lit(self.high))

    def push(self, t: Tensor, place: int, out: Tensor, *inputs: Tensor) -> Tensor:
        return where(logical_or(out <= self.low, out >= self.high), 0, t)


@function(samples=unary(-3.0, 3.0, 0.0, booleans=False),
          reference=lambda x: np.maximum(x, 0), section=SECTION)  # fmt: skip
def relu(x: Any) -> Tensor:
    """Return ``max(x, 0)``; NaN stays NaN, and the derivative at 0 is 0."""
    return apply(Relu(), *numbers("relu", x))


def _leaky(x: Array, negative_slope: float = 0.01) -> Any:
    return np.where(x > 0, x, x * negative_slope).astype(np.result_type(x, np.float32))


def _slopes() -> Iterable[Sample]:
    yield from unary(-3.0, 3.0, 0.0)()
    for slope in (0.2, 0.0, -0.5, 1.5):
        yield Sample((np.array([-2.0, -0.5, 0.3, 2.0]),), (("negative_slope", slope),))


@function(samples=_slopes, reference=_leaky, section=SECTION)
def leaky_relu(x: Any, negative_slope: float = 0.01) -> Tensor:
    """Return ``x`` where it is positive, else ``negative_slope * x``."""
    return apply(LeakyRelu(float(negative_slope)), *common("leaky_relu", x, floating=True))


@function(
    samples=unary(-3.0, 9.0, 0.0, 6.0), reference=lambda x: np.clip(x + 0.0, 0, 6), section=SECTION
)
def relu6(x: Any) -> Tensor:
    """Return ``min(max(x, 0), 6)``; the derivative at 0 and 6 is 0."""
    return hardtanh(x, 0.0, 6.0)


@function(
    samples=unary(-3.0, 3.0, -1.0, 1.0),
    reference=lambda x: np.clip(x * 1.0, -1, 1),
    section=SECTION,
)
def hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """Return ``x`` confined to the bounds; the derivative on them is 0, unlike :func:`clip`'s."""
    if not min_val <= max_val:
        raise ArgumentError(f"hardtanh: min_val {min_val} must not be above max_val {max_val}")
    return apply(Hardtanh(float(min_val), float(max_val)), *common("hardtanh", x, floating=True))


@function(samples=unary(-5.0, 5.0, -3.0, 3.0),
          reference=lambda x: np.clip(x + 3.0, 0, 6) / 6, section=SECTION)  # fmt: skip
def hard_sigmoid(x: Any) -> Tensor:
    """Return ``relu6(x + 3) / 6``."""
    (t,) = common("hard_sigmoid", x, floating=True)
    return relu6(t + 3.0) / 6.0


@function(samples=unary(-5.0, 5.0, -3.0, 3.0),
          reference=lambda x: x * np.clip(x + 3.0, 0, 6) / 6, section=SECTION)  # fmt: skip
def hard_swish(x: Any) -> Tensor:
    """Return ``x * relu6(x + 3) / 6`` (Howard et al., 2019, arXiv:1905.02244)."""
    (t,) = common("hard_swish", x, floating=True)
    return t * hard_sigmoid(t)


# -- exponential linear --------------------------------------------------------------------------


@register
class Elu(Math):
    """``x`` where it is positive, else ``alpha (exp(rate x) - 1)``, with ``alpha >= 0``."""

    alpha: float
    rate: float
    cost = 14.0

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        alpha, rate = x.dtype.type(self.alpha), x.dtype.type(self.rate)
        return np.where(x > 0, x, alpha * np.expm1(rate * x))

    def scalar(self, lit: Literal, *args: Value) -> Value:
        (x,) = args
        low = lit(self.alpha) * vmath("expm1", lit(self.rate) * x)
        return select(x > 0, x, low)

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (where(out > 0, 1, (out + self.alpha) * self.rate),)


def _elu(x: Array, alpha: float = 1.0, rate: float = 1.0) -> Any:
    low = alpha * np.expm1(rate * np.minimum(x, 0.0))
    return np.where(x > 0, x, low).astype(np.result_type(x, np.float32))


def _alphas() -> Iterable[Sample]:
    yield from unary(-3.0, 3.0, 0.0, 1e4, -1e4)()
    for alpha in (0.5, 2.0):
        yield Sample((np.array([-2.0, -0.5, 0.3, 2.0]),), (("alpha", alpha),))


@function(samples=_alphas, reference=_elu, section=SECTION)
def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """Return ``x`` where it is positive, else ``alpha (exp(x) - 1)``; ``alpha >= 0``.

    Clevert et al., 2015, arXiv:1511.07289.
    """
    if alpha < 0:
        raise ArgumentError(f"elu: alpha must not be negative, got {alpha}")
    return apply(Elu(float(alpha), 1.0), *common("elu", x, floating=True))


@function(
    samples=_alphas, reference=lambda x, alpha=1.0: _elu(x, alpha, 1 / alpha), section=SECTION
)
def celu(x: Any, alpha: float = 1.0) -> Tensor:
    """Return ``x`` where it is positive, else ``alpha (exp(x / alpha) - 1)``; ``alpha > 0``.

    Its derivative is continuous (Barron, 2017, arXiv:1704.07483).
    """
    if alpha <= 0:
        raise ArgumentError(f"celu: alpha must be positive, got {alpha}")
    return apply(Elu(float(alpha), 1.0 / alpha), *common("celu", x, floating=True))


@function(samples=unary(-3.0, 3.0, 0.0, 1e4, -1e4),
          reference=lambda x: _SELU_SCALE * _elu(x, _SELU_ALPHA), section=SECTION)  # fmt: skip
def selu(x: Any) -> Tensor:
    """Return ``scale * elu(x, alpha)`` with the constants of self-normalising networks.

    Klambauer et al., 2017, arXiv:1706.02515.
    """
    return elu(x, _SELU_ALPHA) * _SELU_SCALE


# -- smooth ---------------------------------------------------------------------------------------


@register
class Softplus(Math):
    """``log(1 + exp(x))`` without overflow; derivative ``sigmoid(x)``."""

    cost = 26.0

    @staticmethod
    def ufunc(x: Array) -> Any:
        return np.logaddexp(x, x.dtype.type(0))

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (sigmoid(inputs[0]),)


@register
class LogSigmoid(Math):
    """``log(sigmoid(x)) = -log(1 + exp(-x))`` without overflow; derivative ``sigmoid(-x)``."""

    cost = 26.0

    @staticmethod
    def ufunc(x: Array) -> Any:
        return -np.logaddexp(-x, x.dtype.type(0))

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (sigmoid(-inputs[0]),)


def _with_limit(x: Array, y: Any) -> Any:
    """Return ``y``, but where ``x`` is -inf its limit, 0, in place of inf * 0."""
    return np.where(x == -np.inf, 0.0, y)


@register
class Silu(Math):
    """``x sigmoid(x)``; derivative ``s + out (1 - s)`` with ``s = sigmoid(x)``."""

    cost = 17.0

    @staticmethod
    def ufunc(x: Array) -> Any:
        return _with_limit(x, x / (1.0 + np.exp(-x)))

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        s = sigmoid(inputs[0])
        return (s + out * (1.0 - s),)


_erfc = np.frompyfunc(math.erfc, 1, 1)


@register
class Gelu(Math):
    """``x Phi(x)``, Phi the normal distribution function; derivative ``Phi(x) + x phi(x)``."""

    cost = 24.0

    @staticmethod
    def ufunc(x: Array) -> Any:
        return _with_limit(x, 0.5 * x * np.asarray(_erfc(-x / math.sqrt(2.0)), x.dtype))

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        (x,) = inputs
        distribution = (erf(x * math.sqrt(0.5)) + 1.0) * 0.5
        density = exp(square(x) * -0.5) * (1.0 / math.sqrt(2.0 * math.pi))
        return (distribution + x * density,)


@register
class GeluTanh(Math):
    """``x (1 + tanh(u)) / 2`` with ``u = sqrt(2 / pi) (x + 0.044715 x^3)``."""

    cost = 24.0

    @staticmethod
    def ufunc(x: Array) -> Any:
        u = math.sqrt(2.0 / math.pi) * (x + _TANH_CUBE * x * x * x)
        return _with_limit(x, x / (1.0 + np.exp(-2.0 * u)))  # 1 + tanh(u) would lose all places

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        (x,) = inputs
        # beyond the bound the tangent is -1 or 1, and a square of x could be infinite
        root, xx = math.sqrt(2.0 / math.pi), square(clip(x, -_FAR, _FAR))
        t = tanh(x * (xx * (root * _TANH_CUBE) + root))
        slope = xx * (3.0 * root * _TANH_CUBE) + root
        return ((t + 1.0) * 0.5 + x * (1.0 - square(t)) * slope * 0.5,)


@register
class Softsign(Math):
    """``x / (1 + |x|)``; derivative ``1 / (1 + |x|)^2``."""

    cost = 6.0

    @staticmethod
    def ufunc(x: Array) -> Any:
        return x / (1.0 + np.abs(x))

    def scalar(self, lit: Literal, *args: Value) -> Value:
        return args[0] / (1 + vmath("abs", *args))

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return (square(1.0 / (abs(inputs[0]) + 1.0)),)


_smooth = unary(-4.0, 4.0, 0.0, 100.0, -100.0, 1e4, -1e4)


def _numpy_softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    x = x * np.float32(1)
    return np.where(x * beta > threshold, x, np.logaddexp(x * beta, 0.0) / beta).astype(x.dtype)


def _softened() -> Iterable[Sample]:
    yield from _smooth()
    yield Sample((np.array([-1.0, 0.5, 3.0]),), (("beta", 2.0), ("threshold", 4.0)))


@function(samples=_softened, reference=_numpy_softplus, section=SECTION)
def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return ``log(1 + exp(beta x)) / beta`` without overflow, ``x`` where ``beta x > threshold``.

    From the default on, they are equal to ten digits; then the logarithm is taken.
    """
    (t,) = common("softplus", x, floating=True)
    if beta == 0:
        raise ArgumentError("softplus: beta must not be 0")
    scaled = t if beta == 1 else t * beta
    y = apply(Softplus(), scaled)
    y = y if beta == 1 else y * (1.0 / beta)
    return y if threshold >= 20.0 else where(scaled > threshold, t, y)


@function(samples=_smooth, reference=lambda x: -np.logaddexp(-1.0 * x, 0.0), section=SECTION)
def log_sigmoid(x: Any) -> Tensor:
    """Return ``log(1 / (1 + exp(-x)))`` without overflow."""
    return apply(LogSigmoid(), *common("log_sigmoid", x, floating=True))


@function(samples=_smooth, reference=lambda x: Silu.ufunc(x * np.float32(1)), section=SECTION)
def silu(x: Any) -> Tensor:
    """Return ``x sigmoid(x)``, also known as swish."""
    return apply(Silu(), *common("silu", x, floating=True))


@function(
    samples=_smooth, reference=lambda x: x * np.tanh(np.logaddexp(x * 1.0, 0.0)), section=SECTION
)
def mish(x: Any) -> Tensor:
    """Return ``x tanh(softplus(x))`` (Misra, 2019, arXiv:1908.08681)."""
    (t,) = common("mish", x, floating=True)
    return t * tanh(softplus(t))


@function(samples=_smooth, reference=lambda x: x / (1.0 + np.abs(x)), section=SECTION)
def softsign(x: Any) -> Tensor:
    """Return ``x / (1 + |x|)``."""
    return apply(Softsign(), *common("softsign", x, floating=True))


def _gelus() -> Iterable[Sample]:
    for sample in _smooth():
        yield sample
        yield Sample(sample.args, (("approximate", "tanh"),), sample.differentiable)


def _gelu(x: Array, approximate: str = "none") -> Any:
    f = Gelu.ufunc if approximate == "none" else GeluTanh.ufunc
    return f(x * np.float32(1))


@function(samples=_gelus, reference=_gelu, section=SECTION)
def gelu(x: Any, approximate: str = "none") -> Tensor:
    """Return ``x Phi(x)``, Phi the normal distribution function, or its form in tanh.

    ``approximate`` is ``"none"`` or ``"tanh"`` (Hendrycks and Gimpel, 2016, arXiv:1606.08415).
    """
    if approximate not in ("none", "tanh"):
        raise ArgumentError(f'gelu: approximate is "none" or "tanh", not {approximate!r}')
    op = Gelu() if approximate == "none" else GeluTanh()
    return apply(op, *common("gelu", x, floating=True))
