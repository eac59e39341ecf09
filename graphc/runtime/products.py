"""Matrix products as kernels, by the names under which generated modules call them.

Extent and range count the rows of the whole batch, where row ``e * m + i`` is row ``i`` of product
e, or columns: see :mod:`graphc.runtime.gemm`. Integers are always divided by rows.
"""

from __future__ import annotations

from typing import Any

from graphc.runtime import gemm
from graphc.runtime.kernel import Kernel, argument_types

_MATRIX = (
    "m: int64, n: int64, k: int64, form: int64, a: T*, a_b: int64, a_i: int64, a_k: int64, "
    "b: T*, b_b: int64, b_k: int64, b_j: int64, c: T*, c_b: int64, c_i: int64"
)

_VECTOR = "k: int64, a: T*, a_i: int64, a_k: int64, x: T*, x_k: int64, y: T*, y_i: int64"


def _integer_product(
    lo: int, hi: int, m: int, n: int, k: int, form: int, a: Any, a_b: int, a_i: int, a_k: int,
    b: Any, b_b: int, b_k: int, b_j: int, c: Any, c_b: int, c_i: int,
) -> None:  # fmt: skip
    """C[e, i, j] = sum_k A[e, i, k] B[e, k, j], for integers."""
    for row in range(lo, hi):
        e, i = row // m, row % m
        for j in range(n):
            c[e * c_b + i * c_i + j] = 0
        for t in range(k):
            x = a[e * a_b + i * a_i + t * a_k]
            for j in range(n):
                c[e * c_b + i * c_i + j] += x * b[e * b_b + t * b_k + j * b_j]


def _integer_vector(
    lo: int, hi: int, k: int, a: Any, a_i: int, a_k: int, x: Any, x_k: int, y: Any, y_i: int,
) -> None:  # fmt: skip
    """y[i] = sum_k A[i, k] x[k], for integers."""
    for i in range(lo, hi):
        y[i * y_i] = 0
        for t in range(k):
            y[i * y_i] += a[i * a_i + t * a_k] * x[t * x_k]


def _matmul(dtype: str) -> Kernel:
    types = argument_types(_MATRIX.replace("T*", f"{dtype}*"))
    name = f"matmul_{dtype}"
    if dtype.startswith("float"):
        return Kernel(name, types, lambda: gemm.gemm, None, scratch=f"{dtype}*")
    return Kernel(name, types, lambda: _integer_product, _integer_product.__code__)


def _matvec(dtype: str) -> Kernel:
    types = argument_types(_VECTOR.replace("T*", f"{dtype}*"))
    name = f"matvec_{dtype}"
    if dtype.startswith("float"):
        return Kernel(name, types, lambda: gemm.gemv, None)
    return Kernel(name, types, lambda: _integer_vector, _integer_vector.__code__)


matmul_float32 = _matmul("float32")
matmul_float64 = _matmul("float64")
matmul_int32 = _matmul("int32")
matmul_int64 = _matmul("int64")
matvec_float32 = _matvec("float32")
matvec_float64 = _matvec("float64")
matvec_int32 = _matvec("int32")
matvec_int64 = _matvec("int64")
