"""Positions in sequences: rotary, sinusoidal and learned."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np

from graphc import ops
from graphc.errors import IndexingError, ShapeError, user_location
from graphc.ir.source import Initializer, constant
from graphc.ir.tensor import Tensor
from graphc.nn import init
from graphc.nn.module import Layer, count, floating
from graphc.ops.cast import cast
from graphc.ops.creation import iota
from graphc.ops.operands import as_tensor
from graphc.types import FLOAT32, FLOAT64, INT64, DTypeLike


def rotary(
    x: Any, positions: Any = None, *, base: float = 10000.0, interleaved: bool = False
) -> Tensor:
    """Return vectors (..., T, d) turned by angles that grow with their positions.

    The pair of elements k is turned by ``position * base^(-2 k / d)``, so that products of queries
    and keys depend on how far these are apart (Su et al., *RoFormer*, 2021, section 3.2). Pairs are
    ``(k, k + d / 2)``, or neighbours with ``interleaved``, as in the paper. ``positions`` are (T,)
    or broadcast to (..., T); without them they are 0, 1, ...
    """
    t = as_tensor(x)
    floating("rotary", t)
    if t.ndim < 2:
        raise ShapeError(
            f"rotary needs axes (..., T, d), got {t.describe()}\n  at {user_location()}"
        )
    length, width = t.type.shape[-2:]
    if not isinstance(width, int) or width % 2:
        raise ShapeError(
            f"rotary: the last axis of {t.describe()} must be of an even size"
            f"\n  at {user_location()}"
        )
    half = width // 2
    places = iota((length,), 0, INT64) if positions is None else as_tensor(positions)
    speeds = constant(base ** (-np.arange(half) / half), FLOAT64)
    angles = cast(ops.expand_dims(places, -1), FLOAT64) * speeds
    cos, sin = (cast(f(angles), t.dtype) for f in (ops.cos, ops.sin))
    if interleaved:
        pairs = ops.reshape(t, (*t.type.shape[:-1], half, 2))
        a, b = pairs[..., 0], pairs[..., 1]
        turned = ops.stack([a * cos - b * sin, a * sin + b * cos], -1)
        return ops.reshape(turned, t.type.shape)
    a, b = t[..., :half], t[..., half:]
    return ops.concat([a * cos - b * sin, a * sin + b * cos], -1)


def sinusoidal(length: int, width: int, base: float = 10000.0) -> np.ndarray[Any, Any]:
    """Return sines and cosines of positions, ``(length, width)`` in float64.

    Columns 2 k and 2 k + 1 are the sine and the cosine of ``position * base^(-2 k / width)``
    (Vaswani et al., *Attention Is All You Need*, 2017, section 3.5).
    """
    k = np.arange(0, width, 2)
    angles = np.arange(length)[:, None] * np.exp(-math.log(base) * k / width)
    table = np.empty((length, width))
    table[:, ::2] = np.sin(angles)
    table[:, 1::2] = np.cos(angles)[:, : width // 2]
    return table


class _Positions(Layer):
    """Adds a row of a table to each place of a sequence."""

    def forward(self, x: Tensor, start: Any = 0) -> Tensor:
        kind, where = type(self).__name__, f"\n  at {user_location()}"
        floating(kind, x)
        table = self._table_of(x.dtype)
        room, own = table.type.shape
        assert isinstance(room, int)
        length, width = (0, *x.type.shape)[-2:]
        fits = not isinstance(length, int) or length <= room
        if x.ndim < 2 or width != own or not fits:
            raise ShapeError(
                f"{kind} has a table of shape ({room}, {own}), which does not fit "
                f"{x.describe()}{where}"
            )
        if isinstance(start, (int, np.integer)) and isinstance(length, int):
            if not 0 <= start <= room - length:
                raise IndexingError(
                    f"{kind}: {length} positions from start={start} on are not all among the "
                    f"{room} of its table{where}"
                )
            rows = table[int(start) : int(start) + length]
        else:
            rows = ops.take(table, start + iota((length,), 0, INT64), axis=0)
        return x + cast(rows, x.dtype)

    @abstractmethod
    def _table_of(self, dtype: np.dtype[Any]) -> Tensor:
        """Return the table for inputs of a data type."""


class SinusoidalPositions(_Positions):
    """Adds sines and cosines of positions to (..., T, embed_dim): :func:`nn.sinusoidal`.

    Called with ``start``, a number or a tensor, positions count from there. One that the table does
    not have raises an IndexError.
    """

    def __init__(
        self, embed_dim: int, max_len: int = 5000, base: float = 10000.0, *, name: str | None = None
    ) -> None:
        super().__init__(name)
        width = count("SinusoidalPositions: embed_dim", embed_dim, 1)
        room = count("SinusoidalPositions: max_len", max_len, 1)
        self._rows = sinusoidal(room, width, base)
        self.table = constant(self._rows, FLOAT32)

    def _table_of(self, dtype: np.dtype[Any]) -> Tensor:
        return self.table if dtype == FLOAT32 else constant(self._rows, dtype)


class LearnedPositions(_Positions):
    """Adds a learned row for each position to (..., T, embed_dim), normal at the start.

    Called with ``start``, a number or a tensor, positions count from there. One that the table does
    not have raises an IndexError.
    """

    def __init__(
        self, max_len: int, embed_dim: int, *, weight_init: Initializer | None = None,
        dtype: DTypeLike = FLOAT32, trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, trainable=trainable)
        shape = (
            count("LearnedPositions: max_len", max_len, 1),
            count("LearnedPositions: embed_dim", embed_dim, 1),
        )
        start = weight_init or init.normal(std=0.02)
        self.weight = self.parameter("weight", start, shape, dtype=dtype)

    def _table_of(self, dtype: np.dtype[Any]) -> Tensor:
        return self.weight
