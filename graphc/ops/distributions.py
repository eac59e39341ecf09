"""Random numbers of the usual continuous distributions, made of uniform ones.

Each is a formula of its parameters, so that gradients pass through them (the reparametrisation
of Kingma and Welling, ICLR 2014): numbers, or tensors that broadcast to the shape. ``seed``,
``stream`` and ``step`` are those of :func:`random_uniform`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import ArgumentError
from graphc.ir.op import Array, Sample, function
from graphc.ir.tensor import Tensor
from graphc.lazy import lazy_module
from graphc.ops.comparison import clip, less, maximum, where
from graphc.ops.exponential import log, log1p, sqrt
from graphc.ops.random import (
    SECTION,
    Key,
    at_least,
    float_type,
    is_given,
    parameters_like,
    reference_uniform,
)
from graphc.ops.special import erfinv
from graphc.ops.trigonometric import cos
from graphc.types import FLOAT32, FLOAT64, DTypeLike, Shape, as_dtype, as_shape

if TYPE_CHECKING:
    import statistics
else:
    statistics = lazy_module("statistics")

DType = np.dtype[Any]


def _affine(z: Tensor, location: Any, scale: Any) -> Tensor:
    """Return ``location + scale * z``."""
    at_least("the scale", 0.0, scale)
    if is_given(location, 0.0) and is_given(scale, 1.0):
        return z
    at, by = parameters_like(z, location, scale)
    return at + by * z


def _numpy_affine(z: Array, location: Any, scale: Any) -> Array:
    return np.asarray(np.asarray(location, z.dtype) + np.asarray(scale, z.dtype) * z)


def _samples() -> Iterable[Sample]:
    keys = (("seed", 7), ("step", 3), ("stream", 5))
    for dtype in ("float32", "float64"):
        yield Sample(((3, 4),), (*keys, ("dtype", dtype)))
    at, by = np.array([-1.0, 0.5, 2.0, 30.0]), np.array([[0.5], [1.0], [3.0]])
    yield Sample(((3, 4), at, by), (("seed", 2), ("dtype", "float64")))
    yield Sample(((0, 2), 1, 2.5), (("seed", 2),))


def _scaled() -> Iterable[Sample]:
    yield Sample(((3, 4),), (("seed", 7), ("step", 3), ("stream", 5)))
    yield Sample(((2, 3), np.array([0.5, 1.0, 40.0])), (("seed", 2), ("dtype", "float64")))


def _normal(key: Key, shape: Shape, dtype: DType) -> Tensor:
    """Return standard normal numbers: Box and Muller, Ann. Math. Statist. 29, 1958."""
    u, v = (key.uniform(shape, dtype, part) for part in (0, 1))
    return sqrt(-2.0 * log1p(-u)) * cos(2.0 * math.pi * v)


def _numpy_normal(
    shape: Any, mean: Any = 0.0, std: Any = 1.0, *, dtype: DTypeLike = FLOAT32, **key: Any
) -> Array:
    u, v = (reference_uniform(shape, dtype=dtype, part=i, **key) for i in (0, 1))
    z = np.sqrt(-2.0 * np.log1p(-u.astype(FLOAT64))) * np.cos(2.0 * np.pi * v.astype(FLOAT64))
    return _numpy_affine(z.astype(dtype), mean, std)


@function(samples=_samples, reference=_numpy_normal, section=SECTION)
def random_normal(
    shape: Any, mean: Any = 0.0, std: Any = 1.0, *, seed: Any, step: Any = None,
    stream: int | None = None, dtype: DTypeLike = FLOAT32,
) -> Tensor:  # fmt: skip
    """Return normal numbers of that mean and standard deviation."""
    kind = float_type("random_normal", dtype)
    return _affine(_normal(Key.of(seed, step, stream), as_shape(shape), kind), mean, std)


def _distribution(z: float) -> float:
    """Return the probability that a standard normal number is below ``z``."""
    return math.erfc(-z / math.sqrt(2.0)) / 2.0


def _bounded() -> Iterable[Sample]:
    yield from _samples()
    for seed, lower, upper in ((5, -1.0, 3.0), (6, 0.5, 0.75)):  # draws of one seed differ
        options = (("seed", seed), ("lower", lower), ("upper", upper), ("dtype", "float64"))
        yield Sample(((4, 5),), options)


def _numpy_truncated(
    shape: Any, mean: Any = 0.0, std: Any = 1.0, *, lower: float = -2.0, upper: float = 2.0,
    dtype: DTypeLike = FLOAT32, **key: Any,
) -> Array:  # fmt: skip
    u = reference_uniform(shape, dtype=dtype, **key).astype(FLOAT64)
    below, above = _distribution(lower), _distribution(upper)
    inverse = np.vectorize(statistics.NormalDist().inv_cdf, otypes=[FLOAT64])
    z = np.clip(inverse(below + (above - below) * u), lower, upper)
    return _numpy_affine(z.astype(dtype), mean, std)


@function(samples=_bounded, reference=_numpy_truncated, section=SECTION)
def random_truncated_normal(
    shape: Any, mean: Any = 0.0, std: Any = 1.0, *, lower: float = -2.0, upper: float = 2.0,
    seed: Any, step: Any = None, stream: int | None = None, dtype: DTypeLike = FLOAT32,
) -> Tensor:  # fmt: skip
    """Return normal numbers within ``mean + std * [lower, upper]``, as if others were drawn again.

    ``std`` is that of the normal distribution before it is cut.
    """
    kind = float_type("random_truncated_normal", dtype)
    below, above = _distribution(lower), _distribution(upper)
    if not above - below > 1e-3 or not math.isfinite(upper - lower):
        raise ArgumentError(
            f"a normal number lies within [{lower}, {upper}] standard deviations with "
            f"probability {above - below:.1e}; the bounds must be finite and wider"
        )
    u = Key.of(seed, step, stream).uniform(as_shape(shape), kind)
    z = erfinv((2.0 * below - 1.0) + 2.0 * (above - below) * u) * math.sqrt(2.0)
    return _affine(clip(z, lower, upper), mean, std)


def _exponential(key: Key, shape: Shape, dtype: DType) -> Tensor:
    """Return numbers of the exponential distribution of mean 1, zero among them."""
    return -log1p(-key.uniform(shape, dtype))


def _numpy_standard_exponential(shape: Any, dtype: DTypeLike, **key: Any) -> Array:
    u = reference_uniform(shape, dtype=dtype, **key).astype(FLOAT64)
    return np.asarray(-np.log1p(-u))


def _numpy_exponential(
    shape: Any, scale: Any = 1.0, *, dtype: DTypeLike = FLOAT32, **key: Any
) -> Array:
    return _numpy_affine(_numpy_standard_exponential(shape, dtype, **key).astype(dtype), 0, scale)


@function(samples=_scaled, reference=_numpy_exponential, section=SECTION)
def random_exponential(
    shape: Any, scale: Any = 1.0, *, seed: Any, step: Any = None, stream: int | None = None,
    dtype: DTypeLike = FLOAT32,
) -> Tensor:  # fmt: skip
    """Return numbers of the exponential distribution of mean ``scale``."""
    kind = float_type("random_exponential", dtype)
    return _affine(_exponential(Key.of(seed, step, stream), as_shape(shape), kind), 0.0, scale)


def standard_gumbel(key: Key, shape: Shape, dtype: DType) -> Tensor:
    """Return numbers of the standard Gumbel distribution, all finite."""
    return -log(maximum(_exponential(key, shape, dtype), _least(dtype)))


def _least(dtype: DType) -> float:
    """Return half the least exponential number above zero: it stands for zero."""
    return 2.0**-25 if dtype == FLOAT32 else 2.0**-54


def reference_gumbel(shape: Any, dtype: DTypeLike, **key: Any) -> Array:
    e = _numpy_standard_exponential(shape, dtype, **key)
    return np.asarray(-np.log(np.maximum(e, _least(as_dtype(dtype)))), dtype)


def _numpy_gumbel(
    shape: Any, loc: Any = 0.0, scale: Any = 1.0, *, dtype: DTypeLike = FLOAT32, **key: Any
) -> Array:
    return _numpy_affine(reference_gumbel(shape, dtype, **key), loc, scale)


@function(samples=_samples, reference=_numpy_gumbel, section=SECTION)
def random_gumbel(
    shape: Any, loc: Any = 0.0, scale: Any = 1.0, *, seed: Any, step: Any = None,
    stream: int | None = None, dtype: DTypeLike = FLOAT32,
) -> Tensor:  # fmt: skip
    """Return numbers of the Gumbel distribution, ``loc - scale * log(-log(u))``."""
    kind = float_type("random_gumbel", dtype)
    return _affine(standard_gumbel(Key.of(seed, step, stream), as_shape(shape), kind), loc, scale)


def _numpy_laplace(
    shape: Any, loc: Any = 0.0, scale: Any = 1.0, *, dtype: DTypeLike = FLOAT32, **key: Any
) -> Array:
    e = _numpy_standard_exponential(shape, dtype, **key)
    side = reference_uniform(shape, dtype=dtype, part=1, **key) < 0.5
    return _numpy_affine(np.asarray(np.where(side, -e, e), dtype), loc, scale)


@function(samples=_samples, reference=_numpy_laplace, section=SECTION)
def random_laplace(
    shape: Any, loc: Any = 0.0, scale: Any = 1.0, *, seed: Any, step: Any = None,
    stream: int | None = None, dtype: DTypeLike = FLOAT32,
) -> Tensor:  # fmt: skip
    """Return numbers of the Laplace distribution of that mean and scale."""
    kind, key, dims = (
        float_type("random_laplace", dtype),
        Key.of(seed, step, stream),
        as_shape(shape),
    )
    e = _exponential(key, dims, kind)
    return _affine(where(less(key.uniform(dims, kind, 1), 0.5), -e, e), loc, scale)
