"""Blocks of A in LLVM, packed: what a tile reads lies in the order in which it is read.

Rows at strides of kilobytes meet in few places of the first cache, and each on a page of its own.
"""

from __future__ import annotations

from typing import Any

from graphc.jit.llvm import ir
from graphc.runtime import shape
from graphc.runtime.tiles.blocks import heights
from graphc.runtime.tiles.code import Code, Int, least
from graphc.runtime.tiles.vectors import Vectors

KINDS = "iipiip"
"""Of (rows, k, a, a_i, a_k, packed)."""

STEPS = 8
"""Steps of K at a time: as many rows of memory are read, and whole lines are written."""


def emit_pack(v: Vectors, function: Any) -> None:
    """Fill ``pack``: A (rows, k), of contiguous columns, by tiles as :func:`blocks.heights` says.

    The tile from row i on starts at packed[i * k]; a step of K is as long as the tile is high.
    """
    code = Code(function)
    builder = code.builder
    rows, k, a, a_i, a_k, packed = code.arguments
    high, middle, low = (f(v.itemsize) for f in (shape.high, shape.middle, shape.low))
    unit = shape.unit(v.itemsize)
    chunk = ir.VectorType(v.real, unit).as_pointer()
    highs, several = heights(v.itemsize, rows)
    whole = least(highs, rows // high) * high
    start, end = highs * high, highs * high + several.choose(middle, 0)

    def part(height: int, i: Int, first: Int, last: Int) -> None:
        there = least(rows - i, height)
        with code.loop(first, last) as t, code.loop(0, there) as r:
            value = builder.load((a + ((i + r) * a_i + t * a_k)).ir)
            builder.store(value, (packed + (i * k + t * height + r)).ir)

    with code.loop(0, k, STEPS) as first:
        last = least(first + STEPS, k)
        with code.loop(0, whole, high) as i, code.loop(first, last) as t:
            here, there = a + (i + t * a_k), packed + (i * k + t * high)
            for r in range(0, high, unit):
                line = builder.load(builder.bitcast((here + r).ir, chunk), align=v.itemsize)
                builder.store(line, builder.bitcast((there + r).ir, chunk), align=v.itemsize)
        with code.loop(whole, start, high) as i:
            part(high, i, first, last)
        with code.loop(start, end, middle) as i:
            part(middle, i, first, last)
        with code.loop(end, rows, low) as i:
            part(low, i, first, last)
    code.end()
