"""Matrix products as kernels: the generated modules call these by name."""

from __future__ import annotations

from typing import Any

from graphc.runtime.kernel import Kernel, kernel

_ONE = "n: int64, k: int64, a: T*, a_i: int64, a_k: int64, b: T*, b_k: int64, b_j: int64, c: T*, c_i: int64, add: int64"
_MANY = (
    "m: int64, n: int64, k: int64, a: T*, a_b: int64, a_i: int64, a_k: int64, "
    "b: T*, b_b: int64, b_k: int64, b_j: int64, c: T*, c_b: int64, c_i: int64, add: int64"
)


def gemm(lo: int, hi: int, n: int, k: int, a: Any, a_i: int, a_k: int, b: Any, b_k: int, b_j: int, c: Any, c_i: int, add: int) -> None:
    for i in range(lo, hi):
        if not add:
            for j in range(n):
                c[i * c_i + j] = 0
        for t in range(k):
            x = a[i * a_i + t * a_k]
            for j in range(n):
                c[i * c_i + j] += x * b[t * b_k + j * b_j]


def gemm_batched(lo: int, hi: int, m: int, n: int, k: int, a: Any, a_b: int, a_i: int, a_k: int, b: Any, b_b: int, b_k: int, b_j: int, c: Any, c_b: int, c_i: int, add: int) -> None:
    for s in range(lo, hi):
        for i in range(m):
            if not add:
                for j in range(n):
                    c[s * c_b + i * c_i + j] = 0
            for t in range(k):
                x = a[s * a_b + i * a_i + t * a_k]
                for j in range(n):
                    c[s * c_b + i * c_i + j] += x * b[s * b_b + t * b_k + j * b_j]


def _named(function: Any, name: str, signature: str, dtype: str) -> Kernel:
    result = kernel(signature.replace("T*", f"{dtype}*"))(function)
    result.name = name
    return result


gemm_float32 = _named(gemm, "gemm_float32", _ONE, "float32")
gemm_float64 = _named(gemm, "gemm_float64", _ONE, "float64")
gemm_int32 = _named(gemm, "gemm_int32", _ONE, "int32")
gemm_int64 = _named(gemm, "gemm_int64", _ONE, "int64")
gemm_batched_float32 = _named(gemm_batched, "gemm_batched_float32", _MANY, "float32")
gemm_batched_float64 = _named(gemm_batched, "gemm_batched_float64", _MANY, "float64")
gemm_batched_int32 = _named(gemm_batched, "gemm_batched_int32", _MANY, "int32")
gemm_batched_int64 = _named(gemm_batched, "gemm_batched_int64", _MANY, "int64")
