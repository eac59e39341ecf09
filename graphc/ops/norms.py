"""Lengths of vectors, and tensors brought to a length."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.ir.op import Sample, function
from graphc.ir.tensor import Tensor
from graphc.ops.arithmetic import abs, square
from graphc.ops.cast import cast
from graphc.ops.comparison import equal, maximum, not_equal, where
from graphc.ops.exponential import pow, sqrt
from graphc.ops.manipulation import pad
from graphc.ops.operands import common
from graphc.ops.reduce import max, min, sum
from graphc.ops.shape import broadcast_to
from graphc.ops.statistics import mean
from graphc.ops.windows import sliding_window_view
from graphc.types import broadcast_shapes, normalize_axes

SECTION = "Linear algebra"


def _vectors() -> Iterable[Sample]:
    x = np.random.default_rng(4).uniform(0.5, 2.0, (3, 4)) * [1.0, -1.0, 1.0, -1.0]
    for ord in (2, 1, 3, 0.5, 0, math.inf, -math.inf, -2):
        smooth = ord != 0
        yield Sample((x,), (("ord", ord), ("axis", 1)), smooth)
    yield Sample((x,))
    yield Sample((x,), (("axis", (0, 1)), ("keepdims", True)))
    yield Sample((np.zeros((2, 3)),), (("axis", 1),), False)


@function(samples=_vectors, reference=np.linalg.vector_norm, section=SECTION)
def vector_norm(x: Any, *, axis: Any = None, ord: float = 2, keepdims: bool = False) -> Tensor:
    """Return ``sum(|x|^ord)^(1 / ord)`` along ``axis`` (default: all axes).

    ``ord`` may be infinite for the greatest or least magnitude, and 0 for the number of elements
    that are not 0. The derivative is 0 where all elements are 0, and by elements that are 0,
    as in PyTorch; so it is finite everywhere.
    """
    (t,) = common("vector_norm", x, floating=True)
    if isinstance(ord, bool) or not isinstance(ord, (int, float)) or math.isnan(ord):
        raise ArgumentError(f"vector_norm: ord must be a number, got {ord!r}")
    axes = normalize_axes(axis, t.ndim)
    if math.isinf(ord):
        return (max if ord > 0 else min)(abs(t), axes, keepdims=keepdims)
    if ord == 0:
        return sum(cast(not_equal(t, 0), t.dtype), axes, keepdims=keepdims)
    if ord == 1:
        return sum(abs(t), axes, keepdims=keepdims)
    if ord == 2:
        total = sum(square(t), axes, keepdims=keepdims)
        nothing = equal(total, 0)
        return where(nothing, 0, sqrt(where(nothing, 1, total)))
    absent = equal(t, 0)
    zero = 0.0 if ord > 0 else math.inf  # 0^ord
    powers = where(absent, zero, pow(where(absent, 1, abs(t)), ord))
    total = sum(powers, axes, keepdims=keepdims)
    edge = equal(total, zero)
    return where(edge, 0, pow(where(edge, 1, total), 1 / ord))


def _directions() -> Iterable[Sample]:
    x = np.random.default_rng(4).uniform(0.5, 2.0, (2, 3, 4)) * [1.0, -1.0, 1.0, -1.0]
    for p, axis in ((2.0, -1), (1.0, 1), (3.0, 0)):
        yield Sample((x,), (("p", p), ("axis", axis)))
    yield Sample((x,), (("eps", 100.0),))
    yield Sample((np.zeros((2, 3)),), (), False)


def _numpy_normalize(x: Any, p: float = 2.0, axis: int = -1, *, eps: float = 1e-12) -> Any:
    x = x * np.float32(1)
    length = np.linalg.vector_norm(x, ord=p, axis=axis, keepdims=True)
    return x / np.maximum(length, x.dtype.type(eps))


@function(samples=_directions, reference=_numpy_normalize, section=SECTION)
def normalize(x: Any, p: float = 2.0, axis: int = -1, *, eps: float = 1e-12) -> Tensor:
    """Return ``x`` over its ``p``-norm along ``axis``, or over ``eps`` where that is greater.

    As PyTorch's, whose axis is 1 by default; channels are the last one here.
    """
    (t,) = common("normalize", x, floating=True)
    return t / maximum(vector_norm(t, axis=axis, ord=p, keepdims=True), eps)


def _pairs() -> Iterable[Sample]:
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    yield Sample((x, y))
    yield Sample((x, y[0]), (("axis", 0), ("eps", 0.1)))
    yield Sample((x[:1] * 0.0, y), (), False)


def _numpy_cosine(x1: Any, x2: Any, *, axis: int = -1, eps: float = 1e-8) -> Any:
    x1, x2 = np.broadcast_arrays(x1 * np.float32(1), x2 * np.float32(1))
    lengths = (np.maximum(np.linalg.norm(x, axis=axis), eps) for x in (x1, x2))
    return (x1 * x2).sum(axis) / np.prod(list(lengths), axis=0)


@function(samples=_pairs, reference=_numpy_cosine, section=SECTION)
def cosine_similarity(x1: Any, x2: Any, *, axis: int = -1, eps: float = 1e-8) -> Tensor:
    """Return ``x1 . x2 / (max(|x1|, eps) max(|x2|, eps))`` along ``axis``; operands broadcast."""
    a, b = common("cosine_similarity", x1, x2, floating=True)
    shape = broadcast_shapes(a.type.shape, b.type.shape)
    a, b = broadcast_to(a, shape), broadcast_to(b, shape)
    lengths = (maximum(vector_norm(t, axis=axis, keepdims=True), eps) for t in (a, b))
    first, second = (t / length for t, length in zip((a, b), lengths, strict=True))
    return sum(first * second, axis)


def _channels() -> Iterable[Sample]:
    x = np.random.default_rng(5).standard_normal((2, 3, 6))
    for size in (1, 2, 5):
        yield Sample((x, size), (("alpha", 0.3), ("k", 2.0)))
    yield Sample((x, 3))


def _numpy_response(
    x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Any:
    x = x * np.float32(1)
    ends = [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x * x, ends), size, axis=-1)
    return x / (k + alpha * windows.mean(-1)) ** beta


@function(samples=_channels, reference=_numpy_response, section=SECTION)
def local_response_norm(
    x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Return ``x / (k + alpha m)^beta``, ``m`` the mean square of ``size`` channels around each.

    Channels are the last axis; there are zeros beyond its ends (Krizhevsky, Sutskever and Hinton,
    NeurIPS 2012, with PyTorch's mean in place of their sum).
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ArgumentError(f"local_response_norm: size must be a positive integer, got {size!r}")
    (t,) = common("local_response_norm", x, floating=True)
    if not t.ndim:
        raise ShapeError("local_response_norm: a scalar has no axis of channels")
    ends = [(0, 0)] * (t.ndim - 1) + [(size // 2, (size - 1) // 2)]
    windows = sliding_window_view(pad(square(t), ends), size, axis=-1)
    return t / pow(mean(windows, axis=-1) * alpha + k, beta)
