"""A layer for each kind of pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from graphc import ops
from graphc.errors import ArgumentError, ShapeError, user_location
from graphc.ir.tensor import Tensor
from graphc.nn.module import Layer, number
from graphc.ops.pool import pool_sizes, pool_window

Sizes = int | Sequence[int]


class _Pool(Layer):
    """Pools images along ``rank`` axes, which may come without the axis of the batch."""

    rank: ClassVar[int]

    def __init__(self, pool: Callable[[Tensor], Any], name: str | None, *window: Any) -> None:
        """``window`` are size, stride, padding and dilation of windows, if there are such."""
        super().__init__(name)
        self._pool = pool
        if window:
            pool_window(type(self).__name__, self.rank, *window)

    def forward(self, x: Tensor) -> Any:
        axes = ("L", "H, W", "D, H, W")[self.rank - 1]
        alone = x.ndim == self.rank + 1
        if not alone and x.ndim != self.rank + 2:
            raise ShapeError(
                f"{type(self).__name__} needs images of axes (N, {axes}, C) or ({axes}, C), got "
                f"{x.describe()}\n  at {user_location()}"
            )
        y = self._pool(ops.expand_dims(x, 0) if alone else x)
        if not alone:
            return y
        return tuple(ops.squeeze(t, 0) for t in y) if isinstance(y, tuple) else ops.squeeze(y, 0)


class _MaxPool(_Pool):
    def __init__(
        self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
        dilation: Sizes = 1, return_indices: bool = False, ceil_mode: bool = False, *,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            lambda x: ops.max_pool(
                x, kernel_size, stride, padding, dilation, ceil_mode, return_indices
            ),
            name, kernel_size, stride, padding, dilation,
        )  # fmt: skip


class MaxPool1d(_MaxPool):
    """The greatest element of each window of ``(N, L, C)``: :func:`gx.max_pool`."""

    rank = 1


class MaxPool2d(_MaxPool):
    """The greatest element of each window of ``(N, H, W, C)``: :func:`gx.max_pool`."""

    rank = 2


class MaxPool3d(_MaxPool):
    """The greatest element of each window of ``(N, D, H, W, C)``: :func:`gx.max_pool`."""

    rank = 3


class AvgPool1d(_Pool):
    """The mean of each window of ``(N, L, C)``: :func:`gx.avg_pool`."""

    rank = 1

    def __init__(
        self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
        ceil_mode: bool = False, count_include_pad: bool = True, *, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            lambda x: ops.avg_pool(x, kernel_size, stride, padding, ceil_mode, count_include_pad),
            name, kernel_size, stride, padding, 1,
        )  # fmt: skip


class _AvgPool(_Pool):
    def __init__(
        self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
        ceil_mode: bool = False, count_include_pad: bool = True,
        divisor_override: float | None = None, *, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            lambda x: ops.avg_pool(
                x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
            ),
            name, kernel_size, stride, padding, 1,
        )  # fmt: skip
        if divisor_override is not None and not number("divisor_override", divisor_override):
            raise ArgumentError(
                f"{type(self).__name__}: divisor_override must not be 0\n  at {user_location()}"
            )


class AvgPool2d(_AvgPool):
    """The mean of each window of ``(N, H, W, C)``: :func:`gx.avg_pool`."""

    rank = 2


class AvgPool3d(_AvgPool):
    """The mean of each window of ``(N, D, H, W, C)``: :func:`gx.avg_pool`."""

    rank = 3


class _LPPool(_Pool):
    def __init__(
        self, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None,
        ceil_mode: bool = False, *, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            lambda x: ops.lp_pool(x, norm_type, kernel_size, stride, ceil_mode), name,
            kernel_size, stride, 0, 1,
        )  # fmt: skip
        if not number(f"{type(self).__name__}: norm_type", norm_type):
            raise ArgumentError(
                f"{type(self).__name__}: norm_type must not be 0\n  at {user_location()}"
            )


class LPPool1d(_LPPool):
    """The root of the sum of powers in each window of ``(N, L, C)``: :func:`gx.lp_pool`."""

    rank = 1


class LPPool2d(_LPPool):
    """The root of the sum of powers in each window of ``(N, H, W, C)``: :func:`gx.lp_pool`."""

    rank = 2


class LPPool3d(_LPPool):
    """The root of the sum of powers in each window of ``(N, D, H, W, C)``: :func:`gx.lp_pool`."""

    rank = 3


class _AdaptiveAvgPool(_Pool):
    def __init__(self, output_size: Any, *, name: str | None = None) -> None:
        super().__init__(lambda x: ops.adaptive_avg_pool(x, output_size), name)
        pool_sizes(type(self).__name__, output_size, self.rank)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means of as many windows as asked for, of ``(N, L, C)``: :func:`gx.adaptive_avg_pool`."""

    rank = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means of as many windows as asked for, of ``(N, H, W, C)``: :func:`gx.adaptive_avg_pool`.

    With ``output_size`` 1 the mean of the whole image, of each channel: global pooling.
    """

    rank = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means of as many windows as asked for, of ``(N, D, H, W, C)``."""

    rank = 3


class _AdaptiveMaxPool(_Pool):
    def __init__(
        self, output_size: Any, return_indices: bool = False, *, name: str | None = None
    ) -> None:
        super().__init__(lambda x: ops.adaptive_max_pool(x, output_size, return_indices), name)
        pool_sizes(type(self).__name__, output_size, self.rank)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The greatest of as many windows as asked for, of ``(N, L, C)``."""

    rank = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The greatest of as many windows as asked for, of ``(N, H, W, C)``."""

    rank = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The greatest of as many windows as asked for, of ``(N, D, H, W, C)``."""

    rank = 3
