"""Dead code: what no output and no update needs."""

from __future__ import annotations

from collections import Counter

from graphc.ir.graph import Graph


def dce(graph: Graph, hits: Counter[str]) -> Graph:
    """Drop the updates that leave their parameter as it is.

    Nodes that nothing needs are dropped by every rebuilding: a graph holds what it needs.
    """
    live = {p: value for p, value in graph.updates.items() if value is not p}
    dead = len(graph.updates) - len(live)
    if not dead:
        return graph
    hits["update"] += dead
    result = Graph(graph.inputs, graph.outputs, live)
    result.images = graph.images
    return result
