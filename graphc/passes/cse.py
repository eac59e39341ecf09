"""Common subexpressions: equal ops on equal operands are computed once."""

from __future__ import annotations

from collections import Counter

from graphc.ir.graph import Graph, replace_inputs
from graphc.ir.tensor import PHASES, Tensor


def cse(graph: Graph, hits: Counter[str]) -> Graph:
    """Keep one of each class of nodes with equal op and operands.

    It stands in the earliest phase that one of them has, and keeps a user's name if any has.
    """
    classes: dict[object, int] = {}
    number: dict[Tensor, int] = {}
    members: list[list[Tensor]] = []
    for node in graph.nodes:
        key = (node.op, *[number[x] for x in node.inputs])
        place = classes.setdefault(key, len(members))
        if place == len(members):
            members.append([])
        members[place].append(node)
        number[node] = place

    if len(members) == len(graph):
        return graph
    kept: dict[int, Tensor] = {}

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        place = number[node]
        if place in kept:
            hits[node.op.name] += 1
            return kept[place]
        same = members[place]
        if len(same) == 1:
            kept[place] = replace_inputs(node, operands)
            return kept[place]
        home = min(same, key=lambda t: PHASES.index(t.phase))
        label = next((t.label for t in same if t.label is not None), None)
        if home.phase == node.phase and label == node.label:
            kept[place] = replace_inputs(node, operands)
        else:
            kept[place] = Tensor(node.op, operands, node.type, label=label, like=home)
        return kept[place]

    return graph.rebuild(rule)
