"""The invariants of a graph, checked after every transformation."""

from __future__ import annotations

from graphc.errors import GraphcError, VerificationError
from graphc.ir.graph import Graph


def verify(graph: Graph) -> None:
    """Raise :class:`VerificationError` unless ``graph`` is well formed.

    Operands come before their users, every type is what the op's rule infers, and no node
    stands under two ids.
    """
    seen: set[int] = set()
    for node in graph.nodes:
        if node.id in seen:
            raise VerificationError(f"{node.describe()} stands twice in the graph")
        for operand in node.inputs:
            if operand.id not in seen:
                raise VerificationError(f"{node.describe()} precedes its operand {operand.name}")
        try:
            inferred = node.op.infer(*[x.type for x in node.inputs])
        except GraphcError as error:
            raise VerificationError(f"{node.describe()}: {error}") from error
        if inferred != node.type:
            raise VerificationError(f"{node.describe()}: its op infers {inferred}")
        seen.add(node.id)
