"""Layers that undo pooling, and those of enlarged images by their older names."""

from __future__ import annotations

from typing import Any, ClassVar

from graphc import ops
from graphc.errors import ShapeError, user_location
from graphc.ir.tensor import Tensor
from graphc.nn.module import Layer
from graphc.nn.pooling import Sizes
from graphc.nn.resizing import Upsample


class _MaxUnpool(Layer):
    rank: ClassVar[int]

    def __init__(
        self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, *,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name)
        self._windows = kernel_size, stride, padding

    def forward(self, x: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        alone = x.ndim == self.rank + 1
        if not alone and x.ndim != self.rank + 2:
            raise ShapeError(
                f"{type(self).__name__} needs images of {self.rank + 1} or {self.rank + 2} axes, "
                f"got {x.describe()}\n  at {user_location()}"
            )
        if alone:
            x, indices = ops.expand_dims(x, 0), ops.expand_dims(indices, 0)
        window, stride, padding = self._windows
        y = ops.max_unpool(x, indices, window, stride, padding, output_size)
        return ops.squeeze(y, 0) if alone else y


class MaxUnpool1d(_MaxUnpool):
    """The inverse of :class:`MaxPool1d` but for what that dropped: :func:`gx.max_unpool`."""

    rank = 1


class MaxUnpool2d(_MaxUnpool):
    """The inverse of :class:`MaxPool2d` but for what that dropped: :func:`gx.max_unpool`."""

    rank = 2


class MaxUnpool3d(_MaxUnpool):
    """The inverse of :class:`MaxPool3d` but for what that dropped: :func:`gx.max_unpool`."""

    rank = 3


class UpsamplingNearest2d(Upsample):
    """:class:`Upsample` by the nearest element."""

    def __init__(
        self, size: Any = None, scale_factor: Any = None, *, name: str | None = None
    ) -> None:
        super().__init__(size, scale_factor, "nearest", name=name)


class UpsamplingBilinear2d(Upsample):
    """:class:`Upsample` by two linear interpolations, with the corners aligned."""

    def __init__(
        self, size: Any = None, scale_factor: Any = None, *, name: str | None = None
    ) -> None:
        super().__init__(size, scale_factor, "bilinear", True, name=name)
