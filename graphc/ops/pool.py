"""Pooling, with a user's arguments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, user_location
from graphc.ir.op import Array, Sample, function
from graphc.ir.results import results
from graphc.ir.tensor import Tensor, apply
from graphc.ops.cast import astype
from graphc.ops.comparison import where
from graphc.ops.convolution import Convolution
from graphc.ops.creation import asarray, filled
from graphc.ops.geometry import (
    Window,
    axes_of_space,
    counted,
    functions,
    known_channels,
    number,
    per_axis,
    spatial,
)
from graphc.ops.operands import as_tensor, common
from graphc.ops.pooling import GreatestInWindows
from graphc.ops.reduce import sum
from graphc.ops.shape import expand_dims, reshape
from graphc.ops.statistics import mean
from graphc.types import FLOAT64, INT64, AnyDim, Shape, divided, shape_at

SECTION = "Pooling"

Table = tuple[Any, Any]
"""For each window along an axis, its first element and how many it has: arrays or tensors."""


def _images() -> Array:
    return np.random.default_rng(0).permutation(2 * 6 * 5 * 3).reshape(2, 6, 5, 3) / 7.0


def _greatest() -> Iterable[Sample]:
    x = _images()
    yield Sample((x, 2))
    yield Sample((x, (3, 2)), (("stride", (1, 2)), ("padding", (1, 0)), ("dilation", (2, 1))))
    yield Sample((x, 3), (("stride", 2), ("padding", 1), ("ceil_mode", True)))
    yield Sample((x[:, :, 0], 3), (("stride", 1),))
    yield Sample((np.zeros((1, 4, 4, 1)), 2), (), False)


def _numpy_max_pool(
    x: Array, window: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> Array:  # fmt: skip
    own = pool_window("max_pool", x.ndim - 2, window, stride, padding, dilation)
    lengths = own.count(x.shape[1:-1], partly=ceil_mode)
    low = np.iinfo(x.dtype).min if x.dtype.kind == "i" else -np.inf
    wide = np.pad(
        x, [(0, 0), *((p, q + s + span) for (p, q), s, span in
                      zip(own.padding, own.stride, own.spans, strict=True)), (0, 0)],
        constant_values=low,
    )  # fmt: skip
    result = np.empty((len(x), *lengths, x.shape[-1]), x.dtype)
    for at in np.ndindex(*result.shape[1:-1]):
        result[(slice(None), *at)] = wide[(slice(None), *own.cut(at))].max(
            tuple(range(1, x.ndim - 1))
        )
    return result


@function(samples=_greatest, reference=_numpy_max_pool, section=SECTION)
def max_pool(
    x: Any, window: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Return the greatest element of each window of images ``(N, *space, C)``.

    Arguments are a number or one for each axis of space; ``stride`` is the window by default, and
    padding is less than every element. With ``ceil_mode`` a last window may go over the end. With
    ``return_indices`` the places, in the flat image, come as well. The derivative is that of the
    first greatest element; a NaN is greater than all, and of several the last one counts. As
    PyTorch's ``max_pool2d``, channels last.
    """
    (x,) = common("max_pool", x)
    rank = axes_of_space("max_pool", x)
    own = pool_window("max_pool", rank, window, stride, padding, dilation)
    lengths = own.count(x.type.shape[1:-1], partly=bool(ceil_mode))
    tables = [
        _inside(n, counted(m, n) * s - low, k, d)
        for n, m, s, (low, _), k, d in zip(
            x.type.shape[1:-1],
            lengths,
            own.stride,
            own.padding,
            own.window,
            own.dilation,
            strict=True,
        )
    ]
    best, place = _pooled(x, tables, own.dilation)
    return (best, place) if return_indices else best


def _means() -> Iterable[Sample]:
    x = _images()
    yield Sample((x, 2))
    yield Sample((x, (3, 2)), (("stride", (1, 2)), ("padding", 1)))
    yield Sample((x, 3), (("stride", 2), ("padding", 1), ("count_include_pad", False)))
    yield Sample((x, (3, 2)), (("stride", 2), ("padding", 1), ("ceil_mode", True)))
    yield Sample((x[:, :, 0], 3), (("divisor_override", 2),))


def _numpy_avg_pool(
    x: Array, window: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: float | None = None,
) -> Array:  # fmt: skip
    own = pool_window("avg_pool", x.ndim - 2, window, stride, padding, 1)
    lengths = own.count(x.shape[1:-1], partly=ceil_mode)
    dtype = x.dtype if x.dtype.kind == "f" else np.float32
    result = np.empty((len(x), *lengths, x.shape[-1]), dtype)
    for at in np.ndindex(*result.shape[1:-1]):
        cut, count = [], 1
        for o, s, k, (low, high), n in zip(
            at, own.stride, own.window, own.padding, x.shape[1:-1], strict=True
        ):
            start, stop = o * s - low, min(o * s - low + k, n + high)
            cut.append(slice(max(start, 0), min(stop, n)))
            count *= stop - start if count_include_pad else cut[-1].stop - cut[-1].start
        total = x[(slice(None), *cut)].sum(tuple(range(1, x.ndim - 1)))
        result[(slice(None), *at)] = total / (divisor_override or count)
    return result


@function(samples=_means, reference=_numpy_avg_pool, section=SECTION)
def avg_pool(
    x: Any, window: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: float | None = None,
) -> Tensor:  # fmt: skip
    """Return the mean over each window of images ``(N, *space, C)``, zeros beyond their ends.

    A sum is divided by the elements in the window and in the padding, or by those of the image only
    (``count_include_pad=False``), or by ``divisor_override``. As PyTorch's ``avg_pool2d``, channels
    last.
    """
    (x,) = common("avg_pool", x, floating=True)
    own = pool_window("avg_pool", axes_of_space("avg_pool", x), window, stride, padding, 1)
    space = x.type.shape[1:-1]
    lengths = own.count(space, partly=bool(ceil_mode))
    total = _sums(x, own, lengths)
    if divisor_override is not None:
        if divisor_override == 0:
            raise ArgumentError("avg_pool: divisor_override must not be 0")
        return total * (1.0 / divisor_override)
    if not any(p for pair in own.padding for p in pair) and not ceil_mode:
        return total * (1.0 / math.prod(own.window))
    if count_include_pad and not ceil_mode:
        return total * (1.0 / math.prod(own.window))
    for axis, (n, m, s, k, (low, high)) in enumerate(
        zip(space, lengths, own.stride, own.window, own.padding, strict=True), 1
    ):
        f = functions(n, m)
        start = counted(m, n) * s - low
        stop = f.minimum(start + k, number(n) + high)
        if not count_include_pad:
            start, stop = f.maximum(start, 0), f.minimum(stop, number(n))
        share = astype(asarray(1.0 / astype(asarray(stop - start), FLOAT64)), x.dtype)
        total = total * reshape(share, (m, *(1,) * (x.ndim - axis - 1)))
    return total


def _norms() -> Iterable[Sample]:
    x = _images() + 0.1
    yield Sample((x, 2, 2))
    yield Sample((x, 3, (3, 2)), (("stride", (1, 2)),))
    yield Sample((x, 1, 2), (("ceil_mode", True),))


def _numpy_lp_pool(
    x: Array, norm_type: float, window: Any, stride: Any = None, ceil_mode: bool = False
) -> Array:
    size = math.prod(per_axis("lp_pool", "window", window, x.ndim - 2))
    means = _numpy_avg_pool(x**norm_type, window, stride, 0, ceil_mode)
    return np.asarray((means * size) ** (1.0 / norm_type))


@function(samples=_norms, reference=_numpy_lp_pool, section=SECTION)
def lp_pool(
    x: Any, norm_type: float, window: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """Return ``(sum of x ** norm_type) ** (1 / norm_type)`` over each window, as PyTorch's."""
    (x,) = common("lp_pool", x, floating=True)
    if not norm_type:
        raise ArgumentError("lp_pool: norm_type must not be 0")
    # As PyTorch has it: what a window that goes over the end holds counts for a whole one.
    total: Tensor = avg_pool(x**norm_type, window, stride, 0, ceil_mode)
    total = total * float(math.prod(per_axis("lp_pool", "window", window, x.ndim - 2)))
    return total ** (1.0 / norm_type)


def _adaptive() -> Iterable[Sample]:
    x = _images()
    for size in (1, (3, 5), (4, 3), (None, 2)):
        yield Sample((x, size))
    yield Sample((x[:, :, 0], 4))


def _parts(n: AnyDim, count: AnyDim) -> Table:
    """Return where PyTorch's adaptive windows lie: they share the elements out evenly."""
    numbers, length, many = counted(count, n), number(n), number(count)
    first = numbers * length // many
    return first, -(-(numbers + 1) * length // many) - first


def _adaptive_windows(x: Array, output_size: Any) -> Iterable[tuple[tuple[int, ...], Any]]:
    sizes = shape_at(_sizes("adaptive", output_size, x.shape[1:-1]), 0)
    tables = [_parts(n, m) for n, m in zip(x.shape[1:-1], sizes, strict=True)]
    for at in np.ndindex(*sizes):
        cut = (slice(f[o], f[o] + c[o]) for (f, c), o in zip(tables, at, strict=True))
        yield at, x[(slice(None), *cut)]


def _numpy_adaptive(fold: Any) -> Any:
    def reference(x: Array, output_size: Any) -> Any:
        sizes = _sizes("adaptive", output_size, x.shape[1:-1])
        dtype = fold(x[:1], 0).dtype if x.dtype.kind == "f" or fold is np.max else np.float32
        result = np.empty((len(x), *sizes, x.shape[-1]), dtype)
        for at, window in _adaptive_windows(x, output_size):
            own: Any = (slice(None), *at)
            result[own] = fold(window, tuple(range(1, x.ndim - 1)))
        return result

    return reference


@function(samples=_adaptive, reference=_numpy_adaptive(np.mean), section=SECTION)
def adaptive_avg_pool(x: Any, output_size: Any) -> Tensor:
    """Return means over as many windows as ``output_size`` says for each axis of space.

    A number, or one for each axis; None leaves an axis as it is. Window i of m goes from
    ``floor(i n / m)`` to ``ceil((i + 1) n / m)``, as PyTorch's.
    """
    (x,) = common("adaptive_avg_pool", x, floating=True)
    axes_of_space("adaptive_avg_pool", x)
    sizes = _sizes("adaptive_avg_pool", output_size, x.type.shape[1:-1])
    space = x.type.shape[1:-1]
    whole = [divided(n, m) for n, m in zip(space, sizes, strict=True)]
    if all(isinstance(k, int) for k in whole):
        means: Tensor = avg_pool(x, tuple(whole))
        return means
    for axis, (n, m) in enumerate(zip(space, sizes, strict=True), 1):
        if m == 1:
            x = mean(x, axis, keepdims=True)
        elif n != m:
            first, count = _parts(n, m)
            place = counted(n)
            inside = (place >= first[:, None]) & (place < (first + count)[:, None])
            behind = (1,) * (x.ndim - axis - 1)
            mask = reshape(asarray(inside), (m, n, *behind))
            total = sum(where(mask, expand_dims(x, axis), 0), axis + 1)
            share = astype(asarray(1.0 / astype(asarray(count), FLOAT64)), x.dtype)
            x = total * reshape(share, (m, *behind))
    return as_tensor(x)


@function(samples=_adaptive, reference=_numpy_adaptive(np.max), section=SECTION)
def adaptive_max_pool(x: Any, output_size: Any, return_indices: bool = False) -> Any:
    """Return the greatest elements of the windows of :func:`adaptive_avg_pool`."""
    (x,) = common("adaptive_max_pool", x)
    rank = axes_of_space("adaptive_max_pool", x)
    sizes = _sizes("adaptive_max_pool", output_size, x.type.shape[1:-1])
    tables = [
        (counted(n), counted(n) * 0 + 1) if n == m else _parts(n, m)
        for n, m in zip(x.type.shape[1:-1], sizes, strict=True)
    ]
    best, place = _pooled(x, tables, (1,) * rank)
    return (best, place) if return_indices else best


# -- windows ---------------------------------------------------------------------------------------


def pool_window(
    what: str, rank: int, window: Any, stride: Any, padding: Any, dilation: Any
) -> Window:
    """Return the windows of a pool, as a user says it."""
    sizes = per_axis(what, "window", window, rank)
    if isinstance(padding, str):
        raise ArgumentError(
            f"{what}: padding must be numbers, not {padding!r}\n  at {user_location()}"
        )
    steps = sizes if stride is None else stride
    own = spatial(what, rank, sizes, steps, padding, dilation)
    for k, pair in zip(sizes, own.padding, strict=True):
        if max(pair) > k // 2:
            raise ArgumentError(
                f"{what}: padding {padding!r} must be at most half of the window, {window!r}"
                f"\n  at {user_location()}"
            )
    return own


def pool_sizes(what: str, given: Any, rank: int) -> tuple[int | None, ...]:
    """Return how many windows a user wants along each axis of space, None for its length."""
    listed = given if isinstance(given, (tuple, list)) else (given,)
    listed = tuple(listed) * rank if len(listed) == 1 else listed
    asked = per_axis(what, "output_size", [1 if m is None else m for m in listed], rank)
    return tuple(None if m is None else k for m, k in zip(listed, asked, strict=True))


def _sizes(what: str, given: Any, space: Sequence[AnyDim]) -> Shape:
    asked = pool_sizes(what, given, len(space))
    return tuple(n if m is None else m for n, m in zip(space, asked, strict=True))


def _inside(n: AnyDim, start: Any, window: int, gap: int) -> Table:
    """Return the windows that begin at ``start``, without what lies beyond the ends."""
    f = np if isinstance(start, np.ndarray) else functions(n)
    skipped = f.maximum(-(start // gap), 0)
    first = start + skipped * gap
    count = f.minimum(window - skipped, -(-(number(n) - first) // gap))
    return first, count


def _pooled(x: Tensor, tables: Sequence[Table], gaps: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    listed = [asarray(table, dtype=INT64) for pair in tables for table in pair]
    best, place = results(apply(GreatestInWindows(gaps, _same_counts(tables)), x, *listed))
    return best, place


def _same_counts(tables: Sequence[Table]) -> tuple[int, ...]:
    """Return how many elements a window has along each axis, or nothing if they differ."""
    counts = [count for _, count in tables]
    known = all(isinstance(c, np.ndarray) and len(c) > 0 and (c == c[0]).all() for c in counts)
    return tuple(int(c[0]) for c in counts) if known else ()


def _sums(x: Tensor, own: Window, lengths: Sequence[AnyDim]) -> Tensor:
    """Return the sum over each window: a convolution by ones."""
    rank, channels = len(own.window), known_channels(own.what, x)
    starts = tuple(low for low, _ in own.padding)
    groups = max(channels, 1)
    ones = filled((*own.window, channels // groups, channels), 1, x.dtype)
    each = (1,) * rank
    return apply(Convolution(own.stride, starts, each, each, tuple(lengths), groups), x, ones)
