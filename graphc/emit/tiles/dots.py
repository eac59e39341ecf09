"""Products with fewer columns than lanes in LLVM: lanes along K.

Columns of B are copied so that what meets a vector of A stands side by side; vectors of A are read
where they lie, a few rows at a time. The lanes of each sum are added up at the end.
"""

from __future__ import annotations

from typing import Any

from graphc.emit.tiles.code import Code, Int, ceildiv, least
from graphc.emit.tiles.vectors import Vectors

ROWS, COLUMNS = 4, 3
"""Rows and columns of a tile: as many sums hide the time of a multiply-add, and fit registers."""

PLACES = 4
"""Sums of a row, with what fills them up to a power of two."""

FOLDED = 3
"""Instructions that add up a vector's lanes, where several vectors' are added up at once."""

PACK_KINDS = "iiitpiip"
"""Of (n, k, runs, b_runs, b, b_k, b_j, packed)."""

KINDS = "iiiitpiippi"
"""Of (rows, n, k, runs, a_runs, a, a_i, add, packed, c, c_i)."""


def packed_size(v: Vectors, n: Int, k: Int, runs: Int) -> Int:
    """Return how many elements :func:`emit_pack` writes."""
    return ceildiv(n, COLUMNS) * COLUMNS * ceildiv(k, v.lanes) * v.lanes * runs


def is_cheaper(v: Vectors, n: Int, k: Int, runs: Int) -> Int:
    """Compare the multiply-adds of a row with those of a tile, which has a column in each lane."""
    own = (ceildiv(k, v.lanes) * runs + FOLDED) * (ceildiv(n, COLUMNS) * COLUMNS)
    return (n * 2 < v.lanes) & (own < k * runs)


def emit_pack(v: Vectors, function: Any) -> None:
    """Fill ``pack_columns``: B by tiles of columns, then runs, then vectors of steps.

    Lanes behind the end of a run are 0.
    """
    code = Code(function)
    builder = code.builder
    n, k, runs, b_runs, b, b_k, b_j, packed = code.arguments
    vectors, wide = ceildiv(k, v.lanes), COLUMNS * v.lanes
    with code.loop(0, n, COLUMNS) as first, code.loop(0, runs) as run:
        here = b + ((b_runs + run).load() + first * b_j)
        there = packed + (first // COLUMNS * runs + run) * vectors * wide
        with code.loop(0, vectors * wide, v.lanes) as x:
            v.store(builder, v.zero, (there + x).ir)
        with code.loop(0, least(n - first, COLUMNS)) as j, code.loop(0, k, v.lanes) as t:
            source, target = here + (j * b_j + t * b_k), there + (t * COLUMNS + j * v.lanes)
            with code.loop(0, least(k - t, v.lanes)) as lane:
                builder.store(builder.load((source + lane * b_k).ir), (target + lane).ir)
    code.end()


def emit_dots(v: Vectors, function: Any) -> None:
    """Fill ``dots``: C (rows, n) = [C +] A (rows, k) B, where B is packed."""
    code = Code(function)
    builder = code.builder
    rows, n, k, runs, a_runs, a, a_i, add, packed, c, c_i = code.arguments
    vectors, whole, wide = ceildiv(k, v.lanes), k // v.lanes * v.lanes, COLUMNS * v.lanes
    rest = v.mask(builder, (k - whole).ir)
    sums = code.room(v.real, ROWS * PLACES)
    grid = [(i, j) for i in range(ROWS) for j in range(COLUMNS)]
    with code.loop(0, rows, ROWS) as top, code.loop(0, n, COLUMNS) as first:
        high = least(rows - top, ROWS)
        heads = [a + (top + least(code.number(i), high - 1)) * a_i for i in range(ROWS)]
        columns = packed + first // COLUMNS * runs * vectors * wide

        def add_run(
            run: Int, totals: list[Any], heads: list[Any] = heads, columns: Any = columns
        ) -> list[Any]:
            start = (a_runs + run).load()
            lines = [(head + start).opaque() for head in heads]
            meets = columns + run * vectors * wide

            def step(t: Int, totals: list[Any], mask: Any = None) -> list[Any]:
                left = [v.load(builder, (line + t).ir, mask) for line in lines]
                places = (meets + (t * COLUMNS + x) for x in range(0, wide, v.lanes))
                right = [v.load(builder, place.ir) for place in places]
                pairs = zip(grid, totals, strict=True)
                return [v.fma(builder, left[i], right[j], total) for (i, j), total in pairs]

            totals = code.fold(0, whole, v.lanes, totals, step)
            return code.fold(whole, k, v.lanes, totals, lambda t, x: step(t, x, rest))

        totals = code.fold(0, runs, 1, [v.zero] * len(grid), add_run)
        found = dict(zip(grid, totals, strict=True))
        each = [found.get((i, j), v.zero) for i in range(ROWS) for j in range(PLACES)]
        for x in range(0, len(each), v.lanes):
            v.store(builder, _folded(v, builder, each[x : x + v.lanes]), (sums + x).ir)
        with code.loop(0, high) as i, code.loop(0, least(n - first, COLUMNS)) as j:
            at = (c + ((top + i) * c_i + first + j)).ir
            total = builder.load((sums + (i * PLACES + j)).ir)
            with code.either(add.differs(0)) as (yes, no):
                with yes:
                    builder.store(builder.fadd(builder.load(at), total), at)
                with no:
                    builder.store(total, at)
    code.end()


def _folded(v: Vectors, builder: Any, lines: list[Any]) -> Any:
    """Return the sums of the lanes of as many vectors as one has lanes, each in its lane."""
    even, odd = (list(range(first, 2 * v.lanes, 2)) for first in (0, 1))
    while len(lines) > 1:
        lines = [
            builder.fadd(v.shuffle(builder, x, y, even), v.shuffle(builder, x, y, odd))
            for x, y in zip(lines[::2], lines[1::2], strict=True)
        ]
    return lines[0]
