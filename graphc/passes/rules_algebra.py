"""Equalities of arithmetic that hold for every number, NaN and infinity included.

What does not hold is not here: ``x * 0`` is NaN where ``x`` is infinite, ``x - x`` and
``x / x`` likewise, and ``-0 + 0`` is +0. Two liberties are taken: products of constants are
associated anew, and the sign of a zero does not count in derivatives, where zeros add up.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.rewrite import RuleSet, is_number, scalar_value
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor, apply
from graphc.ops.arithmetic import Abs, Add, Divide, Multiply, Negative, Subtract
from graphc.ops.cast import Cast, cast
from graphc.ops.comparison import LogicalNot, Maximum, Minimum, Where
from graphc.ops.exponential import Pow
from graphc.ops.shape import broadcast_to
from graphc.types import INT64

ALGEBRA = RuleSet()


def _like(x: Tensor, node: Tensor) -> Tensor:
    """Return ``x``, an operand of ``node``, in the shape of the result."""
    return broadcast_to(x, node.type.shape)


def _is_zero(t: Tensor, node: Tensor, *, negative: bool) -> bool:
    """Tell whether ``t`` is zero, of that sign where the sign counts in ``node``."""
    value = scalar_value(t)
    if value != 0:
        return False
    counts = node.dtype.kind == "f" and node.phase == "forward"
    return not counts or (np.signbit(value) == negative)


@ALGEBRA.on(Add)
def add_zero(node: Tensor) -> Tensor | None:
    """``x + (-0) = x``; of integers, and in derivatives, ``x + 0 = x``."""
    x, y = node.inputs
    if _is_zero(y, node, negative=True):
        return _like(x, node)
    return _like(y, node) if _is_zero(x, node, negative=True) else None


@ALGEBRA.on(Add)
def add_negative(node: Tensor) -> Tensor | None:
    """``x + (-y) = x - y``."""
    match node.inputs:
        case (x, Tensor(op=Negative(), inputs=(y,))) | (Tensor(op=Negative(), inputs=(y,)), x):
            return apply(Subtract(), x, y)
    return None


@ALGEBRA.on(Subtract)
def subtract_zero(node: Tensor) -> Tensor | None:
    """``x - 0 = x``; in derivatives ``x - (-0) = x``."""
    x, y = node.inputs
    return _like(x, node) if _is_zero(y, node, negative=False) else None


@ALGEBRA.on(Subtract)
def subtract_negative(node: Tensor) -> Tensor | None:
    """``x - (-y) = x + y``."""
    match node.inputs:
        case (x, Tensor(op=Negative(), inputs=(y,))):
            return apply(Add(), x, y)
    return None


@ALGEBRA.on(Multiply)
def multiply_one(node: Tensor) -> Tensor | None:
    """``x * 1 = x``."""
    x, y = node.inputs
    if is_number(y, 1):
        return _like(x, node)
    return _like(y, node) if is_number(x, 1) else None


@ALGEBRA.on(Multiply)
def multiply_minus_one(node: Tensor) -> Tensor | None:
    """``x * -1 = -x``."""
    x, y = node.inputs
    if is_number(y, -1):
        return _like(apply(Negative(), x), node)
    return _like(apply(Negative(), y), node) if is_number(x, -1) else None


@ALGEBRA.on(Multiply)
def multiply_negatives(node: Tensor) -> Tensor | None:
    """``(-x) * (-y) = x * y``."""
    match node.inputs:
        case (Tensor(op=Negative(), inputs=(x,)), Tensor(op=Negative(), inputs=(y,))):
            return apply(Multiply(), x, y)
    return None


@ALGEBRA.on(Multiply)
def multiply_constants(node: Tensor) -> Tensor | None:
    """``(x * c) * d = x * (c * d)``, where c * d is a normal number."""
    outer = _with_constant(node)
    inner = outer and _with_constant(outer[0])
    if not outer or not inner:
        return None
    product = _exact(node, inner[1] * outer[1])
    return None if product is None else apply(Multiply(), _like(inner[0], outer[0]), product)


@ALGEBRA.on(Divide)
def divide_one(node: Tensor) -> Tensor | None:
    """``x / 1 = x``."""
    x, y = node.inputs
    return _like(x, node) if is_number(y, 1) else None


@ALGEBRA.on(Divide)
def divide_power_of_two(node: Tensor) -> Tensor | None:
    """``x / 2^k = x * 2^-k``, which is exact."""
    x, y = node.inputs
    value = scalar_value(y)
    if not value or node.dtype.kind != "f" or abs(np.frexp(value)[0]) != 0.5:
        return None
    inverse = _exact(node, 1.0 / value)
    return None if inverse is None else _like(apply(Multiply(), x, inverse), node)


@ALGEBRA.on(Pow)
def power_one(node: Tensor) -> Tensor | None:
    """``x ** 1 = x``."""
    x, y = node.inputs
    return _like(x, node) if is_number(y, 1) else None


@ALGEBRA.on(Negative)
def double_negation(node: Tensor) -> Tensor | None:
    """``-(-x) = x``."""
    match node.inputs:
        case (Tensor(op=Negative(), inputs=(x,)),):
            return x
    return None


@ALGEBRA.on(Negative)
def negate_constant_product(node: Tensor) -> Tensor | None:
    """``-(x * c) = x * (-c)``."""
    found = _with_constant(node.inputs[0])
    if found is None or node.dtype.kind != "f":
        return None
    return _like(apply(Multiply(), found[0], constant(-found[1], node.dtype)), node)


@ALGEBRA.on(Abs)
def absolute_of_even(node: Tensor) -> Tensor | None:
    """``|-x| = ||x|| = |x|``."""
    match node.inputs:
        case (Tensor(op=Negative(), inputs=(x,)),):
            return apply(Abs(), x)
        case (Tensor(op=Abs()) as inner,):
            return inner
    return None


@ALGEBRA.on(LogicalNot)
def double_not(node: Tensor) -> Tensor | None:
    """``not (not x) = x``."""
    match node.inputs:
        case (Tensor(op=LogicalNot(), inputs=(x,)),):
            return x
    return None


@ALGEBRA.on(Maximum, Minimum)
def extreme_of_same(node: Tensor) -> Tensor | None:
    """``max(x, x) = min(x, x) = x``."""
    x, y = node.inputs
    return x if x is y else None


@ALGEBRA.on(Where)
def where_known(node: Tensor) -> Tensor | None:
    """``where(True, x, y) = x`` and ``where(False, x, y) = y``."""
    condition, x, y = node.inputs
    value = scalar_value(condition)
    return None if value is None else _like(x if value else y, node)


@ALGEBRA.on(Where)
def where_same(node: Tensor) -> Tensor | None:
    """``where(c, x, x) = x``."""
    _, x, y = node.inputs
    return _like(x, node) if x is y else None


@ALGEBRA.on(Cast)
def cast_same(node: Tensor) -> Tensor | None:
    """``cast(x, its own data type) = x``."""
    (x,) = node.inputs
    return x if x.dtype == node.dtype else None


@ALGEBRA.on(Cast)
def cast_lossless(node: Tensor) -> Tensor | None:
    """``cast(cast(x, a), b) = cast(x, b)``, where ``a`` holds every value of ``x``."""
    match node.inputs:
        case (Tensor(op=Cast(), inputs=(x,)) as middle,) if _holds(middle.dtype, x.dtype):
            return cast(x, node.dtype)
    return None


def _holds(wide: np.dtype[Any], narrow: np.dtype[Any]) -> bool:
    """Tell whether every value of ``narrow`` is one of ``wide`` (NumPy forgives int64: float64)."""
    return np.can_cast(narrow, wide) and (narrow != INT64 or wide == INT64)


def _with_constant(node: Tensor) -> tuple[Tensor, Any] | None:
    """Return ``(x, c)`` for a product of ``x`` and the floating-point number ``c``."""
    if not isinstance(node.op, Multiply) or node.dtype.kind != "f":
        return None
    x, y = node.inputs
    for t, number in ((x, scalar_value(y)), (y, scalar_value(x))):
        if number is not None and t.type.shape == node.type.shape:
            return t, number
    return None


def _exact(node: Tensor, value: float) -> Tensor | None:
    """Return ``value`` as a constant beside ``node``, or None if it is not a normal number."""
    kind = np.finfo(node.dtype)
    if not float(kind.tiny) <= abs(value) <= float(kind.max):
        return None
    return constant(value, node.dtype)
