"""A recurrent layer over images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from graphc import ops
from graphc.errors import ArgumentError, ShapeError, user_location
from graphc.ir.tensor import Tensor
from graphc.nn import init
from graphc.nn.cells import lstm_step
from graphc.nn.convolution import Moving
from graphc.nn.module import count
from graphc.nn.steps import Carry, by_samples, by_steps, given_state, over_steps
from graphc.ops.geometry import per_axis, spatial
from graphc.types import FLOAT32, DTypeLike, size_of


class ConvLSTM2d(Moving):
    """An LSTM whose products are convolutions, over sequences of images (Shi et al., 2015,
    arXiv:1506.04214): ``layer(x, state=None, lengths=None) -> (outputs, (h, c))``.

    ``x`` is ``(N, T, H, W, in_channels)``, or without N; outputs are ``(N, T, H', W',
    hidden_channels)``, h and c ``(N, H', W', hidden_channels)``. ``stride``, ``padding`` and
    ``dilation`` are those of the convolution of the input, as in :class:`Conv2d`; that of the
    state keeps its size, so its kernel must be odd. ``lengths`` are as those of :class:`LSTM`.

    Gates are i, f, g, o: ``weight_ih`` is ``(*kernel_size, in_channels, 4 hidden_channels)``,
    ``weight_hh`` likewise, ``bias`` one vector; all start uniform within
    ``1 / sqrt(hidden_channels * kernel elements)``. As Keras's ``ConvLSTM2D``, without the
    connections from cells to gates ("peepholes") that the paper has.
    """

    states: ClassVar[tuple[str, ...]] = ("h", "c")

    def __init__(
        self, in_channels: int, hidden_channels: int, kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1, padding: Any = "same", dilation: int | Sequence[int] = 1,
        bias: bool = True, *, dtype: DTypeLike = FLOAT32, trainable: bool = True,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, trainable=trainable)
        fan_in = count("ConvLSTM2d: in_channels", in_channels)
        hidden = count("ConvLSTM2d: hidden_channels", hidden_channels, 1)
        self._channels = fan_in, hidden
        size = per_axis("ConvLSTM2d", "kernel_size", kernel_size, 2)
        self._own = spatial("ConvLSTM2d", 2, size, stride, padding, dilation)
        window = self._own.window
        if not all(k % 2 for k in window):
            raise ArgumentError(
                f"ConvLSTM2d: kernel_size must be odd, got {window}: the state keeps its size"
                f"\n  at {user_location()}"
            )
        bound = 1.0 / (hidden * math.prod(window)) ** 0.5
        start = init.uniform(-bound, bound)
        shape = (*window, fan_in, 4 * hidden)
        self.weight_ih = self.parameter("weight_ih", start, shape, dtype=dtype)
        shape = (*window, hidden, 4 * hidden)
        self.weight_hh = self.parameter("weight_hh", start, shape, dtype=dtype)
        self.bias: Tensor | None = None
        if bias:
            self.bias = self.parameter("bias", start, (4 * hidden,), dtype=dtype)

    @property
    def in_channels(self) -> int:
        return self._channels[0]

    @property
    def hidden_channels(self) -> int:
        return self._channels[1]

    @property
    def kernel_size(self) -> tuple[int, ...]:
        return self._own.window

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """What is put before and after each axis of the input."""
        return self._own.padding

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> tuple[Tensor, Any]:
        if x.ndim not in (4, 5) or x.type.shape[-1] != self.in_channels:
            raise ShapeError(
                f"ConvLSTM2d({self.in_channels}, {self.hidden_channels}) needs images of axes "
                f"(N, T, H, W, {self.in_channels}) or (T, H, W, {self.in_channels}), got "
                f"{x.describe()}\n  at {user_location()}"
            )
        steps, ends, alone = by_steps("ConvLSTM2d", x, lengths, 3)
        added = self._added(steps)
        shape = (*added.type.shape[1:-1], self.hidden_channels)
        own = shape[1:] if alone else shape
        dtype = np.result_type(added.dtype, self.weight_hh.dtype)
        begin = given_state(self, state, [own, own], dtype)
        begin = tuple(ops.expand_dims(t, 0) for t in begin) if alone else begin
        half = [k // 2 for k in self.kernel_size]

        def advance(v: Tensor, before: Carry) -> Carry:
            return lstm_step(v, ops.conv(before[0], self.weight_hh, padding=half), before)

        out, final = over_steps(advance, begin, added, ends)
        last = tuple(ops.squeeze(t, 0) for t in final) if alone else final
        return by_samples(out, alone), last

    def _added(self, steps: Tensor) -> Tensor:
        """Return what the images add to the gates, one convolution of all."""
        own, lead = self._own, steps.type.shape[:2]
        images = ops.reshape(steps, (size_of(lead), *steps.type.shape[2:]))
        made = ops.conv(images, self.weight_ih, own.stride, own.padding, own.dilation)
        made = made if self.bias is None else made + self.bias
        return ops.reshape(made, (*lead, *made.type.shape[1:]))
