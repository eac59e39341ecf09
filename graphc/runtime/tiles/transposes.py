"""Transposition and packing in LLVM: squares of a vector by a vector, in registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from graphc.runtime.tiles import shape
from graphc.runtime.tiles.vectors import INT, Vectors, const, element, least, opaque


def emit_transpose(v: Vectors, function: Any) -> None:
    """Fill ``transpose``: C[i, j] = [D[i, j] +] A[j, i], square by square."""
    rows, width, a, a_j, add, d, d_i, c, c_i = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    seeded = builder.icmp_signed("!=", add, const(0))
    side = const(v.lanes)
    with (
        cgutils.for_range_slice(builder, const(0), rows, side, INT) as (i, _),
        cgutils.for_range_slice(builder, const(0), width, side, INT) as (j, _),
    ):
        height = least(builder, side, builder.sub(rows, i))
        breadth = least(builder, side, builder.sub(width, j))
        pa, pd, pc = (
            element(builder, p, x, stride, y)
            for p, x, stride, y in ((a, j, a_j, i), (d, i, d_i, j), (c, i, c_i, j))
        )
        args = (height, breadth, pa, a_j, seeded, pd, d_i, pc, c_i)
        if shape.TARGET.masks:
            _square(v, builder, *args)
        else:
            whole = builder.icmp_signed("==", builder.add(height, breadth), builder.add(side, side))
            with builder.if_else(whole) as (yes, no):
                with yes:
                    _square(v, builder, *args)
                with no:
                    _corner(builder, *args)
    builder.ret_void()


def _square(
    v: Vectors, builder: Any, height: Any, breadth: Any, a: Any, a_j: Any,
    seeded: Any, d: Any, d_i: Any, c: Any, c_i: Any,
) -> None:  # fmt: skip
    """Transpose a square in registers; with masks, what there is of it."""
    masks = shape.TARGET.masks
    inner, outer = (v.mask(builder, e) if masks else None for e in (height, breadth))
    lines = []
    for x in range(v.lanes):
        lines.append(v.load(builder, a, inner))
        # Beyond the edge the last line is read again, and stored nowhere.
        exists = builder.icmp_signed("<", const(x + 1), breadth)
        a = opaque(builder, builder.gep(a, [builder.select(exists, a_j, const(0))]))
    lines = _transposed(v, builder, lines)
    done = builder.append_basic_block()
    with builder.if_else(seeded) as branches:
        for branch, adds in zip(branches, (True, False), strict=True):
            with branch:
                p, q = c, d
                for y, line in enumerate(lines):
                    if adds:
                        line = builder.fadd(line, v.load(builder, q, outer))
                        q = opaque(builder, builder.gep(q, [d_i]))
                    v.store(builder, line, p, outer)
                    p = opaque(builder, builder.gep(p, [c_i]))
                    if masks and y < v.lanes - 1:
                        more = builder.append_basic_block()
                        exists = builder.icmp_signed("<", const(y + 1), height)
                        builder.cbranch(exists, more, done)
                        builder.position_at_end(more)
    builder.branch(done)
    builder.position_at_end(done)


def _corner(
    builder: Any, height: Any, breadth: Any, a: Any, a_j: Any,
    seeded: Any, d: Any, d_i: Any, c: Any, c_i: Any,
) -> None:  # fmt: skip
    """Transpose less than a square, element by element."""
    with cgutils.for_range(builder, height) as y, cgutils.for_range(builder, breadth) as x:
        value = builder.load(element(builder, a, x.index, a_j, y.index))
        place = element(builder, c, y.index, c_i, x.index)
        with builder.if_else(seeded) as (yes, no):
            with yes:
                old = builder.load(element(builder, d, y.index, d_i, x.index))
                builder.store(builder.fadd(value, old), place)
            with no:
                builder.store(value, place)


def _transposed(v: Vectors, builder: Any, lines: list[Any]) -> list[Any]:
    """Return the columns of the square matrix with rows ``lines``.

    First within pieces of 16 bytes, then the pieces: so each shuffle is one instruction of x86.
    """
    piece = 16 // v.itemsize
    groups = [lines[i : i + piece] for i in range(0, v.lanes, piece)]
    small = [_unzip(v, builder, group, 1, piece) for group in groups]
    large = [_unzip(v, builder, list(g), piece, v.lanes) for g in zip(*small, strict=True)]
    return [line for row in zip(*large, strict=True) for line in row]


def _unzip(v: Vectors, builder: Any, lines: list[Any], unit: int, span: int) -> list[Any]:
    """Transpose, in every span of lanes, the matrix of units with rows ``lines``.

    log2(n) times, even units of pairs of lines are put before odd ones: a perfect shuffle, undone.
    """
    half = len(lines) // 2
    orders = [
        [
            line + start + first + u
            for start in range(0, v.lanes, span)
            for line in (0, v.lanes)
            for first in range(odd * unit, span, 2 * unit)
            for u in range(unit)
        ]
        for odd in (0, 1)
    ]
    for _ in range(half.bit_length()):
        lines = [
            v.shuffle(builder, lines[2 * i], lines[2 * i + 1], order)
            for order in orders
            for i in range(half)
        ]
    return lines


def emit_pack(v: Vectors, function: Any) -> None:
    """Fill ``pack``: copy columns of B, which have any strides, into a panel."""
    k, width, b, b_k, b_j, panel = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    breadth = const(shape.width(v.itemsize))
    whole = builder.and_(
        builder.icmp_signed("==", width, breadth), builder.icmp_signed("==", b_j, const(1))
    )
    with builder.if_else(whole) as (yes, no):
        with yes, cgutils.for_range(builder, k) as t:
            for j in (const(i * v.lanes) for i in range(shape.VECTORS)):
                line = v.load(builder, element(builder, b, t.index, b_k, j))
                v.store(builder, line, element(builder, panel, t.index, breadth, j))
        with no, cgutils.for_range(builder, k) as t, cgutils.for_range(builder, width) as j:
            value = builder.load(element(builder, b, t.index, b_k, builder.mul(j.index, b_j)))
            builder.store(value, element(builder, panel, t.index, breadth, j.index))
    builder.ret_void()
