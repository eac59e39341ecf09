"""Dropout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc import ops
from graphc.errors import ArgumentError, DTypeError, ShapeError, user_location
from graphc.ir.op import Array, Linear, register, require_float
from graphc.ir.tensor import Tensor, apply
from graphc.nn.module import Layer
from graphc.nn.training import TrainingOp
from graphc.ops.batched import Case, batching
from graphc.ops.random import RandomUniform, random_uniform
from graphc.types import INT64, TensorType

_SCALAR = TensorType(INT64, ())


@register
class DropoutOp(Linear, TrainingOp):
    """``x / (1 - p)`` where a random number of the element is at least ``p``, else 0.

    Operands are ``x``, the seed, and the number of masks drawn before: the mask is a function
    of these and of the element's place, so the adjoint draws it again and nothing is stored.
    """

    name = "dropout"
    p: float

    def infer(self, *types: TensorType) -> TensorType:
        x, *state = types
        require_float("dropout", x)
        if state != [_SCALAR, _SCALAR]:
            raise ShapeError("the seed and the step must be int64 scalars")
        return x

    def numpy(self, *arrays: Array) -> Array:
        x, seed, step = arrays
        draw = RandomUniform(x.shape, 0, x.dtype)
        return np.where(draw.numpy(seed, step) >= self.p, x * x.dtype.type(self._scale), 0)

    def expand(self, *inputs: Tensor) -> Tensor:
        x, seed, step = inputs
        number = random_uniform(x.type.shape, seed=seed, step=step, stream=0, dtype=x.dtype)
        return ops.where(number >= self.p, x * self._scale, 0.0)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return apply(self, g, *inputs[1:]), None, None

    def inference(self, *inputs: Tensor) -> Tensor:
        return inputs[0]

    def updates(self, *inputs: Tensor) -> Mapping[Tensor, Tensor]:
        step = inputs[2]
        return {step: step + 1}

    @property
    def _scale(self) -> float:
        return 1.0 / (1.0 - self.p) if self.p < 1.0 else 0.0


@batching(DropoutOp)
def _of_samples(case: Case) -> Tensor | None:
    """Each sample has a mask of its own."""
    same = not any(case.has[1:])
    return apply(case.node.op, case.whole(0), *case.operands[1:]) if same else None


class Dropout(Layer):
    """Zero each element with probability ``p`` and scale the others by ``1 / (1 - p)``.

    Only in training: a model evaluates and predicts without it. Every call draws masks of its
    own, a new one each step (Srivastava et al., JMLR 15, 2014).
    """

    def __init__(self, p: float = 0.5, *, name: str | None = None) -> None:
        super().__init__(name)
        self.p = probability("Dropout: p", p)

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0.0:
            return x
        return apply(DropoutOp(self.p), x, *draw_state(self))


def probability(what: str, p: Any) -> float:
    """Return a user's probability."""
    if isinstance(p, bool) or not isinstance(p, (int, float)):
        raise DTypeError(f"{what} must be a number, not {p!r}\n  at {user_location()}")
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(f"{what} must be in [0, 1], got {p}\n  at {user_location()}")
    return float(p)


def draw_state(layer: Layer) -> tuple[Tensor, Tensor]:
    """Return the seed of a new draw of a layer, and the number of draws before."""
    seed = layer.parameter("seed", _seed, (), dtype=INT64, trainable=False)
    step = layer.parameter("step", np.zeros((), np.int64), dtype=INT64, trainable=False)
    return seed, step


def _seed(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    return rng.integers(np.iinfo(np.int64).max, size=shape)
