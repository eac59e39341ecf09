"""Matrix products in LLVM, as functions that kernels call.

A *tile* is a few rows by two vectors of C, kept in registers while K passes by. A *block* is a
column of tiles: any number of rows, at most :func:`shape.width` columns. A *panel* is a copy of as
many columns of B with its rows one after another.

Sources: Goto and van de Geijn, *Anatomy of High-Performance Matrix Multiplication* (2008), for the
panel of B and the block of A that stay in cache; Van Zee and van de Geijn, *BLIS* (2015), for one
tile kernel from which all else is made; SimpleChains.jl for small operands read where they lie.

Compiled, the functions are vector code (:mod:`.blocks`, :mod:`.transposes`, :mod:`.narrow` for few
columns, :mod:`.thin` for a side of 1) and a driver (:mod:`.driver`), once for each element type. In
plain Python, where a pointer is a flat array that starts at the address, they compute the same with
NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.codegen.product import COLUMNS, SUM
from graphc.jit.numba import AbstractTemplate, infer_global, lower_builtin, signature, types
from graphc.runtime.tiles import driver, matvec
from graphc.runtime.tiles.vectors import Vectors

Plain = Callable[..., Any]
POINTERS = {types.CPointer(types.float32): 4, types.CPointer(types.float64): 8}


def _compiled(emit: Callable[[Vectors, Any], None], kinds: str) -> Callable[[Plain], Plain]:
    """Compile calls as a function that ``emit`` fills, of integers ``i`` and pointers ``p``."""

    def wrap(plain: Plain) -> Plain:
        class Template(AbstractTemplate):
            key = plain

            def generic(self, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
                pointer = args[kinds.index("p")]
                if kws or pointer not in POINTERS:
                    return None
                return signature(types.void, *(pointer if k == "p" else types.int64 for k in kinds))

        def lower(context: Any, builder: Any, sig: Any, args: Sequence[Any]) -> Any:
            v = Vectors(POINTERS[sig.args[kinds.index("p")]])
            builder.call(v.part(builder.module, plain.__name__, kinds, emit), args)
            return context.get_dummy_value()

        infer_global(plain, types.Function(Template))
        lower_builtin(plain, types.VarArg(types.Any))(lower)
        return plain

    return wrap


def _matrix(p: Any, shape: tuple[int, int], strides: tuple[int, int]) -> Any:
    """Return the matrix at ``p`` as a view."""
    return np.lib.stride_tricks.as_strided(p, shape, tuple(s * p.itemsize for s in strides))


@_compiled(driver.emit_product, driver.KINDS)
def product(
    lo: int, hi: int, m: int, n: int, k: int, form: int,
    a: Any, a_b: int, a_i: int, a_k: int, b: Any, b_b: int, b_k: int, b_j: int,
    c: Any, c_b: int, c_i: int, scratch: Any,
) -> None:  # fmt: skip
    """C = A B, for rows or columns lo..hi; see :func:`graphc.runtime.gemm.gemm`."""
    if form & SUM:
        start, size = lo * n, (hi - lo) * n
        c[start : start + size] = sum(a[p * a_b + start :][:size] for p in range(k))
        return
    columns = form & COLUMNS
    for e in range(0 if columns else lo // max(m, 1), 1 if columns else -(-hi // max(m, 1))):
        rows = slice(None) if columns else slice(max(0, lo - e * m), min(m, hi - e * m))
        left = _matrix(a[e * a_b :], (m, k), (a_i, a_k))[rows]
        right = _matrix(b[e * b_b :], (k, n), (b_k, b_j))
        out = _matrix(c[e * c_b :], (m, n), (c_i, 1))[rows]
        if columns:
            right, out = right[:, lo:hi], out[:, lo:hi]
        out[...] = left @ right


@_compiled(matvec.emit_apply, matvec.KINDS)
def apply(
    lo: int, hi: int, k: int, a: Any, a_i: int, a_k: int, x: Any, x_k: int, y: Any, y_i: int
) -> None:
    """y[i] = sum_k A[i, k] x[k] for lo <= i < hi."""
    rows = _matrix(a[lo * a_i :], (hi - lo, k), (a_i, a_k))
    _matrix(y[lo * y_i :], (hi - lo, 1), (y_i, 1))[...] = rows @ _matrix(x, (k, 1), (x_k, 1))
