"""Check mode: a pass must not change what a graph computes."""

from __future__ import annotations

import numpy as np

from graphc.errors import VerificationError
from graphc.ir.graph import Graph
from graphc.ir.interpret import evaluate
from graphc.ir.op import Array
from graphc.ir.tensor import Tensor
from graphc.types import shape_at

BATCHES = (1, 3)
"""The sizes of the batch at which graphs are compared."""

FINITE = ("stabilize", "rows")
"""Passes after which a result may be finite that was not: by stable forms, and because what a
lookup did not touch has no gradient, not one times zero."""

_TOLERANCE = {"float32": 2e-4, "float64": 1e-9}


def compare(what: str, before: Graph, after: Graph) -> None:
    """Raise :class:`VerificationError` if the results of two graphs differ on random values.

    Floating-point results may differ by rounding, in proportion to the largest of a tensor;
    where they are not finite, they must be the same, but for passes of :data:`FINITE`.
    """
    for batch in BATCHES:
        feeds = random_feeds(before, batch)
        try:
            expected = evaluate(before.roots, feeds, batch)
        except (ValueError, IndexError):
            continue  # not a graph for this batch, or for these values
        pairs = _pairs(before, after)
        found = evaluate([new for _, _, new in pairs], feeds, batch)
        for name, old, new in pairs:
            difference = _difference(expected[old], found[new], what in FINITE)
            if difference:
                raise VerificationError(f"pass {what} changed {name} ({old.type}): {difference}")


def random_feeds(graph: Graph, batch: int, seed: int = 0) -> dict[Tensor, Array]:
    """Return values for the graph's inputs and parameters: normal deviates, or 0 and 1."""
    rng = np.random.default_rng(seed)
    feeds: dict[Tensor, Array] = {}
    for tensor in (*graph.inputs, *graph.parameters):
        shape = shape_at(tensor.type.shape, batch)
        floating = tensor.dtype.kind == "f"
        values = rng.standard_normal(shape) if floating else rng.integers(0, 2, shape)
        feeds[tensor] = np.asarray(values, tensor.dtype)
    return feeds


def _pairs(before: Graph, after: Graph) -> list[tuple[str, Tensor, Tensor]]:
    """Return names, and results of both; an update that is left out keeps its parameter."""
    outputs = [(name, t, after.outputs[name]) for name, t in before.outputs.items()]
    updates = [(f"the new {p.name}", t, after.updates.get(p, p)) for p, t in before.updates.items()]
    return [*outputs, *updates]


def _difference(expected: Array, found: Array, may_become_finite: bool) -> str:
    """Return how ``found`` differs from ``expected``, or nothing."""
    if expected.dtype.kind != "f":
        wrong = expected != found
    else:
        finite = np.isfinite(expected)
        largest = float(np.abs(expected[finite]).max(initial=1.0))
        limit = _TOLERANCE[expected.dtype.name] * largest
        with np.errstate(invalid="ignore"):
            close = np.abs(expected - found) <= limit
        same = (expected == found) | (np.isnan(expected) & np.isnan(found))
        wrong = ~(close | same | (~finite & may_become_finite))
    if not wrong.any():
        return ""
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"{expected[place]} became {found[place]} at {place}, in {int(wrong.sum())} places"
