"""Images brought to another size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError, user_location
from graphc.ir.op import Array, Sample, function
from graphc.ir.tensor import Tensor
from graphc.ops.cast import astype
from graphc.ops.creation import asarray, extent
from graphc.ops.gather import take
from graphc.ops.geometry import axes_of_space, counted, functions, number, per_axis
from graphc.ops.operands import common
from graphc.ops.pool import adaptive_avg_pool
from graphc.ops.repetition import repeat
from graphc.ops.shape import reshape
from graphc.types import FLOAT32, FLOAT64, INT64, AnyDim, dim_at, dim_ceildiv, divided

SECTION = "Pooling"

Taps = list[tuple[Any, Any]]
"""What an element of a resized axis is the sum of: places, and their weights, None for 1."""

_CUBIC = -0.75
"""Keys, *Cubic convolution interpolation*, 1981, with the parameter that PyTorch takes."""


class _Axis:
    """An axis of ``n`` elements that gets ``m``: arrays, or tensors where a length is open."""

    def __init__(self, n: AnyDim, m: AnyDim, scale: float | None, corners: bool) -> None:
        self.f, self.last, self.corners = functions(n, m), number(n) - 1, corners
        self.numbers = counted(m, n)
        known = isinstance(n, int) and isinstance(m, int)
        self.n, self.m = ((number(d, FLOAT64) if known else extent(d, FLOAT64)) for d in (n, m))
        self.step = FLOAT64.type(1.0 / scale) if scale else self.n / self.m

    def cast(self, value: Any, dtype: Any) -> Any:
        return astype(value, dtype) if isinstance(value, Tensor) else np.asarray(value, dtype)

    def places(self) -> Any:
        """Return where in the axis the elements of the resized one lie."""
        target = self.cast(self.numbers, FLOAT64)
        if self.corners:
            return target * ((self.n - 1) / self.f.maximum(self.m - 1, 1.0))
        return (target + 0.5) * self.step - 0.5


def _nearest(axis: _Axis, shift: float = 0.0) -> Taps:
    # PyTorch computes these places in float32.
    target = axis.cast(axis.numbers, FLOAT32) + np.float32(shift)
    place = axis.f.floor(target * axis.cast(axis.step, FLOAT32))
    return [(axis.f.minimum(axis.cast(place, INT64), axis.last), None)]


def _nearest_exact(axis: _Axis) -> Taps:
    return _nearest(axis, 0.5)


def _linear(axis: _Axis) -> Taps:
    place = axis.f.maximum(axis.places(), 0.0)
    low = axis.f.minimum(axis.cast(axis.f.floor(place), INT64), axis.last)
    share = place - axis.cast(low, FLOAT64)
    return [(low, 1.0 - share), (axis.f.minimum(low + 1, axis.last), share)]


def _cubic(axis: _Axis) -> Taps:
    place = axis.places()
    low, a = axis.f.floor(place), _CUBIC
    t = place - low
    far = [d**3 * a - 5 * a * d**2 + 8 * a * d - 4 * a for d in (t + 1, 2 - t)]
    near = [(a + 2) * d**3 - (a + 3) * d**2 + 1 for d in (t, 1 - t)]
    first = axis.cast(low, INT64)
    taps = [axis.f.minimum(axis.f.maximum(first + k, 0), axis.last) for k in range(-1, 3)]
    return list(zip(taps, [far[0], *near, far[1]], strict=True))


_MODES: dict[str, tuple[Callable[..., Taps], tuple[int, ...]]] = {
    "nearest": (_nearest, (1, 2, 3)),
    "nearest-exact": (_nearest_exact, (1, 2, 3)),
    "linear": (_linear, (1,)),
    "bilinear": (_linear, (2,)),
    "trilinear": (_linear, (3,)),
    "bicubic": (_cubic, (2,)),
}
"""Each with the number of axes of space that it is for."""


def check_resized(what: str, size: Any, scale_factor: Any, mode: str) -> None:
    """Raise :class:`ArgumentError` unless the arguments are some for images of any rank."""
    text = ""
    if mode != "area" and mode not in _MODES:
        known = ", ".join(map(repr, (*_MODES, "area")))
        text = f"mode must be one of {known}, not {mode!r}"
    elif (size is None) == (scale_factor is None):
        text = "pass either size or scale_factor"
    elif size is not None:
        per_axis(what, "size", size, len(size) if isinstance(size, (tuple, list)) else 1)
    else:
        many = scale_factor if isinstance(scale_factor, (tuple, list)) else [scale_factor]
        numbers = all(isinstance(f, (int, float)) and not isinstance(f, bool) for f in many)
        if not numbers or not all(f > 0 for f in many):
            text = f"scale_factor must be greater than 0, not {scale_factor!r}"
    if text:
        raise ArgumentError(f"{what}: {text}\n  at {user_location()}")


def _sized(
    space: Sequence[Any], size: Any, scale_factor: Any, mode: str, align_corners: bool | None
) -> list[tuple[AnyDim, AnyDim, float | None]]:
    """Return each axis's length, that of the result, and the scale if that was given."""
    rank = len(space)
    check_resized("interpolate", size, scale_factor, mode)
    if mode != "area" and rank not in _MODES[mode][1]:
        raise ArgumentError(f"interpolate: mode {mode!r} is not for {rank} axes of space")
    if align_corners is not None and mode in ("nearest", "nearest-exact", "area"):
        raise ArgumentError(f"interpolate: align_corners is not for mode {mode!r}")
    if size is not None:
        sizes = per_axis("interpolate", "size", size, rank)
        return [(n, m, None) for n, m in zip(space, sizes, strict=True)]
    factors = scale_factor if isinstance(scale_factor, (tuple, list)) else [scale_factor] * rank
    if len(factors) != rank:
        raise ArgumentError(f"interpolate: scale_factor {scale_factor!r} is not for {rank} axes")
    return [(n, _times(n, f), float(f)) for n, f in zip(space, factors, strict=True)]


def _times(n: AnyDim, factor: float) -> AnyDim:
    """Return ``floor(n * factor)``, which must not be 0."""
    if isinstance(n, int):
        result: AnyDim = math.floor(n * factor)
    elif factor == round(factor):
        result = n * round(factor)
    elif 1 / factor == round(1 / factor):
        result = dim_ceildiv(n - (round(1 / factor) - 1), round(1 / factor))
    else:
        raise ShapeError(
            f"interpolate: an axis of the open length {n} can become longer or shorter by whole "
            f"numbers, not by a scale_factor of {factor!r}; pass size, or fix the length"
        )
    if result == 0:
        raise ShapeError(f"interpolate: scale_factor {factor!r} leaves nothing of {n} elements")
    return result


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
    for axis, (length, result, scale) in enumerate(axes, 1):
        n, m = dim_at(length, 0), dim_at(result, 0)
        if mode == "area":
            bounds = [(o * n // m, -(-(o + 1) * n // m)) for o in range(m)]
            means = [x.take(range(*part), axis).mean(axis) for part in bounds]
            x = np.stack(means, axis)
            continue
        shape = (-1, *(1,) * (x.ndim - axis - 1))
        parts = [
            x.take(t, axis) * (1 if w is None else w.reshape(shape).astype(x.dtype))
            for t, w in _MODES[mode][0](_Axis(n, m, scale, bool(align_corners)))
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
        means: Tensor = adaptive_avg_pool(x, tuple(None if m == n else m for n, m, _ in axes))
        return means
    result: Tensor = x
    for axis, (n, m, scale) in enumerate(axes, 1):
        times = divided(m, n)
        if mode == "nearest" and isinstance(times, int) and scale in (None, times):
            result = repeat(result, times, axis) if times != 1 else result
        else:
            taps = _MODES[mode][0](_Axis(n, m, scale, bool(align_corners)))
            result = _weighted(result, axis, taps)
    return result


def _weighted(x: Tensor, axis: int, taps: Taps) -> Tensor:
    """Return sums of elements of ``x`` along ``axis``, times their weights."""
    total: Tensor | None = None
    for places, shares in taps:
        part = take(x, asarray(places), axis=axis)
        if shares is not None:
            share = astype(asarray(shares), x.dtype)
            part = part * reshape(share, (*share.type.shape, *(1,) * (x.ndim - axis - 1)))
        total = part if total is None else total + part
    assert total is not None
    return total
