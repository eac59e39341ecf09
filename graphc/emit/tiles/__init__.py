"""Matrix products: C = A B, on raw pointers.

One kernel serves all sizes, strides and batches, so it is compiled once per machine. Threads
compute different rows of C, or different columns of it where B is dearer to read than A. Each
element is summed in an order that depends on K, and on whether C is a single row or column, so
its bits depend neither on the number of threads nor on how they divide C.

Where C is narrow, or B is transposed and A is small, the kernel computes the transpose of C: rows
of B^T are broadcast, columns of A^T enter as vectors, and tiles are turned as they are stored.
A product over groups of axes (:mod:`.grouped`) whose columns fill few lanes has them along K
(:mod:`.dots`): by its lengths and strides alone, so that threads do not change its bits either.

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

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.codegen.product import COLUMNS, SUM, UPDATE


def _matrix(p: Any, shape: tuple[int, int], strides: tuple[int, int]) -> Any:
    """Return the matrix at ``p`` as a view."""
    return np.lib.stride_tricks.as_strided(p, shape, tuple(s * p.itemsize for s in strides))


def product(
    lo: int, hi: int, m: int, n: int, k: int, form: int,
    a: Any, a_b: int, a_i: int, a_k: int, b: Any, b_b: int, b_k: int, b_j: int,
    c: Any, c_b: Any, c_i: int, scratch: Any = None,
) -> None:  # fmt: skip
    """C[e, i, j] = sum_k A[e, i, k] B[e, k, j] for i < m, j < n and e in the batch.

    X[e, i, j] = x[e * x_b + i * x_i + j * x_j]; rows of C are contiguous. Rows of the whole batch
    are counted through: the call computes those with lo <= e * m + i < hi. Where ``form`` has the
    bit ``COLUMNS``, there is one matrix, and the call computes the columns lo <= j < hi. From its
    bit ``PIECES`` on it holds a number: K is cut in so many equal pieces at least.

    With the bit ``UPDATE``, of one matrix, C -= f A B, where c_b is the address of f.

    With the bit ``SUM`` there is no product, but the sum of k arrays with the strides of C, whose
    rows lie one behind the other: C[i, j] = a[i * n + j] + a[a_b + i * n + j] + ...

    Panels and blocks are copied into ``scratch``, which is the thread's own.
    """
    if form & SUM:
        start, size = lo * n, (hi - lo) * n
        c[start : start + size] = sum(a[p * a_b + start :][:size] for p in range(k))
        return
    columns = form & COLUMNS
    batch = 0 if form & UPDATE else c_b
    for e in range(0 if columns else lo // max(m, 1), 1 if columns else -(-hi // max(m, 1))):
        rows = slice(None) if columns else slice(max(0, lo - e * m), min(m, hi - e * m))
        left = _matrix(a[e * a_b :], (m, k), (a_i, a_k))[rows]
        right = _matrix(b[e * b_b :], (k, n), (b_k, b_j))
        out = _matrix(c[e * batch :], (m, n), (c_i, 1))[rows]
        if columns:
            right, out = right[:, lo:hi], out[:, lo:hi]
        found = left @ right
        out[...] = out - c_b[0] * found if form & UPDATE else found


def contract(
    lo: int, hi: int, m: int, n: int, k: int, a: Any, a_i: int, a_k: int, b: Any, b_k: int,
    b_j: int, c: Any, c_i: int, *loops: Any,
) -> None:  # fmt: skip
    """C[e, i, p, j] = sum_tk A[e, i, t, k] B[e, t, k, p, j]; see :mod:`.grouped`.

    e and t are of three axes each, p of one, given as (length, stride, stride) in what they move;
    all rows of C lie one behind the other, and those with lo <= e * m + i < hi are computed.
    """
    axes = [loops[x : x + 3] for x in range(0, 21, 3)]
    around, (columns, b_q, c_q), depth = axes[:3], axes[3], axes[4:]
    for e in range(lo // max(m, 1), -(-hi // max(m, 1))):
        rows = slice(max(0, lo - e * m), min(m, hi - e * m))
        a_e, b_e = _moved(e, around)
        for p in range(columns):
            out = _matrix(c[e * m * c_i + p * c_q :], (m, n), (c_i, 1))[rows]
            out[...] = 0
            for t in range(math.prod(size for size, _, _ in depth)):
                a_t, b_t = _moved(t, depth)
                left = _matrix(a[a_e + a_t :], (m, k), (a_i, a_k))[rows]
                out += left @ _matrix(b[b_e + p * b_q + b_t :], (k, n), (b_k, b_j))


def _moved(number: int, axes: Sequence[tuple[int, int, int]]) -> tuple[int, int]:
    """Return how far element ``number`` of axes is, in row-major order, by strides of A and B."""
    a_at = b_at = 0
    for size, a_step, b_step in reversed(axes):
        number, place = divmod(number, max(size, 1))
        a_at, b_at = a_at + place * a_step, b_at + place * b_step
    return a_at, b_at


def apply(
    lo: int, hi: int, k: int, a: Any, a_i: int, a_k: int, x: Any, x_k: int, y: Any, y_i: int
) -> None:
    """y[i] = sum_k A[i, k] x[k] for lo <= i < hi."""
    rows = _matrix(a[lo * a_i :], (hi - lo, k), (a_i, a_k))
    _matrix(y[lo * y_i :], (hi - lo, 1), (y_i, 1))[...] = rows @ _matrix(x, (k, 1), (x_k, 1))
