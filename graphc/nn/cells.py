"""Steps of recurrent networks, and the layers that take one: ``RNNCell, GRUCell, LSTMCell``.

Formulas, the order of the gates and the names of the weights are PyTorch's; weights are
``(in, gates * hidden)``, the gates side by side, so that a step is one product (Appleyard, Kociský
and Blunsom, *Optimizing Performance of Recurrent Neural Networks on GPUs*, 2016, section 3).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from graphc import ops
from graphc.errors import ShapeError, user_location
from graphc.ir.tensor import Tensor
from graphc.nn import init
from graphc.nn.module import count, one_of
from graphc.nn.steps import Carry, given_state
from graphc.nn.torch_weights import FromTorch
from graphc.types import FLOAT32, DTypeLike

Nonlinearity = Literal["tanh", "relu"]
ACTIVATIONS: dict[str, Callable[[Any], Tensor]] = {"tanh": ops.tanh, "relu": ops.relu}


def gate(x: Tensor, number: int, size: int) -> Tensor:
    """Return the part of a gate along the last axis."""
    return x[..., number * size : (number + 1) * size]


def rnn_step(nonlinearity: str, v: Tensor, r: Tensor, state: Carry) -> Carry:
    """Return ``(f(v + r),)``: ``v`` what the input adds, ``r`` what the state does."""
    return (ACTIVATIONS[nonlinearity](v + r),)


def gru_step(v: Tensor, r: Tensor, state: Carry) -> Carry:
    """Return the state after a step of a GRU (Cho et al., 2014, arXiv:1406.1078), gates r, z, n.

    As in PyTorch and cuDNN, r scales ``h @ W + b`` of n, not ``h`` before the product.
    """
    (h,) = state
    size = h.type.shape[-1]
    assert isinstance(size, int)
    reset, update = (ops.sigmoid(gate(v, k, size) + gate(r, k, size)) for k in (0, 1))
    new = ops.tanh(gate(v, 2, size) + reset * gate(r, 2, size))
    return (new + update * (h - new),)


def lstm_step(v: Tensor, r: Tensor, state: Carry) -> Carry:
    """Return ``(h, c)`` after a step of an LSTM (Gers et al., 2000), gates i, f, g, o."""
    c = state[1]
    size = c.type.shape[-1]
    assert isinstance(size, int)
    i, f, g, o = (gate(v, k, size) + gate(r, k, size) for k in range(4))
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    return ops.sigmoid(o) * ops.tanh(c), c


class Recurrent(FromTorch):
    """A layer with PyTorch's weights of a step, and what is said of its state."""

    gates: ClassVar[int]
    states: ClassVar[tuple[str, ...]] = ("h",)
    """What the tensors of a state are called."""
    biases_add_up: ClassVar[bool] = True
    """Whether both biases are added to the same, so that one can be before the loop."""

    def __init__(self, sizes: tuple[int, int], trainable: bool, name: str | None) -> None:
        super().__init__(name, trainable=trainable)
        kind = type(self).__name__
        self._sizes = (
            count(f"{kind}: input_size", sizes[0]),
            count(f"{kind}: hidden_size", sizes[1], 1),
        )

    @property
    def input_size(self) -> int:
        return self._sizes[0]

    @property
    def hidden_size(self) -> int:
        return self._sizes[1]

    def _make(self, fan_in: int, out: int, bias: bool, dtype: DTypeLike, suffix: str) -> None:
        """Make the weights of a step from ``fan_in`` features to a state h of ``out``."""
        hidden = self.hidden_size
        width, bound = self.gates * hidden, 1.0 / hidden**0.5
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (fan_in, width),
            "weight_hh": (out, width),
        }
        if bias:
            shapes |= {"bias_ih": (width,), "bias_hh": (width,)}
        if out != hidden:
            shapes["weight_hr"] = (hidden, out)
        for label, shape in shapes.items():
            start, own = init.uniform(-bound, bound), f"{label}{suffix}"
            setattr(self, own, self.parameter(own, start, shape, dtype=dtype))

    def _weight(self, label: str, suffix: str) -> Tensor:
        """Return a weight as it is now: it may have become a function of others."""
        found: Tensor = getattr(self, f"{label}{suffix}")
        return found

    def _with_bias(self, part: str, x: Tensor, suffix: str) -> Tensor:
        """Return ``x`` and the bias ``"ih"`` or ``"hh"``, if there is one."""
        bias = getattr(self, f"bias_{part}{suffix}", None)
        return x if bias is None else x + bias

    @abstractmethod
    def _step(self, v: Tensor, r: Tensor, state: Carry) -> Carry:
        """Return the state after a step, of what the input and what the state add to the gates."""

    def _added(self, suffix: str, x: Tensor) -> Tensor:
        """Return what an input, or those of all steps, adds to the gates."""
        v = self._with_bias("ih", x @ self._weight("weight_ih", suffix), suffix)
        return self._with_bias("hh", v, suffix) if self.biases_add_up else v

    def _advance(self, suffix: str, v: Tensor, state: Carry) -> Carry:
        """Return the state after a step, of what the input adds to the gates."""
        r = state[0] @ self._weight("weight_hh", suffix)
        after = self._step(v, r if self.biases_add_up else self._with_bias("hh", r, suffix), state)
        if hasattr(self, f"weight_hr{suffix}"):
            after = (after[0] @ self._weight("weight_hr", suffix), *after[1:])
        return after


class _Cell(Recurrent):
    """One step of a sequence."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: DTypeLike = FLOAT32,
        trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__((input_size, hidden_size), trainable, name)
        self._make(self.input_size, self.hidden_size, bias, dtype, "")

    def forward(self, x: Tensor, state: Any = None) -> Any:
        kind = type(self).__name__
        if x.ndim not in (1, 2) or x.type.shape[-1] != self.input_size:
            raise ShapeError(
                f"{kind}({self.input_size}, {self.hidden_size}) needs an input of shape "
                f"(N, {self.input_size}) or ({self.input_size},), got {x.describe()}"
                f"\n  at {user_location()}"
            )
        v = self._added("", x)
        shape = (*x.type.shape[:-1], self.hidden_size)
        before = given_state(self, state, [shape] * len(self.states), v.dtype)
        after = self._advance("", v, before)
        return after if len(after) > 1 else after[0]


class RNNCell(_Cell):
    """A step ``h = tanh(x W + b + h W' + b')``: ``cell(x, h=None) -> h``, or with ``"relu"``.

    ``x`` is ``(N, input_size)`` or ``(input_size,)``, ``h`` likewise; without one it is 0. As
    PyTorch's ``RNNCell`` (Elman, *Finding Structure in Time*, 1990), weights ``(in, out)``.
    """

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True,
        nonlinearity: Nonlinearity = "tanh", *, dtype: DTypeLike = FLOAT32,
        trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        self._nonlinearity: str = one_of("RNNCell: nonlinearity", nonlinearity, ACTIVATIONS)
        super().__init__(input_size, hidden_size, bias, dtype=dtype, trainable=trainable, name=name)

    @property
    def nonlinearity(self) -> str:
        return self._nonlinearity

    def _step(self, v: Tensor, r: Tensor, state: Carry) -> Carry:
        return rnn_step(self._nonlinearity, v, r, state)


class GRUCell(_Cell):
    """A step of a gated recurrent unit: ``cell(x, h=None) -> h``. As PyTorch's ``GRUCell``.

    ``x`` is ``(N, input_size)`` or ``(input_size,)``, ``h`` likewise. Gates are r, z, n, side by
    side in ``weight_ih`` ``(in, 3 hidden)`` and ``weight_hh``; see :class:`GRU`.
    """

    gates = 3
    biases_add_up = False

    def _step(self, v: Tensor, r: Tensor, state: Carry) -> Carry:
        return gru_step(v, r, state)


class LSTMCell(_Cell):
    """A step of an LSTM: ``cell(x, state=None) -> (h, c)``, a state ``(h, c)`` likewise.

    ``x`` is ``(N, input_size)`` or ``(input_size,)``. Gates are i, f, g, o, side by side in
    ``weight_ih`` ``(in, 4 hidden)`` and ``weight_hh``; see :class:`LSTM`. As PyTorch's
    ``LSTMCell``.
    """

    gates = 4
    states = ("h", "c")

    def _step(self, v: Tensor, r: Tensor, state: Carry) -> Carry:
        return lstm_step(v, r, state)
