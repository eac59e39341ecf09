"""Blocks of C = A B in LLVM: columns of tiles that stay in registers while K passes by.

A row of a tile is :data:`shape.VECTORS` vectors. For each k, one row of B is loaded and one element
of A broadcast for every row of the tile, and each pair meets in a fused multiply-add.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from graphc.runtime.tiles import shape
from graphc.runtime.tiles.vectors import (
    INT,
    LINE,
    Vectors,
    const,
    element,
    least,
    opaque,
)

GROUP = 4
"""Rows of A addressed from one pointer: x86 adds a register times 1, 2, 4 or 8 to it."""

LONG = 64
"""Length of K from which a tile of C has time to arrive while it is computed."""

AHEAD = 32
"""Rows of a panel, which are consecutive in memory, fetched before they are needed."""


def signature(v: Vectors) -> list[Any]:
    """Return the types of (rows, width, k, a, a_i, a_k, b, b_k, add, d, d_i, c, c_i)."""
    p = v.real.as_pointer()
    return [INT, INT, INT, p, INT, INT, p, INT, INT, p, INT, p, INT]


def emit_block(v: Vectors, function: Any) -> None:
    """Fill ``block``: C (rows, width) = [D +] A (rows, k) B (k, width)."""
    rows, width, k, a, a_i, a_k, b, b_k, add, d, d_i, c, c_i = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    module, masks = function.module, shape.TARGET.masks
    two = const(v.lanes + 1 if masks else shape.width(v.itemsize))
    with builder.if_else(builder.icmp_signed(">=", width, two)) as (yes, no):
        with yes:
            builder.call(_band(v, module, shape.VECTORS, masks), function.args)
        with no:
            if masks:
                builder.call(_band(v, module, 1, True), function.args)
            else:
                # A masked vector costs a branch for every lane: only the columns left over pay.
                whole = builder.icmp_signed(">=", width, const(v.lanes))
                with builder.if_then(whole):
                    builder.call(_band(v, module, 1, False), function.args)
                at = builder.select(whole, const(v.lanes), const(0))
                rest = builder.sub(width, at)
                b, d, c = (builder.gep(p, [at]) for p in (b, d, c))
                with builder.if_then(builder.icmp_signed(">", rest, const(0))):
                    args = (rows, rest, k, a, a_i, a_k, b, b_k, add, d, d_i, c, c_i)
                    builder.call(_band(v, module, 1, True), args)
    builder.ret_void()


def _band(v: Vectors, module: Any, vectors: int, masked: bool) -> Any:
    """Return the function of a column of tiles."""
    function = v.function(module, f"band_{vectors}{'m' * masked}", signature(v))
    if not function.is_declaration:
        return function
    rows, width, k, a, a_i, a_k, b, b_k, add, d, d_i, c, c_i = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    high, low, unit = (f(v.itemsize) for f in (shape.high, shape.low, shape.unit))
    # As many high tiles as leave none, one or two low ones; only a low tile may lack rows.
    units = builder.sdiv(builder.add(rows, const(unit - 1)), const(unit))
    lows = builder.srem(builder.mul(units, const(2)), const(3))
    end = builder.mul(builder.sub(units, builder.mul(lows, const(2))), const(unit))
    less = builder.sub(end, const(high))
    end = builder.select(builder.icmp_signed(">", end, rows), less, end)
    done = cgutils.alloca_once_value(builder, const(0))
    for height, stop in ((high, end), (low, rows)):
        head, body, after = (builder.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        i = builder.load(done)
        builder.cbranch(builder.icmp_signed("<", i, stop), body, after)
        builder.position_at_end(body)
        pa, pd, pc = (
            builder.gep(p, [builder.mul(i, stride)]) for p, stride in ((a, a_i), (d, d_i), (c, c_i))
        )
        args = (builder.sub(rows, i), width, k, pa, a_i, a_k, b, b_k, add, pd, d_i, pc, c_i)
        builder.call(_tile(v, module, height, vectors, masked, height == low), args)
        builder.store(builder.add(i, const(height)), done)
        builder.branch(head)
        builder.position_at_end(after)
    builder.ret_void()
    return function


def _tile(v: Vectors, module: Any, height: int, vectors: int, masked: bool, clamped: bool) -> Any:
    """Return the function of one tile.

    ``masked``: the last vector has only what is left of ``width``. ``clamped``: only ``rows`` rows
    exist; the others repeat the last, with equal results, since D is read before C is written.
    """
    function = v.function(module, f"tile_{height}x{vectors}{'m' * masked}", signature(v))
    if not function.is_declaration:
        return function
    rows, width, k, a, a_i, a_k, b, b_k, add, d, d_i, c, c_i = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    grid = [(i, j) for i in range(height) for j in range(vectors)]
    last = v.mask(builder, builder.sub(width, const((vectors - 1) * v.lanes))) if masked else None
    masks = [last if j == vectors - 1 else None for j in range(vectors)]
    index = [const(i) for i in range(height)]
    if clamped:
        final = builder.sub(rows, const(1))
        index = [least(builder, i, final) for i in index]

    def places(p: Any, stride: Any) -> list[Any]:
        """Return the addresses of the vectors of the tile at ``p``."""
        lines = [builder.gep(p, [builder.mul(i, stride)]) for i in index]
        return [builder.gep(lines[i], [const(j * v.lanes)]) if j else lines[i] for i, j in grid]

    out = places(c, c_i)
    with builder.if_then(builder.icmp_signed(">=", k, const(LONG))):
        for p in out:
            v.prefetch(builder, p, write=True)
    panel = builder.icmp_signed("==", b_k, const(shape.width(v.itemsize)))
    ahead = builder.select(panel, const(AHEAD * shape.width(v.itemsize)), const(0))
    heads = [
        opaque(builder, builder.gep(a, [builder.mul(index[i], a_i)]))
        for i in range(0, height, GROUP)
    ]

    before = builder.block
    head, body, after = (builder.append_basic_block() for _ in range(3))
    builder.branch(head)
    builder.position_at_end(head)
    t = builder.phi(INT)
    sums = [builder.phi(v.type) for _ in grid]
    builder.cbranch(builder.icmp_signed("<", t, k), body, after)
    builder.position_at_end(body)
    line = builder.gep(b, [builder.mul(t, b_k)])
    if not clamped:
        far = builder.gep(line, [ahead])
        for byte in range(0, vectors * shape.TARGET.vector_bytes, LINE):
            v.prefetch(builder, builder.gep(far, [const(byte // v.itemsize)]), write=False)
    right = [
        v.load(builder, builder.gep(line, [const(j * v.lanes)]), masks[j]) for j in range(vectors)
    ]
    along, left = builder.mul(t, a_k), []
    for i in range(height):
        row = builder.sub(index[i], index[i - i % GROUP])
        p = element(builder, heads[i // GROUP], row, a_i, along)
        left.append(v.spread(builder, builder.load(p)))
    nexts = [v.fma(builder, left[i], right[j], s) for (i, j), s in zip(grid, sums, strict=True)]
    starts, follow = [const(0)] + [v.zero] * len(grid), [builder.add(t, const(1)), *nexts]
    for phi, start, following in zip([t, *sums], starts, follow, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(following, body)
    builder.branch(head)

    builder.position_at_end(after)
    with builder.if_then(builder.icmp_signed("!=", add, const(0))):
        totals = [
            builder.fadd(total, v.load(builder, p, masks[j]))
            for total, p, (_, j) in zip(sums, places(d, d_i), grid, strict=True)
        ]
        added = builder.block
    ends = [builder.phi(v.type) for _ in grid]
    for end, computed, total in zip(ends, sums, totals, strict=True):
        end.add_incoming(computed, after)
        end.add_incoming(total, added)
    for end, p, (_, j) in zip(ends, out, grid, strict=True):
        v.store(builder, end, p, masks[j])
    builder.ret_void()
    return function
