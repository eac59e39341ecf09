"""Arithmetic of real numbers, element by element."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir.op import Array, Elementwise, Literal, Sample, function, register, unbroadcast
from graphc.ir.tensor import Tensor, apply
from graphc.ops.operands import common

SECTION = "Arithmetic"


@register
@dataclass(frozen=True)
class Add(Elementwise):
    """``x + y``."""

    def numpy(self, *arrays: Array) -> Array:
        return np.add(*arrays)

    def scalar(self, lit: Literal, *args: str) -> str:
        x, y = args
        return f"{x} + {y}"

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return [unbroadcast(g, x.type.shape) for x in inputs]


@register
@dataclass(frozen=True)
class Multiply(Elementwise):
    """``x * y``."""

    def numpy(self, *arrays: Array) -> Array:
        return np.multiply(*arrays)

    def scalar(self, lit: Literal, *args: str) -> str:
        x, y = args
        return f"{x} * {y}"

    def partials(self, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        x, y = inputs
        return y, x


def _pairs() -> Iterable[Sample]:
    """Operands that every binary function of real numbers is tried on."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3, 4))
    yield Sample((a, b))
    yield Sample((a, b[0]))
    yield Sample((a[:, :1], b[0]))
    yield Sample((a, 2.0))
    yield Sample((a[:0], b[:0]))
    yield Sample((np.arange(3), np.array([4, -5, 6])), differentiable=False)


@function(samples=_pairs, reference=np.add, section=SECTION)
def add(x: Any, y: Any) -> Tensor:
    """Return ``x + y``; for booleans, their disjunction."""
    return apply(Add(), *common("add", x, y))


@function(samples=_pairs, reference=np.multiply, section=SECTION)
def multiply(x: Any, y: Any) -> Tensor:
    """Return ``x * y``; for booleans, their conjunction."""
    return apply(Multiply(), *common("multiply", x, y))
