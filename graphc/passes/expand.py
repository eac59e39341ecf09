"""Lowering: every composite op gives way to its formula."""

from __future__ import annotations

from collections import Counter

from graphc.errors import VerificationError
from graphc.ir.graph import Graph, replace_inputs
from graphc.ir.op import Composite
from graphc.ir.results import unpacked
from graphc.ir.tensor import Tensor, building
from graphc.passes.rewrite import named_like


def expand(graph: Graph, hits: Counter[str]) -> Graph:
    """Replace composite ops by what they stand for, until there are none.

    The new nodes stand in the place (line, phase, scope) of the node they replace.
    """

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        if not isinstance(node.op, Composite):
            return unpacked(replace_inputs(node, operands))
        with building(phase=node.phase, loc=node.loc, scope=node.scope):
            new = node.op.expand(*operands)
        if new.type != node.type:
            raise VerificationError(f"{node.describe()} expands to {new.describe()}")
        hits[node.op.name] += 1
        return named_like(new, node, operands)

    while any(isinstance(node.op, Composite) for node in graph.nodes):
        graph = graph.rebuild(rule)
    return graph
