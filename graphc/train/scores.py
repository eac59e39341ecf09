"""Scores over many rows, from what their batches add up to.

A mean over rows is the mean of its batches', weighted by their rows. A loss that leaves some rows
out, weighs them, or adds them up is not. But it is a formula of sums over rows, and these do add
up: a score is taken apart into the sums, which run on batches, and the formula, which is
evaluated once, of the totals. What cannot be taken apart needs all rows at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.errors import GraphcError
from graphc.ir.graph import Graph, ancestors, replace_inputs
from graphc.ir.interpret import evaluate
from graphc.ir.op import Array, Composite
from graphc.ir.source import Parameter
from graphc.ir.tensor import Tensor, building
from graphc.ops.cast import astype
from graphc.ops.creation import Extent
from graphc.ops.random import RandomUniform
from graphc.ops.reduce import Sum
from graphc.ops.shape import reshape
from graphc.types import BATCH, FLOAT64, Dim, divided, shape_at

_ROWS = 3
"""Rows of the batch on which ops are tried."""

_LARGEST = 1 << 16
"""Elements of a sum that an epoch adds up: those of a confusion matrix of 256 classes."""


@dataclass(frozen=True)
class Score:
    """A scalar as a formula of sums over rows; without ``sums`` it needs all rows at once."""

    result: Tensor
    sums: tuple[Tensor, ...]

    def of(self, totals: Sequence[Array], rows: int) -> float:
        """Return the score of ``rows`` rows over which the sums have these ``totals``."""
        pairs = zip(self.sums, totals, strict=True)
        feeds = {tensor: np.asarray(total, tensor.dtype) for tensor, total in pairs}
        return float(evaluate([self.result], feeds, rows)[self.result])

    @property
    def is_mean(self) -> bool:
        """Whether it is the mean of batches' scores, weighted by their rows."""
        rng = np.random.default_rng(0)
        needed = ancestors([self.result], dict.fromkeys(self.sums))
        fixed = {p: _example(p, rng) for p in needed if isinstance(p.op, Parameter)}
        one, two = ([_example(s, rng) for s in self.sums] for _ in range(2))

        def weighted(totals: Iterable[Array], rows: int) -> float:
            feeds = {**fixed, **dict(zip(self.sums, totals, strict=True))}
            return rows * float(evaluate([self.result], feeds, rows)[self.result])

        both = weighted([a + b for a, b in zip(one, two, strict=True)], 8)
        return bool(np.isclose(weighted(one, 3) + weighted(two, 5), both, rtol=1e-4))


def taken_apart(graph: Graph, batched: Iterable[Tensor]) -> dict[str, Score]:
    """Return the outputs of ``graph``, scalars, as formulas of sums over the ``batched`` inputs."""
    whole = _expanded(graph)
    rows = _Rows(whole, set(batched))
    return {name: Score(score, rows.sums_below(score)) for name, score in whole.outputs.items()}


def _expanded(graph: Graph) -> Graph:
    """Return the graph without composite ops that fold the rows: means over them.

    Others stay, for they are more than their formulas: they say what their indices must be.
    """

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        if not _folds_rows(node):
            return replace_inputs(node, operands)
        assert isinstance(node.op, Composite)
        with building(phase=node.phase, loc=node.loc, scope=node.scope):
            return node.op.expand(*operands)

    while any(map(_folds_rows, graph.nodes)):
        graph = graph.rebuild(rule)
    return graph


def _folds_rows(node: Tensor) -> bool:
    """Tell whether a composite op has rows in its operands and none in its result."""

    def by_rows(tensor: Tensor) -> bool:
        return any(isinstance(d, Dim) for d in tensor.type.shape)

    return isinstance(node.op, Composite) and not by_rows(node) and any(map(by_rows, node.inputs))


@dataclass(frozen=True)
class _Place:
    """Where a tensor has the rows of the batch: ``scale`` elements for each, along ``axis``."""

    axis: int
    scale: int

    def part(self, array: Array, row: int) -> Array:
        rows = slice(row * self.scale, (row + 1) * self.scale)
        return array[(slice(None),) * self.axis + (rows,)]


class _Rows:
    """Which tensors are the same for all batches, or have rows that owe nothing to each other."""

    def __init__(self, graph: Graph, batched: set[Tensor]) -> None:
        self._same: set[Tensor] = set()
        self._places: dict[Tensor, _Place] = {}
        self._sized: set[Tensor] = set()
        """Those that depend on the number of rows alone."""
        self._tried: dict[object, bool] = {}
        """What :meth:`_keeps_rows` has found, by all that it depends on."""
        for node in graph.nodes:
            if node in batched:
                self._places[node] = _Place(0, 1)
            else:
                self._add(node)

    def _add(self, node: Tensor) -> None:
        dims = [(axis, d) for axis, d in enumerate(node.type.shape) if isinstance(d, Dim)]
        same, sized, places = self._same, self._sized, self._places
        if not dims and not isinstance(node.op, Extent) and all(x in same for x in node.inputs):
            same.add(node)
        elif not dims and all(x in same or x in sized for x in node.inputs):
            sized.add(node)
        elif len(dims) == 1 and all(x in same or x in places for x in node.inputs):
            ((axis, dim),) = dims
            scale = divided(dim, BATCH)
            draws = isinstance(node.op, RandomUniform) and not axis  # each row's are its own
            if isinstance(scale, int):
                place = _Place(axis, scale)
                if draws or self._keeps_rows(node, place):
                    places[node] = place

    def _keeps_rows(self, node: Tensor, place: _Place) -> bool:
        """Tell whether each row of the result comes from one row of the operands."""
        places = [self._places.get(x) for x in node.inputs]
        case = (node.op, place, *places, *[x.type for x in node.inputs])
        found = self._tried.get(case)
        if found is None:
            found = self._tried[case] = _tries(node, place, places)
        return found

    def sums_below(self, score: Tensor) -> tuple[Tensor, ...]:
        """Return the sums over rows of which ``score`` is a formula; none if it is not."""
        found: dict[Tensor, None] = {}
        stack, seen = [score], {score}
        while stack:
            node = stack.pop()
            if node in self._same or node in self._sized:
                continue
            place = self._places.get(node.inputs[0]) if node.inputs else None
            if isinstance(node.op, Sum) and place is not None and place.axis in node.op.axes:
                found[node] = None
            elif not node.inputs or any(isinstance(d, Dim) for d in node.type.shape):
                return ()
            else:
                stack += [x for x in node.inputs if x not in seen]
                seen.update(node.inputs)
        return tuple(found)


def _tries(node: Tensor, place: _Place, places: Sequence[_Place | None]) -> bool:
    """Tell by trying whether rows at ``place`` come each from one row at the operands' places."""
    rng = np.random.default_rng(0)
    arrays = [_example(x, rng) for x in node.inputs]
    try:
        with np.errstate(all="ignore"):
            whole, alone = node.op.bind(_ROWS).numpy(*arrays), node.op.bind(1)
            for row in range(_ROWS):
                pairs = zip(arrays, places, strict=True)
                one = alone.numpy(*(a if p is None else p.part(a, row) for a, p in pairs))
                wanted = place.part(whole, row)
                if np.array_equal(one, wanted):
                    continue
                if not np.allclose(one, wanted, rtol=1e-4, equal_nan=True):
                    return False
    except (GraphcError, ValueError, IndexError, TypeError):
        return False
    return True


def _example(tensor: Tensor, rng: np.random.Generator) -> Array:
    """Return values of a tensor's type, for :data:`_ROWS` rows."""
    shape = shape_at(tensor.type.shape, _ROWS)
    if tensor.dtype.kind == "f":
        return rng.uniform(0.5, 1.5, shape).astype(tensor.dtype)
    return rng.integers(0, 2, shape).astype(tensor.dtype)


def over_batches(
    scores: Mapping[str, Score], batches: Iterable[Mapping[str, Array]], rows: int
) -> dict[str, float]:
    """Return the scores of ``rows`` rows, whose batches gave these values of :func:`batch_outputs`.

    A score without sums is that of the one batch there is.
    """
    sums = named_sums(scores)
    totals = {tensor: np.zeros(shape_at(tensor.type.shape, 0)) for tensor in sums.values()}
    values: Mapping[str, Array] = {}
    for values in batches:
        for name, tensor in sums.items():
            totals[tensor] = totals[tensor] + values[name]
    return {
        name: score.of([totals[s] for s in score.sums], rows) if score.sums else float(values[name])
        for name, score in scores.items()
    }


def batch_outputs(scores: Mapping[str, Score]) -> dict[str, Tensor]:
    """Return what to compute of each batch, by name."""
    whole = {name: score.result for name, score in scores.items() if not score.sums}
    return {**whole, **named_sums(scores)}


def added_in_epochs(scores: Mapping[str, Score]) -> dict[str, Score]:
    """Return the scores that an epoch adds up otherwise than as means over rows."""
    return {
        name: score
        for name, score in scores.items()
        if score.sums and all(_size(s) <= _LARGEST for s in score.sums) and not score.is_mean
    }


def as_added(sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return sums as an epoch adds them up: rows of floating-point numbers."""
    return {
        name: reshape(s if s.dtype.kind == "f" else astype(s, FLOAT64), (_size(s),))
        for name, s in sums.items()
    }


def _size(tensor: Tensor) -> int:
    """Return the number of elements, over any number of rows."""
    return math.prod(shape_at(tensor.type.shape, 0))


def logged(
    names: Sequence[str], added: Mapping[str, Score], sums: Array, rows: int
) -> dict[str, float]:
    """Return scores of the ``rows`` over which an epoch has added up ``sums``.

    First come the scores ``names``, each times the rows of its batch, then the sums of ``added``.
    """
    logs = dict(zip(names, (sums[: len(names)] / rows).tolist(), strict=True))
    tensors = list(named_sums(added).values())
    parts = np.split(sums[len(names) :], np.cumsum([_size(t) for t in tensors])[:-1])
    pairs = zip(tensors, parts if tensors else (), strict=True)
    totals = {t: part.reshape(shape_at(t.type.shape, 0)) for t, part in pairs}
    return logs | {n: s.of([totals[tensor] for tensor in s.sums], rows) for n, s in added.items()}


def named_sums(scores: Mapping[str, Score]) -> dict[str, Tensor]:
    """Return the sums of all scores, each once, by names that no user gives."""
    sums = dict.fromkeys(tensor for score in scores.values() for tensor in score.sums)
    return {f"sum {number}": tensor for number, tensor in enumerate(sums)}
