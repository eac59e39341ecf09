"""Products with few columns in LLVM: as many rows of C at a time as a vector has lanes.

Columns of A enter as vectors, and elements of B are broadcast, as in tiles of C's transpose. Where
rows of A are contiguous, squares of it are transposed in registers, and at last so is C: the
processor does it while it still multiplies by the square before.
"""

from __future__ import annotations

from typing import Any

from graphc.emit import shape
from graphc.emit.tiles.blocks import GROUP
from graphc.emit.tiles.code import Address, Code, Int
from graphc.emit.tiles.transposes import emit_transpose, transposed
from graphc.emit.tiles.vectors import Vectors

KINDS = "iipiipipi"
"""Of (rows, k, a, a_i, a_k, b, b_k, c, c_i)."""


def emit_narrow(v: Vectors, function: Any) -> None:
    """Fill ``narrow``: C (rows, narrow) = A (rows, k) B (k, narrow), of :func:`shape.narrow`.

    B and C have contiguous rows, A contiguous rows or columns. There are as many rows as vectors
    have lanes, or a multiple of that.
    """
    code = Code(function)
    builder = code.builder
    rows, k, a, a_i, a_k, b, b_k, c, c_i = code.arguments
    transpose = v.part(function.module, "transpose", "iipipi", emit_transpose)
    side, columns = v.lanes, range(shape.narrow(v.itemsize))
    square = code.room(v.real, side * side)
    straight, whole = (a_i.equals(1).choose(k, x) for x in (0, k // side * side))

    def add(column: Any, line: Address, sums: list[Any]) -> list[Any]:
        factors = [v.spread(builder, builder.load((line + j).ir)) for j in columns]
        return [v.fma(builder, column, f, s) for f, s in zip(factors, sums, strict=True)]

    def add_rest(t: Int, sums: list[Any]) -> list[Any]:
        return add(v.load(builder, (square + (t - whole) * side).ir), b + t * b_k, sums)

    with code.loop(0, rows, side) as i:
        here = a + i * a_i
        heads = [(here + a_i * j).opaque() for j in range(0, side, GROUP)]

        def add_column(t: Int, sums: list[Any], here: Address = here) -> list[Any]:
            return add(v.load(builder, (here + t * a_k).ir), b + t * b_k, sums)

        def add_square(t: Int, sums: list[Any], heads: list[Address] = heads) -> list[Any]:
            places = [heads[j // GROUP] + (a_i * (j % GROUP) + t) for j in range(side)]
            line = b + t * b_k
            for column in transposed(v, builder, [v.load(builder, p.ir) for p in places]):
                sums = add(column, line, sums)
                line = (line + b_k).opaque()
            return sums

        sums = code.fold(0, straight, 1, [v.zero] * len(columns), add_column)
        sums = code.fold(straight, whole, side, sums, add_square)
        with code.when(whole < k):
            code.call(transpose, k - whole, side, here + whole, a_i, square, side)
        sums = code.fold(whole, k, 1, sums, add_rest)
        _store(v, code, sums, c + i * c_i, c_i)
    code.end()


def _store(v: Vectors, code: Code, columns: list[Any], c: Address, c_i: Int) -> None:
    """Store the transpose of ``columns``, as many rows as they have lanes."""
    starts = range(0, len(columns), v.lanes)
    padded = columns + [v.zero] * (-len(columns) % v.lanes)
    squares = [transposed(v, code.builder, padded[x : x + v.lanes]) for x in starts]
    widths = [min(v.lanes, len(columns) - x) for x in starts]
    masks = [None if w == v.lanes else v.mask(code.builder, code.number(w).ir) for w in widths]
    for pieces in zip(*squares, strict=True):
        for x, piece, mask in zip(starts, pieces, masks, strict=True):
            v.store(code.builder, piece, (c + x).ir, mask)
        c = (c + c_i).opaque()
