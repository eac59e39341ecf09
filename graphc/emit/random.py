"""Random numbers in kernels: the generator of :mod:`graphc.ops.random`, one element at a time.

The formula is written once, over words that add modulo 2^32, exclusive-or and rotate. Compiled,
a word is an LLVM ``i32``, so that a vector register holds as many as it holds float32; in plain
Python it is a :class:`Word`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.emit.emitted import compiled
from graphc.jit.llvm import ir
from graphc.ops.random import LOW, PARITY, ROTATIONS


@dataclass(frozen=True)
class Word:
    """A 32-bit word as a Python integer."""

    value: int

    def __add__(self, other: Word | int) -> Word:
        return Word((self.value + _number(other)) & LOW)

    def __xor__(self, other: Word | int) -> Word:
        return Word(self.value ^ _number(other))

    def rotated(self, by: int) -> Word:
        return Word(((self.value << by) | (self.value >> (32 - by))) & LOW)


def _number(word: Word | int) -> int:
    return word.value if isinstance(word, Word) else word


_I32, _I64 = ir.IntType(32), ir.IntType(64)


@dataclass(frozen=True)
class Lane:
    """A 32-bit word as an LLVM value."""

    builder: Any
    value: Any

    def _lift(self, other: Lane | int) -> Any:
        return other.value if isinstance(other, Lane) else ir.Constant(_I32, other)

    def __add__(self, other: Lane | int) -> Lane:
        return Lane(self.builder, self.builder.add(self.value, self._lift(other)))

    def __xor__(self, other: Lane | int) -> Lane:
        return Lane(self.builder, self.builder.xor(self.value, self._lift(other)))

    def rotated(self, by: int) -> Lane:
        left = self.builder.shl(self.value, ir.Constant(_I32, by))
        right = self.builder.lshr(self.value, ir.Constant(_I32, 32 - by))
        return Lane(self.builder, self.builder.or_(left, right))


def threefry(a: Any, b: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Return the two words to which the key ``(a, b)`` takes the counter ``(x, y)``."""
    words = (a, b, a ^ b ^ PARITY)
    x, y = x + a, y + b
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x = x + y
            y = y.rotated(rotation) ^ x
        x = x + words[(group + 1) % 3]
        y = y + words[(group + 2) % 3] + (group + 1)
    return x, y


def bits(seed: tuple[Any, Any], stream: Any, step: Any, index: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return the random words of an element; seed and index are pairs (low, high)."""
    return threefry(*threefry(*seed, stream, step), *index)


def _halves(value: int) -> tuple[Word, Word]:
    whole = int(value)
    return Word(whole & LOW), Word((whole >> 32) & LOW)


def _plain(seed: int, stream: int, step: int, index: int) -> tuple[int, int]:
    x, y = bits(_halves(seed), _halves(stream)[0], _halves(step)[0], _halves(index))
    return x.value, y.value


def _lanes(builder: Any, value: Any) -> tuple[Lane, Lane]:
    high = builder.lshr(value, ir.Constant(_I64, 32))
    return Lane(builder, builder.trunc(value, _I32)), Lane(builder, builder.trunc(high, _I32))


def _emit32(builder: Any, x: Any, y: Any) -> Any:
    kind = ir.FloatType()
    number = builder.sitofp(builder.lshr(x, ir.Constant(_I32, 8)), kind)
    return builder.fmul(number, ir.Constant(kind, 2.0**-24))


def _emit64(builder: Any, x: Any, y: Any) -> Any:
    kind = ir.DoubleType()
    high = builder.shl(builder.zext(x, _I64), ir.Constant(_I64, 21))
    low = builder.zext(builder.lshr(y, ir.Constant(_I32, 11)), _I64)
    return builder.fmul(builder.sitofp(builder.or_(high, low), kind), ir.Constant(kind, 2.0**-53))


def _drawn(value: Callable[..., Any]) -> Callable[..., Any]:
    """Return what writes a draw, of which ``value(builder, x, y)`` makes a number."""

    def emit(builder: Any, *words: Any) -> Any:
        seed, stream, step, index = (_lanes(builder, word) for word in words)
        x, y = bits(seed, stream[0], step[0], index)
        return value(builder, x.value, y.value)

    return emit


@compiled(_drawn(_emit32))
def uniform32(seed: int, stream: int, step: int, index: int) -> np.float32:
    """Return a float32 in [0, 1): the upper 24 bits of the first word."""
    x, _ = _plain(seed, stream, step, index)
    return np.float32((x >> 8) * 2.0**-24)


@compiled(_drawn(_emit64))
def uniform64(seed: int, stream: int, step: int, index: int) -> np.float64:
    """Return a float64 in [0, 1): 53 bits of both words."""
    x, y = _plain(seed, stream, step, index)
    return np.float64(((x << 21) | (y >> 11)) * 2.0**-53)
