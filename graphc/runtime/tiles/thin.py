"""Products of which one side is 1, in LLVM: they read or write memory more than they compute."""

from __future__ import annotations

from typing import Any

from graphc.codegen.product import COLUMNS
from graphc.runtime.tiles import matvec
from graphc.runtime.tiles.code import Address, Code, Int, ceildiv, least, most
from graphc.runtime.tiles.vectors import Vectors


def is_thin(
    code: Code, m: Int, n: Int, k: Int, a_i: Int, a_k: Int, b_k: Int, b_j: Int, c_i: Int
) -> Int:
    """Return 1 if :func:`emit_thin` has a way for these strides, else 0."""

    def decide() -> list[Int]:
        dots, outer = a_k.equals(1) & b_k.equals(1), k.equals(1) & b_j.equals(1)
        row, column = dots | b_j.equals(1), dots | (a_i.equals(1) & c_i.equals(1))
        return [((m.equals(1) & row) | (n.equals(1) & column) | outer).choose(1, 0)]

    return code.lazily(least(least(m, n), k).equals(1), decide, lambda: [code.number(0)])[0]


def emit_thin(v: Vectors, function: Any) -> None:
    """Fill ``thin``, with the arguments of ``product``, where M, N or K is 1."""
    code = Code(function)
    lo, hi, m, n, k, form, a, a_b, a_i, a_k, b, b_b, b_k, b_j, c, c_b, c_i = code.arguments
    apply = v.part(function.module, "apply", matvec.KINDS, matvec.emit_apply)
    outer = v.part(function.module, "outer", "iiiipipipi", emit_outer)
    by_column, row = (form & COLUMNS).differs(0), m.equals(1)
    first, last = by_column.choose(0, lo // m), by_column.choose(1, ceildiv(hi, m))
    with code.loop(first, last) as e:
        i0, i1 = by_column.choose(0, most(lo - e * m, 0)), by_column.choose(m, least(hi - e * m, m))
        j0, j1 = by_column.choose(lo, 0), by_column.choose(hi, n)
        a_e, b_e, c_e = a + e * a_b, b + e * b_b, c + e * c_b
        with code.either(row | n.equals(1)) as (yes, no):
            with yes:
                plain = (i0, i1, k, a_e, a_i, a_k, b_e, b_k, c_e, c_i)
                turned = (j0, j1, k, b_e, b_j, b_k, a_e, a_k, c_e, 1)  # y^T = B^T x^T
                code.call(apply, *(row.choose(x, y) for x, y in zip(turned, plain, strict=True)))
            with no:
                code.call(outer, i0, i1, j0, j1, a_e, a_i, b_e, 0, c_e, c_i)
    code.end()


def emit_outer(v: Vectors, function: Any) -> None:
    """Fill ``outer``, of (i0, i1, j0, j1, a, a_i, b, 0, c, c_i): C[i, j] = a[i] b[j]."""
    code = Code(function)
    i0, i1, j0, j1, a, a_i, b, _, c, c_i = code.arguments
    builder = code.builder
    whole = j0 + (j1 - j0) // v.lanes * v.lanes
    rest = v.mask(builder, (j1 - whole).ir)
    with code.loop(i0, i1) as i:
        factor, line = v.spread(builder, builder.load((a + i * a_i).ir)), c + i * c_i

        def put(j: Int, mask: Any = None, factor: Any = factor, line: Address = line) -> None:
            product = v.fma(builder, factor, v.load(builder, (b + j).ir, mask), v.zero)
            v.store(builder, product, (line + j).ir, mask)

        with code.loop(j0, whole, v.lanes) as j:
            put(j)
        with code.when(whole < j1):
            put(whole, rest)
    code.end()
