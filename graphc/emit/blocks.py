"""Products and transposes of blocks, for kernels that multiply on their way.

A kernel of loops calls them on memory of its own (:mod:`graphc.emit.rows`) and on what it is called
with. The code is that of matrix products (:mod:`graphc.emit.tiles`), without a driver: blocks fit
the caches already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.emit import shape
from graphc.emit.emitted import compiled
from graphc.emit.tiles import blocks, transposes
from graphc.emit.tiles.code import INT, Code, least
from graphc.emit.tiles.vectors import Vectors
from graphc.jit.llvm import ir


def _vectors(pointer: Any) -> Vectors:
    return Vectors(4 if pointer.type.pointee == ir.FloatType() else 8)


def _multiplied(
    builder: Any, c: Any, c_at: Any, c_i: Any, a: Any, a_at: Any, a_i: Any, a_k: Any,
    b: Any, b_at: Any, b_k: Any, *sizes: Any,
) -> None:  # fmt: skip
    v = _vectors(c)
    function = v.part(builder.module, "multiply", "pipiipiiiii", _emit_multiply)
    c, a, b = (builder.gep(p, [at]) for p, at in ((c, c_at), (a, a_at), (b, b_at)))
    builder.call(function, [c, c_i, a, a_i, a_k, b, b_k, *sizes])


@compiled(_multiplied)
def multiply(
    c: Any, c_at: int, c_i: int, a: Any, a_at: int, a_i: int, a_k: int, b: Any, b_at: int, b_k: int,
    rows: int, width: int, k: int, add: int,
) -> None:  # fmt: skip
    """C[i, j] = sum_k A[i, k] B[k, j], added to what is there if ``add`` is 1.

    X[i, j] = x[x_at + i * x_i + j * x_j]; rows of B and C are contiguous, C is (rows, width).
    """
    out = _matrix(c[c_at:], (rows, width), (c_i, 1))
    found = _matrix(a[a_at:], (rows, k), (a_i, a_k)) @ _matrix(b[b_at:], (k, width), (b_k, 1))
    out[...] = out + found if add else found


def _turned(
    builder: Any, block: Any, lanes: Any, rows: Any, start: Any, stride: Any, *sizes: Any
) -> None:
    v = _vectors(block)
    function = v.part(builder.module, "transpose", "iipipi", transposes.emit_transpose)
    count, length = sizes
    builder.call(function, [length, count, builder.gep(rows, [start]), stride, block, lanes])


@compiled(_turned)
def transpose(
    block: Any, lanes: int, rows: Any, start: int, stride: int, count: int, length: int
) -> None:
    """block[i * lanes + r] = rows[start + r * stride + i], for r < count and i < length."""
    source = _matrix(rows[start:], (count, length), (stride, 1))
    _matrix(block, (length, count), (lanes, 1))[...] = source.T


def _matrix(p: Any, sizes: tuple[int, int], strides: Sequence[int]) -> Any:
    """Return the matrix at ``p`` as a view."""
    return np.lib.stride_tricks.as_strided(p, sizes, tuple(s * p.itemsize for s in strides))


def _emit_multiply(v: Vectors, function: Any) -> None:
    """Fill ``multiply``: blocks of C, one beside the other."""
    code = Code(function)
    c, c_i, a, a_i, a_k, b, b_k, rows, width, k, add = code.arguments
    block = v.part(function.module, "block", blocks.KINDS, blocks.emit_block)
    minus_one = code.room(v.real, 1)
    code.builder.store(ir.Constant(v.real, -1.0), minus_one.ir)
    start = code.room(INT, 1)  # of the one run of steps
    start.store(0)
    breadth = shape.width(v.itemsize)
    with code.loop(0, width, breadth) as x:
        code.call(
            block, rows, least(width - x, breadth), k, 1, start, start, a, a_i, a_k, b + x, b_k,
            add, minus_one, c + x, c_i, b, 0, c, 0, 0,
        )  # fmt: skip
    code.end()
