"""Stores past the caches, for results far larger than they are.

An ordinary store reads the cache line that it is going to replace: a third of what copying moves.
Kernels with large results compute a block of elements on the stack, which stays in
the first cache, and stream it to memory with whole, aligned lines. A fence at the end lets other
threads see them in order (Intel, *Optimization Reference Manual*, non-temporal stores).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.emit.emitted import compiled
from graphc.emit.tiles.code import Code, Int
from graphc.jit.llvm import ir
from graphc.machine.record import LINE

_WORD = ir.IntType(64)


def block(kind: Any, size: int) -> Any:
    """Return memory for ``size`` elements; what it holds is not defined."""
    return np.empty(size, kind)


def _write(builder: Any, pointer: Any, start: Any, values: Any, count: Any) -> None:
    kind = pointer.type.pointee
    lanes = LINE // (kind.width // 8 if isinstance(kind, ir.IntType) else _SIZES[type(kind)])
    target, code = builder.gep(pointer, [start]), Code.at(builder)
    offset = Int(builder, builder.ptrtoint(target, _WORD)) & (LINE - 1)
    streamed = offset.equals(0).choose(Int(builder, count) & -lanes, 0)
    vector = ir.VectorType(kind, lanes).as_pointer()
    with code.loop(0, streamed, lanes) as at:
        line = builder.load(builder.bitcast(builder.gep(values, [at.ir]), vector), align=LINE)
        store = builder.store(line, builder.bitcast(builder.gep(target, [at.ir]), vector), LINE)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
    with code.loop(streamed, Int(builder, count)) as at:
        builder.store(builder.load(builder.gep(values, [at.ir])), builder.gep(target, [at.ir]))


_SIZES = {ir.FloatType: 4, ir.DoubleType: 8}


@compiled(_write)
def write(pointer: Any, start: int, values: Any, count: int) -> None:
    """Set ``pointer[start : start + count]`` to the first ``values``."""
    pointer[start : start + count] = values[:count]


@compiled(lambda builder: builder.fence("seq_cst"))
def fence() -> None:
    """Let all that was written be seen before what is written from now on."""
