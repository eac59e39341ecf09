"""A layer for each activation function, for use in :class:`Sequential`."""

from __future__ import annotations

from typing import Literal

from graphc import ops
from graphc.errors import ShapeError, user_location
from graphc.ir.tensor import Tensor
from graphc.nn.module import Layer, count, number
from graphc.types import MAX_RANK


class ReLU(Layer):
    """``max(x, 0)``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.relu(x)


class ReLU6(Layer):
    """``min(max(x, 0), 6)``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.relu6(x)


class LeakyReLU(Layer):
    """``x`` above zero, ``slope * x`` below."""

    def __init__(self, slope: float = 0.01, *, name: str | None = None) -> None:
        super().__init__(name)
        self.slope = number("LeakyReLU: slope", slope)

    def forward(self, x: Tensor) -> Tensor:
        return ops.leaky_relu(x, self.slope)


class ELU(Layer):
    """``x`` above zero, ``alpha * (exp(x) - 1)`` below."""

    def __init__(self, alpha: float = 1.0, *, name: str | None = None) -> None:
        super().__init__(name)
        self.alpha = number("ELU: alpha", alpha)

    def forward(self, x: Tensor) -> Tensor:
        return ops.elu(x, self.alpha)


class SELU(Layer):
    """ELU scaled so that activations keep mean 0 and variance 1."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.selu(x)


class CELU(Layer):
    """``x`` above zero, ``alpha * (exp(x / alpha) - 1)`` below."""

    def __init__(self, alpha: float = 1.0, *, name: str | None = None) -> None:
        super().__init__(name)
        self.alpha = number("CELU: alpha", alpha)

    def forward(self, x: Tensor) -> Tensor:
        return ops.celu(x, self.alpha)


class GELU(Layer):
    """``x * Phi(x)`` with the normal distribution function, or its tanh approximation."""

    def __init__(
        self, approximate: Literal["none", "tanh"] = "none", *, name: str | None = None
    ) -> None:
        super().__init__(name)
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return ops.gelu(x, approximate=self.approximate)


class SiLU(Layer):
    """``x * sigmoid(x)``, also called swish."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.silu(x)


class Mish(Layer):
    """``x * tanh(softplus(x))``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.mish(x)


class HardSwish(Layer):
    """``x * relu6(x + 3) / 6``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.hard_swish(x)


class Softplus(Layer):
    """``log(1 + exp(beta x)) / beta``, ``x`` where ``beta x > threshold``: :func:`gx.softplus`."""

    def __init__(
        self, beta: float = 1.0, threshold: float = 20.0, *, name: str | None = None
    ) -> None:
        super().__init__(name)
        self._options = number("Softplus: beta", beta), number("Softplus: threshold", threshold)

    def forward(self, x: Tensor) -> Tensor:
        return ops.softplus(x, *self._options)


class Softsign(Layer):
    """``x / (1 + |x|)``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.softsign(x)


class Sigmoid(Layer):
    """``1 / (1 + exp(-x))``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.sigmoid(x)


class HardSigmoid(Layer):
    """``relu6(x + 3) / 6``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.hard_sigmoid(x)


class LogSigmoid(Layer):
    """``log(sigmoid(x))``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.log_sigmoid(x)


class Tanh(Layer):
    """``tanh(x)``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.tanh(x)


class Softmax(Layer):
    """``exp(x)`` divided by its sum along ``axis``."""

    def __init__(self, axis: int = -1, *, name: str | None = None) -> None:
        super().__init__(name)
        self.axis = count("Softmax: axis", axis, -MAX_RANK)

    def forward(self, x: Tensor) -> Tensor:
        return ops.softmax(x, axis=self.axis)


class LogSoftmax(Layer):
    """``log(softmax(x))`` along ``axis``."""

    def __init__(self, axis: int = -1, *, name: str | None = None) -> None:
        super().__init__(name)
        self.axis = count("LogSoftmax: axis", axis, -MAX_RANK)

    def forward(self, x: Tensor) -> Tensor:
        return ops.log_softmax(x, axis=self.axis)


class Softmin(Layer):
    """``softmax(-x)`` along ``axis``."""

    def __init__(self, axis: int = -1, *, name: str | None = None) -> None:
        super().__init__(name)
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return ops.softmax(-x, axis=self.axis)


class Softmax2d(Layer):
    """The softmax over the channels of each place of ``(N, H, W, C)`` or ``(H, W, C)``."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in (3, 4):
            raise ShapeError(
                f"Softmax2d needs images of 3 or 4 axes, got {x.describe()}\n  at {user_location()}"
            )
        return ops.softmax(x, axis=-1)


class Hardtanh(Layer):
    """``x`` confined to ``[min_val, max_val]``: :func:`gx.hardtanh`."""

    def __init__(
        self, min_val: float = -1.0, max_val: float = 1.0, *, name: str | None = None
    ) -> None:
        super().__init__(name)
        self._bounds = min_val, max_val

    def forward(self, x: Tensor) -> Tensor:
        return ops.hardtanh(x, *self._bounds)
