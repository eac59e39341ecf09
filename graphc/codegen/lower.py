"""From the calls of a program to kernels: each kind of work has one printer."""

from __future__ import annotations

from contextlib import ExitStack

from graphc.codegen.kernel import (
    KernelAccess,
    KernelCall,
    KernelWriter,
    literal,
    merge_axes,
)
from graphc.codegen.loops import loop_kernel
from graphc.codegen.product import product_kernel
from graphc.ir.op import Layout, Loops
from graphc.plan.program import Access, Call, Copy, LoopNest, MatrixProduct, OwnLoops
from graphc.types import AnyDim, size_of


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
