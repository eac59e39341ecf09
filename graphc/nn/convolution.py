"""Convolutions along one, two or three axes, and their transposes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from graphc import ops
from graphc.errors import ArgumentError, ShapeError, user_location
from graphc.ir.source import Initializer
from graphc.ir.tensor import Tensor
from graphc.nn import init
from graphc.nn.module import Layer, count, floating, one_of
from graphc.ops.geometry import Window, per_axis, spatial
from graphc.types import FLOAT32, DTypeLike

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""PyTorch's name for how an image is padded, and NumPy's."""


class Moving(Layer):
    """A layer with a window that moves over images."""

    _own: Window

    @property
    def stride(self) -> tuple[int, ...]:
        return self._own.stride

    @property
    def dilation(self) -> tuple[int, ...]:
        return self._own.dilation


class _Windowed(Moving):
    """What convolutions and their transposes share: parameters, and images without a batch."""

    rank: ClassVar[int]

    def __init__(
        self,
        channels: tuple[int, int],
        kernel_size: Any,
        groups: int,
        bias: bool,
        inits: tuple[Initializer | None, Initializer | None],
        *,
        dtype: DTypeLike,
        trainable: bool,
        name: str | None,
    ) -> None:
        super().__init__(name, trainable=trainable)
        kind, (fan, out) = type(self).__name__, channels
        pairs = (("in_channels", fan), ("out_channels", out))
        self._channels: tuple[int, ...] = tuple(count(f"{kind}: {n}", v, 1) for n, v in pairs)
        self.groups = count(f"{kind}: groups", groups, 1)
        for what, number in zip(("in_channels", "out_channels"), self._channels, strict=True):
            if number % self.groups:
                raise ArgumentError(
                    f"{kind}: {what} must be a multiple of groups, got {number} and {self.groups}"
                    f"\n  at {user_location()}"
                )
        self._window = per_axis(kind, "kernel_size", kernel_size, self.rank)
        bound = 1.0 / max(1, self._fan()) ** 0.5
        near_zero = init.uniform(-bound, bound)
        shape = (*self._window, self.in_channels // self.groups, self.out_channels)
        self.weight = self.parameter("weight", inits[0] or near_zero, shape, dtype=dtype)
        self.bias: Tensor | None = None
        if bias:
            self.bias = self.parameter("bias", inits[1] or near_zero, shape[-1:], dtype=dtype)

    @property
    def in_channels(self) -> int:
        return self._channels[0]

    @property
    def out_channels(self) -> int:
        return self._channels[1]

    @property
    def kernel_size(self) -> tuple[int, ...]:
        return self._window

    def _fan(self) -> int:
        """Return what PyTorch takes for the inputs of an output."""
        return math.prod(self._window) * (self.in_channels // self.groups)

    def _convolved(self, x: Tensor, *options: Any) -> Tensor:
        """Return the result for a batch of images."""
        raise NotImplementedError

    def _forward(self, x: Tensor, *options: Any) -> Tensor:
        floating(type(self).__name__, x)
        kind, axes = type(self).__name__, ("L", "H, W", "D, H, W")[self.rank - 1]
        alone = x.ndim == self.rank + 1
        if not (alone or x.ndim == self.rank + 2) or x.type.shape[-1] != self.in_channels:
            raise ShapeError(
                f"{kind}({self.in_channels}, {self.out_channels}) needs images (N, {axes}, C) or "
                f"({axes}, C) of {self.in_channels} channels, got {x.describe()} for the kernel "
                f"{self.weight.type}\n  at {user_location()}"
            )
        y = self._convolved(ops.expand_dims(x, 0) if alone else x, *options)
        y = y if self.bias is None else y + self.bias
        return ops.squeeze(y, 0) if alone else y


class _Conv(_Windowed):
    """A cross-correlation, as PyTorch's: see :func:`gx.conv`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | Sequence[tuple[int, int]] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        *,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        dtype: DTypeLike = FLOAT32,
        trainable: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(
            (in_channels, out_channels), kernel_size, groups, bias, (weight_init, bias_init),
            dtype=dtype, trainable=trainable, name=name,
        )  # fmt: skip
        kind = type(self).__name__
        self.padding_mode = one_of(f"{kind}: padding_mode", padding_mode, _MODES)
        self._own = spatial(kind, self.rank, self._window, stride, padding, dilation)

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """What is put before and after each axis."""
        return self._own.padding

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(x)

    def _convolved(self, x: Tensor, *options: Any) -> Tensor:
        padding: Any = self.padding
        mode = one_of(f"{type(self).__name__}: padding_mode", self.padding_mode, _MODES)
        if mode != "zeros":
            self._check_padding(x)
            x = ops.pad(x, ((0, 0), *padding, (0, 0)), _MODES[mode])
            padding = 0
        return ops.conv(x, self.weight, self.stride, padding, self.dilation, self.groups)

    def _check_padding(self, x: Tensor) -> None:
        """Refuse more padding than there are elements to take it from."""
        spare = {"reflect": 1, "circular": 0}.get(self.padding_mode)
        for length, pair in zip(x.type.shape[1:-1], self.padding, strict=True):
            if spare is not None and isinstance(length, int) and max(pair) > length - spare:
                raise ShapeError(
                    f"{type(self).__name__}: padding {max(pair)} by {self.padding_mode!r} needs "
                    f"axes of at least {max(pair) + spare} elements, got {x.describe()}"
                    f"\n  at {user_location()}"
                )


class Conv1d(_Conv):
    """A convolution of ``(N, L, in_channels)``, as PyTorch's ``Conv1d`` with channels last.

    Arguments are those of :func:`gx.conv`. ``padding`` is by zeros, or by ``padding_mode``
    "reflect", "replicate" or "circular". ``weight`` is ``(window, in_channels // groups,
    out_channels)`` and ``bias`` ``(out_channels,)``; both start uniform within ``1 / sqrt(fan)``,
    where the fan is ``window * in_channels // groups``, as in PyTorch. An image may come without
    the axis of the batch.
    """

    rank = 1


class Conv2d(_Conv):
    """A convolution of ``(N, H, W, in_channels)``: :class:`Conv1d` along two axes."""

    rank = 2


class Conv3d(_Conv):
    """A convolution of ``(N, D, H, W, in_channels)``: :class:`Conv1d` along three axes."""

    rank = 3


class _ConvTranspose(_Windowed):
    """The transpose of a convolution by ``x``: see :func:`gx.conv_transpose`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
        padding_mode: Literal["zeros"] = "zeros",
        *,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        dtype: DTypeLike = FLOAT32,
        trainable: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(
            (in_channels, out_channels), kernel_size, groups, bias, (weight_init, bias_init),
            dtype=dtype, trainable=trainable, name=name,
        )  # fmt: skip
        kind = type(self).__name__
        one_of(f"{kind}: padding_mode", padding_mode, {"zeros"})
        if isinstance(padding, str):
            raise ArgumentError(
                f"{kind}: padding must be numbers, not {padding!r}\n  at {user_location()}"
            )
        self._own = spatial(kind, self.rank, self._window, stride, padding, dilation)
        self._extra = per_axis(kind, "output_padding", output_padding, self.rank, 0)
        for extra, step, gap in zip(self._extra, self.stride, self.dilation, strict=True):
            if extra >= max(step, gap):
                raise ArgumentError(
                    f"{kind}: output_padding {extra} must be smaller than either the stride or "
                    f"the dilation, {step} and {gap}\n  at {user_location()}"
                )

    @property
    def padding(self) -> tuple[int, ...]:
        """What is taken off each end of the result."""
        return tuple(low for low, _ in self._own.padding)

    @property
    def output_padding(self) -> tuple[int, ...]:
        return self._extra

    def _fan(self) -> int:
        return math.prod(self._window) * (self.out_channels // self.groups)

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return self._forward(x, output_size)

    def _convolved(self, x: Tensor, *options: Any) -> Tensor:
        (size,) = options
        extra = self._extra if size is None else self._extra_for(x, size)
        return ops.conv_transpose(
            x, self.weight, self.stride, self._own.padding, extra, self.groups, self.dilation
        )

    def _extra_for(self, x: Tensor, size: Sequence[int]) -> tuple[int, ...]:
        """Return the ``output_padding`` that gives a result of ``size``."""
        kind = type(self).__name__
        wanted = per_axis(kind, "output_size", size, self.rank, 0)
        extra = []
        for n, asked, step, span, low in zip(
            x.type.shape[1:-1], wanted, self.stride, self._own.spans, self.padding, strict=True
        ):
            least = (n - 1) * step + span - 2 * low
            if not isinstance(least, int) or not least <= asked < least + step:
                raise ShapeError(
                    f"{kind}: output_size {asked} must be one of {least} to {least + step - 1} "
                    f"for {x.describe()}\n  at {user_location()}"
                )
            extra.append(asked - least)
        return tuple(extra)


class ConvTranspose1d(_ConvTranspose):
    """The transpose of :class:`Conv1d`, for ``(N, L, in_channels)``.

    As PyTorch's ``ConvTranspose1d`` with channels last, and ``weight`` ``(window, in_channels //
    groups, out_channels)``; see :func:`gx.conv_transpose`. Called with ``output_size``, the lengths
    that the result shall have, it finds the ``output_padding`` itself.
    """

    rank = 1


class ConvTranspose2d(_ConvTranspose):
    """The transpose of :class:`Conv2d`: :class:`ConvTranspose1d` along two axes."""

    rank = 2


class ConvTranspose3d(_ConvTranspose):
    """The transpose of :class:`Conv3d`: :class:`ConvTranspose1d` along three axes."""

    rank = 3
