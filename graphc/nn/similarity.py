"""Layers of two inputs, and what rearranges channels."""

from __future__ import annotations

from graphc import ops
from graphc.errors import ShapeError, user_location
from graphc.ir.source import Initializer
from graphc.ir.tensor import Tensor
from graphc.nn import init
from graphc.nn.losses.embedding import pairwise_distance
from graphc.nn.module import Layer, count
from graphc.types import FLOAT32, DTypeLike


class Bilinear(Layer):
    """``y_k = x1 A_k x2 + b_k``, rows ``(..., in1)`` and ``(..., in2)`` to ``(..., out)``.

    ``weight`` is ``(in1, in2, out)``, ``bias`` ``(out,)``; both start uniform within ``1 /
    sqrt(in1_features)``. As PyTorch's, whose weight is ``(out, in1, in2)``.
    """

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, *,
        weight_init: Initializer | None = None, bias_init: Initializer | None = None,
        dtype: DTypeLike = FLOAT32, trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, trainable=trainable)
        first = count("Bilinear: in1_features", in1_features, 1)
        second = count("Bilinear: in2_features", in2_features)
        out = count("Bilinear: out_features", out_features)
        near_zero = init.uniform(-(first**-0.5), first**-0.5)
        shape = (first, second, out)
        self.weight = self.parameter("weight", weight_init or near_zero, shape, dtype=dtype)
        self.bias: Tensor | None = None
        if bias:
            self.bias = self.parameter("bias", bias_init or near_zero, (out,), dtype=dtype)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        lengths = self.weight.type.shape
        fits = x1.ndim == x2.ndim > 0 and x1.type.shape[:-1] == x2.type.shape[:-1]
        if not fits or (x1.type.shape[-1], x2.type.shape[-1]) != lengths[:2]:
            raise ShapeError(
                f"Bilinear needs rows of {lengths[0]} and {lengths[1]} features in equal axes, got "
                f"{x1.describe()} and {x2.describe()}\n  at {user_location()}"
            )
        y = ops.einsum("...i,ijo,...j->...o", x1, self.weight, x2)
        return y if self.bias is None else y + self.bias


class CosineSimilarity(Layer):
    """The cosine of the angle between two inputs along ``axis``: :func:`gx.cosine_similarity`."""

    def __init__(self, axis: int = 1, eps: float = 1e-8, *, name: str | None = None) -> None:
        super().__init__(name)
        self._axis, self._eps = axis, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return ops.cosine_similarity(x1, x2, axis=self._axis, eps=self._eps)


class PairwiseDistance(Layer):
    """The ``p``-norm of the difference of rows: :func:`pairwise_distance`."""

    def __init__(
        self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False, *, name: str | None = None
    ) -> None:
        super().__init__(name)
        self._options = {"p": p, "eps": eps, "keepdims": keepdim}

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return pairwise_distance(x1, x2, **self._options)  # type: ignore[arg-type]


class ChannelShuffle(Layer):
    """One channel of each group after the other: :func:`gx.channel_shuffle`."""

    def __init__(self, groups: int, *, name: str | None = None) -> None:
        super().__init__(name)
        self._groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return ops.channel_shuffle(x, self._groups)
