"""Calls of the matrix products that ship with graphc, and what their iterations touch.

Arguments of a product are (m, n, k, form, a, a_b, a_i, a_k, b, b_b, b_k, b_j, c, c_b, c_i).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.codegen.kernel import KernelCall, Touch
from graphc.machine.record import TYPICAL
from graphc.plan.contraction import AROUND, DEPTH
from graphc.plan.contraction import COLUMNS as COLUMNS_AROUND
from graphc.plan.program import Axis, Buffer, MatrixProduct
from graphc.types import AnyDim

ROWS, COLUMNS = 0, 4
"""What the range of a product counts, a part of its form; see :mod:`graphc.emit.products`."""

SUM, UPDATE = 8, 16
"""Forms that add up arrays, and that subtract the product from C."""

PIECES = 5
"""Bits by which the form holds the number of pieces of K, whose sums are added up one by one."""

FORM, A, B, C = 3, 4, 8, 12
"""Positions of the form and the pointers."""

_OVERFLOWING = 3 * TYPICAL.second // 2
"""Bytes of B from which it does not stay in the second cache beside what else is there."""

_BROAD = 128
"""Columns from which threads may divide them: several panels for each."""


def product_kernel(work: MatrixProduct, repeated: bool = False) -> KernelCall:
    """Return the call of a matrix product, which may be ``repeated`` in a loop."""
    dtype = work.out.buffer.dtype.name
    if work.has_loops:
        return _contraction_kernel(work, dtype)
    m, n, k = work.m, work.n, work.k
    a, b, c = ((x.buffer, x.layout.offset) for x in (work.left, work.right, work.out))
    (a_b, a_i, a_k), (b_b, b_k, b_j) = work.left.layout.strides, work.right.layout.strides
    c_b, c_i, c_j = work.out.layout.strides
    if work.batch == 1 and n == 1:
        return _vector_kernel(dtype, m, k, (a, a_i, a_k), (b, b_k), (c, c_i))
    if work.batch == 1 and m == 1:  # y^T = B^T x^T
        return _vector_kernel(dtype, n, k, (b, b_j, b_k), (a, a_k), (c, c_j))
    pointers = (a, a_b, a_i, a_k, b, b_b, b_k, b_j, c, c_b, c_i)
    by_columns = _by_columns(work, repeated)
    form, extent = (COLUMNS, n) if by_columns else (ROWS, m * work.batch)
    arguments = (m, n, k, form, *pointers)
    if by_columns:
        touches = touches_by_columns(arguments)
    else:
        touches = touches_by_rows(arguments) if work.batch == 1 else touches_by_batch(arguments)
    return KernelCall(f"matmul_{dtype}", extent, arguments, touches)


def _contraction_kernel(work: MatrixProduct, dtype: str) -> KernelCall:
    """Return the call of a product with loops around it, whose rows lie one behind the other.

    Its arguments are (m, n, k, a, a_i, a_k, b, b_k, b_j, c, c_i), and of each axis around the
    product, of columns and of depth its length and its strides in what it moves.
    """
    m, n, k = work.m, work.n, work.k
    a, b, c = ((x.buffer, x.layout.offset) for x in (work.left, work.right, work.out))
    (_, a_i, a_k), (_, b_k, b_j) = work.left.layout.strides, work.right.layout.strides
    _, c_i, _ = work.out.layout.strides
    none = Axis(1, 0, 0, 0)

    def filled(axes: tuple[Axis, ...], count: int) -> tuple[Axis, ...]:
        return (*(none for _ in range(count - len(axes))), *axes)

    loops = [x for axis in filled(work.around, AROUND) for x in (axis.size, axis.left, axis.right)]
    loops += [x for axis in filled(work.columns, COLUMNS_AROUND)
              for x in (axis.size, axis.right, axis.out)]  # fmt: skip
    loops += [x for axis in filled(work.depth, DEPTH) for x in (axis.size, axis.left, axis.right)]
    inner = (Axis(m, a_i, 0, c_i), Axis(n, 0, b_j, 1), Axis(k, a_k, b_k, 0))
    axes = (*work.around, *work.columns, *work.depth, *inner)
    columns = ((n, 1), *((axis.size, axis.out) for axis in work.columns))
    touches = (
        Touch(3, False, 0, tuple((axis.size, axis.left) for axis in axes)),
        Touch(6, False, 0, tuple((axis.size, axis.right) for axis in axes)),
        Touch(9, True, c_i, columns),
    )
    arguments = (m, n, k, a, a_i, a_k, b, b_k, b_j, c, c_i, *loops)
    return KernelCall(f"contract_{dtype}", m * work.batch, arguments, touches)


def _by_columns(work: MatrixProduct, repeated: bool) -> bool:
    """Tell whether threads divide the columns of C, since B is dearer to read than A.

    Not where rows are samples, as they are if their number is open, and most often in a loop:
    there, what follows goes on with the rows that a thread has, through all steps. But a B that
    overflows the cache is better read once, by half each, than by all.
    """
    dtype = work.out.buffer.dtype
    if work.batch != 1 or dtype.kind != "f":
        return False
    if not isinstance(work.n, int) or work.n <= _BROAD:
        return False
    overflows = isinstance(work.k, int) and work.k * work.n * dtype.itemsize >= _OVERFLOWING
    return overflows or (isinstance(work.m, int) and work.m < work.n and not repeated)


def touches_by_rows(arguments: Sequence[Any]) -> tuple[Touch, ...]:
    """Return what row i of a product touches."""
    _, n, k, _, _, _, a_i, a_k, _, _, b_k, b_j, _, _, c_i = arguments
    return (
        Touch(A, False, a_i, ((k, a_k),)),
        Touch(B, False, 0, ((k, b_k), (n, b_j))),
        Touch(C, True, c_i, ((n, 1),)),
    )


def touches_by_columns(arguments: Sequence[Any]) -> tuple[Touch, ...]:
    """Return what column i of a product touches."""
    m, _, k, _, _, _, a_i, a_k, _, _, b_k, b_j, _, _, c_i = arguments
    return (
        Touch(A, False, 0, ((m, a_i), (k, a_k))),
        Touch(B, False, b_j, ((k, b_k),)),
        Touch(C, True, 1, ((m, c_i),)),
    )


def touches_by_batch(arguments: Sequence[Any]) -> tuple[Touch, ...]:
    """Return what row i, counted through the batch, touches of its product."""
    m, n, k, _, _, a_b, a_i, a_k, _, b_b, b_k, b_j, _, c_b, c_i = arguments
    return (
        Touch(A, False, a_b, ((m, a_i), (k, a_k)), every=m),
        Touch(B, False, b_b, ((k, b_k), (n, b_j)), every=m),
        Touch(C, True, c_b, ((m, c_i), (n, 1)), every=m),
    )


_Pointer = tuple[Buffer, AnyDim]


def _vector_kernel(
    dtype: str,
    rows: AnyDim,
    k: AnyDim,
    a: tuple[_Pointer, AnyDim, AnyDim],
    x: tuple[_Pointer, AnyDim],
    y: tuple[_Pointer, AnyDim],
) -> KernelCall:
    """Return the call of ``y = A x``; strides stand behind the pointers."""
    arguments = (k, *a, *x, *y)
    touches = (
        Touch(1, False, a[1], ((k, a[2]),)),
        Touch(4, False, 0, ((k, x[1]),)),
        Touch(6, True, y[1]),
    )
    return KernelCall(f"matvec_{dtype}", rows, arguments, touches)
