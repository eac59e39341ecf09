"""Where what a placed picture shows lies, and how lines run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from graphc.viz.picture import UPDATE, Band, Item, Line, Picture

Point = tuple[float, float]

INSET = 9.0
STUB = 30.0  # how far a line reaches out of its panel
_ROW_GAP, _HEADER, _FOOTER, _PANEL_GAP = 24.0, 22.0, 8.0, 90.0


class Geometry:
    """Positions in points, y downwards, of a placed picture with everything shown."""

    def __init__(self, picture: Picture, origin: Point = (0.0, 0.0)) -> None:
        """``origin`` is where the picture's left upper corner lies."""
        self.picture = picture
        left, upper = origin
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
            y = upper
            for row in range(first, last):
                self.shift[row] = left + panel * (picture.width + _PANEL_GAP)
                self.top[row] = y + above[row]
                self.bottom[row] = self.top[row] + height[row]
                self.panel[row] = panel
                y = self.bottom[row] + below[row]
            self.ends.append((self.top[first], self.bottom[last - 1]))
            self.height = max(self.height, y - upper)
        self.width = self.shift[-1] + picture.width - left if rows else 0.0

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
        inset = INSET * (1 + max(b.depth for b in self.picture.bands) - band.depth)
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
                points.append((points[-1][0], self.ends[panel][down > 0] + down * STUB))
                panel, x = self.panel[row], next_x
                points = [(x + self.shift[row], self.ends[panel][down < 0] - down * STUB)]
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
