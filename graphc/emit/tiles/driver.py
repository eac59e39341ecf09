"""The driver of matrix products in LLVM: pieces of C for the caches, and panels of B.

Loops as Goto and van de Geijn's: a block of A and a piece of K that stay in the second cache, and
panels of B that pass by. Operands are read where they lie as long as that is fast, and small ones
without further decisions. Where B is large, its panels are copied: once, before the blocks of A
that read them, or if there is but one, each while that before it is multiplied. Where A is too, its
block is packed by tiles, for its rows may lie at strides that the cache maps to few of its places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphc.codegen.product import COLUMNS, PIECES, SUM, UPDATE
from graphc.emit import shape
from graphc.emit.shape import DEPTH
from graphc.emit.tiles import blocks, narrow, packing
from graphc.emit.tiles.blocks import emit_block
from graphc.emit.tiles.code import INT, Address, Code, Int, ceildiv, least, most
from graphc.emit.tiles.thin import emit_thin, is_thin
from graphc.emit.tiles.transposes import emit_copy, emit_transpose
from graphc.emit.tiles.vectors import Vectors
from graphc.jit.llvm import ir

KINDS = "iiiiiipiiipiiipiip"
"""Of (lo, hi, m, n, k, form, a, a_b, a_i, a_k, b, b_b, b_k, b_j, c, c_b, c_i, scratch)."""

AUTO, PLAIN, FLIP = 0, 1, 2
"""Forms: the cheaper of the next two, C as it is, its transpose."""

MANY = 48
"""Rows that read a panel from which it pays to copy it, if B overflows the first cache."""

BROAD = 256
"""Columns for which it pays to pack a block of A."""

SHORT = 64
"""K for which to store C takes long enough that wider tiles, which are turned later, do not pay."""

SWEEP_KINDS = "iiiittiipiipiipiiiitpp"
"""Of (y0, y1, x0, x1, r_runs, s_runs, k, runs, r, r_y, r_k, s, s_k, s_x, c, c_i, flipped, pieces,
update, dense, factor, scratch)."""

PANEL_KINDS = "iiittpiip"
"""Of (steps, width, runs, b_runs, dense, b, b_k, b_j, panel)."""


@dataclass(frozen=True)
class Runs:
    """Runs of steps of K: where each starts in A, in B, and in a panel that holds them all."""

    count: Int
    a: Address
    b: Address
    dense: Address

    @classmethod
    def single(cls, code: Code) -> Runs:
        """Return one run, which starts where the operands do."""
        nothing = code.room(INT, 1)
        nothing.store(0)
        return cls(code.number(1), nothing, nothing, nothing)


def emit_product(v: Vectors, function: Any) -> None:
    """Fill ``product``: in each matrix of the batch, the part of C that lo..hi say."""
    code = Code(function)
    *arguments, scratch = code.arguments
    lo, hi, m, n, k, form, a, a_b, a_i, a_k, b, b_b, b_k, b_j, c, c_b, c_i = arguments
    adds = (form & SUM).differs(0)
    with code.when(adds):
        total = v.part(function.module, "sum", "iiipip", emit_sum)
        code.call(total, lo * n, hi * n, k, a, a_b, c)
    by_column = (form & COLUMNS).differs(0)
    thin = is_thin(code, m, n, k, form, a_i, a_k, b_k, b_j, c_i).differs(0) & (lo < hi)
    with code.when(thin):
        code.call(v.part(function.module, "thin", KINDS, emit_thin), *code.arguments)
    hi = (adds | thin).choose(lo, hi)
    first, last = code.lazily(  # a division takes as long as a small product
        by_column | (hi <= m),
        lambda: [code.number(0), code.number(1)],
        lambda: [lo // m, ceildiv(hi, m)],
    )
    with code.when(lo < hi), code.loop(first, last) as e:
        top = by_column.choose(0, most(lo - e * m, 0))
        end = by_column.choose(m, least(hi - e * m, m))
        left, right = by_column.choose(lo, 0), by_column.choose(hi, n)
        compute(
            v, code, top, end, left, right, k, Runs.single(code), form, a + e * a_b, a_i, a_k,
            b + e * b_b, b_k, b_j, c + e * c_b, c_i, c.at(c_b), scratch,
        )  # fmt: skip
    code.end()


def compute(
    v: Vectors, code: Code, top: Int, end: Int, left: Int, right: Int, k: Int, runs: Runs,
    form: Int, a: Address, a_i: Int, a_k: Int, b: Address, b_k: Int, b_j: Int,
    c: Address, c_i: Int, factor: Address, scratch: Address,
) -> None:  # fmt: skip
    """Compute rows top..end and columns left..right of C by squares, by tiles, or by panels."""
    update = (form & UPDATE).differs(0).choose(1, 0)
    module, columns, pieces = code.function.module, right - left, form >> PIECES
    steps = k * runs.count
    block = v.part(module, "block", blocks.KINDS, emit_block)
    sweep = v.part(module, "sweep", SWEEP_KINDS, emit_sweep)
    ROWS, WIDTH = shape.rows(v.itemsize), shape.width(v.itemsize)
    if shape.narrow(v.itemsize):
        (squares,) = code.lazily(
            columns.equals(shape.narrow(v.itemsize)) & runs.count.equals(1),
            lambda: [_squares(v, end - top, k, form, a_i, a_k, b_j)],
            lambda: [code.number(0)],
        )
        with code.when(squares > 0):
            part = v.part(module, "narrow", narrow.KINDS, narrow.emit_narrow)
            at = c + (top * c_i + left)
            code.call(part, squares, k, a + top * a_i, a_i, a_k, b + left, b_k, at, c_i)
        top = top + squares
    with code.when(top < end):
        chosen, cheaper = (
            form & (PLAIN | FLIP),
            _flip_is_cheaper(v, end - top, columns, steps, a_i, b_j),
        )
        flip = chosen.equals(FLIP) | (chosen.equals(AUTO) & cheaper)
        small = (steps <= DEPTH) & (columns * steps < shape.large(v.itemsize)) & (end - top <= ROWS)
        with code.either(small & (pieces <= 1) & b_j.equals(1) & flip.equals(0)) as (yes, no):
            with yes, code.loop(left, right, WIDTH) as x:
                code.call(
                    block, end - top, least(right - x, WIDTH), k, runs.count, runs.a, runs.b,
                    a + top * a_i, a_i, a_k,
                    b + x, b_k, update, factor, c + (top * c_i + x), c_i, b, 0, c, 0, 0,
                )  # fmt: skip
            with no:
                # Rows y of R are broadcast; columns x of S enter as vectors.
                ways = runs.a, runs.b, k, runs.count
                plain: tuple[Any, ...] = (top, end, left, right, *ways, a, a_i, a_k, b, b_k, b_j)
                ways = runs.b, runs.a, k, runs.count
                turned: tuple[Any, ...] = (left, right, top, end, *ways, b, b_j, b_k, a, a_k, a_i)
                both = [flip.choose(x, y) for x, y in zip(turned, plain, strict=True)]
                turn = flip.choose(1, 0)
                code.call(sweep, *both, c, c_i, turn, pieces, update, runs.dense, factor, scratch)


def emit_sum(v: Vectors, function: Any) -> None:
    """Fill ``sum``: elements lo..hi of C, each the sum of those of k arrays, one by one."""
    code = Code(function)
    lo, hi, k, a, a_b, c = code.arguments
    builder = code.builder
    with code.loop(lo, hi, v.lanes) as x:
        mask = v.mask(builder, least(hi - x, v.lanes).ir)

        def add(t: Int, sums: list[Any]) -> list[Any]:
            return [builder.fadd(sums[0], v.load(builder, (a + (t * a_b + x)).ir, mask))]

        (total,) = code.fold(1, k, 1, [v.load(builder, (a + x).ir, mask)], add)
        v.store(builder, total, (c + x).ir, mask)
    code.end()


def _squares(v: Vectors, rows: Int, k: Int, form: Int, a_i: Int, a_k: Int, b_j: Int) -> Int:
    """Return how many rows of a narrow product to compute by squares of A."""
    lie = (a_k.equals(1) & (k >= v.lanes)) | (a_i.equals(1) & (k < SHORT))
    suited = lie & b_j.equals(1) & (k <= DEPTH) & (form | COLUMNS).equals(COLUMNS)
    squares: Int = suited.choose(rows // v.lanes * v.lanes, 0)
    return squares


def _flip_is_cheaper(v: Vectors, rows: Int, columns: Int, k: Int, a_i: Int, b_j: Int) -> Int:
    """Compare the cost of C and of its transpose, in tenths of cycles.

    A multiply-add of a vector takes 5, or 7 where it is not one of a pair; an element that must be
    turned, 3 or 6.
    """
    half, turn = max(1, shape.unit(v.itemsize) // 2), 3 * v.itemsize // 4

    def cost(high: Int, broad: Int, turned: Int) -> Int:
        vectors = ceildiv(broad, v.lanes)
        return k * ceildiv(high, half) * half * (vectors * 5 + vectors % 2 * 2) + turned * turn

    plain = cost(rows, columns, b_j.differs(1).choose(columns * k, 0))
    return cost(columns, rows, rows * columns + a_i.differs(1).choose(rows * k, 0)) < plain


def emit_sweep(v: Vectors, function: Any) -> None:
    """Fill ``sweep``: rows y0..y1 of R by columns x0..x1 of S, into C or its transpose."""
    code = Code(function)
    *arguments, c, c_i, flipped, pieces, update, dense, factor, scratch = code.arguments
    y0, y1, x0, x1, r_runs, s_runs, k, runs, r, r_y, r_k, s, s_k, s_x = arguments
    module, size = function.module, v.itemsize
    block = v.part(module, "block", blocks.KINDS, emit_block)
    transpose = v.part(module, "transpose", "iipipi", emit_transpose)
    pack = v.part(module, "pack", packing.KINDS, packing.emit_pack)
    ROWS, WIDTH, SQUARE = (f(size) for f in (shape.rows, shape.width, shape.square))
    even, odd, turned, held, kept, *_ = (scratch + at for at in shape.scratch(size))
    minus_one = code.room(v.real, 1)
    code.builder.store(ir.Constant(v.real, -1.0), minus_one.ir)
    weight = update.differs(0).choose(factor, minus_one)
    flip, contiguous = flipped.differs(0), s_x.equals(1)
    span = y1 - y0
    large = (span >= max(MANY, 3 * shape.high(size))) & ((x1 - x0) * k * runs >= shape.large(size))
    copied = large | s_x.differs(1)
    one = runs.equals(1)
    hold = large & flipped.equals(0) & (x1 - x0 >= BROAD) & one
    hold = hold & (r_k.equals(1) | r_y.equals(1))
    (part,) = code.lazily(span > ROWS, lambda: [ceildiv(span, ceildiv(span, ROWS))], lambda: [span])
    tall = ceildiv(part, shape.high(size)) * shape.high(size)
    (depth,) = code.lazily(
        (k > DEPTH) | (pieces > 1),
        lambda: [most(ceildiv(k, most(ceildiv(k, DEPTH), pieces)), 1)],
        lambda: [most(k, 1)],
    )
    blocked = copied & (span > least(tall, ROWS)) & flipped.equals(0)
    breadth = blocked.choose(shape.broad(size), most(x1 - x0, 1))

    def copy_panel(steps: Int, width: Int, p: Address, panel: Address) -> None:
        part = v.part(module, "panel", PANEL_KINDS, emit_panel)
        code.call(part, steps, width, runs, s_runs, dense, p, s_k, s_x, panel)

    met = copied.choose(dense, s_runs)

    with code.loop(x0, x1, breadth) as left, code.loop(0, most(k, 1), depth) as t:
        steps, right = least(k - t, depth), least(left + breadth, x1)
        added = update | (t > 0).choose(1, 0)
        with code.when(blocked), code.loop(left, right, WIDTH) as x:
            p, panel = s + (t * s_k + x * s_x), kept + (x - left) * DEPTH
            copy_panel(steps, least(x1 - x, WIDTH), p, panel)
        with code.loop(y0, y1, least(tall, ROWS)) as y:
            rows, q = least(y1 - y, least(tall, ROWS)), r + (y * r_y + t * r_k)
            with code.when(hold):
                code.call(pack, rows, steps, q, r_y, r_k, held)
            with code.loop(left, right, WIDTH) as x:
                width, p = least(x1 - x, WIDTH), s + (t * s_k + x * s_x)
                # While a panel is multiplied, the next is copied: not the first, nor a narrow last.
                ahead = one & large & contiguous & (flipped.differs(0) | blocked).equals(0)
                ready = ahead & (x > x0) & width.equals(WIDTH)
                ahead = ahead & (x + 2 * WIDTH <= x1)
                swapped = ((x - x0) // WIDTH % 2).differs(0)
                panel, other = swapped.choose(odd, even), swapped.choose(even, odd)
                panel = blocked.choose(kept + (x - left) * DEPTH, panel)
                with code.when(copied & (ready | blocked).equals(0)):
                    copy_panel(steps, width, p, panel)
                after, packed = p + WIDTH, hold & width.equals(WIDTH)
                p, p_k = copied.choose(panel, p), copied.choose(WIDTH, s_k)
                with code.either(flip) as (yes, no):
                    with no:
                        code.call(
                            block, rows, width, steps, runs, r_runs, met, packed.choose(held, q),
                            packed.choose(steps, r_y), r_k, p, p_k, added, weight,
                            c + (y * c_i + x), c_i, after, s_k, other,
                            packed.choose(1, 0), ahead.choose(1, 0),
                        )  # fmt: skip
                    with yes, code.loop(0, rows, SQUARE) as h:
                        height, out = least(rows - h, SQUARE), c + (x * c_i + y + h)
                        with code.when(added.differs(0)):
                            code.call(transpose, height, width, out, c_i, turned, WIDTH)
                        code.call(
                            block, height, width, steps, runs, r_runs, met, q + h * r_y, r_y, r_k,
                            p, p_k, added, weight, turned, WIDTH, p, 0, turned, 0, 0,
                        )  # fmt: skip
                        code.call(transpose, width, height, turned, WIDTH, out, c_i)
    code.end()


def emit_panel(v: Vectors, function: Any) -> None:
    """Fill ``panel``: a copy of a few columns of B, whose runs lie one behind the other in it."""
    code = Code(function)
    steps, width, runs, b_runs, dense, b, b_k, b_j, panel = code.arguments
    transpose = v.part(function.module, "transpose", "iipipi", emit_transpose)
    copy = v.part(function.module, "copy", "iipiipi", emit_copy)
    with code.loop(0, runs) as run:
        here, there = b + (b_runs + run).load(), panel + (dense + run).load()
        with code.either(b_k.equals(1) & b_j.differs(1)) as (yes, no):
            with yes:
                code.call(transpose, steps, width, here, b_j, there, shape.width(v.itemsize))
            with no:
                code.call(copy, steps, width, here, b_k, b_j, there, shape.width(v.itemsize))
    code.end()
