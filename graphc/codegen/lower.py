"""From the calls of a program to kernels: each kind of work has one printer."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from graphc.codegen.kernel import (
    Descent,
    KernelAccess,
    KernelCall,
    KernelWriter,
    merge_axes,
)
from graphc.codegen.loops import loop_kernel
from graphc.codegen.product import product_kernel
from graphc.errors import ShapeError
from graphc.ir.layout import Layout
from graphc.ir.op import Elementwise, Loops
from graphc.ir.results import Multiple
from graphc.ir.tensor import Tensor, located
from graphc.kernel.value import Name, Number, Operation, least, most
from graphc.plan.program import (
    Access,
    Call,
    Copy,
    Guard,
    LoopNest,
    MatrixProduct,
    OwnLoops,
    Work,
)
from graphc.types import INT64, AnyDim, size_of


def lower(call: Call) -> KernelCall:
    """Return the kernel of one call, with its extent and arguments."""
    try:
        return _lowered(call.work, bool(call.loops))
    except ShapeError as error:
        node = call.nodes[-1]
        raise located(error, node.op.name, node.inputs) from None


def _lowered(work: Work, repeated: bool) -> KernelCall:
    if isinstance(work, LoopNest):
        return replace(loop_kernel(work), descent=descent(work))
    if isinstance(work, MatrixProduct):
        return product_kernel(work, repeated)
    if isinstance(work, OwnLoops):
        return own_kernel(work)
    if isinstance(work, Guard):
        return guard_kernel(work)
    assert isinstance(work, Copy)  # all steps of a loop are put together later
    return copy_kernel(work)


def descent(nest: LoopNest) -> Descent | None:
    """Return what the kernel does, if it is a step ``p - f * g`` of each element of a whole p."""
    products = [n for n in nest.nodes if _writes(n, "*")]
    steps = [n for n in nest.nodes if _writes(n, "-")]
    if len(nest.nodes) != 2 or not products or not steps:
        return None
    ((product,), (step,)) = products, steps
    factors = {key: a for key, a in nest.loads.items() if not any(a.layout.strides)}
    if [n.id for n, _ in factors] != [product.id] or set(nest.stores) != {step}:
        return None
    directions = [a for key, a in nest.loads.items() if key[0] is product and key not in factors]
    target, read = nest.stores[step], nest.loads.get((step, 0))
    if len(directions) != 1 or read is None or read.buffer is not target.buffer:
        return None
    whole = all(a.layout == Layout.contiguous(a.shape) for a in (*directions, target, read))
    if not whole or any(a.layout.offset != 0 for a in factors.values()):
        return None
    (factor,), (direction,) = factors.values(), directions
    if len({access.buffer.dtype for access in (factor, direction, target)}) > 1:
        return None
    return Descent(factor.buffer, direction.buffer, target.buffer)


def _writes(node: Tensor, symbol: str) -> bool:
    """Tell whether the op of ``node`` is this operation of its two operands, in their order."""
    op, dtype = node.op, node.dtype
    if not isinstance(op, Elementwise) or op.indexed or len(node.inputs) != 2:
        return False
    pair = Name("a", dtype), Name("b", dtype)
    value = op.scalar(lambda number: Number(number, dtype), *pair)
    return isinstance(value, Operation) and (value.symbol, value.operands) == (symbol, pair)


def own_kernel(work: OwnLoops) -> KernelCall:
    """Return the kernel of an op that writes its own loop nest."""
    writer = KernelWriter()
    ins = [KernelAccess(writer, x, written=False) for x in work.operands]
    outs = tuple([KernelAccess(writer, x, written=True) for x in work.outs])
    op = work.node.op
    assert isinstance(op, Loops)
    if isinstance(op, Multiple):
        op.loops(writer, outs, *ins)  # type: ignore[arg-type]  # as that trait says
    else:
        op.loops(writer, outs[0], *ins)
    return writer.finish(work.node.op.name)


def copy_kernel(work: Copy) -> KernelCall:
    """Return the kernel that copies a strided tensor, or fills one with a number."""
    writer = KernelWriter(generic=work.source is None)
    accesses = [work.target] if work.source is None else [work.target, work.source]
    accesses, dims = _merged(accesses)
    index = [Name(f"i{n}") for n in range(len(dims))]
    dtype = work.target.buffer.dtype
    with ExitStack() as loops:
        loops.enter_context(writer.parallel(index[0] if dims else "_", dims[0] if dims else 1))
        for name, dim in zip(index[1:], dims[1:], strict=True):
            loops.enter_context(writer.loop(name, writer.integer(dim)))
        target = writer.element(accesses[0], index, written=True)
        if work.source is None:
            writer.store(target, writer.lit(work.fill, dtype))
        else:
            writer.store(target, writer.element(accesses[1], index))
    return writer.finish("fill" if work.source is None else "copy")


def guard_kernel(work: Guard) -> KernelCall:
    """Return the kernel that stops the step if an index lies outside its axis."""
    writer = KernelWriter(generic=True)
    verdict = writer.pointer(work.verdict, written=True)
    low, high, number = (writer.integer(n) for n in (work.low, work.high, work.number))
    (indices,), dims = _merged([work.indices])
    index = [Name(f"i{n}") for n in range(len(dims))]
    writer.let("lowest", low)  # right, also where there are no indices
    writer.let("highest", high - 1)
    with ExitStack() as loops:
        loops.enter_context(writer.parallel(index[0] if dims else "_", dims[0] if dims else 1))
        for name, dim in zip(index[1:], dims[1:], strict=True):
            loops.enter_context(writer.loop(name, writer.integer(dim)))
        at = writer.let("at", writer.element(indices, index).cast(INT64))
        lowest = writer.let("lowest", least(Name("lowest"), at))
        highest = writer.let("highest", most(Name("highest"), at))
    with writer.when((lowest < low) | (highest >= high)):
        writer.store(verdict[0], number)
    return replace(writer.finish("check"), guards=True)


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
