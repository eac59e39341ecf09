"""What a formula of a table is at the rows that lookups touch, and away from them.

The gradient of rows taken from a table is *scattered*: rows, added up over zeros. It need not be
made whole where a formula of it leaves all other rows as they are, as a step ``p - lr * g`` does,
or adds nothing for them, like a sum of squares. Zero times anything is zero there, infinity
included: what a lookup did not touch has no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from graphc.ir.graph import ancestors
from graphc.ir.op import Elementwise, Reduction, add_all
from graphc.ir.rewrite import scalar_value
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Call, Converted, Name, Number, Operation, Value
from graphc.ops.comparison import not_equal
from graphc.ops.creation import filled
from graphc.ops.gather import ScatterAdd, Take
from graphc.ops.shape import reshape

Rest: TypeAlias = "Tensor | float | None"
"""A value away from the rows touched: a tensor that it equals there, a number, or else None."""


def is_scattered(node: Tensor) -> bool:
    """Tell whether ``node`` is rows added up over zeros, along its first axis."""
    return isinstance(node.op, ScatterAdd) and node.op.axis == 0 and len(node.inputs) == 2


def scattered(node: Tensor) -> tuple[Tensor, Tensor]:
    """Return the places of a scattered tensor, ``(n,)``, and their rows, ``(n, ...)``."""
    rows, indices = node.inputs
    count = indices.type.size
    return reshape(indices, (count,)), reshape(rows, (count, *node.type.shape[1:]))


class Touched:
    """What is known of the nodes that scattered ones reach through elementwise formulas.

    ``nodes`` stand operands first.
    """

    def __init__(self, nodes: Iterable[Tensor]) -> None:
        self.rest: dict[Tensor, Rest] = {}
        """What each is away from the rows touched."""
        self.places: dict[Tensor, tuple[Tensor, ...]] = {}
        """The places of the rows that each touches, in the order of operands."""
        self._linear: set[Tensor] = set()
        for node in nodes:
            if is_scattered(node):
                self.rest[node], self.places[node] = 0.0, node.inputs[1:]
                self._linear.add(node)
            elif isinstance(node.op, Elementwise) and not node.op.indexed:
                self._follow(node, node.op)

    def _follow(self, node: Tensor, op: Elementwise) -> None:
        reached = dict.fromkeys(
            x for x in node.inputs if x in self.places and _has_rows_of(x, node)
        )
        if not reached or any(x in self.rest and x not in reached for x in node.inputs):
            return
        self.places[node] = tuple(dict.fromkeys(i for x in reached for i in self.places[x]))
        values = [self.rest[x] if x in self.rest else _number(x) for x in node.inputs]
        self.rest[node] = _rest(node, op, values)
        names = [Name(f"x{k}", x.dtype) for k, x in enumerate(node.inputs)]
        formula = op.scalar(_literal(node), *names)
        degrees = {n: int(x in reached) for n, x in zip(names, node.inputs, strict=True)}
        if all(x in self._linear for x in reached) and _degree(formula, degrees) == 1:
            self._linear.add(node)

    def is_zero(self, node: Tensor) -> bool:
        """Tell whether ``node`` is zero away from the rows touched."""
        rest = self.rest.get(node)
        return rest is not None and not isinstance(rest, Tensor) and rest == 0

    def step(self, value: Tensor, x: Tensor) -> tuple[Tensor, bool] | None:
        """Return ``h``, and whether it is subtracted, if ``value`` is ``x + h`` or ``x - h``.

        ``h`` must be linear in what is scattered: then its rows may be added one by one.
        """
        if not isinstance(value.op, Elementwise) or len(value.inputs) != 2:
            return None
        names = [Name(f"x{k}", y.dtype) for k, y in enumerate(value.inputs)]
        formula = value.op.scalar(_literal(value), *names)
        if not isinstance(formula, Operation) or formula.operands != tuple(names):
            return None
        first, second = value.inputs
        if first is x and second in self._linear and formula.symbol in ("+", "-"):
            return second, formula.symbol == "-"
        if second is x and first in self._linear and formula.symbol == "+":
            return first, False
        return None

    def adds_nothing(self, fold: Tensor) -> bool:
        """Tell whether a fold over all rows is one over those that are touched."""
        op = fold.op
        if not isinstance(op, Reduction) or not self.is_zero(fold.inputs[0]) or 0 not in op.axes:
            return False
        total, none = Name("total", fold.dtype), Number(0, fold.dtype)
        return _simplified(op.combine(total, none)) == total

    def at(
        self, value: Tensor, places: Tensor, rows: Callable[[Tensor], Tensor],
        now: Callable[[Tensor], Tensor],
    ) -> Tensor:  # fmt: skip
        """Return the rows of ``value`` at ``places``.

        ``rows`` gives those of what is scattered, and ``now`` what has become of a tensor.
        """
        known: dict[Tensor, Tensor] = {}
        for node in self._formula(value):
            if is_scattered(node):
                known[node] = rows(node)
            elif self._is_inner(node, value):
                operands = [known[x] if x in known else now(x) for x in node.inputs]
                known[node] = apply(node.op, *operands)
            elif _has_rows_of(node, value):
                known[node] = apply(Take(0), now(node), places)
        return known[value]

    def _is_inner(self, node: Tensor, value: Tensor) -> bool:
        """Tell whether the rows of ``node`` are computed of those of its operands."""
        own = isinstance(node.op, Elementwise) and not node.op.indexed
        return own and _has_rows_of(node, value)

    def _formula(self, value: Tensor) -> list[Tensor]:
        """Return ``value`` and what it is made of, operands first."""
        seen: set[Tensor] = set()
        stack = [value]
        while stack:
            node = stack.pop()
            if node not in seen:
                seen.add(node)
                if self._is_inner(node, value) and not is_scattered(node):
                    stack.extend(node.inputs)
        return sorted(seen, key=lambda node: node.id)


def touched(gradient: Tensor) -> Tensor | None:
    """Return which rows a gradient touches, booleans ``(rows, 1, ...)``; None if it may be all."""
    nodes = ancestors([gradient])
    if not any(map(is_scattered, nodes)):
        return None
    known = Touched(nodes)
    if not known.is_zero(gradient):
        return None
    wide = (gradient.type.shape[0], *(1 for _ in gradient.type.shape[1:]))
    marks = []
    for indices in known.places[gradient]:
        ones = filled((*indices.type.shape, *wide[1:]), 1.0, gradient.dtype)
        marks.append(apply(ScatterAdd(0, wide), ones, indices))
    counts = add_all(marks)
    return None if counts is None else not_equal(counts, 0)


def _has_rows_of(x: Tensor, node: Tensor) -> bool:
    """Tell whether the rows of ``x`` belong to those of ``node``, one to one."""
    own, other = x.type.shape, node.type.shape
    return len(own) == len(other) > 0 and own[0] == other[0] != 1


def _number(x: Tensor) -> Tensor | float:
    """Return ``x``, or the number that it is."""
    value = scalar_value(x)
    return x if value is None else float(value)


def _literal(node: Tensor) -> Callable[[object], Number]:
    dtype = node.inputs[-1].dtype
    return lambda number: Number(number, dtype)


def _rest(node: Tensor, op: Elementwise, values: Sequence[Rest]) -> Rest:
    """Return what a formula is of what its operands are away from the rows touched."""
    dtypes = [x.dtype for x in node.inputs]
    numbers = [v for v in values if not isinstance(v, Tensor) and v is not None]
    if len(numbers) == len(values):
        arrays = [np.array(v, d) for v, d in zip(numbers, dtypes, strict=True)]
        with np.errstate(all="ignore"):
            return float(op.numpy(*arrays))
    named = {v: Name(f"x{v.id}", v.dtype) for v in values if isinstance(v, Tensor)}
    operands = [
        named[v] if isinstance(v, Tensor) else Name(f"?{k}", d) if v is None else Number(v, d)
        for k, (v, d) in enumerate(zip(values, dtypes, strict=True))
    ]
    found = _simplified(op.scalar(_literal(node), *operands))
    if isinstance(found, Number):
        return float(found.value)
    rest = next((t for t, name in named.items() if name == found), None)
    return rest if rest is not None and rest.type == node.type else None


def _is_zero(value: Value) -> bool:
    return isinstance(value, Number) and value.value == 0


def _simplified(value: Value) -> Value:
    """Return the value without what zeros in it make superfluous."""
    if isinstance(value, Operation):
        own = tuple(map(_simplified, value.operands))
        zero = [_is_zero(v) for v in own]
        if value.symbol == "*" and any(zero):
            return own[zero.index(True)]
        if value.symbol == "+" and any(zero):
            return own[1 - zero.index(True)]
        if (value.symbol == "-" and zero[-1]) or (value.symbol == "/" and zero[0]):
            return own[0]
        return Operation(value.symbol, own, value.dtype)
    if isinstance(value, Call):
        own = tuple(map(_simplified, value.operands))
        if value.function == "vmath.where" and isinstance(own[0], Number):
            return own[1] if own[0].value else own[2]
        return Call(value.function, own, value.dtype)
    if isinstance(value, Converted):
        inner = _simplified(value.value)
        if isinstance(inner, Number):
            return Number(inner.value, value.dtype)
        return Converted(inner, value.dtype)
    return value


def _degree(value: Value, degrees: Mapping[Name, int]) -> float:
    """Return of which degree a formula is in variables of degree 1; infinity for no monomial."""
    if isinstance(value, Name):
        return degrees.get(value, 0)
    if isinstance(value, Converted):
        return _degree(value.value, degrees)
    if not isinstance(value, (Operation, Call)):
        return 0
    own = [_degree(v, degrees) for v in value.operands]
    symbol = value.symbol if isinstance(value, Operation) else ""
    if symbol == "*":
        return sum(own)
    if symbol == "/" and own[1] == 0:
        return own[0]
    if symbol in ("+", "-") and len(set(own)) == 1:
        return own[0]
    return math.inf if any(own) else 0
