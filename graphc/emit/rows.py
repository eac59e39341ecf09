"""Blocks of rows, transposed, for kernels that fold short rows.

A row of ten elements fills no vector. So such kernels compute as many rows at a time as a line of
a cache has elements: a block holds the first elements of all these rows, then the second
ones, and so on. Rows are transposed on their way in and out, in squares of 16 bytes by 16 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from graphc.emit.emitted import compiled
from graphc.emit.tiles.code import INT, Address, Code, Int, least
from graphc.jit.llvm import ir, mark
from graphc.machine.record import LINE

_PIECE = 16
_LANE = ir.IntType(32)


def block(kind: Any, size: int) -> Any:
    """Return memory for ``size`` elements; what it holds is not defined."""
    return np.zeros(size, kind)


def _moving(name: str) -> Callable[..., Any]:
    """Return what writes calls of ``name(block, rows, stride, count, length)``."""

    def emit(builder: Any, block: Any, pointer: Any, start: Any, *shape: Any) -> None:
        rows, kind = builder.gep(pointer, [start]), block.type.pointee
        bits = kind.width if isinstance(kind, ir.IntType) else 32 if kind == ir.FloatType() else 64
        moved = (ir.FloatType() if bits == 32 else ir.DoubleType()).as_pointer()
        symbol = f"graphc.rows.{name}.{bits}"
        function = builder.module.globals.get(symbol)
        if function is None:
            kinds = [moved, moved, INT, INT, INT]
            function = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), kinds), symbol)
            function.linkage = "internal"
            mark(function, "nounwind", "noinline", "optsize")
            _emit(_Squares(Code(function), _PIECE * 8 // bits), name == "load")
        builder.call(function, [*(builder.bitcast(p, moved) for p in (block, rows)), *shape])

    return emit


def _stored(builder: Any, pointer: Any, start: Any, stride: Any, block: Any, *shape: Any) -> None:
    _moving("store")(builder, block, pointer, start, stride, *shape)


@compiled(_moving("load"))
def load(block: Any, pointer: Any, start: int, stride: int, count: int, length: int) -> None:
    """Fill ``block`` with ``count`` rows of ``length`` elements, ``stride`` apart.

    The lanes of rows that there are not hold the last there is.
    """
    lanes = LINE // block.itemsize
    for r in range(lanes):
        first = start + min(r, count - 1) * stride
        block[r::lanes][:length] = pointer[first : first + length]


@compiled(_stored)
def store(pointer: Any, start: int, stride: int, block: Any, count: int, length: int) -> None:
    """Write the first ``count`` rows of ``block``, of ``length`` elements, ``stride`` apart."""
    for r in range(count):
        first = start + r * stride
        pointer[first : first + length] = block[r :: LINE // block.itemsize][:length]


def _emit(squares: _Squares, loads: bool) -> None:
    """Write loops over squares; rows that are too short for one are moved element by element.

    The last square ends where the rows do, and so may overlap the one before.
    """
    code, side, lanes = squares.code, squares.side, squares.lanes
    block, rows, stride, count, length = code.arguments
    with code.either(length >= side) as (fits, short):
        with fits, code.loop(0, length, side) as i:
            at = least(i, length - side)
            move = squares.load if loads else squares.store
            move(block + at * lanes, rows + at, stride, count)
        with short, code.loop(0, length) as i, code.loop(0, count) as r:
            inside, outside = (block + (i * lanes + r)).ir, (rows + (r * stride + i)).ir
            source, target = (outside, inside) if loads else (inside, outside)
            code.builder.store(code.builder.load(source), target)
    code.end()


class _Squares:
    """Moves ``side`` elements of each row of a block."""

    def __init__(self, code: Code, side: int) -> None:
        self.code = code
        self.side = side
        self.lanes = LINE // _PIECE * side

    def load(self, block: Address, row: Address, stride: Int, count: Int) -> None:
        """Load them; those of the last row again in place of rows that there are not."""
        builder, pieces = self.code.builder, []
        for r in range(self.lanes):
            pieces.append(builder.load(_vector(row, self.side), align=_PIECE // self.side))
            row += (count > r + 1).choose(stride, 0)
        lines = [_joined(builder, pieces[j :: self.side]) for j in range(self.side)]
        for i, line in enumerate(self._turned(lines)):
            builder.store(line, _vector(block + i * self.lanes, self.lanes), align=LINE)

    def store(self, block: Address, row: Address, stride: Int, count: Int) -> None:
        """Store them, from the last row to the first.

        Rows that there are not go to the place of the last there is, which replaces them.
        """
        builder, side = self.code.builder, self.side
        places = [_vector(block + i * self.lanes, self.lanes) for i in range(side)]
        lines = self._turned([builder.load(p, align=LINE) for p in places])
        row += (count - 1) * stride
        for r in reversed(range(self.lanes)):
            line, first = lines[r % side], r // side * side
            piece = _shuffled(builder, line, line, range(first, first + side))
            builder.store(piece, _vector(row, side), align=_PIECE // side)
            row += (count > r).choose(0 - stride, 0)

    def _turned(self, lines: list[Any]) -> list[Any]:
        """Transpose squares of ``side`` lines and lanes, each within 16 bytes of a line.

        Perfect shuffles take turns of lanes from two lines; after log2(n) of them every lane is
        in its place.
        """
        half = self.side // 2
        for _ in range(half.bit_length()):
            lines = [
                _shuffled(self.code.builder, lines[i], lines[i + half], self._turns(part))
                for i in range(half)
                for part in (0, half)
            ]
        return lines

    def _turns(self, part: int) -> Iterator[int]:
        for start in range(part, self.lanes, self.side):
            for lane in range(start, start + self.side // 2):
                yield from (lane, self.lanes + lane)


def _joined(builder: Any, parts: list[Any]) -> Any:
    """Return vectors laid end to end."""
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [_shuffled(builder, x, y, range(2 * x.type.count)) for x, y in pairs]
    return parts[0]


def _shuffled(builder: Any, x: Any, y: Any, order: Iterable[int]) -> Any:
    """Return the lanes ``order`` of ``x`` and ``y`` laid end to end."""
    lanes = list(order)
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_LANE, len(lanes)), lanes))


def _vector(p: Address, lanes: int) -> Any:
    """Return the address of so many elements from ``p``."""
    return p.builder.bitcast(p.ir, ir.VectorType(p.ir.type.pointee, lanes).as_pointer())
