"""Products over groups of axes in LLVM: loops around the product of :mod:`.driver`.

Operands are read where they lie, whatever their strides, overlapping ones of windows among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.codegen.product import UPDATE
from graphc.emit.tiles.code import Address, Code, Int, ceildiv, least, most
from graphc.emit.tiles.driver import compute
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
    pieces = depth[0][0] * depth[1][0] * depth[2][0]
    k = pieces.equals(0).choose(0, k)  # C is 0 then
    with code.when(lo < hi), code.loop(lo // m, ceildiv(hi, m)) as e:
        top, end = most(lo - e * m, 0), least(hi - e * m, m)
        a_e, b_e = _moved(a, b, e, around)
        with code.loop(0, columns) as p, code.loop(0, most(pieces, 1)) as t:
            a_t, b_t = _moved(a_e, b_e + p * b_q, t, depth)
            out, added = c + (e * m * c_i + p * c_q), t > 0
            compute(
                v, code, top, end, code.number(0), n, k, added.choose(UPDATE, 0), a_t, a_i, a_k,
                b_t, b_k, b_j, out, c_i, minus_one, scratch,
            )  # fmt: skip
    code.end()


def _moved(a: Address, b: Address, number: Int, axes: Sequence[Any]) -> tuple[Address, Address]:
    """Return the addresses at element ``number`` of axes, in row-major order."""
    for size, a_step, b_step in reversed(axes):
        size = most(size, 1)
        place, number = number % size, number // size
        a, b = a + place * a_step, b + place * b_step
    return a, b
