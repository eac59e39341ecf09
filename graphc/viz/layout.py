"""Place a picture: rows from top to bottom, lanes from left to right, layers as bands.

Rows solve difference constraints by longest paths: forward lines point down, backward lines
up, an adjoint shares the row of its primal, and a band holds a contiguous run of rows. All steps
are near-linear in the number of lines and depend on nothing but the graph.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, sqrt
from typing import TypeAlias

import networkx as nx

from graphc.ir.tensor import Tensor
from graphc.viz.lanes import GAP_X, LANE_GAP, place_lane
from graphc.viz.picture import BACKWARD, FORWARD, UPDATE, Band, Item, Picture

ROW_PITCH = 62.0
BAND_INSET = 9.0
_PANEL_ASPECT = 1.3

Vertex: TypeAlias = Item | tuple[Band, str]


def place(picture: Picture) -> None:
    """Set rows, positions, bands and panels of ``picture``."""
    if not picture.items:
        picture.cuts = [0]
        return
    runs = _make_bands(picture)
    blocks = _update_blocks(picture)
    _assign_rows(picture, runs, blocks)
    right = 0.0
    for lane in (FORWARD, BACKWARD):
        right = place_lane(picture, lane, right)
    right = _place_blocks(picture, blocks, right)
    picture.width = right - LANE_GAP
    picture.bands = [b for b in picture.bands if b.label is not None]
    for index, band in enumerate(picture.bands):
        band.index = index
    _cut_panels(picture)


# -- bands -----------------------------------------------------------------------------------


def _make_bands(picture: Picture) -> dict[Band, list[Band]]:
    """Give every forward item its band; return the bands within each band, in order.

    A band is a run of consecutive forward nodes of one scope: creation order is topological,
    so runs can be stacked. A source stands with its first user, an adjoint with its primal.
    """
    root = Band(None)
    inner: dict[Band, list[Band]] = {root: []}
    of: dict[Tensor, Item] = {i.tensor: i for i in picture.items}
    current: list[Band] = [root]
    for item in picture.items:
        if item.lane != FORWARD or not item.tensor.inputs:
            continue
        scope = item.scope
        depth = 0
        while (
            depth < len(scope)
            and depth + 1 < len(current)
            and (current[depth + 1].path == scope[: depth + 1])
        ):
            depth += 1
        if depth == len(scope) and len(current) == depth + 2 and current[-1].label is None:
            item.band = current[-1]  # goes on between the same layers
            continue
        del current[depth + 1 :]
        for level in range(depth, len(scope) + 1):
            label = scope[level] if level < len(scope) else None
            path = scope[: level + 1] if label is not None else ()
            band = Band(label, path, current[-1], level)
            inner[current[-1]].append(band)
            inner[band] = []
            picture.bands.append(band)
            current.append(band)
        item.band = current[-1]
    users: dict[Item, list[Item]] = defaultdict(list)
    for line in picture.lines:
        if line.kind == "flow":
            users[line.source].append(line.target)
    for item in picture.items:
        if item.lane == FORWARD and item.band is None:
            item.band = next((u.band for u in users[item] if u.band is not None), None)
            if item.kind == "input" and item.band is not None:
                item.band = _band_before(item.band, inner[root], inner)
        elif item.lane == BACKWARD:
            item.band = _band_of_adjoint(item, of)
    for item in reversed(picture.items):
        if item.lane == BACKWARD and item.band is None and not item.tensor.inputs:
            item.band = next((u.band for u in users[item]), None)
    return inner


def _band_of_adjoint(item: Item, of: dict[Tensor, Item]) -> Band | None:
    """Return the band of the primal, else of the adjoint or the value that ``item`` is made of."""
    primal = item.tensor.adjoint_of
    if primal in of:
        return of[primal].band
    sources = [of[x] for x in item.tensor.inputs if x in of and of[x].band is not None]
    best = max(sources, key=lambda s: (s.lane == BACKWARD, s.index), default=None)
    return best.band if best is not None else None


def _band_before(band: Band, siblings: list[Band], inner: dict[Band, list[Band]]) -> Band:
    """Return the unnamed band just before the layer of ``band``: inputs belong to no layer."""
    while band.parent is not None and band.parent.parent is not None:
        band = band.parent
    if band.label is None:
        return band
    place = siblings.index(band)
    if place and siblings[place - 1].label is None:
        return siblings[place - 1]
    siblings.insert(place, Band(None, (), band.parent))
    inner[siblings[place]] = []
    return siblings[place]


# -- the update lane: one block a parameter, flowing from left to right ------------------------


@dataclass
class _Block:
    """The update nodes of one parameter, on a grid of their own."""

    owner: Item | None
    items: list[Item]
    cells: dict[Item, tuple[int, int]]
    height: int = 0
    start: int = 0


def _update_blocks(picture: Picture) -> list[_Block]:
    of = {i.tensor: i for i in picture.items}
    updates = [i for i in picture.items if i.lane == UPDATE]
    owner: dict[Item, Item | None] = {}
    for item in picture.items:  # a parameter and its gradient belong to the parameter
        primal = of.get(item.tensor.adjoint_of) if item.tensor.adjoint_of is not None else None
        if item.kind == "parameter" and item.lane == FORWARD:
            owner[item] = item
        elif primal is not None and primal.kind == "parameter":
            owner[item] = primal
    for item in updates:
        found = {owner[of[x]]: None for x in item.tensor.inputs if x in of and of[x] in owner}
        found.pop(None, None)
        if item.tensor.inputs:
            owner[item] = next(iter(found)) if len(found) == 1 else None
    users: dict[Item, list[Item]] = defaultdict(list)
    for item in updates:
        for x in item.tensor.inputs:
            if x in of and of[x].lane == UPDATE:
                users[of[x]].append(item)
    for item in reversed(updates):  # state, and what is made of it alone, belongs to its users
        after = {owner.get(user) for user in users[item]}
        if owner.get(item) is None and len(after) == 1:
            owner[item] = after.pop()
    members: dict[Item | None, list[Item]] = defaultdict(list)
    for item in updates:
        members[owner.get(item)].append(item)
    blocks = [_Block(o, m, {}) for o, m in members.items()]
    blocks.sort(key=lambda b: -1 if b.owner is None else b.owner.index)
    for block in blocks:
        _fill(block, of)
    return blocks


def _fill(block: _Block, of: dict[Tensor, Item]) -> None:
    """Give each node of ``block`` a column, its depth, and the nearest free row."""
    own = set(block.items)
    taken: set[tuple[int, int]] = set()
    column: dict[Item, int] = {}
    before = {i: [of[x] for x in i.tensor.inputs if x in of and of[x] in own] for i in own}
    after: dict[Item, list[Item]] = defaultdict(list)
    for item in block.items:
        column[item] = 1 + max((column[i] for i in before[item]), default=-1)
        for i in before[item]:
            after[i].append(item)
    for item in reversed(block.items):  # what needs nothing before it stands just before its use
        if after[item] and not before[item]:
            column[item] = max(0, min(column[i] for i in after[item]) - 1)
    for item in block.items:
        wish = min((block.cells[i][0] for i in before[item]), default=0)
        free = (r for r in range(wish, len(own) + 1) if (r, column[item]) not in taken)
        cell = (next(free), column[item])
        taken.add(cell)
        block.cells[item] = cell
    block.height = 1 + max(r for r, _ in block.cells.values())


# -- rows ------------------------------------------------------------------------------------


def _assign_rows(picture: Picture, inner: dict[Band, list[Band]], blocks: Sequence[_Block]) -> None:
    of = {i.tensor: i for i in picture.items}
    placed = [i for i in picture.items if i.lane != UPDATE]
    slot: dict[Item, Item] = {}
    tied: set[Item] = set()
    for item in placed:  # the first adjoint of a forward node shares its slot
        primal = of.get(item.tensor.adjoint_of) if item.tensor.adjoint_of is not None else None
        ties = item.lane == BACKWARD and primal is not None and primal.lane == FORWARD
        if ties and primal is not None and primal not in tied:
            slot[item] = primal
            tied.add(primal)
    tall: dict[Band, int] = defaultdict(int)
    for block in blocks:
        if block.owner is not None and block.owner.band is not None:
            tall[block.owner.band] += block.height
    shared = sum(b.height for b in blocks if b.owner is None)
    graph = _constraints(picture, placed, inner, slot, tall, shared)
    for group in list(nx.strongly_connected_components(graph)):
        if len(group) > 1:  # derivatives of derivatives flow both ways: let them float
            for item in placed:
                if item.lane == BACKWARD and (item in group or slot.get(item) in group):
                    slot.pop(item, None)
                    item.band = None
    graph = _constraints(picture, placed, inner, slot, tall, shared)
    row = _longest_paths(graph)
    for band in inner:
        band.top, band.bottom = row[(band, "top")], row[(band, "bottom")]
    for item in placed:
        item.row = row[slot.get(item, item)]
    _place_block_rows(picture, blocks)
    picture.rows = 1 + max(i.row for i in picture.items)


def _constraints(
    picture: Picture,
    placed: Sequence[Item],
    inner: dict[Band, list[Band]],
    slot: dict[Item, Item],
    tall: dict[Band, int],
    shared: int,
) -> nx.DiGraph[Vertex]:
    """Return the graph whose edge ``a -> b`` of weight w says ``row(b) >= row(a) + w``."""
    graph: nx.DiGraph[Vertex] = nx.DiGraph()

    def below(a: Vertex, b: Vertex, weight: int) -> None:
        if graph.has_edge(a, b):
            weight = max(weight, graph[a][b]["weight"])
        graph.add_edge(a, b, weight=weight)

    for band, parts in inner.items():
        below((band, "top"), (band, "bottom"), tall[band])
        above: Vertex = (band, "top")
        head = shared if band.parent is None else 0
        for part in parts:
            below(above, (part, "top"), head)
            above, head = (part, "bottom"), 0
        below(above, (band, "bottom"), 0)
    for item in placed:
        vertex = slot.get(item, item)
        graph.add_node(vertex)
        if item.band is not None:
            below((item.band, "top"), vertex, 0)
            below(vertex, (item.band, "bottom"), 1)
    for line in picture.lines:
        if line.kind != "flow" or line.source.lane == UPDATE:
            continue
        a, b = slot.get(line.source, line.source), slot.get(line.target, line.target)
        below(*((a, b) if line.source.lane == FORWARD else (b, a)), 1)
    return graph


def _longest_paths(graph: nx.DiGraph[Vertex]) -> dict[Vertex, int]:
    """Return the smallest rows; then let what nothing holds up sink to its first user.

    That is what hangs on no item, or only on items that sink with it, and lengthens no line.
    """
    order = list(nx.topological_sort(graph))
    before = {v: [u for u in graph.pred[v] if isinstance(u, Item)] for v in order}
    after = {v: [u for u in graph.succ[v] if isinstance(u, Item)] for v in order}
    row: dict[Vertex, int] = {}
    sinks: set[Vertex] = set()
    for v in order:
        row[v] = max((row[u] + graph[u][v]["weight"] for u in graph.pred[v]), default=0)
        light = all(u in sinks and len(after[u]) == 1 for u in before[v])
        if isinstance(v, Item) and light and len(before[v]) <= len(after[v]):
            sinks.add(v)
    for v in reversed(order):
        if v in sinks:
            uses = [row[w] - graph[v][w]["weight"] for w in graph.succ[v]]
            row[v] = max(row[v], min(uses, default=row[v]))
    return row


def _place_block_rows(picture: Picture, blocks: Sequence[_Block]) -> None:
    """Put each block beside its parameter, below the blocks before it."""
    left: dict[Band | None, int] = defaultdict(int)
    for block in blocks:
        if block.owner is not None:
            left[block.owner.band] += block.height
    home: dict[Item, _Block] = {}
    free = 0
    for block in sorted(blocks, key=lambda b: -1 if b.owner is None else b.owner.row):
        start = free
        if block.owner is not None:
            band = block.owner.band
            last = max(band.bottom - left[band], band.top) if band is not None else block.owner.row
            start = max(free, min(block.owner.row, last))
            left[band] -= block.height
        block.start = start
        free = start + block.height
        for item, (row, _) in block.cells.items():
            item.row = start + row
            item.band = block.owner.band if block.owner is not None else None
            home[item] = block
    for line in picture.lines:
        if line.kind == "flow" and home.get(line.source) is not home.get(line.target):
            line.kind = "cross"


def _place_blocks(picture: Picture, blocks: Sequence[_Block], left: float) -> float:
    """Place the update lane: columns of one width for all blocks."""
    widths: dict[int, float] = defaultdict(float)
    for block in blocks:
        for item, (_, column) in block.cells.items():
            widths[column] = max(widths[column], item.width)
    if not widths:
        return left
    centre: dict[int, float] = {}
    x = left
    for column in sorted(widths):
        centre[column] = round(x + widths[column] / 2, 1)
        x += widths[column] + 2 * GAP_X
    for block in blocks:
        for item, (_, column) in block.cells.items():
            item.x = centre[column]
    right = x - 2 * GAP_X
    picture.lane_spans[UPDATE] = (left, right)
    return right + LANE_GAP


# -- panels ----------------------------------------------------------------------------------


def _cut_panels(picture: Picture) -> None:
    """Cut a tall picture into panels that stand side by side, between bands where possible."""
    tall = [1.0] * picture.rows  # a row with a box counts as many
    for item in picture.items:
        if item.inside:
            tall[item.row] = max(tall[item.row], item.height / ROW_PITCH)
    above = [0.0, *accumulate(tall)]
    height, width = above[-1] * ROW_PITCH, picture.width + 2 * LANE_GAP
    panels = max(1, round(sqrt(height / width / _PANEL_ASPECT)))
    per_panel = max(ceil(above[-1] / panels), 12)
    tops = sorted({b.top for b in picture.bands if b.depth == 0} | {picture.rows})
    cuts = [0]
    while above[-1] - above[cuts[-1]] > per_panel * 1.25:
        wish = bisect_left(above, above[cuts[-1]] + per_panel)
        near = [t for t in tops if abs(above[t] - above[wish]) <= per_panel / 4 and t > cuts[-1]]
        cuts.append(min(near, key=lambda t: abs(t - wish)) if near else wish)
    picture.cuts = [c for c in cuts if c < picture.rows]
