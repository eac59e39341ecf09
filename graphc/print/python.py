"""Kernels as Python: what people read, and what runs with ``NUMBA_DISABLE_JIT=1``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.kernel.code import Block, Comment, Do, Let, Loop, Statement, Store, When
from graphc.kernel.value import (
    COMPARISONS,
    Call,
    Converted,
    DType,
    Element,
    Integer,
    Name,
    Number,
    Operation,
    Pointer,
    Value,
)
from graphc.types import INT32, INT64

INDENT = "    "

_BINDS: Mapping[str, int] = {
    "not": 1, **dict.fromkeys(COMPARISONS, 2), "|": 3, "^": 4, "&": 5,
    "+": 6, "-": 6, "*": 7, "/": 7, "//": 7, "%": 7,
}  # fmt: skip
_UNARY, _CLOSED = 8, 9


def literal(value: Any, dtype: DType) -> str:
    """Return ``value`` as Python text in ``dtype``: ``float32(0.5)``."""
    if dtype.kind == "b":
        return str(bool(value))
    if dtype.kind == "i":
        return f"{dtype.name}({int(value)})"
    number = dtype.type(value)
    if np.isfinite(number):
        return f"{dtype.name}({number!s})"  # the shortest text that gives these bits
    text = "nan" if np.isnan(number) else "inf"
    return f"{dtype.name}({'-' if number < 0 else ''}{text})"


def words(literal: str) -> list[str]:
    """Return the names in a literal: its type, ``inf``, ``nan``."""
    return re.findall(r"[a-z]\w+", literal)


class PythonPrinter:
    """Prints statements; ``given`` are the numbers that have names instead."""

    def __init__(self, given: Mapping[Number, str] | None = None) -> None:
        self._given = given or {}
        self.used: set[str] = set()
        """Data types, modules and constants that what was printed names."""

    def lines(self, body: Iterable[Statement]) -> list[str]:
        """Return statements as lines."""
        result = []
        for statement in body:
            result.append(self._head(statement))
            if isinstance(statement, (Loop, When)):
                result += [INDENT + line for line in self.lines(statement.body)]
        return result

    def _head(self, statement: Statement) -> str:
        """Return a statement, but for those inside it."""
        match statement:
            case Let(name, value):
                return f"{name.name} = {self.value(value)}"
            case Store(element, value):
                return f"{self.value(element)} = {self.value(value)}"
            case Loop(index, start, stop, step, _):
                bounds = [stop] if start == Integer(0) and step == 1 else [start, stop]
                given = [*map(self.value, bounds), *([str(step)] if step != 1 else [])]
                return f"for {index.name} in range({', '.join(given)}):"
            case When(condition, _):
                return f"if {self.value(condition)}:"
            case Do(function, operands):
                return self._called(function, operands)
            case Block(pointer, module, size):
                memory = self._called(f"{module}.block", (size,), self._typed(pointer.dtype))
                return f"{pointer.name} = {memory}"
            case Comment(text):
                return f"# {text}"

    def value(self, value: Value | Pointer) -> str:
        """Return a value as an expression."""
        return self._bound(value)[0]

    def _bound(self, value: Value | Pointer) -> tuple[str, int]:
        """Return an expression, and how strongly it holds together."""
        match value:
            case Name(name) | Pointer(name):
                return name, _CLOSED
            case Integer(number, dtype):
                return str(number) if dtype == INT64 else self._literal(number, dtype), _CLOSED
            case Number(number, dtype):
                return self._given.get(value) or self._literal(number, dtype), _CLOSED
            case Element(pointer, index):
                return f"{pointer.name}[{self.value(index)}]", _CLOSED
            case Converted(inner, dtype):
                return f"{self._typed(dtype)}({self.value(inner)})", _CLOSED
            case Call(function, operands):
                return self._called(function, operands), _CLOSED
            case Operation(symbol, operands, dtype):
                text, binds = self._operation(symbol, operands)
                if dtype == INT32:  # which Numba computes as int64
                    return f"{self._typed(INT32)}({text})", _CLOSED
                return text, binds
        raise TypeError(f"{value!r} is no value")

    def _typed(self, dtype: DType) -> str:
        self.used.add(dtype.name)
        return dtype.name

    def _literal(self, number: Any, dtype: DType) -> str:
        text = literal(number, dtype)
        self.used.update(words(text))
        return text

    def _called(self, function: str, operands: Sequence[Value | Pointer], *first: str) -> str:
        self.used.add(function.partition(".")[0])
        return f"{function}({', '.join([*first, *map(self.value, operands)])})"

    def _operation(self, symbol: str, operands: Sequence[Value]) -> tuple[str, int]:
        if len(operands) == 1:
            space, binds = (" ", _BINDS["not"]) if symbol == "not" else ("", _UNARY)
            return f"{symbol}{space}{self._within(operands[0], binds)}", binds
        binds = _BINDS[symbol]
        chained = symbol in COMPARISONS  # Python would take a < b < c for two comparisons
        left, right = (
            self._within(x, binds + n) for n, x in zip((chained, 1), operands, strict=True)
        )
        return f"{left} {symbol} {right}", binds

    def _within(self, value: Value, least: int) -> str:
        """Return an operand; an integer beside another needs no type."""
        if isinstance(value, Integer):
            return str(value.value)
        text, binds = self._bound(value)
        return text if binds >= least else f"({text})"
