"""Scalar values in kernels: typed expressions, which printers render.

Ops write the value of an element with Python's operators over :class:`Value`; nothing is computed,
and nothing is text before a printer (:mod:`graphc.print`) makes it so. Every value knows its data
type: operands of one operation have the same, and integers wrap, as in C and NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from graphc.types import BOOL, INT64

DType: TypeAlias = np.dtype[Any]
UINT8 = np.dtype(np.uint8)
"""How booleans lie in memory."""

COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


class Value:
    """A scalar of data type ``dtype``, known when the kernel runs.

    A Python number beside it means that number in its type. ``==`` is Python's, of the expressions
    themselves; of what they are worth, there are :meth:`equals` and :meth:`differs`.
    """

    __slots__ = ()
    dtype: DType

    def lift(self, other: Operand) -> Value:
        """Return a Python number as a value of this type."""
        if isinstance(other, Value):
            return other
        if self.dtype.kind in "iu":
            assert isinstance(other, int)
            return Integer(other, self.dtype)
        return Number(other, self.dtype)

    def _with(self, symbol: str, other: Operand) -> Value:
        right = self.lift(other)
        return Operation(symbol, (self, right), BOOL if symbol in COMPARISONS else self.dtype)

    def __add__(self, other: Operand) -> Value:
        return self._with("+", other)

    def __sub__(self, other: Operand) -> Value:
        return self._with("-", other)

    def __mul__(self, other: Operand) -> Value:
        return self._with("*", other)

    def __truediv__(self, other: Operand) -> Value:
        return self._with("/", other)

    def __floordiv__(self, other: Operand) -> Value:
        """Return the quotient of two integers, neither of them negative."""
        return self._with("//", other)

    def __mod__(self, other: Operand) -> Value:
        """Return the rest of the quotient of two integers, neither of them negative."""
        return self._with("%", other)

    def __and__(self, other: Operand) -> Value:
        return self._with("&", other)

    def __or__(self, other: Operand) -> Value:
        return self._with("|", other)

    def __xor__(self, other: Operand) -> Value:
        return self._with("^", other)

    def __radd__(self, other: Operand) -> Value:
        return self.lift(other) + self

    def __rsub__(self, other: Operand) -> Value:
        return self.lift(other) - self

    def __rmul__(self, other: Operand) -> Value:
        return self.lift(other) * self

    def __rtruediv__(self, other: Operand) -> Value:
        return self.lift(other) / self

    def __lt__(self, other: Operand) -> Value:
        return self._with("<", other)

    def __le__(self, other: Operand) -> Value:
        return self._with("<=", other)

    def __gt__(self, other: Operand) -> Value:
        return self._with(">", other)

    def __ge__(self, other: Operand) -> Value:
        return self._with(">=", other)

    def equals(self, other: Operand) -> Value:
        return self._with("==", other)

    def differs(self, other: Operand) -> Value:
        return self._with("!=", other)

    def __neg__(self) -> Value:
        return Operation("-", (self,), self.dtype)

    def __invert__(self) -> Value:
        """Return all bits turned; of a condition, what it is not."""
        return Operation("not" if self.dtype == BOOL else "~", (self,), self.dtype)

    def cast(self, dtype: DType) -> Value:
        """Return it in another data type, as C converts; of numbers, whether they differ from 0."""
        if dtype == self.dtype:
            return self
        return self.differs(0) if dtype == BOOL else Converted(self, dtype)

    def __bool__(self) -> bool:
        raise TypeError("a value is known only when the kernel runs; write it with `select`")


Operand: TypeAlias = Value | float | int | bool


@dataclass(frozen=True, slots=True)
class Name(Value):
    """A variable: a parameter, the index of a loop, or what a statement has computed."""

    name: str
    dtype: DType = INT64


@dataclass(frozen=True, slots=True)
class Integer(Value):
    """An integer that belongs to the text, such as a length or a stride."""

    value: int
    dtype: DType = INT64


@dataclass(frozen=True, slots=True, eq=False)
class Number(Value):
    """A number of an op's. Kernels that differ in nothing else may become one that is given it."""

    value: Any
    dtype: DType


@dataclass(frozen=True, slots=True, eq=False)
class Operation(Value):
    """One of Python's operators, with one operand or two."""

    symbol: str
    operands: tuple[Value, ...]
    dtype: DType

    def __post_init__(self) -> None:
        kinds = {x.dtype for x in self.operands}
        if len(kinds) != 1:
            raise TypeError(f"{self.symbol} of {', '.join(x.dtype.name for x in self.operands)}")


@dataclass(frozen=True, slots=True, eq=False)
class Call(Value):
    """A function of graphc's runtime, by module and name: ``vmath.exp``; or ``min``, ``max``."""

    function: str
    operands: tuple[Value, ...]
    dtype: DType


@dataclass(frozen=True, slots=True, eq=False)
class Converted(Value):
    """A value in another data type."""

    value: Value
    dtype: DType


@dataclass(frozen=True, slots=True)
class Pointer:
    """Memory by name: an argument of the kernel, or a block on the stack."""

    name: str
    dtype: DType

    def __getitem__(self, index: Value | int) -> Element:
        return Element(self, Integer(index) if isinstance(index, int) else index)


@dataclass(frozen=True, slots=True, eq=False)
class Element(Value):
    """An element of memory, to read or to write. Booleans are bytes there: see :meth:`load`."""

    pointer: Pointer
    index: Value

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return self.pointer.dtype

    def load(self, dtype: DType) -> Value:
        """Return what it holds, as a value of ``dtype``."""
        return self.differs(0) if dtype == BOOL else self


Literal: TypeAlias = "Callable[[Any], Value]"
"""Makes a number of the type in which an expression is computed."""


def call(function: str, *operands: Value, dtype: DType | None = None) -> Value:
    """Return a call, of the type of its last operand if none is given."""
    return Call(function, operands, operands[-1].dtype if dtype is None else dtype)


def vmath(function: str, *operands: Value, dtype: DType | None = None) -> Value:
    """Return a call of an elementary function; see :mod:`graphc.emit.vmath`."""
    return call(f"vmath.{function}", *operands, dtype=dtype)


def select(condition: Value, x: Value, y: Value) -> Value:
    """Return ``x`` where the condition holds, else ``y``; both are computed."""
    return vmath("where", condition, x, y)


def least(x: Value | int, y: Value | int) -> Value:
    """Return the smaller of two integers."""
    return call("min", *(Integer(v) if isinstance(v, int) else v for v in (x, y)))


def most(x: Value | int, y: Value | int) -> Value:
    """Return the larger of two integers."""
    return call("max", *(Integer(v) if isinstance(v, int) else v for v in (x, y)))


def summed(terms: Sequence[tuple[Value, Value | int]]) -> Value:
    """Return the sum of the products ``index * stride``, written as short as it can be."""
    total: Value | None = None
    for index, stride in terms:
        if stride == 0 or index == Integer(0):
            continue
        if isinstance(stride, int) and stride < 0 and total is not None:
            total = total - (index if stride == -1 else index * -stride)
        else:
            term = index if stride == 1 else -index if stride == -1 else index * stride
            total = term if total is None else total + term
    return Integer(0) if total is None else total
