"""Rounding, signs and the classes of floating-point numbers; integers are whole already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import DTypeError
from graphc.ir.op import function, register
from graphc.ir.tensor import Tensor, apply
from graphc.ops.comparison import Comparison
from graphc.ops.elementwise import Math, Partials, binary, unary
from graphc.ops.operands import as_tensor, common
from graphc.types import BOOL

SECTION = "Rounding and signs"
CLASSES = "Classes of numbers"


# -- rounding: the derivative is 0, undefined where it jumps ------------------------------------


@register
class Floor(Math):
    """The greatest integer not above ``x``."""

    ufunc = np.floor


@register
class Ceil(Math):
    """The least integer not below ``x``."""

    ufunc = np.ceil


@register
class Trunc(Math):
    """``x`` without its fraction."""

    ufunc = np.trunc


@register
class Round(Math):
    """The nearest integer; from halfway, the even one."""

    ufunc = np.rint


def _rounded(op: Math, x: Any) -> Tensor:
    t = as_tensor(x)
    return apply(op, t) if t.dtype.kind == "f" else t


def _like(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return ``f`` for floating-point numbers; what is whole already stays what it is."""
    return lambda x: f(x) if x.dtype.kind == "f" else x


_roundings = unary(-3.9, 3.9, -2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 1e20)


@function(samples=_roundings, reference=_like(np.floor), section=SECTION)
def floor(x: Any) -> Tensor:
    """Return the greatest integer not above ``x``; its derivative is 0."""
    return _rounded(Floor(), x)


@function(samples=_roundings, reference=_like(np.ceil), section=SECTION)
def ceil(x: Any) -> Tensor:
    """Return the least integer not below ``x``; its derivative is 0."""
    return _rounded(Ceil(), x)


@function(samples=_roundings, reference=_like(np.trunc), section=SECTION)
def trunc(x: Any) -> Tensor:
    """Return ``x`` without its fraction; its derivative is 0."""
    return _rounded(Trunc(), x)


@function(samples=_roundings, reference=_like(np.round), section=SECTION)
def round(x: Any) -> Tensor:
    """Return the integer nearest to ``x``, from halfway the even one; its derivative is 0."""
    return _rounded(Round(), x)


# -- signs ------------------------------------------------------------------------------------


@register
class Sign(Math):
    """-1, 0 or 1 as ``x`` is negative, zero or positive; NaN for NaN."""

    ufunc = np.sign


@register
class Signbit(Comparison):
    """Whether the sign of ``x`` is minus, be it zero or NaN."""

    ufunc = np.signbit


@register
class Copysign(Math):
    """``|x|`` with the sign of ``y``."""

    ufunc = np.copysign

    def partials(self, out: Tensor, *inputs: Tensor) -> Partials:
        return sign(inputs[0]) * sign(out), None


@register
class Nextafter(Math):
    """The floating-point number next to ``x`` on the way to ``y``."""

    ufunc = np.nextafter


@function(samples=unary(-2.0, 2.0, 0.0, -0.0, booleans=False), reference=np.sign, section=SECTION)
def sign(x: Any) -> Tensor:
    """Return -1, 0 or 1 by the sign of ``x``, NaN for NaN; its derivative is 0."""
    t = as_tensor(x)
    if t.dtype == BOOL:
        raise DTypeError("ufunc 'sign' not supported for booleans; cast with astype first")
    return apply(Sign(), t)


@function(samples=unary(-2.0, 2.0, 0.0, -0.0), reference=np.signbit, section=SECTION)
def signbit(x: Any) -> Tensor:
    """Tell where the sign of ``x`` is minus, zeros and NaN included."""
    return apply(Signbit(), *common("signbit", x, floating=True))


@function(samples=binary(-2.0, 2.0), reference=np.copysign, section=SECTION)
def copysign(x: Any, y: Any) -> Tensor:
    """Return ``|x|`` with the sign of ``y``; the derivative is 0 at ``x = 0`` and by ``y``."""
    return apply(Copysign(), *common("copysign", x, y, floating=True))


@function(samples=binary(-2.0, 2.0, differentiable=False), reference=np.nextafter, section=SECTION)
def nextafter(x: Any, y: Any) -> Tensor:
    """Return the floating-point number next to ``x`` on the way to ``y``; it has no derivative."""
    return apply(Nextafter(), *common("nextafter", x, y, floating=True))


# -- classes ----------------------------------------------------------------------------------


@register
class Isfinite(Comparison):
    """Whether ``x`` is neither infinite nor NaN."""

    ufunc = np.isfinite


@register
class Isinf(Comparison):
    """Whether ``x`` is infinite."""

    ufunc = np.isinf


@register
class Isnan(Comparison):
    """Whether ``x`` is not a number."""

    ufunc = np.isnan


_classes = unary(-2.0, 2.0, np.nan, np.inf, -np.inf, 0.0)


@function(samples=_classes, reference=np.isfinite, section=CLASSES)
def isfinite(x: Any) -> Tensor:
    """Tell where ``x`` is neither infinite nor NaN."""
    return apply(Isfinite(), *common("isfinite", x, floating=True))


@function(samples=_classes, reference=np.isinf, section=CLASSES)
def isinf(x: Any) -> Tensor:
    """Tell where ``x`` is infinite, of either sign."""
    return apply(Isinf(), *common("isinf", x, floating=True))


@function(samples=_classes, reference=np.isnan, section=CLASSES)
def isnan(x: Any) -> Tensor:
    """Tell where ``x`` is not a number."""
    return apply(Isnan(), *common("isnan", x, floating=True))
