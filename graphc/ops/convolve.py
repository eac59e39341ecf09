"""Convolution and its transpose, with a user's arguments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.ir.op import Array, Sample, function
from graphc.ir.tensor import Tensor, apply
from graphc.ops.convolution import SPACE, Convolution
from graphc.ops.geometry import Window, per_axis, spatial
from graphc.ops.operands import common
from graphc.ops.slices import flip
from graphc.types import Dim, dim_at, shape_at, show_dim

SECTION = "Convolution"


def _samples() -> Iterable[Sample]:
    rng = np.random.default_rng(0)

    def sample(
        space: tuple[int, ...], window: tuple[int, ...], c: int, o: int, **given: Any
    ) -> Sample:
        depth = c // given.get("groups", 1)
        x, w = rng.standard_normal((2, *space, c)), rng.standard_normal((*window, depth, o))
        return Sample((x, w), tuple(given.items()))

    yield sample((7,), (3,), 2, 3)
    yield sample((5, 4), (3, 2), 2, 3, padding=1)
    yield sample((6, 5), (3, 2), 2, 4, stride=2, padding=(2, 0), dilation=(1, 2), groups=2)
    yield sample((5, 4), (3, 3), 4, 4, stride=(1, 2), padding=1, groups=4)
    yield sample((4, 4), (2, 2), 2, 4, groups=2, padding=((0, 1), (2, 0)))
    yield sample((5, 4), (1, 1), 3, 2, stride=2)
    yield sample((6,), (4,), 1, 2, padding="same", dilation=2)
    yield sample((3, 4, 3), (2, 2, 2), 1, 2, stride=(2, 1, 1), padding=1)
    yield sample((7,), (2,), 1, 1, stride=3)


def _pairs(x: Array, w: Array, stride: Any, padding: Any, dilation: Any) -> Window:
    return spatial("conv", x.ndim - 2, w.shape[:-2], stride, padding, dilation)


def _numpy_conv(
    x: Array, w: Array, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Array:
    """Return a convolution by loops over everything but channels."""
    own = _pairs(x, w, stride, padding, dilation)
    x = np.pad(x, [(0, 0), *own.padding, (0, 0)])
    lengths = own.count(x.shape[1:-1], padded=True)
    depth, per = w.shape[-2], w.shape[-1] // groups
    result = np.zeros((len(x), *shape_at(lengths, 0), w.shape[-1]), np.result_type(x, w))
    for at in np.ndindex(*shape_at(lengths, 0)):
        for tap in np.ndindex(*w.shape[:-2]):
            place = (
                o * s + k * d for o, s, k, d in zip(at, own.stride, tap, own.dilation, strict=True)
            )
            element = x[(slice(None), *place)]
            for g in range(groups):
                columns = slice(g * per, (g + 1) * per)
                part = element[:, g * depth : (g + 1) * depth] @ w[tap][:, columns]
                result[(slice(None), *at, columns)] += part
    return result


@function(samples=_samples, reference=_numpy_conv, section=SECTION)
def conv(
    x: Any, w: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """Return the convolution (a cross-correlation, as in PyTorch) of images with a kernel.

    ``x`` is ``(N, *space, C)`` and ``w`` ``(*window, C // groups, out)``, of one axis of space or
    more; the result is ``(N, *lengths, out)``. ``stride`` and ``dilation`` are a number or one for
    each axis. ``padding`` by zeros is a number, one or a pair ``(before, after)`` for each axis,
    "valid" (none) or "same" (the result is as long as ``x``; for a stride of 1). The channels of
    each of ``groups`` give their own part of the results.
    """
    x, w = common("conv", x, w)
    rank = _check(x, w, groups, "conv")
    window = tuple(dim_at(k, 0) for k in w.type.shape[:-2])
    own = spatial("conv", rank, window, stride, padding, dilation)
    starts = tuple(low for low, _ in own.padding)
    lengths = own.count(x.type.shape[1:-1])
    op = Convolution(own.stride, starts, own.dilation, (1,) * rank, lengths, groups)
    return apply(op, x, w)


def _transposes() -> Iterable[Sample]:
    rng = np.random.default_rng(1)

    def sample(
        space: tuple[int, ...], window: tuple[int, ...], c: int, o: int, **given: Any
    ) -> Sample:
        depth = c // given.get("groups", 1)
        x, w = rng.standard_normal((2, *space, c)), rng.standard_normal((*window, depth, o))
        return Sample((x, w), tuple(given.items()))

    yield sample((4,), (3,), 2, 3)
    yield sample((3, 4), (3, 2), 2, 3, stride=2, padding=1, output_padding=1)
    yield sample((3, 2), (2, 3), 4, 2, stride=(3, 2), groups=2, dilation=(2, 1))
    yield sample((3, 3), (2, 2), 2, 2, stride=2, groups=2, padding=(0, 1))
    yield sample((3,), (1,), 2, 2, stride=3)
    yield sample((2, 2, 2), (2, 1, 2), 1, 2, stride=2)


def _numpy_conv_transpose(
    x: Array, w: Array, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Array:  # fmt: skip
    """Return a convolution over elements apart, by loops over everything but channels."""
    rank, window = x.ndim - 2, w.shape[:-2]
    own = spatial("conv_transpose", rank, window, stride, padding, dilation)
    extra = per_axis("conv_transpose", "output_padding", output_padding, rank, 0)
    lengths = [
        (n - 1) * s + span - low - high + e
        for n, s, span, (low, high), e in zip(
            x.shape[1:-1], own.stride, own.spans, own.padding, extra, strict=True
        )
    ]
    depth, per = w.shape[-2], w.shape[-1] // groups
    wide = np.pad(x, [(0, 0), *[(k, k + 1) for k in own.spans], (0, 0)])
    result = np.zeros((len(x), *lengths, w.shape[-1]), np.result_type(x, w))
    for at in np.ndindex(*lengths):
        for tap in np.ndindex(*window):
            reached = [
                divmod(o + low - k * d, s)
                for o, k, (low, _), s, d in zip(
                    at, tap, own.padding, own.stride, own.dilation, strict=True
                )
            ]
            if any(rest for _, rest in reached):
                continue
            place = (number + k for (number, _), k in zip(reached, own.spans, strict=True))
            element = wide[(slice(None), *place)]
            for g in range(groups):
                columns = slice(g * per, (g + 1) * per)
                part = element[:, g * depth : (g + 1) * depth] @ w[tap][:, columns]
                result[(slice(None), *at, columns)] += part
    return result


@function(samples=_transposes, reference=_numpy_conv_transpose, section=SECTION)
def conv_transpose(
    x: Any, w: Any, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Return the transposed convolution: what the gradient of :func:`conv` does to a cotangent.

    ``x`` is ``(N, *space, C)`` and ``w`` ``(*window, C // groups, out)``. Elements of ``x`` come to
    lie ``stride`` apart; ``padding`` elements are cut off at the ends, and ``output_padding`` (less
    than the stride or the dilation) more are kept at the last. Arguments as in PyTorch's.
    """
    x, w = common("conv_transpose", x, w)
    rank = _check(x, w, groups, "conv_transpose")
    window = tuple(dim_at(k, 0) for k in w.type.shape[:-2])
    if isinstance(padding, str):
        raise ArgumentError(f"conv_transpose: padding must be numbers, not {padding!r}")
    own = spatial("conv_transpose", rank, window, stride, padding, dilation)
    extra = per_axis("conv_transpose", "output_padding", output_padding, rank, 0)
    if any(e >= max(s, d) for e, s, d in zip(extra, own.stride, own.dilation, strict=True)):
        raise ArgumentError(
            f"conv_transpose: output_padding {output_padding} must be smaller than either the "
            f"stride or the dilation, {stride} and {dilation}"
        )
    starts, lengths = [], []
    for n, k, s, d, (low, high), e in zip(
        x.type.shape[1:-1], window, own.stride, own.dilation, own.padding, extra, strict=True
    ):
        starts.append((k - 1) * d - low)
        lengths.append((n - 1) * s + (k - 1) * d + 1 - low - high + e)
    if any(isinstance(n, int) and n < 1 for n in lengths):
        raise ShapeError(f"conv_transpose: padding {padding} leaves no element of {x.type}")
    op = Convolution((1,) * rank, tuple(starts), own.dilation, own.stride, tuple(lengths), groups)
    return apply(op, x, flip(w, tuple(range(rank))))


def _check(x: Tensor, w: Tensor, groups: int, what: str) -> int:
    """Return the number of axes of space, if images and kernel fit."""
    rank = w.ndim - 2
    if not 1 <= rank <= len(SPACE) or x.ndim != w.ndim:
        raise ShapeError(
            f"{what} needs images (N, *space, C) and a kernel (*window, C // groups, out) of as "
            f"many axes, at most {len(SPACE)} of space; got {x.type} and {w.type}"
        )
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise ArgumentError(f"{what}: groups must be a positive integer, not {groups!r}")
    depth, out = w.type.shape[-2:]
    channels = x.type.shape[-1]
    if any(isinstance(d, Dim) for d in (channels, *w.type.shape)):
        raise ShapeError(
            f"{what}: channels and the kernel's shape must be known, not {x.type}, {w.type}"
        )
    if depth * groups != channels:
        raise ShapeError(
            f"{what}: the kernel {w.type} takes {depth} channels for each of {groups} groups, "
            f"{show_dim(depth * groups)} in its input's last axis, which has {show_dim(channels)}"
        )
    if dim_at(out, 0) % groups:
        raise ShapeError(f"{what}: {show_dim(out)} results do not divide into {groups} groups")
    if any(d == 0 for d in w.type.shape):
        raise ShapeError(f"{what}: the kernel {w.type} is empty")
    return rank
