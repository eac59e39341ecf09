"""Layers that bring images to another size, and rearrange them."""

from __future__ import annotations

from typing import Any

from graphc import ops
from graphc.ir.tensor import Tensor
from graphc.nn.module import Layer, count, counts, number
from graphc.ops.resize import check_resized


class Upsample(Layer):
    """Images at another size: :func:`gx.interpolate`, whose arguments these are."""

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
        align_corners: bool | None = None, *, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name)
        check_resized("Upsample", size, scale_factor, mode)
        self.size, self.scale_factor = size, scale_factor
        self.mode, self.align_corners = mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        return ops.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)


class PixelShuffle(Layer):
    """``(N, H, W, C r^2)`` as ``(N, H r, W r, C)``: :func:`gx.pixel_shuffle`."""

    def __init__(self, upscale_factor: int, *, name: str | None = None) -> None:
        super().__init__(name)
        self.upscale_factor = count("PixelShuffle: upscale_factor", upscale_factor, 1)

    def forward(self, x: Tensor) -> Tensor:
        return ops.pixel_shuffle(x, self.upscale_factor)


class PixelUnshuffle(Layer):
    """``(N, H r, W r, C)`` as ``(N, H, W, C r^2)``: :func:`gx.pixel_unshuffle`."""

    def __init__(self, downscale_factor: int, *, name: str | None = None) -> None:
        super().__init__(name)
        self.downscale_factor = count("PixelUnshuffle: downscale_factor", downscale_factor, 1)

    def forward(self, x: Tensor) -> Tensor:
        return ops.pixel_unshuffle(x, self.downscale_factor)


class Unfold(Layer):
    """The windows of images as rows: :func:`gx.unfold`, whose arguments these are."""

    def __init__(
        self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1, *,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name)
        _check_windows("Unfold", kernel_size, dilation, padding, stride)
        self.kernel_size, self.dilation = kernel_size, dilation
        self.padding, self.stride = padding, stride

    def forward(self, x: Tensor) -> Tensor:
        return ops.unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(Layer):
    """Images to which rows add up: :func:`gx.fold`, whose arguments these are."""

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
        stride: Any = 1, *, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name)
        counts("Fold: output_size", output_size)
        _check_windows("Fold", kernel_size, dilation, padding, stride)
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, x: Tensor) -> Tensor:
        return ops.fold(
            x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride
        )


def _check_windows(kind: str, window: Any, dilation: Any, padding: Any, stride: Any) -> None:
    given = (("kernel_size", window, 1), ("dilation", dilation, 1), ("stride", stride, 1))
    for name, value, least in (*given, ("padding", padding, 0)):
        counts(f"{kind}: {name}", value, least)


class LocalResponseNorm(Layer):
    """Channels divided by those beside them: :func:`gx.local_response_norm`."""

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name)
        kind = "LocalResponseNorm"
        self.size = count(f"{kind}: size", size, 1)
        self.alpha, self.beta = number(f"{kind}: alpha", alpha), number(f"{kind}: beta", beta)
        self.k = number(f"{kind}: k", k)

    def forward(self, x: Tensor) -> Tensor:
        return ops.local_response_norm(x, self.size, self.alpha, self.beta, self.k)
