"""Images brought to another size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.ir.op import Array, Sample, function
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor
from graphc.ops.gather import take
from graphc.ops.geometry import axes_of_space, per_axis
from graphc.ops.operands import common
from graphc.ops.pool import adaptive_avg_pool
from graphc.ops.repetition import repeat

SECTION = "Pooling"

Taps = tuple[Array, Array]
"""For each element of a resized axis, the places it is made of, and their weights."""

_CUBIC = -0.75
"""Keys, *Cubic convolution interpolation*, 1981, with the parameter that PyTorch takes."""


def _places(n: int, m: int, scale: float | None, corners: bool) -> Array:
    """Return where in an axis of ``n`` the ``m`` elements of the resized one lie."""
    target = np.arange(m)
    if corners:
        return target * ((n - 1) / (m - 1) if m > 1 else 0.0)
    return (target + 0.5) * (1.0 / scale if scale else n / m) - 0.5


def _nearest(n: int, m: int, scale: float | None, corners: bool) -> Taps:
    step = 1.0 / scale if scale else n / m
    place = np.floor(np.arange(m, dtype=np.float32) * np.float32(step)).astype(np.int64)
    return np.minimum(place, n - 1)[:, None], np.ones((m, 1))


def _nearest_exact(n: int, m: int, scale: float | None, corners: bool) -> Taps:
    step = np.float32(1.0 / scale if scale else n / m)
    place = np.floor((np.arange(m, dtype=np.float32) + np.float32(0.5)) * step).astype(np.int64)
    return np.minimum(place, n - 1)[:, None], np.ones((m, 1))


def _linear(n: int, m: int, scale: float | None, corners: bool) -> Taps:
    place = np.maximum(_places(n, m, scale, corners), 0.0)
    low = np.minimum(place.astype(np.int64), n - 1)
    share = place - low
    return np.stack([low, np.minimum(low + 1, n - 1)], 1), np.stack([1 - share, share], 1)


def _cubic(n: int, m: int, scale: float | None, corners: bool) -> Taps:
    place = _places(n, m, scale, corners)
    low = np.floor(place).astype(np.int64)
    t, a = place - low, _CUBIC
    far = [d**3 * a - 5 * a * d**2 + 8 * a * d - 4 * a for d in (t + 1, 2 - t)]
    near = [(a + 2) * d**3 - (a + 3) * d**2 + 1 for d in (t, 1 - t)]
    taps = np.clip(low[:, None] + np.arange(-1, 3), 0, n - 1)
    return taps, np.stack([far[0], *near, far[1]], 1)


_MODES: dict[str, tuple[Callable[..., Taps], tuple[int, ...]]] = {
    "nearest": (_nearest, (1, 2, 3)),
    "nearest-exact": (_nearest_exact, (1, 2, 3)),
    "linear": (_linear, (1,)),
    "bilinear": (_linear, (2,)),
    "trilinear": (_linear, (3,)),
    "bicubic": (_cubic, (2,)),
}
"""Each with the number of axes of space that it is for."""


def _sized(
    space: Sequence[Any], size: Any, scale_factor: Any, mode: str, align_corners: bool | None
) -> list[tuple[int, int, float | None]]:
    """Return each axis's length, that of the result, and the scale if that was given."""
    rank = len(space)
    if mode != "area" and mode not in _MODES:
        known = ", ".join(map(repr, (*_MODES, "area")))
        raise ArgumentError(f"interpolate: mode must be one of {known}, not {mode!r}")
    if mode != "area" and rank not in _MODES[mode][1]:
        raise ArgumentError(f"interpolate: mode {mode!r} is not for {rank} axes of space")
    if align_corners is not None and mode in ("nearest", "nearest-exact", "area"):
        raise ArgumentError(f"interpolate: align_corners is not for mode {mode!r}")
    if (size is None) == (scale_factor is None):
        raise ArgumentError("interpolate: pass either size or scale_factor")
    if not all(isinstance(n, int) for n in space):
        raise ShapeError(f"interpolate: the lengths of the axes of space must be known: {space}")
    if size is not None:
        sizes = per_axis("interpolate", "size", size, rank)
        return [(n, m, None) for n, m in zip(space, sizes, strict=True)]
    factors = scale_factor if isinstance(scale_factor, (tuple, list)) else [scale_factor] * rank
    if len(factors) != rank or not all(f > 0 for f in factors):
        raise ArgumentError(f"interpolate: scale_factor {scale_factor!r} is not for {rank} axes")
    return [(n, math.floor(n * f), float(f)) for n, f in zip(space, factors, strict=True)]


def _resized() -> Iterable[Sample]:
    x = np.random.default_rng(3).standard_normal((2, 4, 5, 3))
    for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area"):
        yield Sample((x,), (("size", (7, 3)), ("mode", mode)))
    yield Sample((x,), (("scale_factor", 2),))
    yield Sample((x,), (("scale_factor", (1.6, 0.7)), ("mode", "bilinear")))
    yield Sample((x,), (("size", 6), ("mode", "bilinear"), ("align_corners", True)))
    yield Sample((x[:, :, 0],), (("size", 9), ("mode", "linear")))
    yield Sample((x[:, :, None],), (("size", (3, 2, 7)), ("mode", "trilinear")))


def _numpy_interpolate(
    x: Array, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None,
) -> Array:  # fmt: skip
    axes = _sized(x.shape[1:-1], size, scale_factor, mode, align_corners)
    x = x if x.dtype.kind == "f" else x.astype(np.float32)
    for axis, (n, m, scale) in enumerate(axes, 1):
        if mode == "area":
            bounds = [(o * n // m, -(-(o + 1) * n // m)) for o in range(m)]
            means = [x.take(range(*part), axis).mean(axis) for part in bounds]
            x = np.stack(means, axis)
            continue
        taps, weights = _MODES[mode][0](n, m, scale, bool(align_corners))
        shape = (-1, *(1,) * (x.ndim - axis - 1))
        parts = [
            x.take(t, axis) * w.reshape(shape).astype(x.dtype)
            for t, w in zip(taps.T, weights.T, strict=True)
        ]
        x = np.sum(parts, axis=0)
    return x


@function(samples=_resized, reference=_numpy_interpolate, section=SECTION)
def interpolate(
    x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:  # fmt: skip
    """Return images ``(N, *space, C)`` at another ``size``, or ``scale_factor`` times as large.

    A number, or one for each axis. ``mode`` is "nearest", "nearest-exact", "linear", "bilinear",
    "trilinear" (by the axes of space), "bicubic" or "area" (means); ``align_corners`` lets the
    corner elements of both images have one centre. As PyTorch's ``interpolate``, channels last.
    """
    (x,) = common("interpolate", x, floating=True)
    axes_of_space("interpolate", x)
    axes = _sized(x.type.shape[1:-1], size, scale_factor, mode, align_corners)
    if mode == "area":
        means: Tensor = adaptive_avg_pool(x, tuple(m for _, m, _ in axes))
        return means
    result: Tensor = x
    for axis, (n, m, scale) in enumerate(axes, 1):
        if mode == "nearest" and m % n == 0 and scale in (None, m // n):
            result = repeat(result, m // n, axis) if m != n else result
        else:
            taps, weights = _MODES[mode][0](n, m, scale, bool(align_corners))
            result = _weighted(result, axis, taps, weights)
    return result


def _weighted(x: Tensor, axis: int, taps: Array, weights: Array) -> Tensor:
    """Return sums of elements of ``x`` along ``axis``, times their weights."""
    total: Tensor | None = None
    for places, shares in zip(taps.T, weights.T, strict=True):
        part = take(x, constant(np.ascontiguousarray(places)), axis=axis)
        if not (shares == 1).all():
            part = part * constant(shares.reshape(-1, *(1,) * (x.ndim - axis - 1)), x.dtype)
        total = part if total is None else total + part
    assert total is not None
    return total
