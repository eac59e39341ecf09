"""Pictures by Graphviz: the placed picture as DOT with every position given, then drawn.

The DOT text names ``layout="nop2"``: Graphviz only draws it, at the positions it holds. Remove
that line, and ``dot`` lays the graph out anew.
"""

from __future__ import annotations

import html
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import sqrt

from graphc.viz.geometry import INSET, Geometry
from graphc.viz.picture import (
    KINDS,
    LANES,
    LINE_SIZE,
    TITLE_SIZE,
    Band,
    Item,
    Line,
    Picture,
    clean,
    kind_of_value,
    text_width,
)

try:
    import pygraphviz  # type: ignore[import-untyped]
except ImportError as error:
    raise ImportError(
        f"pictures are drawn by pygraphviz, which does not load ({error}); "
        "pip install pygraphviz (it needs Graphviz)"
    ) from error

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

_TIP = 6.0  # length of an arrowhead
_DATE = re.compile(rb"(/CreationDate \(D:)\d{14}")  # the same graph gives the same bytes
_MOST_PIXELS, _LONGEST_SIDE = 30e6, 20000.0


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
    lines += _drawn(picture, geometry, "n")
    lines += _headings(picture, geometry)
    left = -INSET
    title, subtitle = picture.title, picture.subtitle
    lines.append(_text("title", f"<b>{escape(title)}</b>", title, 16, left, -head))
    lines.append(_text("subtitle", escape(subtitle), subtitle, 11, left, -head + 20))
    for number, row in enumerate(legend):
        lines += row_of_legend(row, number, left, -head + 44 + 24 * number)
    return "\n".join([*lines, "}", ""])


def _drawn(picture: Picture, geometry: Geometry, prefix: str) -> Iterator[str]:
    """Yield what a picture shows, and on top of it what the pictures in its boxes do.

    Names of nodes begin with ``prefix``.
    """
    yield from _clusters(picture, geometry, prefix)
    for item in picture.items:
        yield from _node(item, geometry, prefix)
    for line in picture.lines:
        yield _edge(line, geometry, prefix)
    for item in picture.items:
        x, y = geometry.centre(item)
        x, y = x - item.width / 2, y - item.height / 2
        own = f"{prefix}{item.index}"
        if item.inside:
            yield (
                f'  subgraph cluster_box_{own} {{ bb="{_xy(x, y + item.height)},'
                f'{_xy(x + item.width, y)}"; style="filled,rounded"; fillcolor="white"; '
                f'color="{STYLE[item.kind][3]}"; }}'
            )
        for number, part in enumerate(item.inside):
            place = x + part.x, y + part.y
            inner = f"{own}_{number}_"
            yield _text(f"{inner}name", escape(part.name), part.name, 10, place[0], place[1] - 6)
            yield from _drawn(part.picture, Geometry(part.picture, place), inner)


def _clusters(picture: Picture, geometry: Geometry, prefix: str) -> Iterator[str]:
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
            nodes = " ".join(f"{prefix}{i};" for i in members.get(band, ())) if not part else ""
            fill = "#f4f6f9" if band.depth % 2 == 0 else "#ebeef3"
            yield (
                f"  subgraph cluster_{prefix}{band.index}_{part} {{ label=<<b>{text}</b>>; "
                f'bb="{_xy(x0, y1)},{_xy(x1, y0)}"; '
                f'lp="{_xy(x0 + 10 + width / 2, y0 + 11)}"; fontsize={TITLE_SIZE}; '
                f'fontcolor="#4a5361"; style="filled,rounded"; fillcolor="{fill}"; '
                f'color="#c5cbd6"; {nodes} }}'
            )


def _node(item: Item, geometry: Geometry, prefix: str) -> Iterator[str]:
    shape, style, fill, border = STYLE[item.kind]
    rows = [f'<font point-size="{TITLE_SIZE}"><b>{escape(item.title)}</b></font>']
    rows += [f'<font color="#4a5361">{escape(line)}</font>' for line in item.lines]
    label, name = "<br/>".join(rows), f"{prefix}{item.index}"
    x, y = geometry.centre(item)
    if item.inside:  # its words stand above, and no colour lies on what is in it
        width, height = item.closed
        yield (
            f"  {name}_words [label=<{label}>, shape=plain, width={width / 72:.3f}, "
            f'height={height / 72:.3f}, pos="{_xy(x, y + (height - item.height) / 2)}"];'
        )
        label, shape, style, fill = " ", "box", "rounded", "none"
    kind = kind_of_value(item.tensor)
    tip = f"{item.key}: {kind} = {item.tensor.op.name}  {item.tensor.loc or ''}"
    yield (
        f'  {name} [label=<{label}>, pos="{_xy(x, y)}", '
        f"width={item.width / 72:.3f}, height={item.height / 72:.3f}, fixedsize=shape, "
        f'shape={shape}, style="{style}", fillcolor="{fill}", color="{border}", '
        f'{"penwidth=2.6, " if item.is_output else ""}tooltip="{quote(tip.strip())}"];'
    )


def _edge(line: Line, geometry: Geometry, prefix: str) -> str:
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
    ends = f"{prefix}{line.source.index} -> {prefix}{line.target.index}"
    return f'  {ends} [{LINE_STYLE[line.kind]}, pos="{";".join(paths)}"];'


def _headings(picture: Picture, geometry: Geometry) -> Iterator[str]:
    """Yield the names of the lanes above each panel."""
    for panel, (first, _) in enumerate(geometry.panels()):
        for lane, (left, right) in picture.lane_spans.items():
            title, colour = LANE_TITLES[lane], STYLE[LANES[lane]][3]
            label = f'<font color="{colour}"><b>{title}</b></font>'
            x = geometry.shift[first] + (left + right) / 2
            yield _text(f"lane_{panel}_{lane}", label, title, 13, x, -14, "center")


def _legend(picture: Picture) -> list[dict[str, str]]:
    """Return the kinds of items and of lines that occur and what they mean, in rows."""
    parts = list(picture.everything())
    kinds = {i.kind for part in parts for i in part.items}
    lines = {line.kind for part in parts for line in part.lines}
    meaning = MEANING | ({"input": MEANING["input"] + ", or its box does"} if parts[1:] else {})
    rows = [{k: meaning[k] for k in KINDS if k in kinds},
            {k: LINE_MEANING[k] for k in LINE_STYLE if k in lines}]  # fmt: skip
    return [row for row in rows if row]


LINE_MEANING = {
    "flow": "value flows",
    "cross": "value used in another phase",
    "adjoint": "node and its gradient",
}


def row_of_legend(row: Mapping[str, str], number: int, x: float, y: float) -> Iterator[str]:
    """Yield one row of the legend: a swatch and its meaning, side by side."""
    for kind, meaning in row.items():
        if kind in STYLE:
            shape, style, fill, border = STYLE[kind]
            yield (
                f'  legend_{kind} [label="", pos="{_xy(x + 14, y)}", width=0.36, height=0.2, '
                f'fixedsize=shape, shape={shape}, style="{style}", fillcolor="{fill}", '
                f'color="{border}"];'
            )
        else:
            for end, place in (("a", x), ("b", x + 28)):
                yield (
                    f'  legend_{kind}_{end} [label="", pos="{_xy(place, y)}", width=0.01, '
                    f"height=0.01, style=invis];"
                )
            head = "" if kind == "adjoint" else f"e,{_xy(x + 28, y)} "
            path = " ".join(_xy(p, y) for p in (x, x + 8, x + 16, x + 22))
            yield f'  legend_{kind}_a -> legend_{kind}_b [{LINE_STYLE[kind]}, pos="{head}{path}"];'
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
