"""Change of data type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.ir.graph import ancestors
from graphc.ir.op import UNSEEN, Array, Elementwise, Notation, Sample, function, register
from graphc.ir.source import Constant, constant
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Literal, Value
from graphc.types import DTypeLike, TensorType, as_dtype


@register
class Cast(Elementwise):
    """Convert to ``dtype``: floats truncate towards zero, anything non-zero is True."""

    weak = False

    dtype: np.dtype[Any]

    def result_dtype(self, *dtypes: np.dtype[Any]) -> np.dtype[Any]:
        return self.dtype

    def numpy(self, *arrays: Array) -> Array:
        return arrays[0].astype(self.dtype)

    def scalar(self, lit: Literal, *args: Value) -> Value:
        (x,) = args
        return x.cast(self.dtype)

    def notation(self, out: TensorType, *types: TensorType) -> Notation:
        return UNSEEN

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        (x,) = inputs
        return (cast(g, x.dtype) if self._differentiable(x) else None,)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (t,) = tangents
        return None if t is None or not self._differentiable(inputs[0]) else cast(t, self.dtype)

    def _differentiable(self, x: Tensor) -> bool:
        return self.dtype.kind == "f" and x.dtype.kind == "f"


def cast(x: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """Return ``x`` in ``dtype``, without a node if it is that already."""
    if x.dtype == dtype:
        return x
    exact = x.weak and x.dtype.kind == dtype.kind == "f"
    return constant(_number(x), dtype) if exact else apply(Cast(dtype), x)


def _number(x: Tensor) -> float:
    """Return the value of a weak tensor, computed in double precision."""
    values: dict[Tensor, Any] = {}
    with np.errstate(all="ignore"):
        for node in ancestors([x]):
            if isinstance(node.op, Constant):
                values[node] = np.float64(node.op.value.number)
            else:
                values[node] = node.op.numpy(*[np.asarray(values[y]) for y in node.inputs])
    return float(values[x])


def _samples() -> Iterable[Sample]:
    values = np.array([-2.5, -1.0, 0.0, 0.5, 3.7])
    for source in ("bool", "int32", "int64", "float32", "float64"):
        for target in ("bool", "int32", "int64", "float32", "float64"):
            yield Sample((values.astype(source), target))


@function(samples=_samples, reference=lambda x, dtype: x.astype(dtype), section="Data types")
def astype(x: Any, dtype: DTypeLike) -> Tensor:
    """Return ``x`` converted to ``dtype``."""
    t, kind = x if isinstance(x, Tensor) else constant(x), as_dtype(dtype)
    return constant(_number(t), kind) if t.weak and t.dtype == kind else cast(t, kind)
