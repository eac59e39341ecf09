"""Formulas of what lookups touch: at their rows, in place of the whole table.

An update of a table that leaves all rows alone but those of its gradient, which is scattered, is
computed at these, and they are replaced; a step of plain descent adds them one by one. So does a
fold of a gradient, such as its norm, see these rows only. Cost and memory are those of the lookup
(:mod:`graphc.ops.touched`).
"""

from __future__ import annotations

from collections import Counter

from graphc.ir.graph import Graph, replace_inputs
from graphc.ir.tensor import Tensor, apply, building
from graphc.ops.arithmetic import Add
from graphc.ops.gather import ScatterAdd
from graphc.ops.manipulation import concat
from graphc.ops.rows import AddAt, PutAt, coalesced
from graphc.ops.shape import reshape
from graphc.ops.touched import Touched, is_scattered, scattered
from graphc.types import NOMINAL_BATCH, AnyDim, dim_at

FEW = 2
"""How many times more rows a table has than are looked up, at least, for this to pay."""


def rows(graph: Graph, hits: Counter[str]) -> Graph:
    """Return the graph with updates and folds of scattered gradients at the rows they touch."""
    found = filter(is_scattered, graph.nodes)
    if not any(_is_few(node.inputs[1].type.size, node.type.shape[0]) for node in found):
        return graph
    joined = _joined(graph, hits)
    return joined.rebuild(_AtRows(joined, hits).rule)


def _is_few(count: AnyDim, length: AnyDim) -> bool:
    """Tell whether ``count`` rows are few of ``length``, at a common batch."""
    return dim_at(count, NOMINAL_BATCH) * FEW <= dim_at(length, NOMINAL_BATCH)


def _joined(graph: Graph, hits: Counter[str]) -> Graph:
    """Return the graph with sums of scattered tensors as one: ``S(a, i) + S(b, j) = S(ab, ij)``."""
    together: dict[tuple[Tensor, Tensor], Tensor] = {}

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        if not isinstance(node.op, Add) or not all(map(is_scattered, operands)):
            return replace_inputs(node, operands)
        x, y = operands
        count = x.inputs[1].type.size + y.inputs[1].type.size
        if x.type.shape != y.type.shape or not _is_few(count, x.type.shape[0]):
            return replace_inputs(node, operands)
        with building(phase=node.phase, loc=node.loc, scope=node.scope):
            (first, a), (second, b) = scattered(x), scattered(y)
            key = x.inputs[1], y.inputs[1]
            if key not in together:
                together[key] = concat([first, second])
            new = apply(ScatterAdd(0, x.type.shape), concat([a, b]), together[key])
        hits["joined"] += 1
        return new

    return graph.rebuild(rule)


class _AtRows:
    """What updates and folds become, node by node."""

    def __init__(self, graph: Graph, hits: Counter[str]) -> None:
        self.hits = hits
        self.known = Touched(graph.nodes)
        self.updated = {v: p for p, v in graph.updates.items() if self.known.rest.get(v) is p}
        self.made: dict[Tensor, tuple[Tensor, Tensor]] = {}
        self.now: dict[Tensor, Tensor] = {}
        """What has become of each node so far."""

    def rule(self, node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        found = replace_inputs(node, operands)
        with building(phase=node.phase, loc=node.loc, scope=node.scope):
            if self.known.adds_nothing(node) and self._pays(node.inputs[0]):
                found = apply(node.op, self._at(node.inputs[0])[1])
                self.hits["folds"] += 1
            elif node in self.updated and self._pays(node):
                found = self._update(node, self.updated[node])
                self.hits["updates"] += 1
        self.now[node] = found
        return found

    def _pays(self, x: Tensor) -> bool:
        """Tell whether the rows that ``x`` touches are few, and known by the same places."""
        places = self.known.places[x]
        return len(places) == 1 and _is_few(places[0].type.size, x.type.shape[0])

    def _update(self, value: Tensor, parameter: Tensor) -> Tensor:
        step = self.known.step(value, parameter)
        if step is None:
            place, new = self._at(value)
            return apply(PutAt(0, True), parameter, new, place)
        way, minus = step
        (indices,) = self.known.places[way]
        place = reshape(self._new(indices), (indices.type.size,))
        added = self.known.at(way, place, lambda x: scattered(self._new(x))[1], self._new)
        return apply(AddAt(0), parameter, -added if minus else added, place)

    def _at(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the places that a formula touches, each once, and its rows there."""
        (indices,) = self.known.places[x]
        of_it = (n for n in self.now if is_scattered(n) and n.inputs[1] is indices)
        place, _ = self._together(next(of_it))
        return place, self.known.at(x, place, lambda y: self._together(y)[1], self._new)

    def _together(self, node: Tensor) -> tuple[Tensor, Tensor]:
        """Return the places that a scattered node touches, each once, and their sums."""
        if node not in self.made:
            self.made[node] = coalesced(*scattered(self._new(node)), node.type.shape[0])
        return self.made[node]

    def _new(self, node: Tensor) -> Tensor:
        return self.now.get(node, node)
