"""Layers that normalise: by statistics of a batch, of a sample, or of a group of channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from graphc import ops
from graphc.errors import ArgumentError, ShapeError, user_location
from graphc.ir.op import Array, add_all, register, unbroadcast
from graphc.ir.tensor import Tensor, apply
from graphc.nn import init
from graphc.nn.module import Layer, count, floating, number
from graphc.nn.training import TrainingOp
from graphc.ops.batched import Case, batching
from graphc.ops.cast import cast
from graphc.ops.creation import extent
from graphc.ops.normalization import Standardize, scaled
from graphc.ops.operands import common
from graphc.types import FLOAT32, INT64, DTypeLike, TensorType, size_of


@register
class BatchNormOp(TrainingOp):
    """``x`` standardised along ``axes``; in inference by each channel's running mean and variance.

    Operands are ``x``, the running mean, the running variance, the number of steps before, and what
    channels are multiplied by, if there is that: so its derivative shares the sums of theirs. A
    step moves the first two a share ``momentum`` of the way to the mean and the unbiased variance
    of its batch, or to the means of its samples' if the batch is not among ``axes``; without
    ``momentum`` they are the means over all steps.
    """

    name = "batch_norm"
    axes: tuple[int, ...]
    eps: float
    momentum: float | None

    def infer(self, *types: TensorType) -> TensorType:
        x, mean, variance, _, *scale = types
        kept = x.shape[-1:]
        if any(t.shape != kept for t in (mean, variance, *scale)):
            raise ShapeError(
                f"running statistics must have shape {kept}, not {mean} and {variance}"
            )
        return self._batch.infer(x)

    @property
    def _batch(self) -> Standardize:
        return Standardize(self.axes, self.eps)

    def numpy(self, *arrays: Array) -> Array:
        x, _, _, _, *scale = arrays
        y = self._batch.numpy(x)
        return np.asarray(y * scale[0]) if scale else y

    def expand(self, *inputs: Tensor) -> Tensor:
        return scaled(self._standard(*inputs), *inputs[4:])

    def _standard(self, *inputs: Tensor) -> Tensor:
        return apply(self._batch, inputs[0])

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        y = self._standard(*inputs)
        if len(inputs) == 4:
            return self._batch.derivative(g, y, inputs[0]), None, None, None
        return (
            inputs[4] * self._batch.derivative(g, y, inputs[0]),
            None,
            None,
            None,
            unbroadcast(y * g, inputs[4].type.shape),
        )

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        t, _, _, _, *scale = tangents
        y = self._standard(*inputs)
        moved = None if t is None else self._batch.derivative(t, y, inputs[0])
        if moved is not None:
            moved = scaled(moved, *inputs[4:])
        grown = y * scale[0] if scale and scale[0] is not None else None
        return add_all([term for term in (moved, grown) if term is not None])

    def inference(self, *inputs: Tensor) -> Tensor:
        x, mean, variance, _, *scale = inputs
        mean, variance = cast(mean, x.dtype), cast(variance, x.dtype)
        factor = 1.0 / ops.sqrt(variance + self.eps)
        return (x - mean) * (scale[0] * factor if scale else factor)

    def learned(self, *inputs: Tensor) -> Sequence[Tensor]:
        return inputs[1:4]

    def updates(self, *inputs: Tensor) -> Mapping[Tensor, Tensor]:
        x, mean, variance, steps, *_ = inputs
        rows = extent(size_of(x.type.shape[a] for a in self.axes), x.dtype)
        spread = ops.var(x, self.axes) * (rows / ops.maximum(rows - 1.0, 1.0))
        spread = ops.mean(spread, tuple(range(spread.ndim - 1)))
        share: Any = self.momentum
        if share is None:
            share = 1.0 / cast(steps + 1, x.dtype)

        def moved(old: Tensor, new: Tensor) -> Tensor:
            return old + cast(share * (new - cast(old, x.dtype)), old.dtype)

        whole = tuple(range(x.ndim - 1))
        return {
            mean: moved(mean, ops.mean(x, whole)),
            variance: moved(variance, spread),
            steps: steps + 1,
        }


@batching(BatchNormOp)
def _of_samples(case: Case) -> Tensor:
    raise ArgumentError(
        "vmap: batch_norm standardises by a batch, and each sample has its own; keep it outside, "
        f"or use LayerNorm or GroupNorm\n  at {user_location()}"
    )


class _Affine(Layer):
    """A layer that ends in ``x * weight + bias``, which start as ones and zeros."""

    weight: Tensor | None
    bias: Tensor | None

    def _begin(self, shape: tuple[int, ...], weight: bool, bias: bool, dtype: DTypeLike) -> None:
        one, zero = init.ones, init.zeros
        self.weight = self.parameter("weight", one, shape, dtype=dtype) if weight else None
        self.bias = self.parameter("bias", zero, shape, dtype=dtype) if bias else None

    def _scaled(self, y: Tensor) -> Tensor:
        return scaled(y, self.weight, self.bias)


class _Running(_Affine):
    """Standardises by a batch or a sample, with running statistics for inference or without."""

    ranks: ClassVar[tuple[int, ...]]
    """The number of axes that inputs may have."""
    _needs_eps: ClassVar[bool] = False
    """Whether ``eps`` must be greater than 0."""

    def __init__(
        self, num_features: int, eps: float, momentum: float | None, affine: bool,
        track_running_stats: bool, bias: bool, dtype: DTypeLike, trainable: bool,
        name: str | None,
    ) -> None:  # fmt: skip
        super().__init__(name, trainable=trainable)
        kind = type(self).__name__
        self._features = count(f"{kind}: num_features", num_features, 1)
        self.eps: float = number(f"{kind}: eps", eps, 0.0, above=self._needs_eps)
        self.momentum = momentum
        if momentum is not None:
            self.momentum = number(f"{kind}: momentum", momentum, 0.0, 1.0)
        shape = (self._features,)
        self._begin(shape, affine, affine and bias, dtype)
        self.running_mean: Tensor | None = None
        self.running_var: Tensor | None = None
        self.num_batches_tracked: Tensor | None = None
        if track_running_stats:
            state: dict[str, Any] = {"dtype": dtype, "trainable": False}
            self.running_mean = self.parameter("running_mean", init.zeros, shape, **state)
            self.running_var = self.parameter("running_var", init.ones, shape, **state)
            steps = np.zeros((), np.int64)
            self.num_batches_tracked = self.parameter(
                "num_batches_tracked", steps, (), dtype=INT64, trainable=False
            )

    @property
    def num_features(self) -> int:
        return self._features

    def _normalized(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        """Return ``x`` standardised along ``axes``, in inference by the running statistics."""
        mean, variance, steps = self.running_mean, self.running_var, self.num_batches_tracked
        if mean is None or variance is None or steps is None:
            return self._scaled(ops.standardize(x, axes, self.eps))
        op = BatchNormOp(axes, float(self.eps), self.momentum)
        (x,) = common("batch_norm", x, floating=True)
        scale = () if self.weight is None else (cast(self.weight, x.dtype),)
        shift = None if self.bias is None else cast(self.bias, x.dtype)
        return scaled(apply(op, x, mean, variance, steps, *scale), None, shift)

    def _check(self, x: Tensor) -> None:
        floating(type(self).__name__, x)
        if x.ndim not in self.ranks or x.type.shape[-1] != self._features:
            kinds = " or ".join(f"{rank} axes" for rank in self.ranks)
            raise ShapeError(
                f"{type(self).__name__}({self._features}) needs {self._features} channels in the "
                f"last of {kinds}, got {x.describe()}\n  at {user_location()}"
            )


class _BatchNorm(_Running):
    _needs_eps = True

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
        affine: bool = True, track_running_stats: bool = True, *, bias: bool = True,
        dtype: DTypeLike = FLOAT32, trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, bias, dtype, trainable, name
        )

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        return self._normalized(x, tuple(range(x.ndim - 1)))


class BatchNorm1d(_BatchNorm):
    """Each channel of ``(N, C)`` or ``(N, L, C)`` standardised over the batch, then scaled.

    ``(x - mean) / sqrt(variance + eps) * weight + bias``. In training mean and variance are those
    of the batch, and the running ones move a share ``momentum`` of the way to them (None: they are
    means of all steps), the variance unbiased; a model evaluates and predicts by the running ones,
    which are in ``model.state``. Without ``track_running_stats`` batches are standardised by
    themselves everywhere. Ioffe and Szegedy, *Batch normalization*, ICML 2015; arguments and
    defaults are those of PyTorch.
    """

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Each channel of ``(N, H, W, C)`` standardised over the batch: see :class:`BatchNorm1d`."""

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Each channel of ``(N, D, H, W, C)`` standardised over the batch: :class:`BatchNorm1d`."""

    ranks = (5,)


class _InstanceNorm(_Running):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
        affine: bool = False, track_running_stats: bool = False, *, bias: bool = True,
        dtype: DTypeLike = FLOAT32, trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, bias, dtype, trainable, name
        )

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        alone = x.ndim == self.ranks[0]
        x = ops.expand_dims(x, 0) if alone else x
        y = self._normalized(x, tuple(range(1, x.ndim - 1)))
        return ops.squeeze(y, 0) if alone else y


class InstanceNorm1d(_InstanceNorm):
    """Each channel of each sample of ``(N, L, C)`` or ``(L, C)`` standardised by itself.

    With ``track_running_stats`` a model evaluates and predicts by running statistics, as
    :class:`BatchNorm1d` does. Ulyanov, Vedaldi and Lempitsky, *Instance normalization*, 2016;
    arguments and defaults are those of PyTorch.
    """

    ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Each channel of each image of ``(N, H, W, C)`` or ``(H, W, C)``: :class:`InstanceNorm1d`."""

    ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Each channel of each sample of ``(N, D, H, W, C)`` or ``(D, H, W, C)``."""

    ranks = (4, 5)


class GroupNorm(_Affine):
    """Each of ``num_groups`` groups of channels of a sample standardised: :func:`gx.group_norm`.

    ``weight`` and ``bias`` are ``(num_channels,)``; arguments and defaults are those of PyTorch.
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *,
        bias: bool = True, dtype: DTypeLike = FLOAT32, trainable: bool = True,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, trainable=trainable)
        self._groups = count("GroupNorm: num_groups", num_groups, 1)
        self._channels = count("GroupNorm: num_channels", num_channels, 1)
        if num_channels % num_groups:
            raise ShapeError(
                f"GroupNorm: {num_channels} channels do not divide into {num_groups} groups"
                f"\n  at {user_location()}"
            )
        self.eps = number("GroupNorm: eps", eps, 0.0)
        self._begin((num_channels,), affine, affine and bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        floating("GroupNorm", x)
        if x.ndim < 2 or x.type.shape[-1] != self._channels:
            raise ShapeError(
                f"GroupNorm({self._groups}, {self._channels}) needs {self._channels} channels in "
                f"the last axis of its input, got {x.describe()}\n  at {user_location()}"
            )
        return ops.group_norm(x, self._groups, self.weight, self.bias, self.eps)


class LayerNorm(_Affine):
    """Samples standardised along their last axes, ``normalized_shape``: :func:`gx.layer_norm`.

    ``weight`` and ``bias`` have that shape; arguments and defaults are those of PyTorch.
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5,
        elementwise_affine: bool = True, bias: bool = True, *, dtype: DTypeLike = FLOAT32,
        trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, trainable=trainable)
        self._shape = _sizes("LayerNorm", normalized_shape)
        self.eps = number("LayerNorm: eps", eps, 0.0)
        self._begin(self._shape, elementwise_affine, elementwise_affine and bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        floating("LayerNorm", x)
        return ops.layer_norm(x, self._shape, self.weight, self.bias, self.eps)


class RMSNorm(Layer):
    """Samples divided by their root mean square along the last axes: :func:`gx.rms_norm`.

    ``weight`` has ``normalized_shape``; arguments and defaults are those of PyTorch.
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None,
        elementwise_affine: bool = True, *, dtype: DTypeLike = FLOAT32, trainable: bool = True,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, trainable=trainable)
        self._shape = _sizes("RMSNorm", normalized_shape)
        self.eps = None if eps is None else number("RMSNorm: eps", eps, 0.0)
        self.weight: Tensor | None = None
        if elementwise_affine:
            self.weight = self.parameter("weight", init.ones, self._shape, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        floating("RMSNorm", x)
        return ops.rms_norm(x, self._shape, self.weight, self.eps)


def _sizes(kind: str, given: int | Sequence[int]) -> tuple[int, ...]:
    sizes = given if isinstance(given, Sequence) else (given,)
    if not sizes:
        raise ShapeError(
            f"{kind}: normalized_shape must have an axis at least, got {given!r}"
            f"\n  at {user_location()}"
        )
    return tuple(count(f"{kind}: normalized_shape", size, 1) for size in sizes)
