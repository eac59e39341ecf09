"""Products over groups of axes in LLVM: loops around the product of :mod:`.driver`.

Operands are read where they lie, whatever their strides, overlapping ones of windows among them.
Steps of depth are runs of the last axis; where each run starts in A and B is written into tables,
so that a tile stays in registers from run to run. Lanes are along columns, rows or depth, whichever
fills them at the least cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.codegen.product import UPDATE
from graphc.emit import shape
from graphc.emit.shape import DEPTH
from graphc.emit.tiles import dots
from graphc.emit.tiles.code import Code, Int, ceildiv, least, most
from graphc.emit.tiles.driver import Runs, compute
from graphc.emit.tiles.vectors import Vectors
from graphc.jit.llvm import ir


def emit_contract(v: Vectors, function: Any) -> None:
    """Fill ``contract``: the rows lo..hi of C; the arguments are :func:`tiles.contract`'s."""
    code = Code(function)
    lo, hi, m, n, k, a, a_i, a_k, b, b_k, b_j, c, c_i, *loops, scratch = code.arguments
    around, (columns, b_q, c_q), depth = (
        [loops[x : x + 3] for x in (0, 3, 6)], loops[9:12], [loops[x : x + 3] for x in (12, 15, 18)]
    )  # fmt: skip
    minus_one = code.room(v.real, 1)
    code.builder.store(ir.Constant(v.real, -1.0), minus_one.ir)
    count = depth[0][0] * depth[1][0] * depth[2][0]
    k = count.equals(0).choose(0, k)  # C is 0 then
    together = _together(code, count, k)
    # All of a few are known before the rows; of many, those that are multiplied at a time.
    known = (count <= DEPTH).choose(most(count, 1), together)
    places = shape.scratch(v.itemsize)
    packed = scratch + places.panels
    a_runs, b_runs, dense = (scratch.table(places.tables) + x for x in (0, DEPTH, 2 * DEPTH))
    dotted = _is_dotted(v, code, around, columns, n, k, a_k, count, known).differs(0)
    with code.loop(0, together) as run:
        (dense + run).store(run * k * shape.width(v.itemsize))
    with code.when(lo < hi), code.loop(0, most(count, 1), known) as first:
        runs = least(count - first, known)
        with code.loop(0, runs) as run:
            a_r, b_r = _offsets(first + run, depth)
            (a_runs + run).store(a_r)
            (b_runs + run).store(b_r)
        with code.when(dotted):
            pack = v.part(function.module, "pack_columns", dots.PACK_KINDS, dots.emit_pack)
            code.call(pack, n, k, runs, b_runs, b, b_k, b_j, packed)
        with code.loop(lo // m, ceildiv(hi, m)) as e:
            top, end = most(lo - e * m, 0), least(hi - e * m, m)
            a_e, b_e = _offsets(e, around)
            out = c + e * m * c_i
            with code.when(dotted):
                dot = v.part(function.module, "dots", dots.KINDS, dots.emit_dots)
                code.call(
                    dot, end - top, n, k, runs, a_runs, a + (a_e + top * a_i), a_i,
                    (first > 0).choose(1, 0), packed, out + top * c_i, c_i,
                )  # fmt: skip
            with (code.loop(0, dotted.choose(0, columns)) as p,
                  code.loop(0, most(runs, 1), together) as run):  # fmt: skip
                own = Runs(least(runs - run, together), a_runs + run, b_runs + run, dense)
                compute(
                    v, code, top, end, code.number(0), n, k, own,
                    (first + run > 0).choose(UPDATE, 0), a + a_e, a_i, a_k,
                    b + (b_e + p * b_q), b_k, b_j, out + p * c_q, c_i, minus_one, scratch,
                )  # fmt: skip
    code.end()


def _together(code: Code, count: Int, k: Int) -> Int:
    """Return how many runs are multiplied at a time: as many as a panel has rows for, evenly."""
    (fitting,) = code.lazily(
        k < DEPTH, lambda: [code.number(DEPTH) // most(k, 1)], lambda: [code.number(1)]
    )
    return most(ceildiv(count, most(ceildiv(count, fitting), 1)), 1)


def _is_dotted(
    v: Vectors, code: Code, around: Sequence[Any], columns: Int, n: Int, k: Int, a_k: Int,
    count: Int, known: Int,
) -> Int:  # fmt: skip
    """Return 1 if lanes along depth are cheaper, and B is one matrix that there is room for."""

    def decide() -> list[Int]:
        fits = dots.packed_size(v, n, k, known) <= DEPTH * shape.broad(v.itemsize)
        return [(dots.is_cheaper(v, n, k, count) & fits).choose(1, 0)]

    one = a_k.equals(1) & columns.equals(1)
    for _, _, b_e in around:
        one = one & b_e.equals(0)
    return code.lazily(one, decide, lambda: [code.number(0)])[0]


def _offsets(number: Int, axes: Sequence[Any]) -> tuple[Int, Int]:
    """Return where element ``number`` of axes is in A and in B, in row-major order."""
    a = b = Int(number.builder, 0)
    for size, a_step, b_step in reversed(axes):
        size = most(size, 1)
        place, number = number % size, number // size
        a, b = a + place * a_step, b + place * b_step
    return a, b
