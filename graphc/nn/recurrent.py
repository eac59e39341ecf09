"""Recurrent layers: a loop over the steps of a sequence, for each layer and direction.

What the input adds to the gates is one product over all steps, before the loop. Steps come first
in memory, so that those of a loop lie together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc import ops
from graphc.errors import ArgumentError, ShapeError, user_location
from graphc.ir.tensor import Tensor
from graphc.nn.cells import (
    ACTIVATIONS,
    Nonlinearity,
    Recurrent,
    gru_step,
    lstm_step,
    rnn_step,
)
from graphc.nn.dropout import Dropout
from graphc.nn.module import count, one_of
from graphc.nn.steps import Carry, by_samples, by_steps, given_state, over_steps
from graphc.types import FLOAT32, DTypeLike


class _Sequence(Recurrent):
    """Layers one on the other, in one direction or both."""

    def __init__(
        self,
        sizes: tuple[int, int, int],
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        *,
        dtype: DTypeLike,
        trainable: bool,
        name: str | None,
    ) -> None:
        super().__init__(sizes[:2], trainable, name)
        kind, where = type(self).__name__, f"\n  at {user_location()}"
        self._num_layers = count(f"{kind}: num_layers", num_layers, 1)
        proj = count(f"{kind}: proj_size", sizes[2])
        if proj >= self.hidden_size:
            raise ArgumentError(
                f"{kind}: proj_size must be smaller than hidden_size {self.hidden_size}, got {proj}"
                f"{where}"
            )
        if not batch_first:
            raise ArgumentError(
                f"{kind}: batch_first=False is not supported: sequences are (N, T, C) here; "
                f"gx.moveaxis(x, 0, 1) turns (T, N, C) round{where}"
            )
        self._directions = 2 if bidirectional else 1
        self._out = proj or self.hidden_size
        self._dropouts = [Dropout(dropout) for _ in range(self._num_layers - 1)]
        self._dropout = Dropout(dropout).p if not self._dropouts else self._dropouts[0].p
        self._suffixes: list[str] = []
        for layer in range(self._num_layers):
            fan_in = self._out * self._directions if layer else self.input_size
            for ending in ("", "_reverse")[: self._directions]:
                suffix = f"_l{layer}{ending}"
                self._make(fan_in, self._out, bias, dtype, suffix)
                self._suffixes.append(suffix)

    @property
    def num_layers(self) -> int:
        return self._num_layers

    @property
    def bidirectional(self) -> bool:
        return self._directions == 2

    @property
    def dropout(self) -> float:
        """The probability with which what goes from a layer to the next is left out."""
        return self._dropout

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> tuple[Tensor, Any]:
        if x.ndim not in (2, 3) or x.type.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}({self.input_size}, {self.hidden_size}) needs sequences of "
                f"axes (N, T, {self.input_size}) or (T, {self.input_size}), got {x.describe()}"
                f"\n  at {user_location()}"
            )
        steps, ends, alone = by_steps(type(self).__name__, x, lengths, 1)
        first = self._first(state, steps, alone)
        finals: list[Carry] = []
        for layer in range(self._num_layers):
            if layer:
                steps = self._dropouts[layer - 1](steps)
            left = []
            for direction in range(self._directions):
                number = layer * self._directions + direction
                begin = tuple(t[number] for t in first)
                out, final = self._run(steps, self._suffixes[number], begin, ends, direction == 1)
                left.append(out)
                finals.append(final)
            steps = ops.concat(left, axis=2) if len(left) > 1 else left[0]
        outputs = by_samples(steps, alone)
        last = tuple(ops.stack(ts) for ts in zip(*finals, strict=True))
        last = tuple(ops.squeeze(t, 1) for t in last) if alone else last
        return outputs, last if len(last) > 1 else last[0]

    def _run(
        self, steps: Tensor, suffix: str, begin: Carry, ends: Tensor | None, reverse: bool
    ) -> tuple[Tensor, Carry]:
        """Return the outputs of a layer in a direction, and its last state."""
        added = self._added(suffix, steps)
        return over_steps(
            lambda v, state: self._advance(suffix, v, state), begin, added, ends, reverse
        )

    def _first(self, state: Any, steps: Tensor, alone: bool) -> Carry:
        """Return the state before the first step: ``(layers * directions, N, size)`` each."""
        batch = () if alone else (steps.type.shape[1],)
        count = self._num_layers * self._directions
        sizes = (self._out, self.hidden_size)[: len(self.states)]
        shapes = [(count, *batch, size) for size in sizes]
        dtype = np.result_type(steps.dtype, self._weight("weight_ih", self._suffixes[0]).dtype)
        first = given_state(self, state, shapes, dtype)
        return tuple(ops.expand_dims(t, 1) for t in first) if alone else first


class RNN(_Sequence):
    """``h_t = tanh(x_t W + b + h_{t-1} W' + b')``, over sequences: ``layer(x, state=None,
    lengths=None) -> (outputs, state)``.

    ``x`` is ``(N, T, input_size)``, or ``(T, input_size)`` without a batch; N and T may be open.
    Outputs are ``(N, T, directions * hidden_size)``, the last layer's state of each step; the
    state, given or returned, is ``(num_layers * directions, N, hidden_size)``, that of the
    direction to the front behind each other one; without one it is 0.

    With ``lengths`` ``(N,)``, integers, a sample ends there: nothing behind is looked at, not
    even a NaN, outputs are 0, the state returned is that of the end, and the direction to the
    front begins there. PyTorch takes a packed sequence for that. A length beyond T is T.

    ``dropout`` is that of outputs on the way to the next layer, in training only. As PyTorch's
    ``RNN``, of which ``batch_first`` is always so here; the names of the weights are those of
    PyTorch, the weights ``(in, out)``: :meth:`load_torch` takes them.
    """

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1,
        nonlinearity: Nonlinearity = "tanh", bias: bool = True, batch_first: bool = True,
        dropout: float = 0.0, bidirectional: bool = False, *, dtype: DTypeLike = FLOAT32,
        trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        self._nonlinearity: str = one_of("RNN: nonlinearity", nonlinearity, ACTIVATIONS)
        super().__init__(
            (input_size, hidden_size, 0), num_layers, bias, batch_first, dropout, bidirectional,
            dtype=dtype, trainable=trainable, name=name,
        )  # fmt: skip

    @property
    def nonlinearity(self) -> str:
        return self._nonlinearity

    def _step(self, v: Tensor, r: Tensor, state: Carry) -> Carry:
        return rnn_step(self._nonlinearity, v, r, state)


class GRU(_Sequence):
    """Gated recurrent units (Cho et al., 2014, arXiv:1406.1078), as PyTorch's ``GRU``.

    With s the sigmoid, ``r = s(x W_r + h V_r)``, ``z = s(x W_z + h V_z)``,
    ``n = tanh(x W_n + r * (h V_n))`` and ``h = (1 - z) * n + z * h``, each product with a bias.
    Gates stand in the order r, z, n: ``weight_ih_l0`` is ``(in, 3 hidden)``. Arguments of the call,
    lengths, states and results are those of :class:`RNN`.
    """

    gates = 3
    biases_add_up = False

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = True, dropout: float = 0.0, bidirectional: bool = False, *,
        dtype: DTypeLike = FLOAT32, trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            (input_size, hidden_size, 0), num_layers, bias, batch_first, dropout, bidirectional,
            dtype=dtype, trainable=trainable, name=name,
        )  # fmt: skip

    def _step(self, v: Tensor, r: Tensor, state: Carry) -> Carry:
        return gru_step(v, r, state)


class LSTM(_Sequence):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997; Gers et al., 2000), as PyTorch's.

    With s the sigmoid, ``i, f, o = s(x W + h V)`` with weights each its own, ``g = tanh(x W_g + h
    V_g)``, ``c = f * c + i * g`` and ``h = o * tanh(c)``, each product with a bias. Gates stand in
    the order i, f, g, o: ``weight_ih_l0`` is ``(in, 4 hidden)``. The state is a pair ``(h, c)``;
    arguments of the call, lengths and results are those of :class:`RNN`. With ``proj_size``, h is
    projected to so many features (Sak et al., 2014, arXiv:1402.1128): outputs and the state h are
    of that size, and ``weight_hr_l0`` is ``(hidden, proj_size)``.
    """

    gates = 4
    states = ("h", "c")

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = True, dropout: float = 0.0, bidirectional: bool = False,
        proj_size: int = 0, *, dtype: DTypeLike = FLOAT32, trainable: bool = True,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            (input_size, hidden_size, proj_size), num_layers, bias, batch_first, dropout,
            bidirectional, dtype=dtype, trainable=trainable, name=name,
        )  # fmt: skip

    @property
    def proj_size(self) -> int:
        """The features that h is projected to; 0 if it is not."""
        return self._out if self._out != self.hidden_size else 0

    def _step(self, v: Tensor, r: Tensor, state: Carry) -> Carry:
        return lstm_step(v, r, state)
