"""Common subexpressions: equal ops on equal operands are computed once.

Folds that differ in ``keepdims`` count as equal: one is the other, reshaped.
"""

from __future__ import annotations

from collections import Counter

from graphc.ir.graph import Graph, replace_inputs
from graphc.ir.op import Op, Reduction, reshaped
from graphc.ir.tensor import PHASES, Tensor, building


def cse(graph: Graph, hits: Counter[str]) -> Graph:
    """Keep one of each class of nodes with equal op and operands.

    It stands in the earliest phase that one of them has, and keeps a user's name if any has.
    """
    classes: dict[object, int] = {}
    number: dict[Tensor, int] = {}
    members: list[list[Tensor]] = []
    for node in graph.nodes:
        key = (_keeping(node.op), *[(number[x], x.ndim) for x in node.inputs])
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
        same = members[place]
        if place in kept:
            hits[node.op.name] += 1
            return _shaped(kept[place], node)
        if len(same) == 1:
            kept[place] = replace_inputs(node, operands)
            return kept[place]
        home = min(same, key=lambda t: PHASES.index(t.phase))
        label = next((t.label for t in same if t.label is not None), None)
        wide = max(same, key=lambda t: t.ndim)
        if home.phase == node.phase and label == node.label and wide.ndim == node.ndim:
            kept[place] = replace_inputs(node, operands)
        else:
            kept[place] = Tensor(wide.op, operands, wide.type, label=label, like=home)
        return _shaped(kept[place], node)

    return graph.rebuild(rule)


def _keeping(op: Op) -> Op:
    """Return a fold with all axes kept, and any other op as it is."""
    return op.replaced(keepdims=True) if isinstance(op, Reduction) and not op.keepdims else op


def _shaped(found: Tensor, node: Tensor) -> Tensor:
    """Return what has been found equal to ``node`` in its shape."""
    with building(phase=node.phase, loc=node.loc, scope=node.scope):
        return reshaped(found, node.type.shape)
