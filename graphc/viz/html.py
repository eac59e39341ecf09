"""One HTML page that works offline: the placed picture with search, zoom and details."""

from __future__ import annotations

import html
import json
import linecache
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphc.ir.op import Source, View
from graphc.ir.tensor import Tensor
from graphc.types import AnyDim
from graphc.viz.geometry import Geometry
from graphc.viz.picture import LANES, Band, Item, Line, Picture, clean, kind_of_value, number

PAGE = Path(__file__).with_name("page.html")


def to_html(picture: Picture, code: Mapping[str, str]) -> str:
    """Return the page; ``code`` maps keys of nodes to the generated code of their kernels."""
    data = json.dumps(page_data(picture, code), ensure_ascii=True, separators=(",", ":"))
    data = data.replace("<", "\\u003c")  # nothing in it can close the script element
    page = PAGE.read_text(encoding="utf-8")
    head, _, tail = page.partition("@DATA@")
    return head.replace("@TITLE@", html.escape(picture.title)) + data + tail


def page_data(picture: Picture, code: Mapping[str, str]) -> dict[str, Any]:
    """Return all that the page's script knows, as plain lists, dicts, strings and numbers."""
    index = {item.tensor: item.index for item in picture.items}
    nodes = [_node(picture, item, index, code) for item in picture.items]
    inside: list[dict[str, Any]] = []
    for item in picture.items:
        _add_inside(item, item.index, index, code, nodes, inside)
    return {
        "title": picture.title,
        "subtitle": picture.subtitle,
        "rows": picture.rows,
        "cuts": picture.cuts,
        "lanes": [{"name": LANES[lane], "lane": lane} for lane in picture.lane_spans],
        "bands": [_band(band) for band in picture.bands],
        "nodes": nodes,
        "inside": inside,
        "lines": [
            [n.source.index, n.target.index, n.kind, [[x, row] for x, row in n.bends]]
            for n in picture.lines
        ],
    }


def _add_inside(
    box: Item, owner: int, outer: Mapping[Tensor, int], code: Mapping[str, str],
    nodes: list[dict[str, Any]], inside: list[dict[str, Any]],
) -> None:  # fmt: skip
    """Add the nodes in a box, numbered on, and what else is drawn there, from the box's centre."""
    for part in box.inside:
        picture = part.picture
        geometry = Geometry(picture, (part.x - box.width / 2, part.y - box.height / 2))
        first = len(nodes)
        index = {item.tensor: first + item.index for item in picture.items}
        for item in picture.items:
            x, y = geometry.centre(item)
            nodes.append(_node(picture, item, index, code) | {"box": owner, "x": x, "y": y})
            nodes[-1] |= {"band": -1, "lane": nodes[owner]["lane"], "part": len(inside)}
        for inner, operand in zip(picture.graph.inputs, box.tensor.inputs, strict=False):
            if inner in index and operand in outer:
                nodes[index[inner]]["inputs"] = [outer[operand]]
        inside.append({
            "box": owner, "name": part.name,
            "x": part.x - box.width / 2, "y": part.y - box.height / 2 - 6,
            "bands": [[clean(band.label or ""), *geometry.box(band, *piece)]
                      for band in picture.bands for piece in geometry.pieces(band)],
            "lines": [[first + n.source.index, first + n.target.index, n.kind, _path(geometry, n)]
                      for n in picture.lines],
        })  # fmt: skip
        for item in picture.items:
            _add_inside(item, index[item.tensor], index, code, nodes, inside)


def _path(geometry: Geometry, line: Line) -> str:
    """Return a line as the path of an SVG."""
    pieces = []
    for (x, y), *points in geometry.route(line):
        pieces.append(f"M{x:.1f},{y:.1f} C" + " ".join(f"{x:.1f},{y:.1f}" for x, y in points))
    return " ".join(pieces)


def _band(band: Band) -> dict[str, Any]:
    return {
        "label": clean(band.label or ""),
        "parent": band.parent.index if band.parent is not None else -1,
        "top": band.top,
        "bottom": band.bottom,
        "depth": band.depth,
    }


def _node(
    picture: Picture, item: Item, index: Mapping[Tensor, int], code: Mapping[str, str]
) -> dict[str, Any]:
    graph, node = picture.graph, item.tensor
    primal = node.adjoint_of
    moved = not isinstance(node.op, (Source, View))
    types = [x.type for x in node.inputs]
    return {
        "key": clean(item.key),
        "title": item.title,
        "lines": item.lines,
        "kind": item.kind,
        "lane": item.lane,
        "band": item.layer.index if item.layer is not None else -1,
        "x": item.x,
        "row": item.row,
        "w": item.width,
        "h": item.height,
        "box": -1,
        "closed": item.closed if item.inside else None,
        "output": item.is_output,
        "op": node.op.name,
        "options": clean(node.op.parameters()),
        "type": kind_of_value(node),
        "phase": node.phase,
        "scope": clean(" / ".join(item.scope)),
        "flops": _amount(node.op.flops(node.type, *types)) if moved else "",
        "reads": _amount(_sum([t.nbytes for t in types])) if moved else "",
        "writes": _amount(node.type.nbytes) if moved else "",
        "loc": clean(node.loc or ""),
        "text": clean(_line_at(node.loc)),
        "inputs": [index[x] if x in index else number(x) for x in node.inputs],
        "primal": index[primal] if primal is not None and primal in index else -1,
        "outputs": [clean(name) for name, t in graph.outputs.items() if t is node],
        "updates": [index[p] for p, t in graph.updates.items() if t is node],
        "code": code.get(item.key, ""),
    }


def _sum(dims: list[AnyDim]) -> AnyDim:
    total: AnyDim = 0
    for dim in dims:
        total = dim + total
    return total


def _amount(value: AnyDim) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _line_at(loc: str | None) -> str:
    """Return the text of the user's line, or nothing where it cannot be read."""
    file, _, line = (loc or "").rpartition(":")
    return linecache.getline(file, int(line)).strip() if line.isdigit() else ""
