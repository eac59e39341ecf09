"""A linear recurrence with a diagonal matrix, over whole sequences at once."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from graphc import ops
from graphc.errors import ArgumentError, ShapeError, user_location
from graphc.ir.op import Array
from graphc.ir.source import Initializer
from graphc.ir.tensor import Tensor
from graphc.nn import init
from graphc.nn.module import Layer, count
from graphc.nn.steps import Carry, before_end, by_samples, by_steps, given_state, over_steps
from graphc.ops.associative import associative_scan
from graphc.types import FLOAT32, DTypeLike

Pair = tuple[Tensor, Tensor]
"""The real and the imaginary part of complex numbers."""


class LRU(Layer):
    """A linear recurrent unit (Orvieto et al., 2023, arXiv:2303.06349), the simplest of the
    diagonal state-space layers: ``layer(x, state=None, lengths=None) -> (outputs, state)``.

    ``s_t = a * s_{t-1} + g * (x_t B)`` and ``y_t = Re(s_t C) + D * x_t``, with a complex number
    ``a = exp(-exp(nu) + i exp(theta))`` for each of ``state_size`` states, which is always within
    the circle, and ``g = sqrt(1 - |a|^2)``, which keeps states as large as inputs: the paper learns
    g from that value on, De et al. (2024, arXiv:2402.19427) take it as here. ``x`` is ``(N, T,
    size)``, or without N; outputs likewise. A state is a pair of real and imaginary parts, ``(N,
    state_size)`` each. ``lengths`` are as those of :class:`LSTM`. Sequences of a known length T
    take ``2 log2(T)`` steps over all (:func:`gx.associative_scan`), those of an open one a loop.

    The ``a`` start uniform in the ring between ``r_min`` and ``r_max``, with phases up to
    ``max_phase`` (section 3.2 of the paper). B, ``weight_in``, is ``(size, 2 state_size)``, real
    parts first, C, ``weight_out``, ``(2 state_size, size)``, imaginary parts of the other sign.
    """

    states: ClassVar[tuple[str, ...]] = ("real", "imaginary")

    def __init__(
        self, size: int, state_size: int, r_min: float = 0.0, r_max: float = 1.0,
        max_phase: float = 2 * math.pi, *, dtype: DTypeLike = FLOAT32, trainable: bool = True,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, trainable=trainable)
        width, states = count("LRU: size", size, 1), count("LRU: state_size", state_size, 1)
        self._sizes = width, states
        if not 0.0 <= r_min < r_max <= 1.0 or not 0.0 < max_phase <= 2 * math.pi:
            raise ArgumentError(
                f"LRU: the ring must be 0 <= r_min < r_max <= 1 with a phase in (0, 2 pi], got "
                f"{r_min}, {r_max} and {max_phase}\n  at {user_location()}"
            )

        self.nu = self.parameter("nu", _radii(r_min, r_max), (states,), dtype=dtype)
        self.theta = self.parameter("theta", _phases(max_phase), (states,), dtype=dtype)
        into, out = init.normal(0.0, (2 * width) ** -0.5), init.normal(0.0, states**-0.5)
        self.weight_in = self.parameter("weight_in", into, (width, 2 * states), dtype=dtype)
        self.weight_out = self.parameter("weight_out", out, (2 * states, width), dtype=dtype)
        self.skip = self.parameter("skip", init.normal(), (width,), dtype=dtype)

    @property
    def size(self) -> int:
        return self._sizes[0]

    @property
    def state_size(self) -> int:
        return self._sizes[1]

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> tuple[Tensor, Any]:
        if x.ndim not in (2, 3) or x.type.shape[-1] != self.size:
            raise ShapeError(
                f"LRU({self.size}, {self.state_size}) needs sequences of axes (N, T, {self.size}) "
                f"or (T, {self.size}), got {x.describe()}\n  at {user_location()}"
            )
        steps, ends, alone = by_steps("LRU", x, lengths, 1)
        decay = ops.exp(self.nu)
        scale = ops.sqrt(-ops.expm1(-2.0 * decay))
        added = self._halves(steps @ self.weight_in)
        added = (added[0] * scale, added[1] * scale)
        size, phase = ops.exp(-decay), ops.exp(self.theta)
        factor = (size * ops.cos(phase), size * ops.sin(phase))
        shape = (*x.type.shape[:-2], self.state_size)
        begin = given_state(self, state, [shape, shape], added[0].dtype)
        begin = tuple(ops.expand_dims(t, 0) for t in begin) if alone else begin
        real, imaginary, final = self._states(factor, added, begin, ends)
        out = ops.concat([real, imaginary], axis=2) @ self.weight_out + steps * self.skip
        if ends is not None:
            out = ops.where(before_end(out, ends), out, 0.0)
        last = tuple(ops.squeeze(t, 0) for t in final) if alone else final
        return by_samples(out, alone), last

    def _halves(self, both: Tensor) -> Pair:
        """Return real and imaginary parts that lie side by side."""
        return both[..., : self.state_size], both[..., self.state_size :]

    def _states(
        self, factor: Pair, added: Pair, begin: Carry, ends: Tensor | None
    ) -> tuple[Tensor, Tensor, Carry]:
        """Return the states of all steps, and the last one."""
        first = (begin[0], begin[1])
        length = added[0].type.shape[0]
        if not isinstance(length, int) or not length:
            return self._one_by_one(factor, added, first, ends)
        moved = plus(times(factor, first), (added[0][0], added[1][0]))
        real, imaginary = (
            ops.concat([ops.expand_dims(a, 0), b[1:]]) for a, b in zip(moved, added, strict=True)
        )
        powers = [ops.broadcast_to(t, (length, 1, self.state_size)) for t in factor]
        _, (real, imaginary) = associative_scan(
            lambda a, b: (times(a[0], b[0]), plus(times(b[0], a[1]), b[1])),
            ((powers[0], powers[1]), (real, imaginary)),
        )
        if ends is None:
            return real, imaginary, (real[-1], imaginary[-1])
        ends = ops.minimum(ends, length)
        last = before_end(real, ends) != before_end(real, ends - 1)
        final = tuple(
            ops.where(ends > 0, ops.sum(ops.where(last, t, 0.0), 0), b)
            for t, b in zip((real, imaginary), begin, strict=True)
        )
        return real, imaginary, final

    def _one_by_one(
        self, factor: Pair, added: Pair, first: Pair, ends: Tensor | None
    ) -> tuple[Tensor, Tensor, Carry]:
        """Return what :meth:`_states` does, by a loop."""

        def advance(v: Tensor, state: Carry) -> Carry:
            new = plus(times(factor, self._halves(state[0])), self._halves(v))
            return (ops.concat(new, axis=1),)

        begin = (ops.concat(first, axis=1),)
        both, (final,) = over_steps(advance, begin, ops.concat(added, axis=2), ends)
        return *self._halves(both), self._halves(final)


def times(a: Pair, b: Pair) -> Pair:
    """Return the product of complex numbers."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def plus(a: Pair, b: Pair) -> Pair:
    return a[0] + b[0], a[1] + b[1]


def _radii(r_min: float, r_max: float) -> Initializer:
    """Return an initialiser of nu: radii uniform by area in a ring."""

    def values(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        squares = rng.uniform(r_min**2, r_max**2, shape)
        squares = np.clip(squares, np.finfo(float).tiny, 1.0 - np.finfo(float).eps)
        found: Array = np.log(-0.5 * np.log(squares))
        return found

    return values


def _phases(largest: float) -> Initializer:
    """Return an initialiser of theta: phases uniform up to the largest."""

    def values(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        found: Array = np.log(largest * (1.0 - rng.random(shape)))
        return found

    return values
