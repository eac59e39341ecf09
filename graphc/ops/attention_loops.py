"""What the loops of attention share, forward and backward: tiles, scores, products of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphc.ir.op import Access, Elementwise, Emitter
from graphc.ir.source import Constant
from graphc.ir.tensor import Tensor
from graphc.kernel.value import Integer, Literal, Name, Pointer, Value, call, least, most, select
from graphc.ops.body import Body
from graphc.types import BOOL, INT64, AnyDim

if TYPE_CHECKING:
    from graphc.ops.attention import Scores

_LINE = 64
"""Bytes of a line of the caches: the lanes of a tile fill one or two."""

_ROOMY = 128
"""Elements of a head's vectors beyond which blocks are half as long, to leave room for them."""

MOST = 256
"""Elements of a head's vectors for which there is room on the stack."""

ZERO, ONE = Integer(0), Integer(1)


class Rows(NamedTuple):
    """Vectors in memory, one ``stride`` from the other."""

    pointer: Pointer
    at: Value
    stride: Value


class Place(NamedTuple):
    """A block of scores: sample, head, first query or key of a tile, and those that pass by."""

    n: Value
    h: Value
    first: Value
    at: Value
    lanes: Value
    """Lanes of the tile."""
    many: Value
    """Vectors of the block that passes by."""


class ScoreLoops:
    """What both directions share."""

    def __init__(
        self, e: Emitter, op: Scores, operands: Sequence[Access], extras: Sequence[Access]
    ) -> None:
        self.e, self.op = e, op
        self.q, self.k, self.v = operands
        self.dtype = self.q.dtype
        self.width, self.depth = _fixed(self.q.dims[3]), _fixed(self.v.dims[3])
        heads, own = self.q.dims[1], self.k.dims[1]
        self.group = 1 if heads == own else _fixed(heads) // _fixed(own)
        rest = list(extras)
        self.mask = rest.pop(0) if op.masked else None
        self.lengths = rest.pop(0) if op.counted else None
        self.drawn = (rest.pop(0), rest.pop(0)) if op.p else None
        self.captured = rest

    def shape(self, along: AnyDim, wanted: int) -> None:
        """Choose the lanes of a tile along an axis, and the length of a block."""
        line = _LINE // self.dtype.itemsize
        self.lanes = line if isinstance(along, int) and along <= line else 2 * line
        self.length = wanted if max(self.width, self.depth) <= _ROOMY else wanted // 2

    def lit(self, value: float) -> Value:
        return self.e.lit(value, self.dtype)

    def block(self, name: str, size: int) -> Pointer:
        return self.e.block(name, self.dtype, "rows", Integer(size))

    def lane(self, lanes: Value | None = None) -> AbstractContextManager[Name]:
        """Open a loop over lanes."""
        return self.e.loop("r", Integer(self.lanes) if lanes is None else lanes)

    def read(self, place: Place) -> Value | None:
        """Return the lanes for which scores can be computed, if not all of them can.

        A mask has nothing for lanes without a query or key; else they are computed in vain.
        """
        return None if self.mask is None else place.lanes

    def room(self, name: str, x: Access, count: int) -> Pointer | None:
        """Return memory for ``count`` vectors of ``x`` if their elements lie apart."""
        if x.stride(3) == ONE or x.dims[3] == 1:
            return None
        return self.block(name, count * _fixed(x.dims[3]))

    def rows(
        self, x: Access, n: Value, h: Value, first: Value,
        count: Value = ZERO, room: Pointer | None = None,
    ) -> Rows:  # fmt: skip
        """Return vectors of ``x`` from one on; copied into ``room`` if there is any."""
        if room is None:
            start = x.at(n, h, first, ZERO)
            return Rows(start.pointer, start.index, x.stride(2))
        width = _fixed(x.dims[3])
        with self.e.loop("y", count) as y, self.e.loop("z", width) as z:
            self.e.store(room[y * width + z], x.at(n, h, first + y, z))
        return Rows(room, ZERO, Integer(width))

    def square(self, block: Pointer) -> Rows:
        """Return rows of lanes."""
        return Rows(block, ZERO, Integer(self.lanes))

    def transpose(self, block: Pointer, x: Rows, count: Value, width: int) -> None:
        self.e.do("blocks.transpose", block, self.lanes, *x, count, width)

    def product(
        self, c: Rows, a: Rows, b: Rows, rows: Value, width: Value | int, k: Value | int,
        add: Value | int = 0, turned: bool = False,
    ) -> None:  # fmt: skip
        """Write ``C = A B``, or ``C = A^T B``."""
        steps = (ONE, a.stride) if turned else (a.stride, ONE)
        self.e.do("blocks.multiply", *c, a.pointer, a.at, *steps, *b, rows, width, k, add)

    def keys(self, n: Value) -> Value:
        """Return the number of keys that are looked at."""
        count = self.k.shape[2]
        if self.lengths is None:
            return count
        return self.e.let("keys", most(least(self.lengths.at(n).cast(INT64), count), 0))

    # -- scores ---------------------------------------------------------------------------------

    def score(self, raw: Value, n: Value, h: Value, i: Value, j: Value, apart: Value) -> Value:
        """Return the score of query i and key j, ``apart`` = i - j, from the vectors' product."""
        op = self.op
        value = raw * self.lit(op.scale)
        if op.bias is not None:
            value = value + self._bias(op.bias, n, h, i, j)
        allowed: list[Value] = []
        if self.mask is not None:
            given = self.mask.at(*_within(self.mask, n, h, i, j))
            if op.mask_is_bool:
                allowed.append(given.load(BOOL))
            else:
                value = value + given
        if op.causal:
            allowed.append(apart >= 0)
        if op.window is not None:
            allowed.append(apart < op.window)
            if not op.causal:
                allowed.append(apart > -op.window)
        for condition in allowed:
            value = select(condition, value, self.lit(-np.inf))
        return value

    def _bias(self, body: Body, n: Value, h: Value, i: Value, j: Value) -> Value:
        """Return the value of a formula of the two places."""
        given = [x.at(*_within(x, n, h, ZERO, ZERO)) for x in self.captured]
        values: dict[Tensor, Value] = dict(zip(body.inputs, [i, j, *given], strict=True))
        for node in body.nodes:
            if isinstance(node.op, Constant):
                values[node] = self.e.lit(node.op.value.array.item(), node.dtype)
            elif node not in values:
                assert isinstance(node.op, Elementwise)
                dtype = node.inputs[0].dtype
                dtype = node.dtype if node.dtype.kind != "b" and dtype.kind == "b" else dtype
                operands = [values[x] for x in node.inputs]
                values[node] = node.op.scalar(self._literal(dtype), *operands).cast(node.dtype)
        return values[body.others[0]]

    def _literal(self, dtype: np.dtype[Any]) -> Literal:
        return lambda number: self.e.lit(number, dtype)

    def kept(self, n: Value, h: Value, i: Value, j: Value) -> Value | None:
        """Return what dropout multiplies a weight by."""
        if self.drawn is None:
            return None
        seed, step = (x.at() for x in self.drawn)
        place = (n * self.q.shape[1] + h) * self.q.shape[2] + i
        place = place * self.k.shape[2] + j
        drawn = call(f"random.uniform{8 * self.dtype.itemsize}", seed, ZERO, step, place,
                     dtype=self.dtype)  # fmt: skip
        return select(drawn >= self.lit(self.op.p), self.lit(self.op.grown), self.lit(0.0))


def _within(x: Access, *index: Value) -> list[Value]:
    """Return the index of an operand that broadcasts."""
    return [ZERO if d == 1 else i for i, d in zip(index, x.dims, strict=True)]


def _fixed(dim: AnyDim) -> int:
    assert isinstance(dim, int)
    return dim
