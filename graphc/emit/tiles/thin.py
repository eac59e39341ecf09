"""Products of which one side is 1, in LLVM: they read or write memory more than they compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.codegen.product import COLUMNS, UPDATE
from graphc.emit.tiles import matvec
from graphc.emit.tiles.code import Code, Int, ceildiv, least, most
from graphc.emit.tiles.vectors import Vectors


def is_thin(
    code: Code, m: Int, n: Int, k: Int, form: Int,
    a_i: Int, a_k: Int, b_k: Int, b_j: Int, c_i: Int,
) -> Int:  # fmt: skip
    """Return 1 if :func:`emit_thin` has a way for these strides, else 0."""

    def decide() -> list[Int]:
        plain, update = (form | COLUMNS).equals(COLUMNS), (form | COLUMNS).equals(COLUMNS | UPDATE)
        dots, outer = a_k.equals(1) & b_k.equals(1), k.equals(1) & b_j.equals(1)
        row, column = dots | b_j.equals(1), dots | (a_i.equals(1) & c_i.equals(1))
        vector = (m.equals(1) & row) | (n.equals(1) & column)
        return [((plain & (vector | outer)) | (update & outer)).choose(1, 0)]

    return code.lazily(least(least(m, n), k).equals(1), decide, lambda: [code.number(0)])[0]


def emit_thin(v: Vectors, function: Any) -> None:
    """Fill ``thin``, with the arguments of ``product``, where M, N or K is 1."""
    code = Code(function)
    lo, hi, m, n, k, form, a, a_b, a_i, a_k, b, b_b, b_k, b_j, c, c_b, c_i, _ = code.arguments
    apply = v.part(function.module, "apply", matvec.KINDS, matvec.emit_apply)
    outer = v.part(function.module, "outer", "iiiipipipip", emit_outer)
    by_column, row = (form & COLUMNS).differs(0), m.equals(1)
    first, last = by_column.choose(0, lo // m), by_column.choose(1, ceildiv(hi, m))
    with code.loop(first, last) as e:
        i0, i1 = by_column.choose(0, most(lo - e * m, 0)), by_column.choose(m, least(hi - e * m, m))
        j0, j1 = by_column.choose(lo, 0), by_column.choose(hi, n)
        a_e, b_e, c_e = a + e * a_b, b + e * b_b, c + e * c_b
        with code.either(k.equals(1) & b_j.equals(1)) as (yes, no):
            with yes:
                update = form & UPDATE
                code.call(outer, i0, i1, j0, j1, a_e, a_i, b_e, update, c_e, c_i, c.at(c_b))
            with no:
                plain = (i0, i1, k, a_e, a_i, a_k, b_e, b_k, c_e, c_i)
                turned = (j0, j1, k, b_e, b_j, b_k, a_e, a_k, c_e, 1)  # y^T = B^T x^T
                code.call(apply, *(row.choose(x, y) for x, y in zip(turned, plain, strict=True)))
    code.end()


def emit_outer(v: Vectors, function: Any) -> None:
    """Fill ``outer``, of (i0, i1, j0, j1, a, a_i, b, update, c, c_i, f): C[i, j] = a[i] b[j].

    Or, where ``update`` is not 0, C[i, j] -= f a[i] b[j], rounded twice, as the step would be.
    """
    code = Code(function)
    builder = code.builder
    i0, i1, j0, j1, a, a_i, b, update, c, c_i, f = code.arguments
    whole = j0 + (j1 - j0) // v.lanes * v.lanes
    rest = v.mask(builder, (j1 - whole).ir)

    def rows(finish: Callable[[Any, Any, Any], Any]) -> None:
        with code.loop(i0, i1) as i:
            scale, line = v.spread(builder, builder.load((a + i * a_i).ir)), c + i * c_i

            def put(j: Int, mask: Any = None) -> None:
                product = v.fma(builder, scale, v.load(builder, (b + j).ir, mask), v.zero)
                at = (line + j).ir
                v.store(builder, finish(product, at, mask), at, mask)

            with code.loop(j0, whole, v.lanes) as j:
                put(j)
            with code.when(whole < j1):
                put(whole, rest)

    with code.either(update.differs(0)) as (yes, no):
        with yes:
            minus = v.spread(builder, builder.fneg(builder.load(f.ir)))
            rows(
                lambda x, at, mask: builder.fadd(v.load(builder, at, mask), builder.fmul(x, minus))
            )
        with no:
            rows(lambda x, at, mask: x)
    code.end()
