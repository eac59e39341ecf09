"""Transposition and copies in LLVM: squares of a vector by a vector, in registers."""

from __future__ import annotations

from typing import Any

from graphc.emit import shape
from graphc.emit.tiles.code import Address, Code, Int, least
from graphc.emit.tiles.vectors import Vectors


def emit_transpose(v: Vectors, function: Any) -> None:
    """Fill ``transpose``, of (rows, width, a, a_j, c, c_i): C[i, j] = A[j, i].

    Rows of A and C are contiguous.
    """
    code = Code(function)
    rows, width, a, a_j, c, c_i = code.arguments
    side = v.lanes
    with code.loop(0, rows, side) as i, code.loop(0, width, side) as j:
        height, breadth = least(rows - i, side), least(width - j, side)
        args = (height, breadth, a + (j * a_j + i), a_j, c + (i * c_i + j), c_i)
        if shape.TARGET.masks:
            _square(v, code, *args)
        else:
            with code.either((height + breadth).equals(2 * side)) as (yes, no):
                with yes:
                    _square(v, code, *args)
                with no:
                    _corner(code, *args)
    code.end()


def _square(
    v: Vectors, code: Code, height: Int, breadth: Int, a: Address, a_j: Int, c: Address, c_i: Int
) -> None:
    """Transpose a square in registers; with masks, what there is of it."""
    masks, builder = shape.TARGET.masks, code.builder
    inner, outer = (v.mask(builder, e.ir) if masks else None for e in (height, breadth))
    lines = []
    for x in range(v.lanes):
        lines.append(v.load(builder, a.ir, inner))
        # Beyond the edge the last line is read again, and stored nowhere.
        a = (a + (breadth > x + 1).choose(a_j, 0)).opaque()
    done = code.block()
    for y, line in enumerate(transposed(v, builder, lines)):
        v.store(builder, line, c.ir, outer)
        c = (c + c_i).opaque()
        if masks and y < v.lanes - 1:
            more = code.block()
            builder.cbranch((height > y + 1).ir, more, done)
            builder.position_at_end(more)
    builder.branch(done)
    builder.position_at_end(done)


def _corner(
    code: Code, height: Int, breadth: Int, a: Address, a_j: Int, c: Address, c_i: Int
) -> None:
    """Transpose less than a square, element by element."""
    with code.loop(0, height) as y, code.loop(0, breadth) as x:
        value = code.builder.load((a + (x * a_j + y)).ir)
        code.builder.store(value, (c + (y * c_i + x)).ir)


def transposed(v: Vectors, builder: Any, lines: list[Any]) -> list[Any]:
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


def emit_copy(v: Vectors, function: Any) -> None:
    """Fill ``copy``, of (rows, width, a, a_i, a_j, c, c_i): C = A; rows of C are contiguous."""
    code = Code(function)
    rows, width, a, a_i, a_j, c, c_i = code.arguments
    builder = code.builder
    whole = a_j.equals(1).choose(width // v.lanes * v.lanes, 0)
    with code.loop(0, rows) as i:
        here, there = a + i * a_i, c + i * c_i
        with code.loop(0, whole, v.lanes) as j:
            v.store(builder, v.load(builder, (here + j).ir), (there + j).ir)
        with code.loop(whole, width) as j:
            builder.store(builder.load((here + j * a_j).ir), (there + j).ir)
    code.end()
