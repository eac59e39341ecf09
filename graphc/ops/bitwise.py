"""Operations on the bits of integers; of booleans, logic."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.errors import DTypeError
from graphc.ir.op import Sample, function, register
from graphc.ir.tensor import Tensor, apply
from graphc.ops.cast import cast
from graphc.ops.comparison import LogicalAnd, LogicalNot, LogicalOr, LogicalXor
from graphc.ops.elementwise import DType, Math
from graphc.ops.operands import as_tensor, common
from graphc.types import BOOL, INT64

SECTION = "Bits"


class Bitwise(Math):
    """An operation on the bits of integers."""

    def result_dtype(self, *dtypes: DType) -> DType:
        if dtypes[0].kind != "i":
            raise DTypeError(
                f"ufunc '{self.name}' not supported for the input types; it needs integers or "
                f"booleans, got {dtypes[0].name}"
            )
        return dtypes[0]


@register
class BitwiseAnd(Bitwise):
    """``x & y``."""

    ufunc = np.bitwise_and
    formula = operator.and_


@register
class BitwiseOr(Bitwise):
    """``x | y``."""

    ufunc = np.bitwise_or
    formula = operator.or_


@register
class BitwiseXor(Bitwise):
    """``x ^ y``."""

    ufunc = np.bitwise_xor
    formula = operator.xor


@register
class BitwiseInvert(Bitwise):
    """``~x = -x - 1``."""

    ufunc = np.invert
    formula = operator.invert


@register
class LeftShift(Bitwise):
    """``x << y``; 0 where ``y`` is negative or at least the number of bits."""

    ufunc = np.left_shift


@register
class RightShift(Bitwise):
    """``x >> y``; 0 or -1, by the sign, where ``y`` is negative or at least the number of bits."""

    ufunc = np.right_shift


def _integers() -> Iterable[Sample]:
    i, j = np.array([[0, 1, -1, 5, -8, 127], [3, -3, 6, 0, 2, 64]])
    narrow = i.astype(np.int32), j.astype(np.int32)
    for args in ((i, j), narrow, (i, j[:, None]), (i, 6), (narrow[0], j), (i[:0], j[:0])):
        yield Sample(args, differentiable=False)


def _words() -> Iterable[Sample]:
    yield from _integers()
    p = np.array([True, False])
    yield Sample((p, p[:, None]), differentiable=False)
    yield Sample((p, np.array([6, 7])), differentiable=False)


@function(samples=_words, reference=np.bitwise_and, section=SECTION)
def bitwise_and(x: Any, y: Any) -> Tensor:
    """Return ``x & y`` of integers; for booleans, their conjunction."""
    a, b = common("bitwise_and", x, y)
    return apply(LogicalAnd() if a.dtype == BOOL else BitwiseAnd(), a, b)


@function(samples=_words, reference=np.bitwise_or, section=SECTION)
def bitwise_or(x: Any, y: Any) -> Tensor:
    """Return ``x | y`` of integers; for booleans, their disjunction."""
    a, b = common("bitwise_or", x, y)
    return apply(LogicalOr() if a.dtype == BOOL else BitwiseOr(), a, b)


@function(samples=_words, reference=np.bitwise_xor, section=SECTION)
def bitwise_xor(x: Any, y: Any) -> Tensor:
    """Return ``x ^ y`` of integers; for booleans, where they differ."""
    a, b = common("bitwise_xor", x, y)
    return apply(LogicalXor() if a.dtype == BOOL else BitwiseXor(), a, b)


@function(
    samples=lambda: [Sample((s.args[0],), differentiable=False) for s in _words()],
    reference=np.invert,
    section=SECTION,
)
def bitwise_invert(x: Any) -> Tensor:
    """Return ``~x`` of integers; for booleans, their negation."""
    t = as_tensor(x)
    return apply(LogicalNot() if t.dtype == BOOL else BitwiseInvert(), t)


def _shifted(what: str, x: Any, y: Any) -> tuple[Tensor, ...]:
    a, b = common(what, x, y)
    return (a, b) if a.dtype != BOOL else (cast(a, INT64), cast(b, INT64))


@function(samples=_integers, reference=np.left_shift, section=SECTION)
def bitwise_left_shift(x: Any, y: Any) -> Tensor:
    """Return ``x << y`` of integers."""
    return apply(LeftShift(), *_shifted("bitwise_left_shift", x, y))


@function(samples=_integers, reference=np.right_shift, section=SECTION)
def bitwise_right_shift(x: Any, y: Any) -> Tensor:
    """Return ``x >> y`` of integers, keeping the sign."""
    return apply(RightShift(), *_shifted("bitwise_right_shift", x, y))
