"""Graphs as text, one node a line, and below a loop what it does in a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.ir.results import Multiple
from graphc.types import Several

if TYPE_CHECKING:
    from graphc.ir.graph import Graph


def format_graph(graph: Graph) -> str:
    """Return the graph as text: ``name: type = op(operands){parameters}   phase  file:line``.

    The graphs that stand in a node follow it, further to the right.
    """
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
        kind = f"{len(node.type.parts)} results" if isinstance(node.type, Several) else node.type
        rows.append((f"{key[node]}: {kind}", call, note))
    left = max((len(r[0]) for r in rows), default=0)
    middle = min(max((len(r[1]) for r in rows), default=0), 60)
    lines: list[str] = []
    for node, (a, b, c) in zip(graph.nodes, rows, strict=True):
        lines.append(f"{a:<{left}} = {b:<{middle}}  # {c}")
        inside = node.op.graphs() if isinstance(node.op, Multiple) else {}
        for name, within in inside.items():
            given = ", ".join(within.keys[x] for x in within.inputs)
            lines.append(f"    {name}({given}):")
            lines += [f"        {line}" for line in format_graph(within).splitlines()]
    lines.extend(f"return {name} = {key[t]}" for name, t in graph.outputs.items())
    lines.extend(f"update {key[p]} <- {key[t]}" for p, t in graph.updates.items())
    return "\n".join(lines)
