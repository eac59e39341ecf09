"""Elements brought to mean 0 and variance 1, along axes or by statistics that are given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.ir.op import Array, Composite, Sample, function, register, require_float
from graphc.ir.tensor import Tensor, apply
from graphc.ops.arithmetic import square
from graphc.ops.batched import grown
from graphc.ops.exponential import sqrt
from graphc.ops.operands import common
from graphc.ops.shape import reshape
from graphc.ops.statistics import mean, var
from graphc.types import TensorType, normalize_axes, show_dim

SECTION = "Normalisation"


@register
@grown()
class Standardize(Composite):
    """``(x - mean) / sqrt(variance + eps)`` along ``axes``.

    Not ``centred``, ``x / sqrt(mean of squares + eps)``.
    """

    axes: tuple[int, ...]
    eps: float
    centred: bool = True

    def infer(self, *types: TensorType) -> TensorType:
        require_float(self.name, *types)
        return types[0]

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        if not x.size:
            return np.asarray(x)
        if self.centred:
            x = x - np.mean(x, axis=self.axes, keepdims=True)
        spread = np.mean(x * x, axis=self.axes, keepdims=True)
        return np.asarray(x / np.sqrt(spread + spread.dtype.type(self.eps)))

    def expand(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        if x.size == 0:
            return x
        if not self.centred:
            return x * self._scale(x)
        return (x - mean(x, self.axes, keepdims=True)) * self._scale(x)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (self.derivative(g, out, inputs[0]),)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (t,) = tangents
        return None if t is None else self.derivative(t, out, inputs[0])

    def derivative(self, t: Tensor, out: Tensor, x: Tensor) -> Tensor:
        """Return the derivative along ``t``, or its transpose: they are the same."""
        # out = s (x - mean): d out = s (t - mean(t) - out mean(out t)), a symmetric matrix.
        across = out * mean(out * t, self.axes, keepdims=True)
        if self.centred:
            across = mean(t, self.axes, keepdims=True) + across
        return self._scale(x) * (t - across)

    def _scale(self, x: Tensor) -> Tensor:
        """Return what deviations are multiplied by: nodes that all rules share."""
        if self.centred:
            spread = var(x, self.axes, keepdims=True)
        else:
            spread = mean(square(x), self.axes, keepdims=True)
        return 1.0 / sqrt(spread + self.eps)


def _numpy_standardize(x: Array, axis: Any = -1, eps: float = 1e-5, centred: bool = True) -> Array:
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    axes = normalize_axes(axis, x.ndim)
    return Standardize(axes, eps, centred).numpy(x.astype(dtype))


def _standardized() -> Iterable[Sample]:
    x = np.random.default_rng(5).standard_normal((3, 4, 5))
    yield Sample((x,))
    yield Sample((x,), (("axis", (0, 2)), ("eps", 1e-3)))
    yield Sample((x,), (("axis", 1), ("centred", False)))
    yield Sample((x * 1e-3 + 1e4,), (("axis", 0),), False)
    yield Sample((x[:0],), (("axis", 1),))
    yield Sample((np.ones((3, 4)),), (), False)


@function(samples=_standardized, reference=_numpy_standardize, section=SECTION)
def standardize(x: Any, axis: Any = -1, eps: float = 1e-5, centred: bool = True) -> Tensor:
    """Return ``(x - mean) / sqrt(variance + eps)``, both along ``axis`` (one or several).

    The variance is that of the population, of the deviations from the mean: accurate for elements
    that are large and close to each other. Not ``centred``, ``x / sqrt(mean of squares + eps)``.
    """
    (t,) = common("standardize", x, floating=True)
    return apply(Standardize(normalize_axes(axis, t.ndim), float(eps), bool(centred)), t)


def _layers() -> Iterable[Sample]:
    rng = np.random.default_rng(6)
    x, w, b = rng.standard_normal((3, 4, 5)), rng.standard_normal(5), rng.standard_normal((4, 5))
    yield Sample((x, 5))
    yield Sample((x, (5,), w, w + 1))
    yield Sample((x, (4, 5), b, None), (("eps", 1e-3),))


def _numpy_layer_norm(
    x: Array, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Array:
    rank = np.size(normalized_shape)
    y = _numpy_standardize(x, tuple(range(x.ndim - rank, x.ndim)), eps)
    return np.asarray(y * (1 if weight is None else weight) + (0 if bias is None else bias))


@function(samples=_layers, reference=_numpy_layer_norm, section=SECTION)
def layer_norm(
    x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """Return ``x`` standardised along its last axes, which have ``normalized_shape``.

    Then multiplied by ``weight`` and added to ``bias``, of that shape, if they are given. Ba, Kiros
    and Hinton, *Layer normalization*, 2016; as PyTorch's ``layer_norm``.
    """
    (t,) = common("layer_norm", x, floating=True)
    return scaled(standardize(t, last_axes("layer_norm", t, normalized_shape), eps), weight, bias)


def _roots() -> Iterable[Sample]:
    rng = np.random.default_rng(6)
    x, w = rng.standard_normal((3, 4, 5)), rng.standard_normal(5)
    yield Sample((x, 5))
    yield Sample((x, (5,), w, 1e-3))
    yield Sample((x, (4, 5)))


def _numpy_rms_norm(x: Array, normalized_shape: Any, weight: Any = None, eps: Any = None) -> Array:
    rank, x = np.size(normalized_shape), np.asarray(x * np.float32(1))
    eps = np.finfo(x.dtype).eps if eps is None else eps
    y = _numpy_standardize(x, tuple(range(x.ndim - rank, x.ndim)), float(eps), False)
    return np.asarray(y * (1 if weight is None else weight))


@function(samples=_roots, reference=_numpy_rms_norm, section=SECTION)
def rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Tensor:
    """Return ``x / sqrt(mean of squares + eps)`` along the last axes, times ``weight``.

    ``eps`` is by default the least step from 1 in the data type. Zhang and Sennrich, *Root mean
    square layer normalization*, NeurIPS 2019; as PyTorch's ``rms_norm``.
    """
    (t,) = common("rms_norm", x, floating=True)
    least = float(np.finfo(t.dtype).eps) if eps is None else eps
    axes = last_axes("rms_norm", t, normalized_shape)
    return scaled(standardize(t, axes, least, centred=False), weight, None)


def _groups() -> Iterable[Sample]:
    rng = np.random.default_rng(7)
    x, w = rng.standard_normal((2, 3, 4, 6)), rng.standard_normal(6)
    yield Sample((x, 2))
    yield Sample((x[:, :, 0], 3, w, w + 1, 1e-3))
    yield Sample((x[:, 0, 0], 6))


def _numpy_group_norm(
    x: Array, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Array:
    parts = x.reshape(*x.shape[:-1], num_groups, -1)
    y = _numpy_standardize(parts, (*range(1, x.ndim - 1), x.ndim), eps).reshape(x.shape)
    return np.asarray(y * (1 if weight is None else weight) + (0 if bias is None else bias))


@function(samples=_groups, reference=_numpy_group_norm, section=SECTION)
def group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """Return images ``(N, *space, C)``, each group of channels of a sample standardised.

    Then multiplied by ``weight`` and added to ``bias``, both ``(C,)``, if they are given. Wu and
    He, *Group normalization*, ECCV 2018; as PyTorch's ``group_norm``, channels last.
    """
    (t,) = common("group_norm", x, floating=True)
    if isinstance(num_groups, bool) or not isinstance(num_groups, int) or num_groups < 1:
        raise ArgumentError(
            f"group_norm: num_groups must be a positive integer, not {num_groups!r}"
        )
    if t.ndim < 2:
        raise ShapeError(f"group_norm needs samples with channels (N, *space, C), got {t.type}")
    channels = t.type.shape[-1]
    if not isinstance(channels, int) or channels % num_groups:
        raise ShapeError(
            f"group_norm: {show_dim(channels)} channels do not divide into {num_groups} groups"
        )
    parts = reshape(t, (*t.type.shape[:-1], num_groups, channels // num_groups))
    axes = (*range(1, t.ndim - 1), t.ndim)
    return scaled(reshape(standardize(parts, axes, eps), t.type.shape), weight, bias)


# -- helpers ---------------------------------------------------------------------------------------


def last_axes(what: str, x: Tensor, shape: Any) -> tuple[int, ...]:
    """Return the last axes of ``x``, which must have the shape."""
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if not sizes or len(sizes) > x.ndim or x.type.shape[x.ndim - len(sizes) :] != sizes:
        listed = ", ".join(map(str, sizes))
        raise ShapeError(f"{what}: the last axes must be ({listed}), got {x.type}")
    return tuple(range(x.ndim - len(sizes), x.ndim))


def scaled(y: Tensor, weight: Any = None, bias: Any = None) -> Tensor:
    """Return ``y * weight + bias``, each where it is given."""
    y = y if weight is None else y * weight
    return y if bias is None else y + bias
