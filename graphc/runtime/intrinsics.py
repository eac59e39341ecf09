"""Intrinsics of the replay loop: calling a record's kernel, and atomics between threads.

Each function writes the LLVM code that a call of its name stands for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from graphc.jit.llvm import ir
from graphc.jit.numba import (
    ConcreteTemplate,
    cgutils,
    infer_global,
    lower_builtin,
    signature,
    types,
)
from graphc.runtime.schedule import RECORD_HEAD

Emit = Callable[..., Any]

_WORD = ir.IntType(64)
_ALIGN = 8
_WORDS = types.CPointer(types.int64)
_INT = types.int64


def _intrinsic(result: Any, *operands: Any) -> Callable[[Emit], Emit]:
    """Compile calls as what ``emit(builder, *values)`` writes; it returns the result's value."""

    def enter(emit: Emit) -> Emit:
        class Template(ConcreteTemplate):
            key = emit
            cases = [signature(result, *operands)]  # noqa: RUF012

        def lower(context: Any, builder: Any, sig: Any, args: tuple[Any, ...]) -> Any:
            value = emit(builder, *args)
            return context.get_dummy_value() if result == types.void else value

        infer_global(emit, types.Function(Template))
        lower_builtin(emit, *operands)(lower)
        return emit

    return enter


def _address(builder: Any, words: Any, at: Any) -> Any:
    return builder.gep(builder.bitcast(words, _WORD.as_pointer()), [at])


@_intrinsic(types.void, _WORDS, _INT, _INT, _INT, _INT)
def invoke(builder: Any, table: Any, at: Any, lo: Any, hi: Any, scratch: Any) -> None:
    """Call the kernel of the record at word ``at`` of ``table`` for ``lo <= i < hi``.

    ``scratch`` is the address of memory that the calling thread alone uses.
    """
    kind = ir.FunctionType(ir.VoidType(), [_WORD.as_pointer(), _WORD, _WORD, _WORD])
    entry = _address(builder, table, builder.add(at, ir.Constant(_WORD, 1)))
    function = builder.inttoptr(builder.load(entry), kind.as_pointer())
    record = _address(builder, table, builder.add(at, ir.Constant(_WORD, RECORD_HEAD)))
    builder.call(function, [record, lo, hi, scratch])


@_intrinsic(_INT, _WORDS, _INT, _INT)
def atomic_add(builder: Any, words: Any, at: Any, value: Any) -> Any:
    """Add ``value`` to ``words[at]``, seen by all threads in one order; return the old value."""
    return builder.atomic_rmw("add", _address(builder, words, at), value, "seq_cst")


@_intrinsic(_INT, _WORDS, _INT)
def atomic_load(builder: Any, words: Any, at: Any) -> Any:
    """Return ``words[at]`` as the other threads left it."""
    return builder.load_atomic(_address(builder, words, at), "seq_cst", _ALIGN)


@_intrinsic(_INT, _WORDS, _INT)
def follow(builder: Any, words: Any, at: Any) -> Any:
    """Return the word whose address is ``words[at]``, as the other threads left it."""
    address = builder.load(_address(builder, words, at))
    return builder.load_atomic(builder.inttoptr(address, _WORD.as_pointer()), "seq_cst", _ALIGN)


@_intrinsic(types.void, _WORDS, _INT, _INT)
def atomic_store(builder: Any, words: Any, at: Any, value: Any) -> None:
    """Set ``words[at]`` for all threads to see."""
    builder.store_atomic(value, _address(builder, words, at), "seq_cst", _ALIGN)


_YIELD = ir.Constant(ir.IntType(32), 1)
_PAUSES: dict[str, tuple[str, list[Any]]] = {
    "x86_64": ("llvm.x86.sse2.pause", []),
    "aarch64": ("llvm.aarch64.hint", [_YIELD]),
    "arm64": ("llvm.aarch64.hint", [_YIELD]),
}
"""Instructions for loops that wait, by the architecture that begins LLVM's triple."""


@_intrinsic(types.void)
def spin(builder: Any) -> None:
    """Tell the processor that this thread is waiting in a loop."""
    name, operands = _PAUSES.get(builder.module.triple.partition("-")[0], ("", []))
    if name:
        kind = ir.FunctionType(ir.VoidType(), [o.type for o in operands])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), operands)


@_intrinsic(types.void)
def give_way(builder: Any) -> None:
    """Let another thread have this processor: the waited-for one may need it."""
    name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
    kind = ir.FunctionType(ir.IntType(32), [])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
