"""Nests that differ only in their buffers are written once.

The layers of a deep network are alike, and so are their kernels: what one is called with, the
next is called with in buffers of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from graphc.codegen.kernel import Argument, KernelCall
from graphc.codegen.lower import lower
from graphc.ir.tensor import Tensor
from graphc.plan.program import Access, Buffer, Call, LoopNest

Numbers: TypeAlias = dict[Buffer, int]
"""The buffers of a nest, numbered as they are met."""


class Lowering:
    """Lowers the calls of a program."""

    def __init__(self) -> None:
        self._known: dict[object, tuple[KernelCall, Numbers]] = {}

    def kernel(self, call: Call) -> KernelCall:
        """Return what :func:`~graphc.codegen.lower.lower` returns, for most nests without it."""
        if not isinstance(call.work, LoopNest):
            return lower(call)
        description, numbers = described(call.work)
        known = self._known.get(description)
        if known is None:
            known = self._known[description] = lower(call), numbers
            return known[0]
        return _called_with(list(numbers), *known)


def _called_with(buffers: list[Buffer], kernel: KernelCall, numbers: Numbers) -> KernelCall:
    """Return ``kernel`` with each of its buffers replaced by that of the same number."""

    def own(argument: Argument) -> Argument:
        if not isinstance(argument, tuple):
            return argument
        return buffers[numbers[argument[0]]], argument[1]

    return replace(kernel, arguments=tuple([own(a) for a in kernel.arguments]))


def described(nest: LoopNest) -> tuple[object, Numbers]:
    """Return all that a nest's kernel depends on, with numbers for its nodes and buffers."""
    group, place = nest.group, nest.places.place
    index = {node: i for i, node in enumerate(group.nodes)}
    numbers: Numbers = {}

    def access(a: Access) -> object:
        number = numbers.setdefault(a.buffer, len(numbers))
        return number, a.buffer.dtype, a.layout, a.shape

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
    return (loops, *nodes, *stores, wide, division), numbers
