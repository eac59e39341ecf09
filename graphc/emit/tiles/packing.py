"""Blocks of A in LLVM, packed: what a tile reads lies in the order in which it is read.

Rows at strides of kilobytes meet in few places of the first cache, and each on a page of its own.
"""

from __future__ import annotations

from typing import Any

from graphc.emit import shape
from graphc.emit.tiles.blocks import heights
from graphc.emit.tiles.code import Address, Code, Int, least
from graphc.emit.tiles.transposes import transposed
from graphc.emit.tiles.vectors import Vectors
from graphc.jit.llvm import ir

KINDS = "iipiip"
"""Of (rows, k, a, a_i, a_k, packed)."""

STEPS = 8
"""Steps of K at a time: as many rows of memory are read, and whole lines are written."""


def emit_pack(v: Vectors, function: Any) -> None:
    """Fill ``pack``: A (rows, k), of contiguous rows or columns, by tiles.

    Their heights are those of :func:`blocks.heights`. The tile from row i on starts at
    packed[i * k]; a step of K is as long as the tile is high.
    """
    code = Code(function)
    rows, k, a, a_i, a_k, packed = code.arguments
    high, middle, low = (f(v.itemsize) for f in (shape.high, shape.middle, shape.low))
    highs, several = heights(v.itemsize, rows)
    whole, start = least(highs, rows // high) * high, highs * high
    end = start + several.choose(middle, 0)

    def each(height: int, i: Int, first: Int | int, last: Int) -> None:
        """Pack steps first..last of the rows that there are of a tile, element by element."""
        with code.loop(first, last) as t, code.loop(0, least(rows - i, height)) as r:
            value = code.builder.load((a + ((i + r) * a_i + t * a_k)).ir)
            code.builder.store(value, (packed + (i * k + t * height + r)).ir)

    with code.either(a_k.equals(1)) as (yes, no):
        with yes, code.loop(0, whole, high) as i:
            squares = k // v.lanes * v.lanes
            _turn(v, code, squares, a + i * a_i, a_i, packed + i * k)
            each(high, i, squares, k)
        with no, code.loop(0, k, STEPS) as first:
            last = least(first + STEPS, k)
            with code.loop(0, whole, high) as i, code.loop(first, last) as t:
                _move(v, code, a + (i * a_i + t * a_k), packed + (i * k + t * high))
    for height, first, last in ((high, whole, start), (middle, start, end), (low, end, rows)):
        with code.loop(first, last, height) as i:
            each(height, i, 0, k)
    code.end()


def _turn(v: Vectors, code: Code, k: Int, a: Address, a_i: Int, packed: Address) -> None:
    """Pack k steps of a high tile from contiguous rows; k is a multiple of lanes.

    Squares are as wide as vectors: what the last one leaves behind a step, the next step replaces.
    """
    high = shape.high(v.itemsize)
    starts = range(0, high, v.lanes)
    heads = [(a + a_i * min(r, high - 1)).opaque() for r in range(starts[-1] + v.lanes)]
    with code.loop(0, k, v.lanes) as t:
        lines = [v.load(code.builder, (head + t).ir) for head in heads]
        squares = [transposed(v, code.builder, lines[x : x + v.lanes]) for x in starts]
        for step, columns in enumerate(zip(*squares, strict=True)):
            for x, column in zip(starts, columns, strict=True):
                v.store(code.builder, column, (packed + (t * high + (step * high + x))).ir)


def _move(v: Vectors, code: Code, a: Address, packed: Address) -> None:
    """Pack a step of a high tile from a contiguous column."""
    builder, unit = code.builder, shape.unit(v.itemsize)
    kind = ir.VectorType(v.real, unit).as_pointer()
    for r in range(0, shape.high(v.itemsize), unit):
        part = builder.load(builder.bitcast((a + r).ir, kind), align=v.itemsize)
        builder.store(part, builder.bitcast((packed + r).ir, kind), align=v.itemsize)
