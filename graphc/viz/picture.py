"""What a picture of a graph shows: labelled items in lanes and bands, and lines between them.

A *lane* is a phase: forward on the left, backward beside it, updates on the right. A *band* is
a layer: a horizontal strip through all lanes, so that a layer's gradient lies beside the layer. A
*box* is a node in which graphs stand, such as a loop: their pictures lie in it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graphc.ir.graph import Graph
from graphc.ir.source import Constant, Input, Parameter
from graphc.ir.tensor import PHASES, Tensor
from graphc.types import Several

FORWARD, BACKWARD, UPDATE = range(3)
LANES = PHASES
SOURCES = {Input: "input", Parameter: "parameter", Constant: "constant"}
KINDS = ("input", "parameter", "constant", "forward", "backward", "update")

TITLE_SIZE, LINE_SIZE = 11, 9
_LONGEST = 44
_NARROW = frozenset("iljtfr.,:;|!'()[]/ I·")


def clean(text: str) -> str:
    """Return ``text`` on one line, with nothing that XML forbids in it."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown.encode("utf-8", "replace").decode()


def shorten(text: str, length: int = _LONGEST) -> str:
    """Return ``text`` cleaned and cut in the middle to at most ``length`` characters."""
    text = clean(text)
    if len(text) <= length:
        return text
    head = length // 2
    return f"{text[:head]}…{text[head + 1 - length :]}"


def text_width(text: str, size: float) -> float:
    """Return an upper estimate of the width, in points, of ``text`` in a sans-serif font."""
    em = sum(
        1.0 if ord(c) > 0x2E80 else 0.34 if c in _NARROW else 0.76 if c.isupper() else 0.61
        for c in text
    )
    return em * size


def count(number: int, noun: str) -> str:
    """Return ``1 node`` or ``1,234 nodes``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


@dataclass(eq=False)
class Band:
    """A run of nodes of one layer; ``label`` is None for nodes between layers.

    Its rows are ``top <= row < bottom``, set by the layout.
    """

    label: str | None
    path: tuple[str, ...] = ()
    parent: Band | None = None
    depth: int = 0
    top: int = 0
    bottom: int = 0
    index: int = -1

    @property
    def shown(self) -> Band | None:
        """The layer this belongs to: itself, or the nearest around it that has a label."""
        band: Band | None = self
        while band is not None and band.label is None:
            band = band.parent
        return band


@dataclass(eq=False)
class Item:
    """One drawn node. The layout sets ``x`` (the centre, in points), ``row`` and ``band``."""

    tensor: Tensor
    key: str
    kind: str
    lane: int
    title: str
    lines: tuple[str, ...]
    scope: tuple[str, ...]
    is_output: bool = False
    band: Band | None = None
    x: float = 0.0
    row: int = 0
    index: int = -1
    width: float = field(init=False)
    height: float = field(init=False)
    inside: list[Inside] = field(default_factory=list)
    """The graphs that stand in it, of a box."""

    @property
    def layer(self) -> Band | None:
        """The innermost drawn band it stands in."""
        return self.band.shown if self.band is not None else None

    def __post_init__(self) -> None:
        self.width, self.height = self.closed

    @property
    def closed(self) -> tuple[float, float]:
        """Width and height of its words, and of the mark by which a box opens."""
        widths = [text_width(self.title, TITLE_SIZE), 40.0]
        widths += [text_width(line, LINE_SIZE) for line in self.lines]
        beside = (34.0 if self.kind == "update" else 18.0) + (22.0 if self.inside else 0.0)
        return round(max(widths) + beside, 1), 13.0 + TITLE_SIZE + 11.5 * len(self.lines)


@dataclass(eq=False)
class Inside:
    """A placed picture in a box, its left upper corner ``x, y`` from that of the box."""

    name: str
    picture: Picture
    x: float = 0.0
    y: float = 0.0


@dataclass(eq=False)
class Line:
    """A line from ``source`` to ``target``; ``bends`` are ``(x, row)`` on its way.

    ``kind`` is ``"flow"`` within a lane, ``"cross"`` between lanes, ``"adjoint"`` for the tie
    of a node and its adjoint.
    """

    source: Item
    target: Item
    kind: str
    bends: list[tuple[float, int]] = field(default_factory=list)


@dataclass
class Picture:
    """The items in creation order, the lines and the bands (outer before inner)."""

    graph: Graph
    items: list[Item]
    lines: list[Line]
    title: str
    subtitle: str
    bands: list[Band] = field(default_factory=list)
    width: float = 0.0
    rows: int = 0
    lane_spans: dict[int, tuple[float, float]] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    """The rows at which a new panel, right of the last, begins; starts with 0."""

    def everything(self) -> Iterator[Picture]:
        """Yield this picture and those in its boxes, outer before inner."""
        yield self
        for item in self.items:
            for part in item.inside:
                yield from part.picture.everything()


@dataclass(frozen=True)
class Around:
    """What stands around a graph in a box."""

    path: str = ""
    """What the keys of its nodes begin with."""
    scope: Sequence[str] = ()
    """The layers that the box stands in."""
    scopes: Mapping[str, str] = field(default_factory=dict)
    """What these, and others outside, are called."""
    notes: Mapping[Tensor, Sequence[str]] = field(default_factory=dict)
    """What is to be said of its tensors: where they come from, and where they go."""

    def names(self, graph: Graph) -> Mapping[Tensor, str]:
        """Return what the nodes of ``graph`` are called: in a box, by their keys."""
        return graph.keys if self.path else shown_names(graph)


def picture_of(graph: Graph, around: Around | None = None) -> Picture:
    """Return what there is to draw of ``graph``, not yet placed."""
    around = around or Around()
    hidden = {n for n in graph if _is_folded(graph, n) and n not in around.notes}
    lanes: dict[Tensor, int] = {}
    for node in reversed(graph.nodes):  # users first: a source stands with its first user
        users = graph.users[node]
        lanes[node] = (
            min(lanes[u] for u in users)
            if isinstance(node.op, tuple(SOURCES)) and users and node.adjoint_of is None
            else PHASES.index(node.phase)
        )
    names = around.names(graph)
    items = {n: _item(graph, names, n, lanes[n], hidden, around) for n in graph if n not in hidden}
    for index, item in enumerate(items.values()):
        item.index = index
    lines = [
        Line(items[x], item, "flow" if items[x].lane == item.lane else "cross")
        for n, item in items.items()
        for x in dict.fromkeys(n.inputs)
        if x in items
    ]
    lines += [
        Line(items[n.adjoint_of], item, "adjoint")
        for n, item in items.items()
        if n.adjoint_of in items
    ]
    return Picture(graph, list(items.values()), lines, _title(graph), _subtitle(graph))


def _is_folded(graph: Graph, node: Tensor) -> bool:
    """Tell whether ``node`` is a number that is written into its users' labels instead."""
    return (
        is_number(node)
        and node.adjoint_of is None
        and bool(graph.users[node])
        and not any(node is root for root in graph.roots)
    )


def shown_names(graph: Graph) -> dict[Tensor, str]:
    """Return what each node is called: its key, or the one name under which it is an output."""
    names = dict(graph.keys)
    taken = set(names.values())
    outputs = Counter(graph.outputs.values())
    for name, node in graph.outputs.items():
        if node.label is None and outputs[node] == 1 and name not in taken:
            names[node] = name
    return names


def _item(
    graph: Graph, names: Mapping[Tensor, str], node: Tensor, lane: int, hidden: set[Tensor],
    around: Around,
) -> Item:  # fmt: skip
    key, name = graph.keys[node], names[node]
    kind = node.phase
    for source, kind_of_source in SOURCES.items():
        if isinstance(node.op, source) and node.adjoint_of is None:
            kind = kind_of_source
    title = name if isinstance(node.op, (Input, Parameter)) else key
    if name != key:
        title = f"{name} = {key}"
    elif node.label is not None and kind == node.phase:
        title = f"{name} = {node.op.name}"
    if any(x in hidden for x in node.inputs):
        title += f"({', '.join(number(x) if x in hidden else '·' for x in node.inputs)})"
    lines = []
    if node.adjoint_of in graph.keys:
        lines.append(number(node) if is_number(node) else title)
        title = f"∂ {names[node.adjoint_of]}"
    if not isinstance(node.op, tuple(SOURCES)):
        lines.append(_options(node))
    lines.append(kind_of_value(node) + _amount(node))
    lines += around.notes.get(node, ())
    outputs = [o for o, t in graph.outputs.items() if t is node]
    if outputs and around.path:
        lines.append(", ".join(outputs))
    elif outputs:
        lines.append("output" if outputs == [name] else f"output {', '.join(outputs)}")
    lines += [f"new value of {graph.keys[p]}" for p, t in graph.updates.items() if t is node]
    shown = tuple(shorten(line) for line in lines if line)
    scope = tuple(around.scopes.get(s) or graph.scopes.get(s, s) for s in node.scope)
    outer = len(around.scope)
    scope = scope[outer:] if scope[:outer] == tuple(around.scope) else scope
    return Item(node, around.path + key, kind, lane, shorten(title), shown, scope, bool(outputs))


def kind_of_value(node: Tensor) -> str:
    """Return the type of ``node``, or how many results it has."""
    if isinstance(node.type, Several):
        return count(len(node.type.parts), "result")
    return str(node.type)


def _options(node: Tensor) -> str:
    """Return the op's parameters, less those that say no and shapes, which the type says too."""
    parts = re.split(r", (?=\w+=)", node.op.parameters())
    return ", ".join(p for p in parts if not p.endswith("=False") and not p.startswith("shape="))


def _amount(node: Tensor) -> str:
    """Return `` · 8,192 parameters`` for a parameter, `` · 64 values`` if it is state."""
    if not isinstance(node.op, Parameter) or not isinstance(node.size, int):
        return ""
    return f" · {count(node.size, 'parameter' if node.op.trainable else 'value')}"


def is_number(node: Tensor) -> bool:
    return isinstance(node.op, Constant) and node.op.value.array.size == 1


def number(node: Tensor) -> str:
    """Return the value of a constant of one element as text."""
    assert isinstance(node.op, Constant)
    value = node.op.value.array.item()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _title(graph: Graph) -> str:
    phases = {n.phase for n in graph}
    if graph.updates:
        return "Training step" if "backward" in phases else "Step"
    return "Forward and backward pass" if "backward" in phases else "Forward pass"


def _subtitle(graph: Graph) -> str:
    parts = [count(len(graph), "node")]
    parts += [f"{len(graph.phase(name)):,} {name}" for name in PHASES if graph.phase(name)]
    elements = trained_elements(graph)
    if graph.parameters:
        parts.append(f"{count(elements, 'parameter')}" if elements else "no trainable parameter")
    return " · ".join(parts)


def trained_elements(graph: Graph) -> int:
    """Return the number of trainable scalars."""
    return sum(
        p.size
        for p in graph.parameters
        if isinstance(p.op, Parameter) and p.op.trainable and isinstance(p.size, int)
    )
