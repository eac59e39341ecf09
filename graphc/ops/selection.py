"""Random integers, categories and orders."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.ir.op import Array, Sample, function
from graphc.ir.tensor import Tensor, apply
from graphc.ops.along import ScatterAddAlongAxis
from graphc.ops.cast import astype
from graphc.ops.creation import iota
from graphc.ops.distributions import reference_gumbel, standard_gumbel
from graphc.ops.gather import take
from graphc.ops.operands import as_tensor
from graphc.ops.random import SECTION, Key, parameters_like, reference_uniform
from graphc.ops.rounding import floor
from graphc.ops.searching import argmax
from graphc.ops.sorting import ordered
from graphc.types import FLOAT64, INT64, DTypeLike, as_dtype, as_shape, normalize_axis, size_of

KEYS = (("seed", 7), ("step", 3), ("stream", 5))
WIDEST = 2**53
"""Width of a range of integers up to which each of them can be drawn."""


def _ranges() -> Iterable[Sample]:
    yield Sample(((3, 4), -2, 5), KEYS)
    yield Sample(((50,), 10), (("seed", 2), ("dtype", "int32")))
    yield Sample(((2, 3), 0, np.array([1, 10, 2**40])), KEYS)


def _numpy_integers(
    shape: Any, low: Any, high: Any = None, *, dtype: DTypeLike = INT64, **key: Any
) -> Array:
    low, high = (0, low) if high is None else (low, high)
    u = reference_uniform(shape, dtype=FLOAT64, **key)
    return np.asarray(low + np.floor(u * (np.asarray(high) - low)).astype(INT64), dtype)


@function(samples=_ranges, reference=_numpy_integers, section=SECTION)
def random_integers(
    shape: Any, low: Any, high: Any = None, *, seed: Any, step: Any = None,
    stream: int | None = None, dtype: DTypeLike = INT64,
) -> Tensor:  # fmt: skip
    """Return integers from ``low`` up to but not including ``high``, or from 0 up to ``low``.

    They are numbers or integer tensors, at most 2^53 apart.
    """
    low, high = (0, low) if high is None else (low, high)
    kind = as_dtype(dtype)
    if kind.kind != "i":
        raise DTypeError(f"random_integers gives integers, not {kind}")
    bounds = [as_tensor(bound) for bound in (low, high)]
    for bound in bounds:
        if bound.dtype.kind != "i":
            raise DTypeError(f"the bounds must be integers, got {bound.describe()}")
    if isinstance(low, int) and isinstance(high, int):
        limits = np.iinfo(kind)
        if not 0 < high - low <= WIDEST or low < limits.min or high - 1 > limits.max:
            raise ArgumentError(f"there are no {kind} from {low} up to {high}, or more than 2^53")
    u = Key.of(seed, step, stream).uniform(as_shape(shape), FLOAT64)
    least, most = (astype(bound, INT64) for bound in bounds)
    (span,) = parameters_like(u, most - least)
    return astype(least + astype(floor(u * span), INT64), kind)


def _scores() -> Iterable[Sample]:
    logits = np.array([[0.5, 2.0, -1.0], [0.0, -np.inf, 0.0], [5.0, 1.0, 1.0], [1.0, 2.0, 3.0]])
    yield Sample((logits,), KEYS, differentiable=False)
    yield Sample((logits,), (("seed", 1), ("axis", 0)), differentiable=False)


def _numpy_categorical(logits: Any, *, axis: int = -1, **key: Any) -> Array:
    x = np.asarray(logits)
    if x.dtype.kind != "f":
        raise TypeError(f"{x.dtype} holds no logits")
    return np.asarray(np.argmax(x + reference_gumbel(x.shape, x.dtype, **key), axis))


@function(samples=_scores, reference=_numpy_categorical, section=SECTION)
def random_categorical(
    logits: Any, *, axis: int = -1, seed: Any, step: Any = None, stream: int | None = None
) -> Tensor:
    """Return a place along ``axis`` for each other element, of probability softmax(logits).

    By the Gumbel-max trick (Maddison et al., *A* Sampling*, NeurIPS 2014). For several
    draws, broadcast the logits.
    """
    x = as_tensor(logits)
    if x.dtype.kind != "f":
        raise DTypeError(f"the logits must be floating-point, got {x.describe()}")
    noise = standard_gumbel(Key.of(seed, step, stream), x.type.shape, x.dtype)
    return argmax(x + noise, axis=normalize_axis(axis, x.ndim))


def _lengths() -> Iterable[Sample]:
    for n in (0, 1, 2, 17):
        yield Sample((n,), KEYS)


def _numpy_permutation(n: int, **key: Any) -> Array:
    u = reference_uniform((n,), dtype=FLOAT64, **key)
    return np.argsort(np.argsort(u, kind="stable"), kind="stable")


@function(samples=_lengths, reference=_numpy_permutation, section=SECTION)
def random_permutation(n: int, *, seed: Any, step: Any = None, stream: int | None = None) -> Tensor:
    """Return the integers below ``n`` in a random order; for rows, ``gx.take(x, order, axis=0)``.

    Each is the rank of a uniform number among all.
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
        raise DTypeError(f"n must be an integer that is not negative, got {n!r}")
    _, order = ordered(Key.of(seed, step, stream).uniform((int(n),), FLOAT64), 0)
    return apply(ScatterAddAlongAxis(0, int(n)), iota((int(n),), 0, INT64), order)


def _choices() -> Iterable[Sample]:
    options = np.linspace(-1.0, 1.0, 14).reshape(7, 2)
    yield Sample((options, (3, 2)), KEYS)
    yield Sample((options, 5), (*KEYS, ("replace", False)))
    yield Sample((6, (2, 3)), (*KEYS, ("replace", False)))


def _numpy_choice(options: Any, shape: Any, *, replace: bool = True, **key: Any) -> Array:
    options = np.arange(options) if isinstance(options, int) else np.asarray(options)
    dims = np.empty(shape, bool).shape
    if replace:
        return np.asarray(options[_numpy_integers(dims, len(options), **key)])
    order = _numpy_permutation(len(options), **key)
    return np.asarray(options[order[: math.prod(dims)].reshape(dims)])


@function(samples=_choices, reference=_numpy_choice, section=SECTION)
def random_choice(
    options: Any, shape: Any, *, replace: bool = True, seed: Any, step: Any = None,
    stream: int | None = None,
) -> Tensor:  # fmt: skip
    """Return random elements of the first axis of ``options``, or integers below that number.

    Without ``replace`` none is taken twice. For unequal probabilities use
    :func:`random_categorical`.
    """
    whole = isinstance(options, (int, np.integer))
    x = iota((int(options),), 0, INT64) if whole else as_tensor(options)
    length, dims = x.type.shape[0] if x.ndim else None, as_shape(shape)
    if not isinstance(length, int) or not length:
        raise ShapeError(f"the options need a first axis of a known length, got {x.describe()}")
    if replace:
        places = random_integers(dims, length, seed=seed, step=step, stream=stream)
        return take(x, places, axis=0)
    count = size_of(dims)
    if not isinstance(count, int) or count > length:
        raise ArgumentError(f"there are {length} options to take without replacement, not {count}")
    order = random_permutation(length, seed=seed, step=step, stream=stream)
    return take(x, order[:count].reshape(*dims), axis=0)
