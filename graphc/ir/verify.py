"""The invariants of a graph, checked after every transformation."""

from __future__ import annotations

from typing import TypeAlias

from graphc.errors import GraphcError, VerificationError
from graphc.ir.graph import Graph
from graphc.ir.tensor import Tensor

Sound: TypeAlias = dict[tuple[int, ...], Tensor]
"""Nodes whose types are right, by the identities of op, type and operands' types."""


def verify(graph: Graph, sound: Sound | None = None) -> None:
    """Raise :class:`VerificationError` unless ``graph`` is well formed.

    Operands come before their users, every type is what the op's rule infers, and no node
    stands under two ids. ``sound`` are nodes of other graphs, to which those of this one are
    added: the same op on the same types needs no second look.
    """
    sound = {} if sound is None else sound
    seen: set[int] = set()
    for node in graph.nodes:
        if node.id in seen:
            raise VerificationError(f"{node.describe()} stands twice in the graph")
        for operand in node.inputs:
            if operand.id not in seen:
                raise VerificationError(f"{node.describe()} precedes its operand {operand.name}")
        seen.add(node.id)
        key = (id(node.op), id(node.type), *[id(x.type) for x in node.inputs])
        if key in sound:
            continue
        try:
            inferred = node.op.infer(*[x.type for x in node.inputs])
        except GraphcError as error:
            raise VerificationError(f"{node.describe()}: {error}") from error
        if inferred != node.type:
            raise VerificationError(f"{node.describe()}: its op infers {inferred}")
        sound[key] = node
