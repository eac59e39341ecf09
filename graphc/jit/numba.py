"""The door to Numba: kernels compiled from their Python text, by Numba's public API alone.

It is the second way to machine code, for where the first (:mod:`graphc.jit.llvm`) lacks something.
Functions that kernels call are taught to Numba as intrinsics, by what writes their calls in LLVM's
language for the first way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphc.jit.llvm import ir
from graphc.jit.versions import door, need

with door("Numba"):
    import numba
    from numba import extending, types

NEEDED = (
    (numba, "cfunc"),
    (extending, "intrinsic"),
    (types, "CPointer void boolean uint8 int32 int64 float32 float64"),
)


def check() -> None:
    """Raise VersionError if Numba lacks something that is used here."""
    with door("Numba"):
        need(NEEDED)


check()
_VOID = ir.VoidType()
_KINDS = (
    (types.void, _VOID), (types.boolean, ir.IntType(1)), (types.uint8, ir.IntType(8)),
    (types.int32, ir.IntType(32)), (types.int64, ir.IntType(64)),
    (types.float32, ir.FloatType()), (types.float64, ir.DoubleType()),
)  # fmt: skip


def _pointer(kind: Any) -> Any:
    return types.CPointer(kind)  # type: ignore[no-untyped-call]


_WORD = types.int64
_ENTRY = types.void(_pointer(_WORD), _WORD, _WORD, _WORD)


def compiled(text: str, scope: Mapping[str, Any]) -> Any:
    """Compile ``text``, which defines ``entry(record, lo, hi, scratch)``; names are of ``scope``.

    The code stays in memory as long as what is returned, whose ``address`` it is at.
    """
    names = dict(scope)
    exec(text, names)
    return numba.cfunc(_ENTRY, error_model="numpy")(names["entry"])


def taught(emit: Callable[..., Any], arity: int, *, returns_nothing: bool = False) -> Any:
    """Return a function for text that Numba compiles: ``emit(builder, *values)`` writes a call.

    The type of its result is that of the value which ``emit`` returns, tried on paper.
    """

    def define(typingctx: Any, *operands: Any) -> Any:
        result = types.void if returns_nothing else _result(emit, operands)
        return result(*operands), _writer(emit)

    names = ["typingctx", *(f"operand{i}" for i in range(arity))]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    define.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kind) for name in names]
    )
    return extending.intrinsic(define)


def taught_block(align: int) -> Any:
    """Return the function ``block(type, size)``: memory on the stack of the caller."""

    def define(typingctx: Any, kind: Any, size: Any) -> Any:
        def write(builder: Any, kind: Any, size: Any) -> Any:
            memory = builder.alloca(_of_llvm(result.dtype), size)
            memory.align = align
            return memory

        result = _pointer(kind.dtype)
        return result(kind, size), _writer(write)

    return extending.intrinsic(define)


def _writer(emit: Callable[..., Any]) -> Callable[..., Any]:
    def write(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        value = emit(builder, *operands)
        for function in builder.module.functions:
            if function.linkage == "weak_odr":  # kept for LLVM's way; here another might remove it
                function.linkage = "internal"
        return context.get_dummy_value() if signature.return_type == types.void else value

    return write


def _result(emit: Callable[..., Any], operands: Sequence[Any]) -> Any:
    kinds = ir.FunctionType(_VOID, [_of_llvm(x) for x in operands])
    function = ir.Function(ir.Module(), kinds, "paper")
    value = emit(ir.IRBuilder(function.append_basic_block()), *function.args)
    return types.void if value is None else _of_numba(value.type)


def _of_llvm(kind: Any) -> Any:
    """Return LLVM's type of one of Numba's."""
    if isinstance(kind, types.CPointer):
        return _of_llvm(kind.dtype).as_pointer()
    return next(llvm for numba, llvm in _KINDS if numba == kind)


def _of_numba(kind: Any) -> Any:
    """Return Numba's type of one of LLVM's; bytes have no sign."""
    if isinstance(kind, ir.PointerType):
        return _pointer(_of_numba(kind.pointee))
    return next(numba for numba, llvm in _KINDS if llvm == kind)
