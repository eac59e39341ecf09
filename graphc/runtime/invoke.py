"""The intrinsic that calls the kernel of a record."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from graphc.runtime.frame import RECORD_HEAD

_WORD = ir.IntType(64)


@intrinsic
def invoke(context: Any, table: Any, at: Any) -> Any:
    """Call the kernel of the record at word ``at`` of ``table`` over its whole extent."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        table, at = args
        words = builder.bitcast(table, _WORD.as_pointer())

        def word(offset: int) -> Any:
            return builder.gep(words, [builder.add(at, ir.Constant(_WORD, offset))])

        kind = ir.FunctionType(ir.VoidType(), [_WORD.as_pointer(), _WORD, _WORD])
        entry = builder.inttoptr(builder.load(word(1)), kind.as_pointer())
        extent = builder.load(word(2))
        builder.call(entry, [word(RECORD_HEAD), ir.Constant(_WORD, 0), extent])
        return context.get_dummy_value()

    return types.void(types.CPointer(types.int64), types.int64), codegen
