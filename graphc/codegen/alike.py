"""Nests and copies that differ in buffers, where in them they start, and numbers, are one kernel.

The layers of a deep network are alike, and so are the steps of a recurrence and the parts of a
concatenation: what one kernel is called with, the next is called with in buffers and places of its
own. Where many differ in a number too, that becomes an argument; a few keep it in their text, for
whoever reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from graphc.codegen.kernel import (
    Argument,
    KernelCall,
    KernelText,
    Offset,
    Parameter,
    Passed,
    Touch,
)
from graphc.codegen.lower import lower
from graphc.ir.tensor import Tensor
from graphc.plan.program import Access, Buffer, Call, Copy, LoopNest
from graphc.print.python import literal

Names: TypeAlias = dict[Offset, None]
"""The buffers of a nest, each with where an access of it starts, in the order they are met."""

FEW = 8
"""Most kernels that may differ in nothing but their numbers."""


class Lowering:
    """Lowers the calls of a program."""

    def __init__(self) -> None:
        self._known: dict[object, tuple[KernelCall, Names]] = {}

    def kernel(self, call: Call) -> KernelCall:
        """Return what :func:`~graphc.codegen.lower.lower` returns, for most nests without it."""
        if isinstance(call.work, LoopNest):
            description, names = described(call.work)
        elif isinstance(call.work, Copy):
            description, names = _described_copy(call.work)
        else:
            return lower(call)
        known = self._known.get(description)
        if known is None:
            known = self._known[description] = lower(call), names
            return known[0]
        kernel, others = known
        return _called_with(dict(zip(others, names, strict=True)), kernel)


def _called_with(own: dict[Offset, Offset], kernel: KernelCall) -> KernelCall:
    """Return ``kernel`` with its buffers, and the places where they start, replaced by ``own``."""
    buffers = {theirs.buffer: ours.buffer for theirs, ours in own.items()}
    pointers = [a[0] if isinstance(a, tuple) else None for a in kernel.arguments]

    def argument(given: Argument) -> Argument:
        if isinstance(given, tuple):
            return buffers[given[0]], given[1]
        return own[given] if isinstance(given, Offset) else given

    def touch(given: Touch) -> Touch:
        buffer = pointers[given.position]
        assert buffer is not None
        return (
            replace(given, first=own[Offset(buffer, given.first)].value)
            if given.first != 0
            else given
        )

    return replace(
        kernel,
        arguments=tuple([argument(a) for a in kernel.arguments]),
        touches=tuple([touch(t) for t in kernel.touches]),
    )


def described(nest: LoopNest) -> tuple[object, Names]:
    """Return all that a nest's kernel depends on, with numbers for its nodes and buffers."""
    group, place = nest.group, nest.places.place
    index = {node: i for i, node in enumerate(group.nodes)}
    access = _Numbered()

    def operand(node: Tensor, position: int, x: Tensor) -> object:
        if (node, position) in nest.loads:
            return x.type, access(nest.loads[node, position])
        base = place[x].base
        return x.type, index.get(base, base.op)

    nodes = [
        (
            node.op,
            node.type,
            group.maps[node],
            group.operand_maps[node],
            *[operand(node, i, x) for i, x in enumerate(node.inputs)],
        )
        for node in group.nodes
    ]
    stores = [(index[node], access(a)) for node, a in nest.stores.items()]
    wide = nest.wide and access(nest.wide)
    loops = (group.dims, group.inner, group.column)
    division = nest.division and (
        nest.division.count,
        nest.division.chunk,
        nest.division.finishing,
        *[index[node] for node in nest.division.nodes],
        *[(index[fold], access(a)) for fold, a in nest.division.parts.items()],
    )
    return (loops, *nodes, *stores, wide, division), dict.fromkeys(access.names)


def _described_copy(copy: Copy) -> tuple[object, Names]:
    """Return all that the kernel of a copy depends on, with numbers for its buffers."""
    access = _Numbered()
    source = copy.source and access(copy.source)
    return (access(copy.target), source, repr(copy.fill)), dict.fromkeys(access.names)


class _Numbered:
    """Describes accesses, with numbers for their buffers and for where they start."""

    def __init__(self) -> None:
        self.names: dict[Offset, int] = {}
        self._buffers: dict[Buffer, int] = {}

    def __call__(self, a: Access) -> object:
        number = self._buffers.setdefault(a.buffer, len(self._buffers))
        start = self.names.setdefault(Offset(a.buffer, a.layout.offset), len(self.names))
        return number, start, a.layout.offset == 0, a.buffer.dtype, a.layout.strides, a.shape


def shared(calls: Sequence[KernelCall]) -> list[KernelCall]:
    """Return the calls with one kernel for many that differ in nothing but numbers."""
    families: dict[object, dict[str, KernelText]] = {}
    for kernel in (c.kernel for c in calls if isinstance(c.kernel, KernelText)):
        families.setdefault(kernel.family, {}).setdefault(kernel.text, kernel)
    general: dict[str, tuple[KernelText, tuple[Passed, ...]]] = {}
    for alike in families.values():
        if len(alike) > FEW:
            general.update(_general(list(alike.values())))

    if not general:
        return list(calls)

    def call(given: KernelCall) -> KernelCall:
        if isinstance(given.kernel, str) or given.kernel.text not in general:
            return given
        kernel, numbers = general[given.kernel.text]
        return replace(given, kernel=kernel, arguments=(*given.arguments, *numbers))

    return [call(c) for c in calls]


def _general(
    family: Sequence[KernelText],
) -> Iterable[tuple[str, tuple[KernelText, tuple[Passed, ...]]]]:
    """Return for each of a family the kernel that does the work of all, and its numbers for it."""
    columns = list(zip(*map(_passed, family), strict=True))
    moving = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    first = family[0]
    parameters = [Parameter(f"v{i}", first.numbers[i].dtype, False) for i in moving]
    kernel = replace(
        first,
        parameters=(*first.parameters, *parameters),
        given={first.numbers[i]: f"v{i}" for i in moving},
    )
    return [(own.text, (kernel, tuple(_passed(own)[i] for i in moving))) for own in family]


def _passed(kernel: KernelText) -> list[Passed]:
    """Return the numbers of a kernel as arguments."""
    return [Passed(literal(n.value, n.dtype), n.dtype) for n in kernel.numbers]
