"""Tile kernels: the inner loops of matrix products, as functions that kernels call.

A *tile* is a few rows by two vectors of C, kept in registers while K passes by. A *block* is a
column of tiles: any number of rows, at most :func:`width` columns. A *panel* is a copy of as many
columns of B with its rows one after another.

Sources: Goto and van de Geijn, *Anatomy of High-Performance Matrix Multiplication* (2008), for the
panel of B and the block of A that stay in cache; Van Zee and van de Geijn, *BLIS* (2015), for one
tile kernel from which all else is made; SimpleChains.jl for small operands read where they lie.

Compiled, the functions are vector code in LLVM (:mod:`.blocks`, :mod:`.transposes`), once for each
element type. In plain Python, where a pointer is a flat array that starts at the address, they
compute the same with NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin

from graphc.runtime.tiles import shape, vectors
from graphc.runtime.tiles.blocks import emit_block
from graphc.runtime.tiles.transposes import emit_pack, emit_transpose
from graphc.runtime.tiles.vectors import Vectors, const

Plain = Callable[..., Any]
POINTERS = {types.CPointer(types.float32): 4, types.CPointer(types.float64): 8}


def _register(plain: Plain, typed: Callable[..., Any], emit: Callable[..., Any]) -> None:
    """Let Numba compile calls of ``plain``: ``typed(*types)`` types them, ``emit`` lowers them."""

    class Template(AbstractTemplate):
        key = plain

        def generic(self, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
            return None if kws else typed(*args)

    infer_global(plain, types.Function(Template))
    lower_builtin(plain, types.VarArg(types.Any))(emit)


def _compiled(emit: Callable[[Vectors, Any], None], kinds: str) -> Callable[[Plain], Plain]:
    """Compile calls as a function that ``emit`` fills, of integers ``i`` and pointers ``p``."""

    def wrap(plain: Plain) -> Plain:
        def typed(*args: Any) -> Any:
            pointer = args[kinds.index("p")]
            if pointer not in POINTERS:
                return None
            return signature(types.void, *(pointer if k == "p" else types.int64 for k in kinds))

        def lower(context: Any, builder: Any, sig: Any, args: Sequence[Any]) -> Any:
            v = Vectors(POINTERS[sig.args[kinds.index("p")]])
            function = v.function(builder.module, plain.__name__, [a.type for a in args])
            if function.is_declaration:
                emit(v, function)
            builder.function.attributes.add("optsize")  # the time passes in the function called
            builder.call(function, args)
            return context.get_dummy_value()

        _register(plain, typed, lower)
        return plain

    return wrap


def _number(of: Callable[[int], int]) -> Callable[[Any], int]:
    """Return the number ``of(itemsize)`` as a function of a pointer, constant in compiled code."""

    def number(p: Any) -> int:
        return of(p.itemsize)

    def lower(context: Any, builder: Any, sig: Any, args: Sequence[Any]) -> Any:
        return const(of(POINTERS[sig.args[0]]))

    _register(number, lambda p: signature(types.int64, p) if p in POINTERS else None, lower)
    return number


def _scratch(of: Callable[[int], int]) -> Callable[[Any], Any]:
    """Return a function of a pointer that gives ``of(itemsize)`` elements on the kernel's stack."""

    def scratch(p: Any) -> Any:
        return np.empty(of(p.itemsize), p.dtype)

    def lower(context: Any, builder: Any, sig: Any, args: Sequence[Any]) -> Any:
        v = Vectors(POINTERS[sig.args[0]])
        with builder.goto_entry_block():
            room = builder.alloca(ir.ArrayType(v.real, of(v.itemsize)))
        room.align = 64
        return builder.bitcast(room, v.real.as_pointer())

    _register(scratch, lambda p: signature(p, p) if p in POINTERS else None, lower)
    return scratch


lanes = _number(shape.lanes)
width = _number(shape.width)
unit = _number(shape.unit)
high = _number(shape.high)
square = _number(shape.square)
depth = _number(shape.depth)
rows = _number(shape.rows)
large = _number(shape.large)
panel = _scratch(lambda itemsize: shape.depth(itemsize) * shape.width(itemsize))
turned = _scratch(lambda itemsize: shape.square(itemsize) * shape.width(itemsize))


def shift(p: Any, n: int) -> Any:
    """Return the pointer ``n`` elements after ``p``."""
    return p[n:]


_register(
    shift,
    lambda p, n: signature(p, p, types.int64),
    lambda context, builder, sig, args: builder.gep(args[0], [args[1]]),
)


def _arithmetic(emit: Callable[[Any, Any, Any], Any]) -> Callable[[Plain], Plain]:
    """Compile a function of two integers as an instruction or two: Numba's own take dozens."""

    def wrap(plain: Plain) -> Plain:
        _register(
            plain,
            lambda x, y: signature(types.int64, types.int64, types.int64),
            lambda context, builder, sig, args: emit(builder, *args),
        )
        return plain

    return wrap


@_arithmetic(vectors.least)
def least(x: int, y: int) -> int:
    return min(x, y)


@_arithmetic(vectors.most)
def most(x: int, y: int) -> int:
    return max(x, y)


@_arithmetic(vectors.ceildiv)
def ceildiv(x: int, y: int) -> int:
    """Return x / y rounded up, for x >= 0 and y > 0."""
    return -(-x // y)


def _matrix(p: Any, shape: tuple[int, int], strides: tuple[int, int]) -> Any:
    """Return the matrix at ``p`` as a view."""
    return np.lib.stride_tricks.as_strided(p, shape, tuple(s * p.itemsize for s in strides))


@_compiled(emit_block, "iiipiipiipipi")
def block(
    rows: int, width: int, k: int, a: Any, a_i: int, a_k: int, b: Any, b_k: int,
    add: int, d: Any, d_i: int, c: Any, c_i: int,
) -> None:  # fmt: skip
    """C = A B, or D + A B where ``add`` is not 0; D may be C.

    C is (rows, width) with ``width <= width(c)``, A[i, t] = a[i * a_i + t * a_k] is (rows, k); rows
    of B, C and D are contiguous.
    """
    product = _matrix(a, (rows, k), (a_i, a_k)) @ _matrix(b, (k, width), (b_k, 1))
    if add:
        product += _matrix(d, (rows, width), (d_i, 1))
    _matrix(c, (rows, width), (c_i, 1))[...] = product


@_compiled(emit_transpose, "iipiipipi")
def transpose(
    rows: int, width: int, a: Any, a_j: int, add: int, d: Any, d_i: int, c: Any, c_i: int
) -> None:
    """C[i, j] = A[j, i], or D[i, j] + A[j, i] where ``add`` is not 0; D may be C.

    C is (rows, width); rows of A, C and D are contiguous.
    """
    value = _matrix(a, (rows, width), (1, a_j))
    if add:
        value = value + _matrix(d, (rows, width), (d_i, 1))
    _matrix(c, (rows, width), (c_i, 1))[...] = value


@_compiled(emit_pack, "iipiip")
def pack(k: int, width: int, b: Any, b_k: int, b_j: int, panel: Any) -> None:
    """Copy B[t, j] = b[t * b_k + j * b_j], (k, width), into a panel."""
    breadth = shape.width(panel.itemsize)
    _matrix(panel, (k, width), (breadth, 1))[...] = _matrix(b, (k, width), (b_k, b_j))
