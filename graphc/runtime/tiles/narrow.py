"""Products with few columns in LLVM: as many rows of C at a time as a vector has lanes.

Columns of A enter as vectors, and elements of B are broadcast, as in tiles of C's transpose. Rows
of A are contiguous: squares of them are transposed in registers, and the processor does so while it
still multiplies by the square before.
"""

from __future__ import annotations

from typing import Any

from graphc.runtime.tiles import shape
from graphc.runtime.tiles.blocks import GROUP
from graphc.runtime.tiles.code import Address, Code, Int
from graphc.runtime.tiles.transposes import emit_transpose, transposed
from graphc.runtime.tiles.vectors import Vectors

KINDS = "iipipipi"
"""Of (rows, k, a, a_i, b, b_k, c, c_i)."""


def emit_narrow(v: Vectors, function: Any) -> None:
    """Fill ``narrow``: C (rows, narrow) = A (rows, k) B (k, narrow), of :func:`shape.narrow`.

    All have contiguous rows. There are as many rows as vectors have lanes, or a multiple of that.
    """
    code = Code(function)
    builder = code.builder
    rows, k, a, a_i, b, b_k, c, c_i = code.arguments
    transpose = v.part(function.module, "transpose", "iipipi", emit_transpose)
    side, columns = v.lanes, range(shape.narrow(v.itemsize))
    square, turned = (code.room(v.real, x * side) for x in (side, len(columns)))
    whole = k // side * side

    def add(column: Any, line: Address, sums: list[Any]) -> list[Any]:
        factors = [v.spread(builder, builder.load((line + j).ir)) for j in columns]
        return [v.fma(builder, column, f, s) for f, s in zip(factors, sums, strict=True)]

    def add_rest(t: Int, sums: list[Any]) -> list[Any]:
        return add(v.load(builder, (square + (t - whole) * side).ir), b + t * b_k, sums)

    with code.loop(0, rows, side) as i:
        here = a + i * a_i
        heads = [(here + a_i * j).opaque() for j in range(0, side, GROUP)]

        def add_square(t: Int, sums: list[Any], heads: list[Address] = heads) -> list[Any]:
            places = [heads[j // GROUP] + (a_i * (j % GROUP) + t) for j in range(side)]
            line = b + t * b_k
            for column in transposed(v, builder, [v.load(builder, p.ir) for p in places]):
                sums = add(column, line, sums)
                line = (line + b_k).opaque()
            return sums

        sums = code.fold(0, whole, side, [v.zero] * len(columns), add_square)
        with code.when(whole < k):
            code.call(transpose, k - whole, side, here + whole, a_i, square, side)
        sums = code.fold(whole, k, 1, sums, add_rest)
        for j, total in zip(columns, sums, strict=True):
            v.store(builder, total, (turned + j * side).ir)
        code.call(transpose, side, len(columns), turned, side, c + i * c_i, c_i)
    code.end()
