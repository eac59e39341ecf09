"""Graphs as text, one node a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphc.ir.graph import Graph


def format_graph(graph: Graph) -> str:
    """Return the graph as text: ``name: type = op(operands){parameters}   phase  file:line``."""
    key = graph.keys
    rows = []
    for node in graph.nodes:
        parameters = node.op.parameters()
        operands = ", ".join(key[x] for x in node.inputs)
        call = f"{node.op.name}({operands})" + (f" {{{parameters}}}" if parameters else "")
        place = (node.loc or "").rsplit("/", 1)[-1]
        note = f"{node.phase} {place}".rstrip()
        if node.adjoint_of in key:
            note += f" adjoint of {key[node.adjoint_of]}"
        rows.append((f"{key[node]}: {node.type}", call, note))
    left = max((len(r[0]) for r in rows), default=0)
    middle = min(max((len(r[1]) for r in rows), default=0), 60)
    lines = [f"{a:<{left}} = {b:<{middle}}  # {c}" for a, b, c in rows]
    lines.extend(f"return {name} = {key[t]}" for name, t in graph.outputs.items())
    lines.extend(f"update {key[p]} <- {key[t]}" for p, t in graph.updates.items())
    return "\n".join(lines)
