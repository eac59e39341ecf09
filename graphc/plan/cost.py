"""The time a call should take on one core, from what it computes and moves: a roofline.

Williams, Waterman and Patterson, *Roofline: an insightful visual performance model for
multicore architectures*, 2009; with what lanes cannot take together, and steps that wait for each
other. All rates are those of the machine's record. It decides which kernels are worth dividing
among threads, and no value and no text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from graphc.ir.op import Elementwise, Loops, Reduction
from graphc.machine import this
from graphc.machine.record import CALL, SINGLE, TURN, WAIT, Machine
from graphc.plan.program import Access, Call, Copy, LoopNest, MatrixProduct, OwnLoops, Steps
from graphc.types import AnyDim, Shape, dim_at, size_of

DEAR = 8.0
"""Multiplications beyond those of roots: such a function compares and shifts as well."""

LANES = 8
"""Kept neighbours below which a fold across rows finds none for its lanes."""

WAITING = 0.5
"""Share of the multiplications of a step that wait for one another."""


@dataclass(frozen=True)
class Work:
    """What a call does, in terms that a machine's record has prices for."""

    read: AnyDim = 0
    """Bytes, each counted once."""
    written: AnyDim = 0
    lanes: AnyDim = 0
    """Bytes of results of multiplications, side by side in lanes."""
    dear: AnyDim = 0
    """Those of elementary functions, which do more than multiply."""
    product: AnyDim = 0
    """Operations of a matrix product in float32."""
    singles: AnyDim = 0
    """Elements that lanes cannot take together."""
    waits: AnyDim = 0
    """Additions each of which waits for the one before."""
    cycles: AnyDim = 0
    """Of starting loops."""

    def nanoseconds(self, machine: Machine, batch: int) -> float:
        """Return the time for a batch of ``batch`` rows."""
        rates = machine.rates
        read, written = dim_at(self.read, batch), dim_at(self.written, batch)
        cycle = rates.addition / WAIT
        busy = (
            dim_at(self.lanes, batch) / (4 * rates.loop_flops)
            + dim_at(self.dear, batch) / (4 * rates.loop_flops) * machine.dearness
            + dim_at(self.product, batch) / rates.product_flops
            + dim_at(self.singles, batch) * SINGLE * cycle
            + dim_at(self.waits, batch) * rates.addition
            + dim_at(self.cycles, batch) * cycle
        )
        return CALL + max(busy, machine.moving(read + written, read, written))


class Cost:
    """The predicted time of a call on one core."""

    def __init__(self, call: Call) -> None:
        self._work = work_of(call)

    def nanoseconds(self, batch: int) -> float:
        """Return the time for a batch of ``batch`` rows."""
        return self._work.nanoseconds(this(), batch)


def work_of(call: Call) -> Work:
    """Return what a call does."""
    work = call.work
    if isinstance(work, LoopNest):
        return _nest(work)
    if isinstance(work, MatrixProduct):
        width = max(1, work.out.buffer.dtype.itemsize // 4)
        return Work(*_moved(call), product=call.flops * width)
    if isinstance(work, OwnLoops):
        return _own(work)
    if isinstance(work, Steps):
        return _steps(call, work)
    if isinstance(work, Copy):
        accesses = [a for a in (work.source, work.target) if a is not None]
        size = size_of(work.target.shape)
        single = any(not _in_lanes(a.layout.strides, a.shape) for a in accesses)
        nbytes = work.target.buffer.dtype.itemsize * size
        return Work(nbytes * (len(accesses) - 1), nbytes, singles=size if single else 0)
    return Work(*_moved(call), lanes=call.flops * 4)


def _moved(call: Call) -> tuple[AnyDim, AnyDim]:
    """Return the bytes read and written if each buffer is touched once."""
    read, written = dict.fromkeys(call.reads), dict.fromkeys(call.writes)
    return (
        sum((b.size * b.dtype.itemsize for b in read if b not in written), start=0),
        sum((b.size * b.dtype.itemsize for b in written), start=0),
    )


def _own(work: OwnLoops) -> Work:
    """Return the work of an op's own loops."""
    op, out, types = work.node.op, work.node.type, [x.type for x in work.node.inputs]
    assert isinstance(op, Loops)
    waits, width = op.waits(out, *types), max(4, out.dtype.itemsize)
    lanes = 0 if waits else op.flops(out, *types) * width
    return Work(op.read(out, *types), op.written(out, *types), lanes, waits=waits)


def _steps(call: Call, work: Steps) -> Work:
    """Return the work of a loop in one kernel: what a step computes waits for the step before."""
    ops = (node.op for own in work.calls for node in own.nodes)
    each = sum(op.cost for op in ops if isinstance(op, (Elementwise, Reduction)))
    read, written = _moved(call)
    return Work(read, written, waits=work.loop.count * max(1, round(WAITING * each)))


def _nest(nest: LoopNest) -> Work:
    group, dims = nest.group, nest.group.dims
    loads = {(a.buffer, a.layout): a for a in nest.loads.values()}
    parts = list(nest.division.parts.values()) if nest.division else []
    finishing = nest.division is not None and nest.division.finishing
    wide = [nest.wide] if nest.wide else []
    read = _bytes([*loads.values(), *(parts if finishing else ())], dims)
    written = _bytes([*nest.stores.values(), *wide, *(() if finishing else parts)], dims)
    lanes: AnyDim = 0
    dear: AnyDim = 0
    folds = 0.0
    for node in nest.nodes:
        where = group.operand_maps[node] if isinstance(node.op, Reduction) else group.maps[node]
        if finishing and isinstance(node.op, Reduction):
            continue
        moving = {m for m in where if m is not None}
        assert isinstance(node.op, Elementwise | Reduction)
        folds += node.op.cost if isinstance(node.op, Reduction) else 0.0
        width = max(4, node.dtype.itemsize)
        more = size_of(dims[m] for m in sorted(moving)) * round(node.op.cost * width)
        if node.op.cost > DEAR:
            dear = more + dear
        else:
            lanes = more + lanes
    singles, waits, cycles = _shape_costs(nest, loads.values(), folds)
    return Work(read, written, lanes, dear, singles=singles, waits=waits, cycles=cycles)


def _shape_costs(
    nest: LoopNest, loads: Iterable[Access], folds: float
) -> tuple[AnyDim, AnyDim, AnyDim]:
    """Return elements by themselves, additions that wait, and cycles of starting loops."""
    group, dims = nest.group, nest.group.dims
    if group.column is not None:
        stop = group.column[1]
        kept = size_of(dims[stop:])
        if isinstance(kept, int) and kept < LANES:
            return size_of(dims), 0, 0
        return 0, 0, size_of(dims[:stop])  # several rows at a time
    single = any(not _in_lanes(a.layout.strides, dims) for a in loads)
    cycles = size_of(dims[: group.inner]) * round(TURN * folds) if group.folds else 0
    return (size_of(dims) if single else 0), 0, cycles


def _in_lanes(strides: tuple[AnyDim, ...], dims: Shape) -> bool:
    """Tell whether neighbours along the last axis that moves are neighbours in memory, or one."""
    last = next((s for s, d in zip(strides[::-1], dims[::-1], strict=True) if d != 1), 1)
    return last in (0, 1)


def _bytes(accesses: Iterable[Access], dims: Shape) -> AnyDim:
    """Return the bytes of the elements that accesses over the domain touch, each once."""
    total: AnyDim = 0
    for access in accesses:
        strides = access.layout.strides[-len(dims) :] if dims else ()
        moving = [d for d, s in zip(dims, strides, strict=True) if s != 0]
        total = size_of(moving) * access.buffer.dtype.itemsize + total
    return total
