"""Pictures by Graphviz: the placed picture as DOT with every position given, then drawn.

The DOT text names ``layout="nop2"``: Graphviz only draws it, at the positions it holds. Remove
that line, and ``dot`` lays the graph out anew.
"""

from __future__ import annotations

import html
import itertools
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import sqrt

from graphc.viz.picture import (
    KINDS,
    LANES,
    LINE_SIZE,
    TITLE_SIZE,
    UPDATE,
    Band,
    Item,
    Line,
    Picture,
    clean,
    text_width,
)

try:
    import pygraphviz  # type: ignore[import-untyped]
except ImportError as error:
    raise ImportError(
        f"pictures are drawn by pygraphviz, which does not load ({error}); "
        "pip install pygraphviz (it needs Graphviz)"
    ) from error

Point = tuple[float, float]

FONT = "Helvetica,Arial,sans-serif"
STYLE = {  # Graphviz shape and style, fill, border
    "input": ("box", "filled,rounded,bold", "#c8ead1", "#1b7f3b"),
    "parameter": ("box3d", "filled", "#ffe3a3", "#a86b00"),
    "constant": ("note", "filled", "#e9e9ec", "#6b6b74"),
    "forward": ("box", "filled,rounded", "#d9e8fb", "#2a62a8"),
    "backward": ("box", "filled", "#fde0d5", "#c2481b"),
    "update": ("octagon", "filled", "#e8dcf7", "#6d3fa8"),
}
MEANING = {
    "input": "input: you feed it",
    "parameter": "parameter: training changes it",
    "constant": "constant",
    "forward": "computed forward",
    "backward": "gradient (∂ x: of the loss by x)",
    "update": "new parameter value",
}
LINE_STYLE = {
    "flow": 'color="#5b6472"',
    "cross": 'color="#a9b0bb", style=dotted, arrowsize=0.5',
    "adjoint": 'color="#c2481b90", style=dashed, arrowhead=none, penwidth=0.9',
}
LANE_TITLES = ("forward ↓", "backward ↑", "update →")

_ROW_GAP, _HEADER, _FOOTER, _INSET, _PANEL_GAP = 24.0, 22.0, 8.0, 9.0, 90.0
_TIP = 6.0  # length of an arrowhead
_STUB = 30.0  # how far a line reaches out of its panel
_DATE = re.compile(rb"(/CreationDate \(D:)\d{14}")  # the same graph gives the same bytes
_MOST_PIXELS, _LONGEST_SIDE = 30e6, 20000.0


class Geometry:
    """Positions in points, y downwards, of a placed picture with everything shown."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        rows = picture.rows
        height = [10.0] * rows
        above = [_ROW_GAP] * rows
        below = [0.0] * rows
        self.by_row: list[list[Item]] = [[] for _ in range(rows)]
        for item in picture.items:
            self.by_row[item.row].append(item)
            height[item.row] = max(height[item.row], item.height)
        for band in picture.bands:
            for first, last in self.pieces(band):
                above[first] += _HEADER
                below[last] += _FOOTER
        self.top, self.bottom = [0.0] * rows, [0.0] * rows
        self.shift, self.panel = [0.0] * rows, [0] * rows
        self.ends: list[tuple[float, float]] = []
        self.height = 0.0
        for panel, (first, last) in enumerate(self.panels()):
            y = 0.0
            for row in range(first, last):
                self.shift[row] = panel * (picture.width + _PANEL_GAP)
                self.top[row] = y + above[row]
                self.bottom[row] = self.top[row] + height[row]
                self.panel[row] = panel
                y = self.bottom[row] + below[row]
            self.ends.append((self.top[first], self.bottom[last - 1]))
            self.height = max(self.height, y)
        self.width = self.shift[-1] + picture.width if rows else 0.0

    def panels(self) -> Iterator[tuple[int, int]]:
        """Yield the first row of each panel and the row after its last."""
        return zip(self.picture.cuts, [*self.picture.cuts[1:], self.picture.rows], strict=True)

    def pieces(self, band: Band) -> list[tuple[int, int]]:
        """Return the first and last row of ``band`` in each panel it touches."""
        parts = [(max(a, band.top), min(b, band.bottom) - 1) for a, b in self.panels()]
        return [(first, last) for first, last in parts if first <= last]

    def centre(self, item: Item) -> Point:
        x = item.x + self.shift[item.row]
        return x, (self.top[item.row] + self.bottom[item.row]) / 2

    def box(self, band: Band, first: int, last: int) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom of a piece of ``band``."""
        inset = _INSET * (1 + max(b.depth for b in self.picture.bands) - band.depth)
        starts = sum(b.top == band.top and b.depth > band.depth for b in self.picture.bands)
        ends = sum(b.bottom == band.bottom and b.depth > band.depth for b in self.picture.bands)
        return (
            self.shift[first] - inset,
            self.top[first] - _HEADER * (1 + starts),
            self.shift[first] + self.picture.width + inset,
            self.bottom[last] + _FOOTER * (1 + ends),
        )

    def route(self, line: Line) -> list[list[Point]]:
        """Return the pieces of ``line``, one a panel, as Bezier control points."""
        a, b = line.source, line.target
        (ax, ay), (bx, by) = self.centre(a), self.centre(b)
        if a.lane == b.lane == UPDATE and line.kind == "cross" and a.row < b.row:
            return [along([(ax, ay + a.height / 2), (bx, by - b.height / 2)])]
        if line.kind != "flow" or a.lane == UPDATE or a.row == b.row:
            side = 1.0 if bx >= ax else -1.0
            start, end = (ax + side * a.width / 2, ay), (bx - side * b.width / 2, by)
            return [self.tie(a, b, start, end) if line.kind == "adjoint" else across(start, end)]
        down = 1.0 if b.row > a.row else -1.0
        points = [(ax, ay + down * a.height / 2)]
        pieces = [points]
        panel, x = self.panel[a.row], a.x
        for next_x, row in [*line.bends, (b.x, b.row)]:
            if self.panel[row] != panel:  # leave at one panel's end, enter at the next one's
                points.append((points[-1][0], self.ends[panel][down > 0] + down * _STUB))
                panel, x = self.panel[row], next_x
                points = [(x + self.shift[row], self.ends[panel][down < 0] - down * _STUB)]
                pieces.append(points)
            if row == b.row:
                points.append((bx, by - down * b.height / 2))
            else:
                x = next_x + self.shift[row]
                span = (self.top[row], self.bottom[row])
                points += [(x, y) for y in (span if down > 0 else span[::-1])]
        return [along(piece) for piece in pieces]

    def tie(self, a: Item, b: Item, start: Point, end: Point) -> list[Point]:
        """Return the tie of a node and its adjoint: over the heads of the items between them."""
        if a.row != b.row or b.x < a.x or not self.between(a, b):
            return polyline([start, end])
        level = self.top[a.row] - 5.0 - 3.0 * sum(i.x < a.x for i in self.by_row[a.row])
        (ax, _), (bx, _) = self.centre(a), self.centre(b)
        ax, bx = ax + a.width / 4, bx - b.width / 4
        left, right = (ax, self.centre(a)[1] - a.height / 2), (bx, self.centre(b)[1] - b.height / 2)
        return polyline([left, (ax, level), (bx, level), right])

    def between(self, a: Item, b: Item) -> bool:
        """Tell whether an item of the row of both stands between them."""
        return any(a.x < i.x < b.x for i in self.by_row[a.row])


def polyline(points: list[Point]) -> list[Point]:
    """Return straight lines through ``points`` as Bezier control points."""
    return [points[0], *(p for a, b in itertools.pairwise(points) for p in (a, b, b))]


def across(a: Point, b: Point) -> list[Point]:
    """Leave ``a`` and enter ``b`` horizontally."""
    middle = (a[0] + b[0]) / 2
    return [a, (middle, a[1]), (middle, b[1]), b]


def along(points: list[Point]) -> list[Point]:
    """Pass all points, vertically at each."""
    result = [points[0]]
    for (ax, ay), (bx, by) in itertools.pairwise(points):
        middle = (ay + by) / 2
        result += [(ax, middle), (bx, middle), (bx, by)]
    return result


def to_dot(picture: Picture) -> str:
    """Return the placed picture as DOT text."""
    geometry = Geometry(picture)
    legend = _legend(picture)
    head = 34.0 + 24.0 * len(legend) + 40.0
    lines = [
        "digraph graphc {",
        '  layout="nop2"; outputorder=edgesfirst; bgcolor=white; pad=0.3;',
        f'  fontname="{FONT}"; node [fontname="{FONT}", fontsize={LINE_SIZE}, penwidth=1.1];',
        f'  edge [fontname="{FONT}", arrowsize=0.6, penwidth=0.9];',
    ]
    lines += _clusters(picture, geometry)
    lines += [_node(item, geometry) for item in picture.items]
    lines += [_edge(line, geometry) for line in picture.lines]
    lines += _headings(picture, geometry)
    left = -_INSET
    title, subtitle = picture.title, picture.subtitle
    lines.append(_text("title", f"<b>{escape(title)}</b>", title, 16, left, -head))
    lines.append(_text("subtitle", escape(subtitle), subtitle, 11, left, -head + 20))
    for number, row in enumerate(legend):
        lines += row_of_legend(row, number, left, -head + 44 + 24 * number)
    return "\n".join([*lines, "}", ""])


def _clusters(picture: Picture, geometry: Geometry) -> Iterator[str]:
    """Yield the bands, each as one cluster a panel; inner ones follow and so lie on top."""
    members: dict[Band, list[int]] = {}
    for item in picture.items:
        if item.layer is not None:
            members.setdefault(item.layer, []).append(item.index)
    for band in picture.bands:
        for part, (first, last) in enumerate(geometry.pieces(band)):
            x0, y0, x1, y1 = geometry.box(band, first, last)
            label = band.label or ""
            width = text_width(label, TITLE_SIZE)
            text = escape(label) + (" (continued)" if part else "")
            nodes = " ".join(f"n{i};" for i in members.get(band, ())) if not part else ""
            fill = "#f4f6f9" if band.depth % 2 == 0 else "#ebeef3"
            yield (
                f"  subgraph cluster_{band.index}_{part} {{ label=<<b>{text}</b>>; "
                f'bb="{_xy(x0, y1)},{_xy(x1, y0)}"; '
                f'lp="{_xy(x0 + 10 + width / 2, y0 + 11)}"; fontsize={TITLE_SIZE}; '
                f'fontcolor="#4a5361"; style="filled,rounded"; fillcolor="{fill}"; '
                f'color="#c5cbd6"; {nodes} }}'
            )


def _node(item: Item, geometry: Geometry) -> str:
    shape, style, fill, border = STYLE[item.kind]
    rows = [f'<font point-size="{TITLE_SIZE}"><b>{escape(item.title)}</b></font>']
    rows += [f'<font color="#4a5361">{escape(line)}</font>' for line in item.lines]
    x, y = geometry.centre(item)
    tip = f"{item.key}: {item.tensor.type} = {item.tensor.op.name}  {item.tensor.loc or ''}"
    return (
        f'  n{item.index} [label=<{"<br/>".join(rows)}>, pos="{_xy(x, y)}", '
        f"width={item.width / 72:.3f}, height={item.height / 72:.3f}, fixedsize=shape, "
        f'shape={shape}, style="{style}", fillcolor="{fill}", color="{border}", '
        f'{"penwidth=2.6, " if item.is_output else ""}tooltip="{quote(tip.strip())}"];'
    )


def _edge(line: Line, geometry: Geometry) -> str:
    pieces = geometry.route(line)
    head = ""
    if line.kind != "adjoint":
        (px, py), (x, y) = pieces[-1][-2:]
        length = max(abs(px - x) + abs(py - y), 1e-9)
        tip = min(_TIP, length) / length
        pieces[-1][-1] = (x + (px - x) * tip, y + (py - y) * tip)
        head = f"e,{_xy(x, y)} "
    paths = [" ".join(_xy(*p) for p in piece) for piece in pieces]
    paths[-1] = head + paths[-1]
    ends = f"n{line.source.index} -> n{line.target.index}"
    return f'  {ends} [{LINE_STYLE[line.kind]}, pos="{";".join(paths)}"];'


def _headings(picture: Picture, geometry: Geometry) -> Iterator[str]:
    """Yield the names of the lanes above each panel."""
    for panel, (first, _) in enumerate(geometry.panels()):
        for lane, (left, right) in picture.lane_spans.items():
            title, colour = LANE_TITLES[lane], STYLE[LANES[lane]][3]
            label = f'<font color="{colour}"><b>{title}</b></font>'
            x = geometry.shift[first] + (left + right) / 2
            yield _text(f"lane_{panel}_{lane}", label, title, 13, x, -14, "center")


def _legend(picture: Picture) -> list[list[str]]:
    """Return the kinds of items and of lines that occur, in rows of the legend."""
    kinds = {i.kind for i in picture.items}
    lines = {line.kind for line in picture.lines}
    rows = [[k for k in KINDS if k in kinds], [k for k in LINE_STYLE if k in lines]]
    return [row for row in rows if row]


LINE_MEANING = {
    "flow": "value flows",
    "cross": "value used in another phase",
    "adjoint": "node and its gradient",
}


def row_of_legend(row: Iterable[str], number: int, x: float, y: float) -> Iterator[str]:
    """Yield one row of the legend: a swatch and its meaning, side by side."""
    for kind in row:
        if kind in MEANING:
            shape, style, fill, border = STYLE[kind]
            yield (
                f'  legend_{kind} [label="", pos="{_xy(x + 14, y)}", width=0.36, height=0.2, '
                f'fixedsize=shape, shape={shape}, style="{style}", fillcolor="{fill}", '
                f'color="{border}"];'
            )
            meaning = MEANING[kind]
        else:
            for end, place in (("a", x), ("b", x + 28)):
                yield (
                    f'  legend_{kind}_{end} [label="", pos="{_xy(place, y)}", width=0.01, '
                    f"height=0.01, style=invis];"
                )
            head = "" if kind == "adjoint" else f"e,{_xy(x + 28, y)} "
            path = " ".join(_xy(p, y) for p in (x, x + 8, x + 16, x + 22))
            yield f'  legend_{kind}_a -> legend_{kind}_b [{LINE_STYLE[kind]}, pos="{head}{path}"];'
            meaning = LINE_MEANING[kind]
        yield _text(f"legend_{number}_{kind}", escape(meaning), meaning, 10, x + 34, y)
        x += 34 + text_width(meaning, 10) + 22


def _text(
    name: str, label: str, plain: str, size: float, x: float, y: float, align: str = "left"
) -> str:
    width = text_width(plain, size)
    middle = x + width / 2 if align == "left" else x
    table = (
        f'<table border="0" cellspacing="0" cellpadding="0" width="{width:.0f}">'
        f'<tr><td align="{align}">{label}</td></tr></table>'
    )
    return (
        f'  {name} [label=<{table}>, shape=plain, fontsize={size}, pos="{_xy(middle, y)}", '
        f"width={width / 72:.3f}, height={size / 72:.3f}];"
    )


def _xy(x: float, y: float) -> str:
    return f"{x:.1f},{-y:.1f}"  # Graphviz counts upwards


def escape(text: str) -> str:
    """Return ``text`` for an HTML-like label, never empty."""
    return html.escape(clean(text)) or " "


def quote(text: str) -> str:
    r"""Return ``text`` for the inside of a quoted attribute, in which ``\N`` has a meaning."""
    return html.escape(clean(text).replace("\\", "\\\\"))


@contextmanager
def _without_notices() -> Iterator[None]:
    """Keep what fontconfig says of a system's fonts off the user's screen; pass on all else.

    Libraries in C write to the process's file of errors, whatever ``sys.stderr`` is.
    """
    with tempfile.TemporaryFile() as said:
        try:
            screen = os.dup(2)
        except OSError:  # a process without one
            yield
            return
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(screen, 2)
            os.close(screen)
            said.seek(0)
            for line in said:
                if not line.startswith(b"Fontconfig warning"):
                    os.write(2, line)


def render(picture: Picture, format: str) -> bytes:
    """Return the placed picture drawn by Graphviz: ``"svg"``, ``"png"`` or ``"pdf"``."""
    drawing = pygraphviz.AGraph(string=to_dot(picture))
    if format == "png":
        geometry = Geometry(picture)
        width, height = geometry.width + 200.0, geometry.height + 250.0
        sharpest = min(sqrt(_MOST_PIXELS / (width * height)), _LONGEST_SIDE / max(width, height))
        drawing.graph_attr["dpi"] = f"{72 * min(2.0, sharpest):.0f}"
    drawing.has_layout = True  # every position is given
    with _without_notices():
        data: bytes = drawing.draw(format=format)
    drawing.close()
    return _DATE.sub(rb"\g<1>20000101000000", data) if format == "pdf" else data
