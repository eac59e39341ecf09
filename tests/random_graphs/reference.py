"""What a graph computes, in double precision, and how far rounding may move it.

The bound is not a number that somebody chose: the graph is evaluated several times with every
operand and result of an op that rounds moved by a random part of a unit in its last place
(Monte Carlo arithmetic; Parker, 1997). What that moves by d, compiled code may move by a small
multiple of d; where all ops are exact (views, gathers, comparisons, ...) nothing moves and the
result must be equal. Operands are moved where an op adds up many of them; an elementwise op is
exact but for its own last place. Composite ops are taken as the formulas they stand for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphc.ir.graph import ancestors, replace_inputs
from graphc.ir.interpret import evaluate
from graphc.ir.op import Assembly, Composite, Elementwise, Loops, Source, View
from graphc.ir.results import Result, unpacked
from graphc.ir.source import Input
from graphc.ir.tensor import Tensor
from graphc.ops.scan import Scan
from graphc.types import Several, dim_at

EXACT = {
    "where", "max", "min", "maximum", "minimum", "abs", "negative", "sign", "clip", "relu",
    "hardtanh", "floor", "ceil", "trunc", "round", "copysign", "take", "take_along_axis", "pick",
    "place", "shift", "slice", "stop_gradient", "diagonal", "embed", "embed_diagonal", "iota",
    "broadcast_to", "random_uniform", "extent", "pack", "greatest_in_windows",
}  # fmt: skip
"""Ops whose results are one of their operands' elements, or exactly representable."""

AMPLITUDE = 4.0
"""Units in the last place by which an op may be off; elementary functions are within 2."""

FACTOR = 8.0
"""How many times the spread of a few evaluations a result may be off."""

Values = dict[Tensor, np.ndarray]


def rounds(node: Tensor) -> bool:
    """Tell whether the op's result is rounded."""
    op = node.inputs[0].op if isinstance(node.op, Result) else node.op
    exact = isinstance(op, (View, Assembly, Source)) or op.name in EXACT
    return node.dtype.kind == "f" and not exact


def _steps_within(node: Tensor, batch: int) -> float:
    """Return how many roundings, of either sign, an op that loops has in an element."""
    if isinstance(node.op, Scan):
        return float(max(1, dim_at(node.op.length, batch) * len(node.op.body.nodes)) ** 0.5)
    if not isinstance(node.op, Loops) or not node.inputs:
        return 1.0
    types = [x.type for x in node.inputs]
    flops = dim_at(node.op.flops(node.type, *types), batch)
    return float(max(1.0, flops / max(1, dim_at(types[0].size, batch))) ** 0.5)


def wide_evaluate(
    roots: Iterable[Tensor], feeds: Mapping[Tensor, np.ndarray], batch: int,
    rng: np.random.Generator | None = None, amplitude: float = AMPLITUDE,
) -> Values:  # fmt: skip
    """Return the values in double precision; with ``rng``, moved as rounding may move them."""
    values: dict[Tensor, Any] = {}

    def moved(x: np.ndarray, unit: float) -> np.ndarray:
        if rng is None or x.dtype.kind != "f":
            return x
        return x * (1 + amplitude * unit * rng.uniform(-1, 1, x.shape))

    with np.errstate(all="ignore"):
        for node in ancestors(roots, feeds):
            unit = float(np.finfo(node.dtype).eps) / 2 if node.dtype.kind == "f" else 0.0
            if node in feeds or isinstance(node.op, Input):
                value = np.asarray(feeds[node])
            else:
                operands = [values[x] for x in node.inputs]
                parts = node.type.parts if isinstance(node.type, Several) else ()
                units = [float(np.finfo(t.dtype).eps) / 2 for t in parts if t.dtype.kind == "f"]
                if units and node.op.name not in EXACT:
                    own = max(units) * _steps_within(node, batch)
                    operands = [moved(x, own) for x in operands]
                elif rounds(node) and not isinstance(node.op, (Elementwise, Result)):
                    own = unit * _steps_within(node, batch)
                    operands = [moved(x, own) for x in operands]
                value = node.op.bind(batch).numpy(*operands)
            if isinstance(node.type, Several):  # each result is looked at as it is taken
                values[node] = value
                continue
            value = np.asarray(value)
            if node.dtype.kind == "f":
                value = value.astype("float64")
                if rounds(node) and node not in feeds:
                    value = moved(value, unit)
            values[node] = value
    return values


def _expanded(roots: list[Tensor], feeds: Mapping[Tensor, np.ndarray]) -> list[Tensor]:
    """Return ``roots`` with composite ops replaced by their formulas."""
    while any(isinstance(t.op, Composite) for t in ancestors(roots, feeds)):
        new: dict[Tensor, Tensor] = {}
        for node in ancestors(roots, feeds):
            operands = tuple(new[x] for x in node.inputs) if node not in feeds else ()
            if isinstance(node.op, Composite):
                new[node] = node.op.expand(*operands)
            else:
                new[node] = unpacked(replace_inputs(node, operands)) if operands else node
        roots = [new[t] for t in roots]
    return roots


class Reference:
    """The values of ``roots``, and the judge of what another implementation gives for them."""

    def __init__(self, roots: Iterable[Tensor], feeds: Mapping[Tensor, np.ndarray], batch: int):
        self.roots, self.feeds, self.batch = list(roots), feeds, batch
        self._plain = _expanded(self.roots, feeds)
        self._rounded = {t for t in self.roots if any(map(rounds, ancestors([t], feeds)))}
        self._rng = np.random.default_rng(0)
        self.native = evaluate(self.roots, feeds, batch)
        self.middle = wide_evaluate(self.roots, feeds, batch)
        self._spread: Values = {t: np.zeros(np.shape(self.middle[t])) for t in self.roots}
        self._widen(3, AMPLITUDE)
        self._widened = False

    def _widen(self, times: int, amplitude: float) -> None:
        for _ in range(times):
            other = wide_evaluate(self._plain, self.feeds, self.batch, self._rng, amplitude)
            for t, plain in zip(self.roots, self._plain, strict=True):
                a, b = self.middle[t], other[plain]
                with np.errstate(invalid="ignore"):
                    off = np.abs(np.asarray(a, "float64") - np.asarray(b, "float64"))
                same = (a == b) | ((a != a) & (b != b))
                off = np.where(same, 0.0, np.where(np.isnan(off), np.inf, off))
                self._spread[t] = np.maximum(self._spread[t], off)

    def _wrong(self, tensor: Tensor, found: np.ndarray, slack: float) -> np.ndarray:
        wanted, native = self.middle[tensor], self.native[tensor]
        limit = FACTOR * self._spread[tensor]
        if tensor.dtype.kind == "f":  # the result is rounded to its type once more
            rounded = wanted.astype(tensor.dtype)
            limit = np.where(limit > 0, limit + np.abs(np.spacing(rounded)), 0)
            if tensor in self._rounded:  # what underflows may become 0
                limit = np.maximum(limit, float(np.finfo(tensor.dtype).tiny))
        else:
            rounded = wanted
        if slack:
            limit = limit + slack * (1 + np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0))
        with np.errstate(invalid="ignore"):
            off = np.abs(np.asarray(found, "float64") - np.asarray(wanted, "float64"))
        same = (found == rounded) | ((found != found) & (rounded != rounded))
        same |= (found == native) | ((found != found) & (native != native))
        return ~(same | (off <= limit))

    def difference(self, tensor: Tensor, found: np.ndarray, slack: float = 0.0) -> str:
        """Return how ``found`` differs from the value of ``tensor`` beyond rounding, or nothing.

        ``slack``, relative to the largest value, is for implementations of other formulas.
        """
        found = np.asarray(found)
        wanted = self.middle[tensor]
        if found.shape != wanted.shape or found.dtype != tensor.dtype:
            return f"{found.dtype.name}{found.shape}, not {tensor.dtype.name}{wanted.shape}"
        wrong = self._wrong(tensor, found, slack)
        if wrong.any() and not self._widened:
            self._widened = True
            self._widen(24, 2 * AMPLITUDE)
            wrong = self._wrong(tensor, found, slack)
        if not wrong.any():
            return ""
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        spread = FACTOR * self._spread[tensor][place]
        return (f"{found[place]!r} at {place}, not {wanted[place]!r} (rounding: {spread:.2g}), "
                f"in {int(wrong.sum())} of {wrong.size} places")  # fmt: skip
