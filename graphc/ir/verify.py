"""The invariants of a graph, checked after every transformation."""

from __future__ import annotations

from graphc.errors import GraphcError, VerificationError
from graphc.ir.graph import Graph
from graphc.ir.tensor import Tensor


class Sound:
    """Nodes whose types are right, and what is alike: op, type and operands' types are theirs."""

    def __init__(self) -> None:
        self.nodes: set[Tensor] = set()
        self._kinds: dict[tuple[int, ...], Tensor] = {}
        """By the identities of op, type and operands' types, which live as long as the node."""

    def check(self, node: Tensor) -> None:
        """Raise :class:`VerificationError` unless the type is what the op's rule infers."""
        self.nodes.add(node)
        kind = (id(node.op), id(node.type), *[id(x.type) for x in node.inputs])
        if kind in self._kinds:
            return
        try:
            inferred = node.op.infer(*[x.type for x in node.inputs])
        except GraphcError as error:
            raise VerificationError(f"{node.describe()}: {error}") from error
        if inferred != node.type:
            raise VerificationError(f"{node.describe()}: its op infers {inferred}")
        self._kinds[kind] = node


def verify(graph: Graph, sound: Sound | None = None) -> None:
    """Raise :class:`VerificationError` unless ``graph`` is well formed.

    Operands come before their users, every type is what the op's rule infers, and no node
    stands there twice. ``sound`` knows nodes of other graphs, and learns those of this one.
    """
    sound = Sound() if sound is None else sound
    seen: set[Tensor] = set()
    for node in graph.nodes:
        if node in seen:
            raise VerificationError(f"{node.describe()} stands twice in the graph")
        for operand in node.inputs:
            if operand not in seen:
                raise VerificationError(f"{node.describe()} precedes its operand {operand.name}")
        seen.add(node)
        if node not in sound.nodes:
            sound.check(node)
