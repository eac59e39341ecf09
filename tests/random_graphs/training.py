"""Random training graphs: what one implementation computes, another must compute as well.

``random_graph(seed)`` draws a small network of elementwise functions, reductions, products,
views and formulas that have stable forms, some steps that change nothing, and the gradients of
a loss. Its values are bounded, so that results can be compared to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

import graphc as gx
from graphc.errors import ShapeError
from graphc.ir.graph import Graph
from graphc.types import AnyDim, broadcast_shapes, shape_at

LARGEST = 400
"""Elements of a tensor at a batch of 3."""


@dataclass
class Drawing:
    """A graph in the making."""

    rng: np.random.Generator
    dtype: str
    tensors: list[gx.Tensor] = field(default_factory=list)
    parameters: list[gx.Tensor] = field(default_factory=list)

    def any(self) -> gx.Tensor:
        """Return a tensor, of late ones more often."""
        place = int(len(self.tensors) * self.rng.beta(3.0, 1.0))
        return self.tensors[min(place, len(self.tensors) - 1)]

    def parameter(self, *shape: int) -> gx.Tensor:
        """Return a new parameter."""
        values = self.rng.standard_normal(shape).astype(self.dtype)
        result = gx.parameter(values, name=f"p{len(self.parameters)}")
        self.parameters.append(result)
        return result


Step = Callable[[Drawing, gx.Tensor], gx.Tensor | None]

UNARY = (
    gx.tanh, gx.sin, gx.sigmoid, gx.relu, gx.softplus, gx.abs, gx.silu, gx.atan,
    lambda x: gx.log(1 + gx.exp(x)),
    lambda x: gx.log(gx.sigmoid(x)),
    lambda x: gx.log(1.0 - gx.sigmoid(x)),
    lambda x: gx.exp(gx.tanh(x)) - 1.0,
    lambda x: 1.0 / (1.0 + gx.exp(-x)),
    lambda x: gx.log(1.0 + x * x),
    lambda x: gx.sqrt(1.0 + gx.square(x)),
    lambda x: gx.clip(x, -0.5, 0.5),
)  # fmt: skip

BINARY = (
    gx.add, gx.subtract, gx.maximum, gx.minimum, gx.hypot,
    lambda x, y: gx.tanh(x) * gx.tanh(y),
    lambda x, y: x / (1.0 + y * y),
    lambda x, y: gx.where(x > y, gx.tanh(x), y),
)  # fmt: skip

NOTHING = (
    lambda x: x * 1.0,
    lambda x: x + 0.0,
    lambda x: x - 0.0,
    lambda x: 1.0 * x / 1.0,
    lambda x: -(-x),
    lambda x: (x * 0.5) * 2.0,
    lambda x: x**1,
    lambda x: gx.where(True, x, -x),
    lambda x: gx.stop_gradient(gx.constant(np.ones((), x.dtype))) * x,
)

LINES = (
    gx.softmax, gx.log_softmax,
    lambda x, axis: gx.log(gx.softmax(x, axis)),
    lambda x, axis: gx.exp(x) / gx.sum(gx.exp(x), axis, keepdims=True),
    lambda x, axis: gx.log(gx.sum(gx.exp(x), axis, keepdims=True)),
    lambda x, axis: gx.sum(gx.sum(x, axis, keepdims=True), axis, keepdims=True) * 0.25,
)  # fmt: skip


def pick(options: tuple, d: Drawing):
    return options[int(d.rng.integers(len(options)))]


def unary(d: Drawing, x: gx.Tensor) -> gx.Tensor:
    return pick(UNARY, d)(x)


def nothing(d: Drawing, x: gx.Tensor) -> gx.Tensor:
    return pick(NOTHING, d)(x)


def binary(d: Drawing, x: gx.Tensor) -> gx.Tensor | None:
    y = d.any()
    try:
        broadcast_shapes(x.type.shape, y.type.shape)
    except ShapeError:
        return None
    return pick(BINARY, d)(x, y)


def with_parameter(d: Drawing, x: gx.Tensor) -> gx.Tensor:
    last = x.type.shape[-1] if x.ndim and isinstance(x.type.shape[-1], int) else 1
    return pick(BINARY, d)(x, d.parameter(last))


def reduce(d: Drawing, x: gx.Tensor) -> gx.Tensor | None:
    if not x.ndim:
        return None
    axis = int(d.rng.integers(x.ndim))
    f = pick((gx.mean, gx.mean, gx.max, gx.min, lambda *a, **k: 0.1 * gx.sum(*a, **k)), d)
    return f(x, axis, keepdims=bool(d.rng.integers(2)))


def lines(d: Drawing, x: gx.Tensor) -> gx.Tensor | None:
    return pick(LINES, d)(gx.tanh(x), int(d.rng.integers(x.ndim))) if x.ndim else None


def product(d: Drawing, x: gx.Tensor) -> gx.Tensor | None:
    if x.ndim < 2 or not isinstance(x.type.shape[-1], int):
        return None
    n = x.type.shape[-1]
    m = int(d.rng.integers(1, 5))
    way = int(d.rng.integers(4))
    if way == 0:
        return (x @ d.parameter(n, m)) / n
    if way == 1:
        return (x @ d.parameter(m, n).T) / n
    if way == 2:
        return (x @ d.parameter(n, m) @ d.parameter(m, n)) / n
    return gx.tanh(gx.matrix_transpose(x) @ x)


def view(d: Drawing, x: gx.Tensor) -> gx.Tensor | None:
    way = int(d.rng.integers(6))
    shape = x.type.shape
    if way == 0:
        return gx.permute_dims(x, tuple(int(a) for a in d.rng.permutation(x.ndim)))
    if way == 1:
        return gx.reshape(x, (*shape, 1) if d.rng.integers(2) else (1, *shape))
    if way == 2 and x.ndim >= 2:
        merged: AnyDim = shape[-2] * shape[-1]
        return gx.reshape(x, (*shape[:-2], merged))
    if way == 3 and x.ndim and isinstance(shape[-1], int) and shape[-1] > 1:
        return x[..., ::2] if d.rng.integers(2) else x[..., 1:]
    if way == 4 and x.ndim:
        return gx.flip(x, int(d.rng.integers(x.ndim)))
    if way == 5:
        return gx.broadcast_to(x, (2, *shape))
    return None


STEPS: tuple[Step, ...] = (unary, unary, binary, binary, with_parameter, nothing, reduce, lines,
                           product, view, view)  # fmt: skip


def random_graph(
    seed: int, *, steps: int = 15, dtype: str = "float64", batch: bool = True
) -> Graph:
    """Return a graph of outputs, a loss, its gradients and updates by them.

    Its inputs are ``x`` and ``y``; with ``batch`` their first axis is the batch.
    """
    d = Drawing(np.random.default_rng(seed), dtype)
    rows = None if batch else 3
    x, y = gx.input("x", (rows, 4), dtype), gx.input("y", (rows, 1), dtype)
    d.tensors += [x, y, x @ d.parameter(4, 3)]
    while len(d.tensors) < steps + 3:
        result = pick(STEPS, d)(d, d.any())
        if result is None or result.ndim > 4:
            continue
        if np.prod(shape_at(result.type.shape, 3)) <= LARGEST:
            d.tensors.append(result)
    ends = d.tensors[-3:]
    loss = gx.add(gx.mean(gx.tanh(ends[0])), gx.mean(gx.tanh(ends[1])) + gx.sum(gx.tanh(ends[2])))
    gradients = gx.grad(loss, [x, *d.parameters], unconnected="zero")
    outputs = {f"out{i}": t for i, t in enumerate(ends)}
    updates = {p: p - 0.1 * g for p, g in zip(d.parameters, gradients[1:], strict=True)}
    return Graph([x, y], {**outputs, "loss": loss, "dx": gradients[0]}, updates)
