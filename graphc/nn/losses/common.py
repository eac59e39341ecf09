"""What losses share: their arguments checked, weights, and the reduction at the end."""

from __future__ import annotations

from typing import Any, Literal

from graphc import ops
from graphc.errors import ArgumentError, DTypeError, GraphcError, ShapeError, user_location
from graphc.ir.tensor import Tensor
from graphc.ops.operands import as_tensor
from graphc.types import broadcast_shapes

Reduction = Literal["mean", "sum", "none"]


def rows_and_classes(what: str, x: Tensor) -> int:
    """Return the number of classes of predictions (N, C) or (C,)."""
    if x.ndim not in (1, 2) or not isinstance(x.type.shape[-1], int):
        raise misshapen(what, f"predictions need the shape (N, C) or (C,), got {x.describe()}")
    return x.type.shape[-1]


def weighed(weight: Tensor, value: Tensor) -> Tensor:
    """Return ``weight * value``, 0 where the weight is 0 and the value no finite number.

    The convention of entropies, ``0 log 0 = 0`` (``scipy.special.rel_entr``), for the value and
    for the derivatives: what has no weight moves nothing.
    """
    lost = ops.logical_and(weight == 0.0, ~ops.isfinite(value))
    return weight * ops.where(lost, 0.0, value)


def reduced(what: str, loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return ops.mean(loss)
    if reduction == "sum":
        return ops.sum(loss)
    if reduction == "none":
        return loss
    raise invalid(what, f'reduction must be "mean", "sum" or "none", not {reduction!r}')


def floating(what: str, value: Any) -> Tensor:
    x = as_tensor(value)
    if x.dtype.kind != "f":
        raise DTypeError(
            f"{what}: predictions must be floating-point, got {x.describe()}"
            f"\n  at {user_location()}"
        )
    return x


def like(value: Any, x: Tensor) -> Tensor:
    """Return ``value`` in the data type of ``x``."""
    return ops.astype(as_tensor(value), x.dtype)


def pair(what: str, predictions: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Return predictions and targets in one data type; targets may broadcast, not predictions.

    Predictions (N, 1) against targets (N,) would silently give N x N differences.
    """
    x = floating(what, predictions)
    y = like(targets, x)
    try:
        fits = broadcast_shapes(x.type.shape, y.type.shape) == x.type.shape
    except GraphcError:
        fits = False
    if not fits:
        raise mismatch(what, x, y, "reshape one to the shape of the other")
    return x, y


def mismatch(what: str, x: Tensor, y: Tensor, advice: str) -> ShapeError:
    return ShapeError(
        f"{what}: {x.describe()} and {y.describe()} do not fit together; {advice}"
        f"\n  at {user_location()}"
    )


def misshapen(what: str, problem: str) -> ShapeError:
    return ShapeError(f"{what}: {problem}\n  at {user_location()}")


def invalid(what: str, problem: str) -> ArgumentError:
    return ArgumentError(f"{what}: {problem}\n  at {user_location()}")
