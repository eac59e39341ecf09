"""Layers of activations that shrink, gate or replace."""

from __future__ import annotations

from graphc import ops
from graphc.ir.tensor import Tensor
from graphc.nn import init
from graphc.nn.module import Layer, count, number
from graphc.types import FLOAT32, MAX_RANK, DTypeLike


class PReLU(Layer):
    """``x`` above zero, ``weight * x`` below: one weight, or one for each channel."""

    def __init__(
        self, num_parameters: int = 1, start: float = 0.25, *, dtype: DTypeLike = FLOAT32,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name)
        many = count("PReLU: num_parameters", num_parameters, 1)
        self.weight = self.parameter("weight", init.constant(start), (many,), dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return ops.prelu(x, self.weight)


class GLU(Layer):
    """The first half along ``axis`` times the sigmoid of the second."""

    def __init__(self, axis: int = -1, *, name: str | None = None) -> None:
        super().__init__(name)
        self.axis = count("GLU: axis", axis, -MAX_RANK)

    def forward(self, x: Tensor) -> Tensor:
        return ops.glu(x, self.axis)


class Hardshrink(Layer):
    """``x``, but 0 where ``|x| <= lambd``."""

    def __init__(self, lambd: float = 0.5, *, name: str | None = None) -> None:
        super().__init__(name)
        self.lambd = number("Hardshrink: lambd", lambd, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return ops.hardshrink(x, self.lambd)


class Softshrink(Layer):
    """``x`` moved towards 0 by ``lambd``, at most as far as 0."""

    def __init__(self, lambd: float = 0.5, *, name: str | None = None) -> None:
        super().__init__(name)
        self.lambd = number("Softshrink: lambd", lambd, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return ops.softshrink(x, self.lambd)


class Tanhshrink(Layer):
    """``x - tanh(x)``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.tanhshrink(x)


class Threshold(Layer):
    """``x`` above ``threshold``, else ``value``."""

    def __init__(self, threshold: float, value: float, *, name: str | None = None) -> None:
        super().__init__(name)
        self.threshold = number("Threshold: threshold", threshold)
        self.value = number("Threshold: value", value)

    def forward(self, x: Tensor) -> Tensor:
        return ops.threshold(x, self.threshold, self.value)
