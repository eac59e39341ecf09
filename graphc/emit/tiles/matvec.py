"""Products of a matrix and a vector in LLVM, which read each element of the matrix once.

Each element of the result is summed in an order that depends on K and the strides alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.emit import shape
from graphc.emit.tiles.code import Address, Code, Int, least
from graphc.emit.tiles.vectors import Vectors

KINDS = "iiipiipipi"
"""Of (lo, hi, k, a, a_i, a_k, x, x_k, y, y_i)."""

SUMS = 8
"""Rows of A at a time: as many sums as hide the time of a multiply-add."""

COLUMNS = 4
"""Columns of A at a time: more would be more streams of memory than the processor follows."""


def emit_apply(v: Vectors, function: Any) -> None:
    """Fill ``apply``: y[i] = sum_k A[i, k] x[k] for lo <= i < hi."""
    code = Code(function)
    lo, hi, *rest = code.arguments
    _, _, a_i, a_k, _, x_k, _, y_i = rest
    span = _strip() * v.lanes

    def part(name: str, emit: Callable[[Vectors, Any], None], lo: Int, hi: Int) -> None:
        code.call(v.part(function.module, name, KINDS, emit), lo, hi, *rest)

    with code.either(a_i.equals(1) & y_i.equals(1)) as (yes, no):
        with yes:
            whole = lo + (hi - lo) // span * span
            part("columns", _emit_columns, lo, whole)
            part("strip", _emit_strip, whole, hi)
        with no, code.either(a_k.equals(1) & x_k.equals(1)) as (yes, no):
            with yes:
                part("dots", _emit_dots, lo, hi)
            with no:
                part("each", _emit_each, lo, hi)
    code.end()


def _emit_columns(v: Vectors, function: Any) -> None:
    """Fill the function for A with contiguous columns: a few at a time, for a piece of y."""
    code = Code(function)
    builder = code.builder
    lo, hi, k, a, _, a_k, x, x_k, y, _ = code.arguments

    def add(columns: list[Int], lo: Int, hi: Int) -> None:
        """Add the sum of these columns to y."""
        scales = [v.spread(builder, builder.load((x + t * x_k).ir)) for t in columns]
        lines = [(a + t * a_k).opaque() for t in columns]
        with code.loop(lo, hi, v.lanes) as i:
            total = v.load(builder, (y + i).ir)
            for scale, line in zip(scales, lines, strict=True):
                total = v.fma(builder, scale, v.load(builder, (line + i).ir), total)
            v.store(builder, total, (y + i).ir)

    PIECE = shape.piece(v.itemsize)
    with code.loop(lo, hi, PIECE) as first:
        last, whole = least(first + PIECE, hi), k - k % COLUMNS
        with code.loop(first, last, v.lanes) as i:
            v.store(builder, v.zero, (y + i).ir)
        with code.loop(0, whole, COLUMNS) as t:
            add([t + j for j in range(COLUMNS)], first, last)
        with code.loop(whole, k) as t:
            add([t], first, last)
    code.end()


def _strip() -> int:
    """Vectors in a strip: one where a masked vector costs a branch for every lane."""
    return 4 if shape.TARGET.masks else 1


def _emit_strip(v: Vectors, function: Any) -> None:
    """Fill the function for the end of contiguous columns, which stays in registers."""
    code = Code(function)
    builder = code.builder
    lo, hi, k, a, _, a_k, x, x_k, y, _ = code.arguments
    with code.when(lo < hi):
        places = [lo + j * v.lanes for j in range(_strip())]
        masks = [v.mask(builder, (hi - place).ir) for place in places]

        def add(t: Int, sums: list[Any]) -> list[Any]:
            scale, line = v.spread(builder, builder.load((x + t * x_k).ir)), a + t * a_k
            return [
                v.fma(builder, scale, v.load(builder, (line + place).ir, mask), total)
                for place, mask, total in zip(places, masks, sums, strict=True)
            ]

        totals = code.fold(0, k, 1, [v.zero] * len(places), add)
        for place, mask, total in zip(places, masks, totals, strict=True):
            v.store(builder, total, (y + place).ir, mask)
    code.end()


def _emit_dots(v: Vectors, function: Any) -> None:
    """Fill the function for A with contiguous rows: that many at a time, the last repeated."""
    code = Code(function)
    builder = code.builder
    lo, hi, k, a, a_i, _, x, _, y, y_i = code.arguments
    whole = k // v.lanes * v.lanes
    with code.loop(lo, hi, SUMS) as i:
        index = [least(i + j, hi - 1) for j in range(SUMS)]
        rows = [(a + j * a_i).opaque() for j in index]

        def add(t: Int, sums: list[Any], mask: Any = None, rows: list[Address] = rows) -> list[Any]:
            scale = v.load(builder, (x + t).ir, mask)
            return [
                v.fma(builder, scale, v.load(builder, (row + t).ir, mask), s)
                for row, s in zip(rows, sums, strict=True)
            ]

        sums = code.fold(0, whole, v.lanes, [v.zero] * SUMS, add)
        rest = v.mask(builder, (k - whole).ir)
        sums = code.fold(whole, k, v.lanes, sums, lambda t, s: add(t, s, rest))
        for j, total in zip(index, sums, strict=True):
            builder.store(v.sum(builder, total), (y + j * y_i).ir)
    code.end()


def _emit_each(v: Vectors, function: Any) -> None:
    """Fill the function for any strides: element by element."""
    code = Code(function)
    builder = code.builder
    lo, hi, k, a, a_i, a_k, x, x_k, y, y_i = code.arguments
    with code.loop(lo, hi) as i:

        def add(t: Int, sums: list[Any], i: Int = i) -> list[Any]:
            factors = (builder.load(p.ir) for p in (a + (i * a_i + t * a_k), x + t * x_k))
            return [builder.fadd(sums[0], builder.fmul(*factors))]

        (total,) = code.fold(0, k, 1, [v.real(0.0)], add)
        builder.store(total, (y + i * y_i).ir)
    code.end()
