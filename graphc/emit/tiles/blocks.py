"""Blocks of C = A B in LLVM: columns of tiles that stay in registers while K passes by.

A row of a tile is :data:`shape.VECTORS` vectors. For each k, one row of B is loaded and one element
of A broadcast for every row of the tile, and each pair meets in a fused multiply-add. What comes
next from far memory is fetched, and copied into a panel, a little every few steps of K: such loads
cost nothing beside the arithmetic, and at once they would stop it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.emit import shape
from graphc.emit.tiles.code import Address, Code, Int, ceildiv, const, least
from graphc.emit.tiles.vectors import Vectors

KINDS = "iiiittpiipiippipipii"
"""Of (rows, width, k, runs, a_runs, b_runs, a, a_i, a_k, b, b_k, add, factor, c, c_i, source,
source_k, panel, packed or first, count)."""

GROUP = 4
"""Rows of A addressed from one pointer: x86 adds a register times 1, 2, 4 or 8 to it."""

PIECE = 64
"""Steps of K between two looks at what comes next."""

FETCHED = 6
"""Rows of C fetched at each of them."""

LONG = 64
"""Length of K from which a tile of C has time to arrive while it is computed."""

SPREAD = 3
"""A panel is copied beside 2^SPREAD tiles, or fewer if there are no more."""


def emit_block(v: Vectors, function: Any) -> None:
    """Fill ``block``: C (rows, width) = [C - factor] A (rows, k) B (k, width).

    There are as many ``runs`` of k steps, which start where ``a_runs`` and ``b_runs`` say.
    Where ``packed`` is not 0, A is as :mod:`.packing` leaves it, ``a_i`` is k, and B is two vectors
    wide.

    Meanwhile, where ``count`` is not 0 and there are high tiles, as many rows of ``source`` as B
    has are copied into ``panel``.
    """
    code = Code(function)
    masks = shape.TARGET.masks
    rows, width, *middle, b, b_k, add, factor, c, c_i = code.arguments[:15]
    ahead = code.arguments[15:]
    two = v.lanes + 1 if masks else shape.width(v.itemsize)
    with code.either(width >= two) as (yes, no):
        with yes:
            code.call(_band(v, function, shape.VECTORS, masks), *code.arguments)
        with no:
            if masks:
                code.call(_band(v, function, 1, True), *code.arguments)
            else:
                # A masked vector costs a branch for every lane: only the columns left over pay.
                whole = width >= v.lanes
                with code.when(whole):
                    code.call(_band(v, function, 1, False), *code.arguments)
                at = whole.choose(v.lanes, 0)
                with code.when(width > at):
                    args = (
                        rows, width - at, *middle, b + at, b_k, add, factor, c + at, c_i, *ahead,
                    )  # fmt: skip
                    code.call(_band(v, function, 1, True), *args)
    code.end()


def _band(v: Vectors, owner: Any, vectors: int, masked: bool) -> Any:
    """Return the function of a column of tiles."""
    name = f"band_{vectors}{'m' * masked}"
    return v.part(owner.module, name, KINDS, lambda v, f: _emit_band(v, f, vectors, masked))


def _emit_band(v: Vectors, function: Any, vectors: int, masked: bool) -> None:
    """Fill the function of a column of tiles.

    Two vectors wide, it has as few tiles as it can, of like heights, and a high one if it has three
    high tiles' rows. Half a low tile's rows have a tile of their own, unless A is packed by tiles.
    """
    code = Code(function)
    rows, width, k, *runs, a, a_i, a_k, b, b_k, add, factor, c, c_i = code.arguments[:15]
    source, source_k, panel, *flags = code.arguments[15:]
    sizes = (shape.high, shape.middle, shape.low, shape.unit)
    high, middle, low, short = (f(v.itemsize) for f in sizes)
    packed, count = flags[0].differs(0), flags[1]

    def tile(height: int, i: Int, first: Int | int, copied: Int | int) -> None:
        code.call(
            _tile(v, function, height, vectors, masked),
            rows - i, width, k, *runs, a + i * a_i, packed.choose(1, a_i),
            packed.choose(height, a_k), b, b_k, add, factor, c + i * c_i, c_i,
            source, source_k, panel, first, copied,
        )  # fmt: skip

    start = code.number(0)
    if vectors == shape.VECTORS:
        highs, several = heights(v.itemsize, rows)
        start = highs * high
        beside = least(v.log2(code, highs | 1), SPREAD)
        copies = count.differs(0).choose(code.number(PIECE) >> beside, 0)
        spread = code.number(high) << beside
        with code.loop(0, start, high) as i:
            first = i // high * ceildiv(k, PIECE) * copies
            tile(high, i, first, (i < spread).choose(copies, 0))
        with code.when(several):
            tile(middle, start, 0, 0)
        start = start + several.choose(middle, 0)
    with code.loop(start, rows, low) as i:
        if vectors == shape.VECTORS:
            with code.either((rows - i > short) | packed) as (yes, no):
                with yes:
                    tile(low, i, 0, 0)
                with no:
                    tile(short, i, 0, 0)
        else:
            tile(low, i, 0, 0)
    code.end()


def heights(itemsize: int, rows: Int) -> tuple[Int, Int]:
    """Return how many tiles of a column are high, and whether a middle one follows.

    The rest are low: as few tiles as there can be, of like heights.
    """
    high, step = shape.high(itemsize), shape.step(itemsize)
    steps = ceildiv(rows, step)
    tiles = ceildiv(steps, high // step)
    lacking = tiles * (high // step) - steps
    lows = least(lacking // 2, tiles)
    highs = tiles - lows - least(lacking % 2, tiles - lows)
    return highs, highs + lows < tiles


def _tile(v: Vectors, owner: Any, height: int, vectors: int, masked: bool) -> Any:
    """Return the function of one tile."""
    name = f"tile_{height}x{vectors}{'m' * masked}"
    return v.part(owner.module, name, KINDS, lambda v, f: _emit_tile(v, f, height, vectors, masked))


def _emit_tile(v: Vectors, function: Any, height: int, vectors: int, masked: bool) -> None:
    """Fill the function of a tile.

    ``masked``: the last vector has only what is left of ``width``. Only ``rows`` rows exist, of a
    low or short tile one or more, of others all but less than a step; the rest repeat the last,
    with equal results, since C is read before it is written. Beside a high one, in every piece of
    K, ``count`` rows from ``first`` on are copied.
    """
    code = Code(function)
    builder = code.builder
    rows, width, k, runs, a_runs, b_runs, a, a_i, a_k, b, b_k, add, factor, c, c_i = code.arguments[
        :15
    ]
    source, source_k, panel, *counts = code.arguments[15:]
    (first, count), columns = counts, range(0, vectors * v.lanes, v.lanes)
    grid = [(i, j) for i in range(height) for j in range(vectors)]
    last = v.mask(builder, (width - columns[-1]).ir) if masked else None
    masks = [None] * (vectors - 1) + [last]
    index = [code.number(i) for i in range(height)]
    sure = height - shape.step(v.itemsize) + 1 if height > shape.low(v.itemsize) else 1
    index[sure:] = [least(i, rows - 1) for i in index[sure:]]
    heads = [(a + index[i] * a_i).opaque() for i in range(0, height, GROUP)]
    long = k * runs >= LONG

    def add_step(t: Int, sums: list[Any], heads: list[Address], b: Address) -> list[Any]:
        line, along, left = b + t * b_k, t * a_k, []
        right = [v.load(builder, (line + x).ir, m) for x, m in zip(columns, masks, strict=True)]
        for i in range(height):
            row = index[i] - index[i - i % GROUP]
            p = heads[i // GROUP] + (row * a_i + along)
            left.append(v.spread(builder, builder.load(p.ir)))
        return [v.fma(builder, left[i], right[j], s) for (i, j), s in zip(grid, sums, strict=True)]

    def add_piece(
        start: Int, values: list[Any], step: Callable[[Int, list[Any]], list[Any]]
    ) -> list[Any]:
        copied, fetched = (Int(builder, x) for x in values[:2])
        if height == shape.high(v.itemsize) and vectors == shape.VECTORS:
            _copy_ahead(v, code, copied, count, k, source, source_k, panel)
        out = least(fetched + FETCHED, least(rows, height))
        with code.when(long), code.loop(fetched, out) as y:
            for x in (*columns, vectors * v.lanes - 1):
                v.prefetch(builder, (c + (y * c_i + x)).ir)
        stop = least(start + PIECE, k)
        return [(copied + count).ir, out.ir, *code.fold(start, stop, 1, values[2:], step)]

    def add_run(run: Int, values: list[Any]) -> list[Any]:
        a_r, line = (a_runs + run).load(), b + (b_runs + run).load()
        own = [(head + a_r).opaque() for head in heads]

        def step(t: Int, sums: list[Any]) -> list[Any]:
            return add_step(t, sums, own, line)

        return code.fold(0, k, PIECE, values, lambda start, x: add_piece(start, x, step))

    zeros = [v.zero] * len(grid)
    totals = code.fold(0, runs, 1, [first.ir, const(0), *zeros], add_run)[2:]
    places = [(c + (index[i] * c_i + columns[j])).ir for i, j in grid]
    _store(v, code, totals, places, [masks[j] for _, j in grid], add, factor)
    code.end()


def _store(
    v: Vectors, code: Code, totals: list[Any], places: list[Any], masks: list[Any],
    add: Int, factor: Address,
) -> None:  # fmt: skip
    """Store the vectors of a tile, or subtract them, times the factor, from what is there."""
    builder, after = code.builder, code.builder.block
    with code.when(add.differs(0)):  # rounded twice, as a step by itself would be
        scale = v.spread(builder, builder.fneg(builder.load(factor.ir)))
        seeded = [
            builder.fadd(v.load(builder, p, mask), builder.fmul(total, scale))
            for total, p, mask in zip(totals, places, masks, strict=True)
        ]
        added = builder.block
    results = [builder.phi(v.type) for _ in totals]
    for result, total, more, p, mask in zip(results, totals, seeded, places, masks, strict=True):
        result.add_incoming(total, after)
        result.add_incoming(more, added)
        v.store(builder, result, p, mask)


def _copy_ahead(
    v: Vectors, code: Code, first: Int, count: Int, k: Int,
    source: Address, source_k: Int, panel: Address,
) -> None:  # fmt: skip
    """Copy ``count`` rows of the next panel, and fetch as many after them."""
    breadth = shape.width(v.itemsize)
    with code.loop(0, count) as r:
        row = least(first + r, k - 1)
        here, there = source + row * source_k, source + (row + count) * source_k
        for x in (*range(0, breadth, v.lanes), breadth - 1):
            v.prefetch(code.builder, (there + x).ir)
        for x in range(0, breadth, v.lanes):
            line = v.load(code.builder, (here + x).ir)
            v.store(code.builder, line, (panel + (row * breadth + x)).ir)
