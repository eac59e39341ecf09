"""The invariants of a graph, checked after every transformation."""

from __future__ import annotations

from graphc.errors import GraphcError, VerificationError
from graphc.ir.graph import Graph


def verify(graph: Graph, sound: set[int] | None = None) -> None:
    """Raise :class:`VerificationError` unless ``graph`` is well formed.

    Operands come before their users, every type is what the op's rule infers, and no node
    stands under two ids. ``sound`` are ids of nodes whose types have been found right, to which
    those of this graph are added: a node never changes.
    """
    sound = set() if sound is None else sound
    seen: set[int] = set()
    for node in graph.nodes:
        if node.id in seen:
            raise VerificationError(f"{node.describe()} stands twice in the graph")
        for operand in node.inputs:
            if operand.id not in seen:
                raise VerificationError(f"{node.describe()} precedes its operand {operand.name}")
        seen.add(node.id)
        if node.id in sound:
            continue
        try:
            inferred = node.op.infer(*[x.type for x in node.inputs])
        except GraphcError as error:
            raise VerificationError(f"{node.describe()}: {error}") from error
        if inferred != node.type:
            raise VerificationError(f"{node.describe()}: its op infers {inferred}")
    sound |= seen
