"""Stores past the caches, for results far larger than they are.

An ordinary store reads the cache line that it is going to replace: a third of what copying moves.
Kernels with large results compute a block of :data:`BLOCK` elements on the stack, which stays in
the first cache, and stream it to memory with whole, aligned lines. A fence at the end lets other
threads see them in order (Intel, *Optimization Reference Manual*, non-temporal stores).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.jit.llvm import ir
from graphc.jit.numba import cgutils, types
from graphc.machine.record import LINE
from graphc.runtime.emitted import register

BLOCK = 1024
"""Elements of a block."""

_WORD = ir.IntType(64)


def block(pointer: Any) -> Any:
    """Return memory for a block of elements like those of ``pointer``."""
    return np.empty(BLOCK, pointer.dtype)


def write(pointer: Any, start: int, values: Any, count: int) -> None:
    """Set ``pointer[start : start + count]`` to the first ``values``."""
    pointer[start : start + count] = values[:count]


def fence() -> None:
    """Let all that was written be seen before what is written from now on."""


# -- the same for Numba --------------------------------------------------------------------------


def _block(context: Any, builder: Any, sig: Any, args: tuple[Any, ...]) -> Any:
    kind = args[0].type.pointee
    memory = builder.alloca(kind, ir.Constant(_WORD, BLOCK))
    memory.align = LINE
    return memory


def _write(context: Any, builder: Any, sig: Any, args: tuple[Any, ...]) -> Any:
    pointer, start, values, count = args
    kind = pointer.type.pointee
    lanes = LINE // (kind.width // 8 if isinstance(kind, ir.IntType) else _SIZES[type(kind)])
    target = builder.gep(pointer, [start])
    offset = builder.and_(builder.ptrtoint(target, _WORD), ir.Constant(_WORD, LINE - 1))
    aligned = builder.icmp_unsigned("==", offset, ir.Constant(_WORD, 0))
    whole = builder.and_(count, ir.Constant(_WORD, -lanes))
    streamed = builder.select(aligned, whole, ir.Constant(_WORD, 0))
    vector = ir.VectorType(kind, lanes).as_pointer()
    lines = builder.udiv(streamed, ir.Constant(_WORD, lanes))
    with cgutils.for_range(builder, lines) as loop:
        at = [builder.mul(loop.index, ir.Constant(_WORD, lanes))]
        line = builder.load(builder.bitcast(builder.gep(values, at), vector), align=LINE)
        store = builder.store(line, builder.bitcast(builder.gep(target, at), vector), LINE)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
    with cgutils.for_range_slice(builder, streamed, count, ir.Constant(_WORD, 1), _WORD) as (
        index,
        _,
    ):
        builder.store(builder.load(builder.gep(values, [index])), builder.gep(target, [index]))
    return context.get_dummy_value()


_SIZES = {ir.FloatType: 4, ir.DoubleType: 8}


def _fence(context: Any, builder: Any, sig: Any, args: tuple[Any, ...]) -> Any:
    builder.fence("seq_cst")
    return context.get_dummy_value()


register(block, lambda args: args[0], _block)
register(write, lambda args: types.none, _write)
register(fence, lambda args: types.none, _fence)
