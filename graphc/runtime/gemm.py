"""Matrix products on raw pointers: C = A B.

One kernel serves all sizes, strides and batches, so it is compiled once per machine. Threads
compute different rows of C, or different columns of it where B is dearer to read than A. Each
element is summed in an order that depends on K, and on whether C is a single row or column, so
its bits depend neither on the number of threads nor on how they divide C.

Where C is narrow, or B is transposed and A is small, the kernel computes the transpose of C: rows
of B^T are broadcast, columns of A^T enter as vectors, and tiles are turned as they are stored.
"""

from __future__ import annotations

from typing import Any

from graphc.runtime import tiles


def gemm(
    lo: int, hi: int, m: int, n: int, k: int, form: int,
    a: Any, a_b: int, a_i: int, a_k: int, b: Any, b_b: int, b_k: int, b_j: int,
    c: Any, c_b: int, c_i: int, scratch: Any = None,
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
    tiles.product(lo, hi, m, n, k, form, a, a_b, a_i, a_k, b, b_b, b_k, b_j, c, c_b, c_i, scratch)


def gemv(
    lo: int, hi: int, k: int, a: Any, a_i: int, a_k: int, x: Any, x_k: int, y: Any, y_i: int
) -> None:
    """y[i] = sum_k A[i, k] x[k] for lo <= i < hi."""
    tiles.apply(lo, hi, k, a, a_i, a_k, x, x_k, y, y_i)
