"""Patches of images as rows, rows as patches, and channels as pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import Array, Sample, function
from graphc.ir.tensor import Tensor, apply
from graphc.ops.geometry import axes_of_space, known_channels, per_axis, spatial
from graphc.ops.manipulation import pad
from graphc.ops.operands import as_tensor, common
from graphc.ops.shape import permute_dims, reshape
from graphc.ops.slices import Embed, part
from graphc.ops.windows import sliding_window_view
from graphc.types import divided, shape_at, show_dim, size_of

SECTION = "Convolution"


def _unfolded() -> Iterable[Sample]:
    x = np.random.default_rng(0).standard_normal((2, 5, 4, 3))
    yield Sample((x, 2))
    yield Sample((x, (3, 2)), (("dilation", (1, 2)), ("padding", 1), ("stride", (2, 1))))
    yield Sample((x[:, :, 0], 2), (("stride", 2),))


def _numpy_unfold(
    x: Array, window: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Array:
    rank = x.ndim - 2
    own = spatial("unfold", rank, per_axis("unfold", "window", window, rank), stride, padding,
                  dilation)  # fmt: skip
    x = np.pad(x, [(0, 0), *own.padding, (0, 0)])
    lengths = shape_at(own.count(x.shape[1:-1], padded=True), 0)
    rows = []
    for at in np.ndindex(*lengths):
        patch = x[(slice(None), *own.cut(at))]
        rows.append(np.moveaxis(patch, -1, 1).reshape(len(x), -1))
    return np.stack(rows, 1)


@function(samples=_unfolded, reference=_numpy_unfold, section=SECTION)
def unfold(x: Any, window: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Return the windows of images ``(N, *space, C)`` as rows ``(N, windows, C * window)``.

    A row has all of the window for the first channel, then for the next. As PyTorch's ``unfold``,
    with what that has in its last two axes the other way round. A convolution needs none of this.
    """
    (x,) = common("unfold", x)
    rank = axes_of_space("unfold", x)
    sizes = per_axis("unfold", "window", window, rank)
    own = spatial("unfold", rank, sizes, stride, padding, dilation)
    lengths = own.count(x.type.shape[1:-1])
    x = pad(x, ((0, 0), *own.padding, (0, 0)))
    axes = tuple(range(1, rank + 1))
    seen = sliding_window_view(x, sizes, axes, stride=own.stride, dilation=own.dilation)
    order = (0, *axes, rank + 1, *range(rank + 2, 2 * rank + 2))
    count = math.prod(sizes) * known_channels("unfold", x)
    return reshape(permute_dims(seen, order), (x.type.shape[0], size_of(lengths), count))


def _folded() -> Iterable[Sample]:
    rng = np.random.default_rng(1)
    yield Sample((rng.standard_normal((2, 12, 12)), (5, 4), 2))
    yield Sample((rng.standard_normal((2, 6, 6)), (5, 5), (3, 2), 1, (1, 0), 2))
    yield Sample((rng.standard_normal((1, 3, 4)), (6,), 2, 1, 0, 2))


def _numpy_fold(
    x: Array, output_size: Any, window: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Array:
    rank = len(output_size)
    sizes = per_axis("fold", "window", window, rank)
    own = spatial("fold", rank, sizes, stride, padding, dilation)
    channels = x.shape[-1] // math.prod(sizes)
    space = [n + low + high for n, (low, high) in zip(output_size, own.padding, strict=True)]
    result = np.zeros((len(x), *space, channels), np.result_type(x, np.float32))
    for row, at in enumerate(np.ndindex(*shape_at(own.count(output_size), 0))):
        patch = x[:, row].reshape(len(x), channels, *sizes)
        result[(slice(None), *own.cut(at))] += np.moveaxis(patch, 1, -1)
    inner = [slice(low, low + n) for n, (low, _) in zip(output_size, own.padding, strict=True)]
    return result[(slice(None), *inner)]


@function(samples=_folded, reference=_numpy_fold, section=SECTION)
def fold(
    x: Any, output_size: Any, window: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Return images ``(N, *output_size, C)`` to which the rows of :func:`unfold` are added up.

    The transpose of :func:`unfold`: elements that several windows share are sums. As PyTorch's
    ``fold``, with the last two axes of ``x`` the other way round.
    """
    (x,) = common("fold", x, floating=True)
    listed = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    rank = len(listed)
    space = per_axis("fold", "output_size", listed, rank)
    sizes = per_axis("fold", "window", window, rank)
    own = spatial("fold", rank, sizes, stride, padding, dilation)
    taps, lengths = math.prod(sizes), shape_at(own.count(space), 0)
    if x.ndim != 3 or x.type.shape[1] != math.prod(lengths):
        raise ShapeError(
            f"fold needs rows (N, {math.prod(lengths)}, C * {taps}) for images of shape "
            f"{space}, got {x.type}"
        )
    depth = known_channels("fold", x)
    if depth % taps:
        raise ShapeError(f"fold: the last axis, {depth}, is no multiple of a window of {taps}")
    rows = reshape(x, (x.type.shape[0], *lengths, depth // taps, taps))
    padded = tuple(n + low + high for n, (low, high) in zip(space, own.padding, strict=True))
    whole = (x.type.shape[0], *padded, depth // taps)
    total: Tensor | None = None
    for number, tap in enumerate(np.ndindex(*sizes)):
        starts = (0, *(k * d for k, d in zip(tap, own.dilation, strict=True)), 0)
        put = apply(Embed(starts, (1, *own.stride, 1), whole), rows[..., number])
        total = put if total is None else total + put
    assert total is not None
    for axis, (n, (low, _)) in enumerate(zip(space, own.padding, strict=True), 1):
        total = part(total, axis, low, n)
    return total


def _shuffled() -> Iterable[Sample]:
    x = np.arange(2.0 * 3 * 2 * 12).reshape(2, 3, 2, 12)
    yield Sample((x, 2))
    yield Sample((x, 1))


def _numpy_pixel_shuffle(x: Array, upscale_factor: int) -> Array:
    r = upscale_factor
    n, h, w, c = x.shape
    parts = x.reshape(n, h, w, c // r**2, r, r)
    return parts.transpose(0, 1, 4, 2, 5, 3).reshape(n, h * r, w * r, c // r**2)


@function(samples=_shuffled, reference=_numpy_pixel_shuffle, section=SECTION)
def pixel_shuffle(x: Any, upscale_factor: int) -> Tensor:
    """Return ``(N, H, W, C r^2)`` as ``(N, H r, W r, C)``: channels become pixels.

    Shi et al., *Sub-pixel convolution*, CVPR 2016; as PyTorch's, channels last.
    """
    t, (r,) = as_tensor(x), per_axis("pixel_shuffle", "upscale_factor", upscale_factor, 1)
    channels = known_channels("pixel_shuffle", t)
    if t.ndim != 4 or channels % r**2:
        raise ShapeError(
            f"pixel_shuffle needs images (N, H, W, C) of a multiple of {r**2} channels, "
            f"got {t.type}"
        )
    n, h, w, _ = t.type.shape
    parts = reshape(t, (n, h, w, channels // r**2, r, r))
    return reshape(permute_dims(parts, (0, 1, 4, 2, 5, 3)), (n, r * h, r * w, channels // r**2))


def _unshuffled() -> Iterable[Sample]:
    x = np.arange(2.0 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    yield Sample((x, 2))
    yield Sample((x, 1))


def _numpy_pixel_unshuffle(x: Array, downscale_factor: int) -> Array:
    r = downscale_factor
    n, h, w, c = x.shape
    parts = x.reshape(n, h // r, r, w // r, r, c)
    return parts.transpose(0, 1, 3, 5, 2, 4).reshape(n, h // r, w // r, c * r**2)


@function(samples=_unshuffled, reference=_numpy_pixel_unshuffle, section=SECTION)
def pixel_unshuffle(x: Any, downscale_factor: int) -> Tensor:
    """Return ``(N, H r, W r, C)`` as ``(N, H, W, C r^2)``: the inverse of :func:`pixel_shuffle`."""
    t, (r,) = as_tensor(x), per_axis("pixel_unshuffle", "downscale_factor", downscale_factor, 1)
    if t.ndim != 4:
        raise ShapeError(f"pixel_unshuffle needs images of axes (N, H, W, C), got {t.type}")
    n, h, w, _ = t.type.shape
    channels = known_channels("pixel_unshuffle", t)
    high, wide = divided(h, r), divided(w, r)
    if high is None or wide is None:
        open_ = not isinstance(h, int) or not isinstance(w, int)
        raise ShapeError(
            f"pixel_unshuffle: the axes of space, {show_dim(h)} and {show_dim(w)}, must be "
            f"multiples of downscale_factor, {r}"
            + ("; those of open lengths are not known to be" if open_ else "")
        )
    parts = reshape(t, (n, high, r, wide, r, channels))
    return reshape(permute_dims(parts, (0, 1, 3, 5, 2, 4)), (n, high, wide, channels * r**2))


def _groups() -> Iterable[Sample]:
    x = np.arange(2.0 * 3 * 12).reshape(2, 3, 12)
    for groups in (1, 3, 4):
        yield Sample((x, groups))


def _numpy_channel_shuffle(x: Array, groups: int) -> Array:
    parts = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    return parts.swapaxes(-1, -2).reshape(x.shape)


@function(samples=_groups, reference=_numpy_channel_shuffle, section=SECTION)
def channel_shuffle(x: Any, groups: int) -> Tensor:
    """Return ``x`` with one channel of each group after the other: (.., g, C/g) turned.

    Zhang et al., *ShuffleNet*, CVPR 2018; as PyTorch's, channels last.
    """
    t, (g,) = as_tensor(x), per_axis("channel_shuffle", "groups", groups, 1)
    channels = known_channels("channel_shuffle", t)
    if channels % g:
        raise ShapeError(f"channel_shuffle: {channels} channels do not divide into {g} groups")
    parts = reshape(t, (*t.type.shape[:-1], g, channels // g))
    order = (*range(t.ndim - 1), t.ndim, t.ndim - 1)
    return reshape(permute_dims(parts, order), t.type.shape)
