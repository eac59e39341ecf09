"""Intrinsics of the replay loop: calling a record's kernel, and atomics between threads."""

from __future__ import annotations

import platform
import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from graphc.runtime.schedule import RECORD_HEAD

_WORD = ir.IntType(64)
_ALIGN = 8
_WORDS = types.CPointer(types.int64)


def _address(builder: Any, words: Any, at: Any) -> Any:
    return builder.gep(builder.bitcast(words, _WORD.as_pointer()), [at])


@intrinsic
def invoke(context: Any, table: Any, at: Any, lo: Any, hi: Any) -> Any:
    """Call the kernel of the record at word ``at`` of ``table`` for ``lo <= i < hi``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        table, at, lo, hi = args
        kind = ir.FunctionType(ir.VoidType(), [_WORD.as_pointer(), _WORD, _WORD])
        entry = _address(builder, table, builder.add(at, ir.Constant(_WORD, 1)))
        function = builder.inttoptr(builder.load(entry), kind.as_pointer())
        record = _address(builder, table, builder.add(at, ir.Constant(_WORD, RECORD_HEAD)))
        builder.call(function, [record, lo, hi])
        return context.get_dummy_value()

    return types.void(_WORDS, types.int64, types.int64, types.int64), codegen


@intrinsic
def atomic_add(context: Any, words: Any, at: Any, value: Any) -> Any:
    """Add ``value`` to ``words[at]``, seen by all threads in one order; return the old value."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words, at, value = args
        return builder.atomic_rmw("add", _address(builder, words, at), value, "seq_cst")

    return types.int64(_WORDS, types.int64, types.int64), codegen


@intrinsic
def atomic_load(context: Any, words: Any, at: Any) -> Any:
    """Return ``words[at]`` as the other threads left it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_address(builder, *args), "seq_cst", _ALIGN)

    return types.int64(_WORDS, types.int64), codegen


@intrinsic
def atomic_store(context: Any, words: Any, at: Any, value: Any) -> Any:
    """Set ``words[at]`` for all threads to see."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words, at, value = args
        builder.store_atomic(value, _address(builder, words, at), "seq_cst", _ALIGN)
        return context.get_dummy_value()

    return types.void(_WORDS, types.int64, types.int64), codegen


@intrinsic
def spin(context: Any) -> Any:
    """Tell the processor that this thread is waiting in a loop."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if platform.machine().lower() in ("x86_64", "amd64"):
            kind = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse2.pause"
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def give_way(context: Any) -> Any:
    """Let another thread have this processor: the waited-for one may need it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        return context.get_dummy_value()

    return types.void(), codegen
