"""Ops about derivatives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.ir.layout import Layout
from graphc.ir.op import Array, Sample, View, function, register
from graphc.ir.tensor import Tensor, apply
from graphc.ops.batched import grown
from graphc.ops.operands import as_tensor
from graphc.types import TensorType


@register
@grown()
class StopGradient(View):
    """``x``, taken for a constant by every derivative."""

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def numpy(self, *arrays: Array) -> Array:
        return arrays[0]

    def layout(self, layout: Layout, x: TensorType, out: TensorType) -> Layout | None:
        return layout


def _samples() -> Iterable[Sample]:
    yield Sample((np.arange(6.0).reshape(2, 3),), differentiable=False)


@function(samples=_samples, reference=np.asarray, section="Derivatives")
def stop_gradient(x: Any) -> Tensor:
    """Return ``x`` as a constant in the eyes of ``grad``, ``vjp`` and ``jvp``."""
    return apply(StopGradient(), as_tensor(x))
