"""From the calls of a program to kernels: each kind of work has one printer."""

from __future__ import annotations

from contextlib import ExitStack

from graphc.codegen.kernel import (
    KernelAccess,
    KernelCall,
    KernelWriter,
    Touch,
    literal,
    merge_axes,
)
from graphc.codegen.loops import loop_kernel
from graphc.ir.op import Layout, Loops
from graphc.plan.program import Access, Buffer, Call, Copy, LoopNest, MatrixProduct, OwnLoops
from graphc.types import AnyDim, size_of

_ROWS, _COLUMNS = 0, 4
"""What the range of a matrix product counts; see :mod:`graphc.runtime.gemm`."""

_OVERFLOWING = 3 << 19
"""Bytes of B from which it does not stay in the second cache beside what else is there."""

_BROAD = 128
"""Columns from which threads may divide them: several panels for each."""


def lower(call: Call) -> KernelCall:
    """Return the kernel of one call, with its extent and arguments."""
    work = call.work
    if isinstance(work, LoopNest):
        return loop_kernel(work)
    if isinstance(work, MatrixProduct):
        return product_kernel(work)
    if isinstance(work, OwnLoops):
        return own_kernel(work)
    return copy_kernel(work)


def own_kernel(work: OwnLoops) -> KernelCall:
    """Return the kernel of an op that writes its own loop nest."""
    writer = KernelWriter()
    ins = [KernelAccess(writer, x, written=False) for x in work.operands]
    out = KernelAccess(writer, work.out, written=True)
    assert isinstance(work.node.op, Loops)
    work.node.op.loops(writer, out, *ins)
    return writer.finish(work.node.op.name)


def copy_kernel(work: Copy) -> KernelCall:
    """Return the kernel that copies a strided tensor, or fills one with a number."""
    writer = KernelWriter()
    accesses = [work.target] if work.source is None else [work.target, work.source]
    accesses, dims = _merged(accesses)
    index = [f"i{n}" for n in range(len(dims))]
    dtype = work.target.buffer.dtype
    with ExitStack() as loops:
        loops.enter_context(writer.parallel(index[0] if dims else "_", dims[0] if dims else 1))
        for name, dim in zip(index[1:], dims[1:], strict=True):
            loops.enter_context(writer.loop(name, writer.integer(dim)))
        target = writer.element(accesses[0], index, written=True)
        if work.source is None:
            value = literal(work.fill, dtype)
        else:
            value = writer.load(writer.element(accesses[1], index), dtype)
        writer.store(target, value, dtype)
    return writer.finish("fill" if work.source is None else "copy")


def _merged(accesses: list[Access]) -> tuple[list[Access], list[AnyDim]]:
    """Merge neighbouring axes that all accesses walk as one; drop axes of length 1."""
    shape = accesses[0].shape
    moving = [d for d, dim in enumerate(shape) if dim != 1]
    groups = merge_axes(moving, shape, [a.layout.strides for a in accesses])
    dims = [size_of(shape[d] for d in group) for group in groups]
    merged = [
        Access(
            a.buffer,
            Layout(a.layout.offset, tuple(a.layout.strides[g[-1]] for g in groups)),
            tuple(dims),
        )
        for a in accesses
    ]
    return merged, dims


def product_kernel(work: MatrixProduct) -> KernelCall:
    """Return the call of the matrix product that ships with graphc."""
    dtype = work.out.buffer.dtype.name
    m, n, k = work.m, work.n, work.k
    a, b, c = ((x.buffer, x.layout.offset) for x in (work.left, work.right, work.out))
    (a_b, a_i, a_k), (b_b, b_k, b_j) = work.left.layout.strides, work.right.layout.strides
    c_b, c_i, c_j = work.out.layout.strides
    if work.batch == 1 and n == 1:
        return _vector_kernel(dtype, m, k, (a, a_i, a_k), (b, b_k), (c, c_i))
    if work.batch == 1 and m == 1:  # y^T = B^T x^T
        return _vector_kernel(dtype, n, k, (b, b_j, b_k), (a, a_k), (c, c_j))
    pointers = (a, a_b, a_i, a_k, b, b_b, b_k, b_j, c, c_b, c_i)
    if _by_columns(work):
        touches = (
            Touch(4, False, 0, ((m, a_i), (k, a_k))),
            Touch(8, False, b_j, ((k, b_k),)),
            Touch(12, True, c_j, ((m, c_i),)),
        )
        return KernelCall(f"matmul_{dtype}", n, (m, n, k, _COLUMNS, *pointers), touches)
    if work.batch == 1:
        touches = (
            Touch(4, False, a_i, ((k, a_k),)),
            Touch(8, False, 0, ((k, b_k), (n, b_j))),
            Touch(12, True, c_i, ((n, c_j),)),
        )
    else:
        touches = (
            Touch(4, False, a_b, ((m, a_i), (k, a_k)), every=m),
            Touch(8, False, b_b, ((k, b_k), (n, b_j)), every=m),
            Touch(12, True, c_b, ((m, c_i), (n, c_j)), every=m),
        )
    return KernelCall(f"matmul_{dtype}", m * work.batch, (m, n, k, _ROWS, *pointers), touches)


def _by_columns(work: MatrixProduct) -> bool:
    """Tell whether threads divide the columns of C, since B is dearer to read than A.

    Not where rows are samples: there, what follows goes on with the rows that a thread has. But
    a B that overflows the cache is better read once, by half each, than by all.
    """
    dtype = work.out.buffer.dtype
    if work.batch != 1 or dtype.kind != "f":
        return False
    if not isinstance(work.n, int) or work.n <= _BROAD:
        return False
    overflows = isinstance(work.k, int) and work.k * work.n * dtype.itemsize >= _OVERFLOWING
    return overflows or (isinstance(work.m, int) and work.m < work.n)


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
