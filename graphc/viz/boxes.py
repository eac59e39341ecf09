"""Boxes: nodes in which graphs stand, such as loops and branches, drawn with these inside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from graphc.ir.graph import Graph
from graphc.ir.results import Multiple, Result
from graphc.ir.tensor import Tensor
from graphc.viz import layout
from graphc.viz.geometry import INSET, STUB, Geometry
from graphc.viz.picture import (
    LINE_SIZE,
    TITLE_SIZE,
    Around,
    Inside,
    Item,
    Picture,
    count,
    is_number,
    number,
    picture_of,
    text_width,
)

_MOST = 300  # nodes of a graph in a box; of a larger one, the box says how large it is
_PAD, _GAP = 12.0, 24.0
_HEADING = TITLE_SIZE + 8.0  # of a graph in a box: what it is called


def placed(graph: Graph, around: Around | None = None) -> Picture:
    """Return the picture of ``graph`` with what stands in its nodes, laid out."""
    around = around or Around()
    leaving = _leaving(graph, around)
    drawing = picture_of(graph, _said(graph, around))
    for item in drawing.items:
        for name, within in graphs_in(item.tensor).items():
            if 0 < len(within) <= _MOST:
                inner = _around(drawing, item, name, within, around, leaving)
                item.inside.append(Inside(name, placed(within, inner)))
        if item.inside:
            _fit(item)
    layout.place(drawing)
    boxed = sum(len(part.graph) for part in drawing.everything()) - len(graph)
    if boxed:
        drawing.subtitle += f" · {count(boxed, 'node')} in boxes"
    return drawing


def graphs_in(node: Tensor) -> Mapping[str, Graph]:
    """Return the graphs that stand in ``node``."""
    return node.op.graphs() if isinstance(node.op, Multiple) else {}


def _leaving(graph: Graph, around: Around) -> dict[Tensor, dict[Tensor, list[str]]]:
    """Return, of each node in which graphs stand, the tensors in it that results outside are."""
    names = around.names(graph)
    found: dict[Tensor, dict[Tensor, list[str]]] = defaultdict(lambda: defaultdict(list))
    for node in graph:
        if isinstance(node.op, Result):
            (box,) = node.inputs
            inner = box.op.origin(node.op.number) if isinstance(box.op, Multiple) else None
            if inner is not None:
                found[box][inner].append(names[node])
    return found


def _said(graph: Graph, around: Around) -> Around:
    """Return ``around`` with what is said of boxes too large to draw."""
    notes = {node: list(lines) for node, lines in around.notes.items()}
    for node in graph:
        for name, within in graphs_in(node).items():
            if len(within) > _MOST:
                line = f"{name}: {len(within):,} nodes, too many to draw"
                notes.setdefault(node, []).append(line)
    return Around(around.path, around.scope, around.scopes, notes)


def _around(
    drawing: Picture, item: Item, name: str, within: Graph, around: Around,
    leaving: Mapping[Tensor, Mapping[Tensor, list[str]]],
) -> Around:  # fmt: skip
    """Return what stands around a graph in a box: its operands, and what becomes of its values."""
    names, box = around.names(drawing.graph), item.tensor
    notes: dict[Tensor, list[str]] = defaultdict(list)
    for inner, outer in zip(within.inputs, box.inputs, strict=False):
        notes[inner].append(f"from {number(outer) if is_number(outer) else names[outer]}")
    for inner, results in leaving.get(box, {}).items():
        notes[inner].append(f"to {', '.join(results)}")
    return Around(
        f"{item.key}/{name}/", (*around.scope, *item.scope),
        {**drawing.graph.scopes, **around.scopes}, notes,
    )  # fmt: skip


def _fit(item: Item) -> None:
    """Put the pictures in a box side by side below its words, and make it as large as they need."""
    width, words = item.closed
    x, bottom = _PAD, 0.0
    for part in item.inside:
        drawing = part.picture
        geometry = Geometry(drawing)
        margin = INSET * (1 + max((b.depth for b in drawing.bands), default=-1))
        margin += STUB if len(drawing.cuts) > 1 else 0.0
        part.x, part.y = x + margin, words + _HEADING
        needed = max(geometry.width + 2 * margin, text_width(part.name, LINE_SIZE))
        x += needed + _GAP
        bottom = max(bottom, part.y + geometry.height + margin)
    item.width = round(max(width, x - _GAP + _PAD), 1)
    item.height = round(bottom + _PAD, 1)
