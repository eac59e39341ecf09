"""The second intermediate representation: calls of kernels over named buffers.

A :class:`Program` knows shapes, bytes, operations and order, and nothing of how kernels are
compiled. :meth:`Program.verify` checks it and ``str(program)`` prints it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from graphc.cached import cached_property
from graphc.errors import VerificationError
from graphc.ir.layout import Layout
from graphc.ir.op import Loops
from graphc.ir.tensor import Tensor
from graphc.plan.group import Group
from graphc.plan.places import Places
from graphc.types import NOMINAL_BATCH, AnyDim, Dim, Shape, dim_at, show_shape, size_of

KINDS = ("input", "parameter", "gradient", "constant", "arena", "verdict")


def step_name(number: int) -> str:
    """Return what the step's number of a loop is called."""
    return f"step_{number}"


@dataclass(frozen=True, eq=False)
class Loop:
    """A loop around calls: they are made ``count`` times, over what moves with the step."""

    number: int
    count: AnyDim
    reverse: bool
    """Whether the last step comes first."""
    taken: Access | None = None
    """Where the number of steps lies, up to ``count``, if only the loop's start tells."""
    going: list[Access] = field(default_factory=list)
    """Where, after a step, it lies whether there is another, if steps tell."""

    @property
    def is_branch(self) -> bool:
        """Whether it is a step or none, which only its start tells."""
        return self.count == 1 and self.taken is not None and not self.going

    @property
    def controls(self) -> tuple[Buffer, ...]:
        """The buffers that say how many steps there are."""
        return tuple(a.buffer for a in (*self.going, self.taken) if a is not None)

    @property
    def variable(self) -> str:
        """The name of the step's number."""
        return step_name(self.number)

    @property
    def step(self) -> Dim:
        """The step's number, in the places of what moves."""
        return Dim.of("step", self.variable)


@dataclass(eq=False)
class Buffer:
    """A row-major piece of memory.

    ``kind`` says who owns it: ``"arena"`` buffers and inputs share one arena by their
    lifetimes; parameters, gradients and constants keep their place, and so does the verdict of
    the guards.
    """

    name: str
    kind: str
    dtype: np.dtype[Any]
    shape: Shape
    tensor: Tensor
    born: int = -1
    """Number of the first call that writes it; -1 if it holds a value before the first."""
    dies: int = -1
    """Number of the last call that touches it."""
    home: tuple[Loop, ...] = ()
    """The loops, outermost first, in each of whose steps it is written anew before it is read."""

    @cached_property
    def size(self) -> AnyDim:
        return size_of(self.shape)

    def nbytes(self, batch: int) -> int:
        return dim_at(self.size, batch) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype.name}{show_shape(self.shape)} in {self.kind}"


@dataclass(frozen=True, eq=False)
class Access:
    """A buffer read or written with the strides of ``layout`` along the axes ``shape``."""

    buffer: Buffer
    layout: Layout
    shape: Shape


@dataclass(frozen=True, eq=False)
class Division:
    """Large folds in two nests: one leaves a part for each chunk, the other folds the parts."""

    count: AnyDim
    """Number of chunks: it owes nothing to the number of threads, nor do the results."""
    chunk: AnyDim
    """Places of the first domain axis in a chunk."""
    parts: dict[Tensor, Access]
    """Where the parts of each fold lie, over the chunks and the domain."""
    finishing: bool
    nodes: tuple[Tensor, ...]
    """What the nest computes."""


@dataclass(frozen=True, eq=False)
class LoopNest:
    """A fused group: what it reads, computes and writes, in its loops."""

    group: Group
    places: Places
    loads: dict[tuple[Tensor, int], Access]
    """For each (node, operand position) read from memory, where it lies in the domain."""
    stores: dict[Tensor, Access]
    division: Division | None = None
    wide: Access | None = None
    """Where a column group adds up what is rounded to its result at the end."""

    @property
    def nodes(self) -> tuple[Tensor, ...]:
        """What is computed here."""
        return self.division.nodes if self.division else tuple(self.group.nodes)

    def reads(self) -> Iterator[Buffer]:
        """Yield the buffers read, each once."""
        parts = self.division.parts.values() if self.division and self.division.finishing else ()
        yield from dict.fromkeys(a.buffer for a in (*self.loads.values(), *parts))

    def writes(self) -> Iterator[Buffer]:
        """Yield the buffers written, each once."""
        leaving = self.division is not None and not self.division.finishing
        parts = self.division.parts.values() if self.division and leaving else ()
        wide = () if self.wide is None else (self.wide,)
        yield from dict.fromkeys(a.buffer for a in (*self.stores.values(), *parts, *wide))


@dataclass(frozen=True)
class Axis:
    """A loop around a product: its length, and how far a step of it is in each operand."""

    size: AnyDim
    left: AnyDim
    right: AnyDim
    out: AnyDim

    @property
    def strides(self) -> tuple[AnyDim, AnyDim, AnyDim]:
        return self.left, self.right, self.out


@dataclass(frozen=True, eq=False)
class MatrixProduct:
    """One batched matrix product ``out[b] = left[b] @ right[b]``; layouts are per matrix.

    With axes ``around`` the batch is theirs, outermost first; for those of ``columns`` there are
    more columns, and over those of ``depth`` the products are added up.
    """

    left: Access
    right: Access
    out: Access
    batch: AnyDim
    m: AnyDim
    n: AnyDim
    k: AnyDim
    around: tuple[Axis, ...] = ()
    columns: tuple[Axis, ...] = ()
    depth: tuple[Axis, ...] = ()

    @property
    def has_loops(self) -> bool:
        """Whether loops stand around the product, other than one over a batch."""
        return bool(self.around or self.columns or self.depth)


@dataclass(frozen=True, eq=False)
class OwnLoops:
    """An op that writes its own loop nest."""

    node: Tensor
    operands: tuple[Access, ...]
    outs: tuple[Access, ...]
    """Where its results lie: one, but of a node with several."""


@dataclass(frozen=True, eq=False)
class Copy:
    """Copy ``source`` (or the number ``fill``) into ``target``, element by element."""

    source: Access | None
    target: Access
    fill: float | int = 0


@dataclass(frozen=True, eq=False)
class Guard:
    """Indices that a program computes must lie in ``[low, high)``, or it stops.

    The guard then writes ``number``, from 1, into the verdict. No parameter is written before
    all guards have run.
    """

    indices: Access
    low: AnyDim
    high: AnyDim
    number: int
    verdict: Buffer
    node: Tensor
    """What indexes with them."""
    operand: Tensor
    """They, in the user's graph."""


BY_PHASE, STEP, LAID_OUT = "by phase", "step", "laid out"
"""Calls made only where phases run one by one; only in a step, in place of these; and never: of
them, only where their buffers lie counts."""

Work: TypeAlias = "LoopNest | MatrixProduct | OwnLoops | Copy | Guard | Steps"


@dataclass(frozen=True, eq=False)
class Call:
    """One kernel call: its work, phase, and what it costs."""

    work: Work
    phase: int
    nodes: tuple[Tensor, ...]
    reads: tuple[Buffer, ...]
    writes: tuple[Buffer, ...]
    flops: AnyDim
    """Operations of each time that it is made."""
    loops: tuple[Loop, ...] = ()
    """The loops that stand around it, outermost first; calls of one loop follow one another."""

    made: str = ""
    """Where it is made, if not wherever its phase runs."""

    @property
    def times(self) -> AnyDim:
        """How often it is made, at most."""
        return size_of(loop.count for loop in self.loops)

    @property
    def needs(self) -> tuple[Buffer, ...]:
        """The buffers that it touches, and those that the loops around it do."""
        controls = [b for loop in self.loops for b in loop.controls]
        return (*self.reads, *self.writes, *controls)

    def nbytes(self, batch: int) -> int:
        """Bytes moved if every buffer is touched once, or what an op with own loops says."""
        if isinstance(self.work, OwnLoops):
            node, op = self.work.node, self.work.node.op
            assert isinstance(op, Loops)
            types = [x.type for x in node.inputs]
            return dim_at(op.read(node.type, *types) + op.written(node.type, *types), batch)
        return sum(b.nbytes(batch) for b in dict.fromkeys((*self.reads, *self.writes)))


@dataclass(frozen=True, eq=False)
class Steps:
    """All steps of a loop, whose calls are written into one kernel."""

    calls: tuple[Call, ...]
    loop: Loop


@dataclass(eq=False)
class Program:
    """Calls in execution order over buffers."""

    buffers: list[Buffer]
    calls: list[Call]
    inputs: list[Buffer]
    outputs: dict[str, Access]
    gradients: dict[Tensor, Buffer] = field(default_factory=dict)
    guards: list[Guard] = field(default_factory=list)

    def of_phase(self, phase: int) -> Iterator[Call]:
        return (c for c in self.calls if c.phase == phase)

    def find_lifetimes(self) -> None:
        """Set when each buffer is born and dies, from the order of the calls."""
        end = len(self.calls)
        for buffer in self.buffers:
            fed = buffer.kind in ("input", "parameter", "constant", "verdict")
            buffer.born = -1 if fed else end
            buffer.dies = 0 if buffer.kind == "input" else buffer.born
        for number, call in enumerate(self.calls):
            for buffer in call.writes:
                buffer.born = min(buffer.born, number)
                buffer.dies = number
            for buffer in call.needs:
                buffer.dies = number
        spans: dict[Loop, tuple[int, int]] = {}
        for number, call in enumerate(self.calls):
            for loop in call.loops:
                spans[loop] = spans.get(loop, (number, number))[0], number
        for call in self.calls:
            for buffer in call.needs if call.loops else ():
                if len(buffer.home) < len(call.loops):  # what a step leaves, the next may read
                    first, last = spans[call.loops[len(buffer.home)]]
                    buffer.born = min(buffer.born, first)
                    buffer.dies = max(buffer.dies, last)
        for access in self.outputs.values():
            access.buffer.dies = end

    def verify(self) -> None:
        """Raise :class:`VerificationError` if a call reads what no call before it wrote."""
        written = {b for b in self.buffers if b.born < 0}
        known = set(self.buffers)
        for number, call in enumerate(self.calls):
            for buffer in (*call.reads, *call.writes):
                if buffer not in known:
                    raise VerificationError(f"call {number} uses {buffer}, unknown to the program")
            for buffer in call.reads:
                if buffer not in written:
                    raise VerificationError(f"call {number} reads {buffer} before it is written")
            written.update(call.writes)
        for name, access in self.outputs.items():
            if access.buffer not in written:
                raise VerificationError(f"output {name!r} is never computed")

    def __str__(self) -> str:
        lines = [str(b) for b in self.buffers]
        for number, call in enumerate(self.calls):
            nodes = ", ".join(n.op.name for n in call.nodes)
            reads = ", ".join(b.name for b in call.reads)
            writes = ", ".join(b.name for b in call.writes)
            flops = dim_at(call.flops, NOMINAL_BATCH)
            loops = "".join(f"{loop.variable}: " for loop in call.loops)
            lines.append(
                f"{number:4d} {loops}{type(call.work).__name__}({nodes}): {reads} -> {writes}"
                f"  {flops} flops, {call.nbytes(NOMINAL_BATCH)} bytes"
            )
        return "\n".join(lines)
