"""Layers that draw random numbers in training: of whole channels, and of slopes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from graphc import ops
from graphc.errors import ArgumentError, ShapeError, user_location
from graphc.ir.op import Array, register, require_float
from graphc.ir.tensor import Tensor, apply
from graphc.nn.dropout import draw_state, probability
from graphc.nn.module import Layer
from graphc.nn.training import TrainingOp
from graphc.ops.creation import filled
from graphc.ops.random import RandomUniform, random_uniform
from graphc.types import Shape, TensorType

NEVER = 2.0
"""What inference has in place of a number in [0, 1)."""


@register
class Noise(TrainingOp):
    """Uniform numbers in [0, 1), one for each place along ``axes``; in inference ``still``.

    Operands are a tensor that only gives its shape, the seed, and the number of draws before.
    """

    axes: tuple[int, ...]
    still: float

    def infer(self, *types: TensorType) -> TensorType:
        x = types[0]
        require_float("noise", x)
        return x.with_shape(self._shape(x.shape))

    def _shape(self, shape: Shape) -> Shape:
        return tuple(d if axis in self.axes else 1 for axis, d in enumerate(shape))

    def numpy(self, *arrays: Array) -> Array:
        x, seed, step = arrays
        return RandomUniform(self._shape(x.shape), 0, x.dtype).numpy(seed, step)

    def expand(self, *inputs: Tensor) -> Tensor:
        x, seed, step = inputs
        shape = self._shape(x.type.shape)
        return random_uniform(shape, seed=seed, step=step, stream=0, dtype=x.dtype)

    def inference(self, *inputs: Tensor) -> Tensor:
        return filled(self._shape(inputs[0].type.shape), self.still, inputs[0].dtype)

    def updates(self, *inputs: Tensor) -> Mapping[Tensor, Tensor]:
        step = inputs[2]
        return {step: step + 1}


class _Noisy(Layer):
    """A layer with random numbers of its own in each call and step."""

    def _noise(self, x: Tensor, axes: tuple[int, ...], still: float = NEVER) -> Tensor:
        return apply(Noise(axes, still), x, *draw_state(self))


class _Dropped(_Noisy):
    """Replaces what belongs to numbers below ``p``, and scales and shifts the rest."""

    ranks: ClassVar[tuple[int, ...]] = ()
    """The number of axes that inputs may have, without and with a batch; any if empty."""
    whole: ClassVar[bool] = True
    """Whether all places of a channel share a number."""

    def __init__(self, p: float = 0.5, *, name: str | None = None) -> None:
        super().__init__(name)
        self._p = probability(f"{type(self).__name__}: p", p)

    @property
    def p(self) -> float:
        """The probability of being dropped."""
        return self._p

    def forward(self, x: Tensor) -> Tensor:
        if self.ranks and x.ndim not in self.ranks:
            raise ShapeError(
                f"{type(self).__name__} needs inputs of {' or '.join(map(str, self.ranks))} axes, "
                f"channels last, got {x.describe()}\n  at {user_location()}"
            )
        if self._p == 0.0:
            return x
        alone = self.ranks and x.ndim == self.ranks[0]
        shared = {x.ndim - 1} if alone else {0, x.ndim - 1}
        number = self._noise(x, tuple(sorted(shared)) if self.whole else tuple(range(x.ndim)))
        kept = ops.where(number >= self._p, *self._choices(x))
        return ops.where(number >= 1.0, x, kept)

    def _choices(self, x: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Return what is kept, and what stands for what is dropped."""
        return (x * (1.0 / (1.0 - self._p)), 0.0) if self._p < 1.0 else (x * 0.0, 0.0)


class Dropout1d(_Dropped):
    """Zero each channel of ``(N, L, C)`` or ``(L, C)`` with probability ``p``, scale the others.

    Only in training, by ``1 / (1 - p)``, a new mask each step (Tompson et al., CVPR 2015).
    """

    ranks = (2, 3)


class Dropout2d(_Dropped):
    """Zero each channel of ``(N, H, W, C)`` or ``(H, W, C)`` with probability ``p``."""

    ranks = (3, 4)


class Dropout3d(_Dropped):
    """Zero each channel of ``(N, D, H, W, C)`` or ``(D, H, W, C)`` with probability ``p``."""

    ranks = (4, 5)


class AlphaDropout(_Dropped):
    """Dropout that keeps mean 0 and variance 1, for :class:`SELU`: Klambauer et al., NeurIPS 2017.

    What is dropped becomes ``-1.7581``; all is then scaled and shifted.
    """

    whole = False
    _ALPHA = 1.7580993408473766
    """Scale times alpha of :func:`gx.selu`."""

    def _choices(self, x: Tensor) -> tuple[Tensor | float, Tensor | float]:
        p, alpha = self._p, self._ALPHA
        if p == 1.0:
            return x * 0.0, 0.0
        scale = float(((alpha * alpha * p + 1.0) * (1.0 - p)) ** -0.5)
        shift = alpha * scale * p
        return x * scale + shift, shift - alpha * scale


class FeatureAlphaDropout(AlphaDropout):
    """:class:`AlphaDropout` of whole channels, the last axis, of each sample."""

    whole = True


class RReLU(_Noisy):
    """``x`` above zero, below ``a x`` with ``a`` drawn from ``[lower, upper]`` for each element.

    In inference ``a`` is the mean of both (Xu et al., 2015, arXiv:1505.00853).
    """

    def __init__(
        self, lower: float = 1.0 / 8.0, upper: float = 1.0 / 3.0, *, name: str | None = None
    ) -> None:
        super().__init__(name)
        if not lower <= upper:
            raise ArgumentError(
                f"RReLU: lower {lower} must not be above upper {upper}\n  at {user_location()}"
            )
        self._range = lower, upper

    def forward(self, x: Tensor) -> Tensor:
        lower, upper = self._range
        number = self._noise(x, tuple(range(x.ndim)), 0.5)
        return ops.where(x >= 0.0, x, x * (lower + (upper - lower) * number))
