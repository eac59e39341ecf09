"""Positions within the rows of a lane.

Within a row, the order follows the barycentres of the neighbours (Sugiyama, Tagawa and Toda,
1981) and the positions are the nearest, in least squares, that keep order and distance.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.viz.picture import Item, Line, Picture

GAP_X, LANE_GAP = 22.0, 70.0
_LONGEST_DETOUR = 40  # a line over more rows runs straight: its bends would only cost time
_SORTING, _STRAIGHTENING = 6, 10  # sweeps over the rows
_WEIGHTS = (1.0, 2.0, 8.0)  # of a line piece by its number of bends: long lines run straight


@dataclass(eq=False)
class _Spot:
    """A place in a row: an item, or a bend of a line that passes."""

    item: Item | None
    half: float
    x: float = 0.0


def place_lane(picture: Picture, lane: int, left: float) -> float:
    """Place the items of one lane right of ``left``; return where the next lane begins."""
    rows: dict[int, list[_Spot]] = defaultdict(list)
    spot: dict[Item, _Spot] = {}
    for item in picture.items:
        if item.lane == lane:
            spot[item] = _Spot(item, item.width / 2)
            rows[item.row].append(spot[item])
    if not spot:
        return left
    near: dict[_Spot, list[tuple[_Spot, float]]] = defaultdict(list)
    bends: list[tuple[Line, list[tuple[_Spot, int]]]] = []
    for line in picture.lines:
        if line.kind != "flow" or line.source.lane != lane:
            continue
        step = 1 if line.target.row > line.source.row else -1
        between = range(line.source.row + step, line.target.row, step)
        if len(between) > _LONGEST_DETOUR:
            between = range(0)
        chain = [spot[line.source]]
        for row in between:
            bend = _Spot(None, 2.0)
            rows[row].append(bend)
            chain.append(bend)
        bends.append((line, list(zip(chain[1:], between, strict=True))))
        chain.append(spot[line.target])
        for a, b in itertools.pairwise(chain):
            weight = _WEIGHTS[(a.item is None) + (b.item is None)]
            near[a].append((b, weight))
            near[b].append((a, weight))
    levels = [rows[r] for r in sorted(rows)]
    _order(levels, near)
    edge = min(s.x - s.half for level in levels for s in level)
    for level in levels:
        for s in level:
            s.x = round(s.x - edge + left, 1)
            if s.item is not None:
                s.item.x = s.x
    for line, places in bends:
        line.bends = [(s.x, row) for s, row in places]
    right = max(s.x + s.half for level in levels for s in level)
    picture.lane_spans[lane] = (left, right)
    return right + LANE_GAP


def _order(levels: Sequence[list[_Spot]], near: dict[_Spot, list[tuple[_Spot, float]]]) -> None:
    """Sort each row by the places of its neighbours in the rows around, then straighten."""
    for level in levels:
        _spread(level, [(0.0, 1.0)] * len(level))
    for sweep in range(_SORTING + _STRAIGHTENING):
        for level in levels if sweep % 2 == 0 else reversed(levels):
            wish = {s: _wish(s, near[s]) for s in level}
            if sweep < _SORTING:
                level.sort(key=lambda s, wish=wish: wish[s][0])  # type: ignore[misc]
            _spread(level, [wish[s] for s in level])


def _wish(spot: _Spot, near: Sequence[tuple[_Spot, float]]) -> tuple[float, float]:
    """Return where the neighbours would have ``spot``, and with what weight."""
    weight = sum(w for _, w in near)
    if not weight:
        return spot.x, 0.1
    return sum(n.x * w for n, w in near) / weight, weight


def _spread(level: Sequence[_Spot], wishes: Sequence[tuple[float, float]]) -> None:
    """Set positions nearest to ``wishes`` in least squares that keep order and distances.

    This is isotonic regression of the wishes less the room to the left, by pooling adjacent
    violators (Barlow et al., 1972).
    """
    offsets = [0.0]
    for a, b in itertools.pairwise(level):
        gap = GAP_X if a.item is not None or b.item is not None else GAP_X / 2
        offsets.append(offsets[-1] + a.half + gap + b.half)
    pools: list[tuple[float, float, int]] = []
    for (x, weight), offset in zip(wishes, offsets, strict=True):
        pools.append((x - offset, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (m1, w1, n1), (m2, w2, n2) = pools[-2:]
            pools[-2:] = [((m1 * w1 + m2 * w2) / (w1 + w2), w1 + w2, n1 + n2)]
    means = (m for m, _, n in pools for _ in range(n))
    for s, mean, offset in zip(level, means, offsets, strict=True):
        s.x = mean + offset
