"""Metrics of classification: means over the batch, float32 scalars."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc import ops
from graphc.errors import ArgumentError, ShapeError, user_location
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor
from graphc.ops.operands import as_tensor
from graphc.types import FLOAT32, size_of


def accuracy(logits: Any, labels: Any) -> Tensor:
    """Return the share of rows whose largest logit is that of the label.

    ``labels`` are integers of shape ``logits.shape[:-1]``, or one-hot in the shape of
    ``logits``. Logits of shape (N,) or (N, 1) are of one class against the other: above 0
    means label 1, for labels of shape (N,) or (N, 1).
    """
    x, y = as_tensor(logits), as_tensor(labels)
    if x.ndim < 2 or x.type.shape[-1] == 1:
        if size_of(x.type.shape) != size_of(y.type.shape):
            raise _mismatch("accuracy", x, y)
        above = ops.reshape(y, x.type.shape) > 0
        return _share((x > 0) == above)
    return _share(ops.argmax(x, axis=-1) == _labels("accuracy", x, y))


def top_k_accuracy(logits: Any, labels: Any, k: int = 5) -> Tensor:
    """Return the share of rows whose label is among the ``k`` largest logits.

    A label that is no class, such as one to ignore, is among none of them. Of equal logits those
    of lower classes come first. ``labels`` as for :func:`accuracy`.
    """
    x, y = as_tensor(logits), as_tensor(labels)
    if k < 1:
        raise ArgumentError(
            f"top_k_accuracy: k must be at least 1, got {k}\n  at {user_location()}"
        )
    if not x.ndim or not isinstance(x.type.shape[-1], int):
        raise _mismatch("top_k_accuracy", x, y)
    places = ops.expand_dims(_labels("top_k_accuracy", x, y), axis=-1)
    classes = constant(np.arange(x.type.shape[-1]))
    chosen = classes == places
    own = ops.sum(ops.where(chosen, x, 0.0), axis=-1, keepdims=True)
    earlier = classes < places
    # "Not at most" rather than "greater": a NaN beats every label, as it does in argmax.
    before = ops.logical_or(~(x <= own), ops.logical_and(x == own, earlier))
    rank = ops.sum(ops.astype(before, "int64"), axis=-1)
    return _share(ops.logical_and(rank < k, ops.any(chosen, axis=-1)))


def _labels(what: str, x: Tensor, y: Tensor) -> Tensor:
    """Return integer labels of shape ``x.shape[:-1]``."""
    if y.type.shape == x.type.shape:
        return ops.argmax(y, axis=-1)
    if y.type.shape != x.type.shape[:-1] or y.dtype.kind != "i":
        raise _mismatch(what, x, y)
    return ops.astype(y, "int64")


def _share(hits: Tensor) -> Tensor:
    return ops.mean(ops.astype(hits, FLOAT32))


def _mismatch(what: str, x: Tensor, y: Tensor) -> ShapeError:
    return ShapeError(
        f"{what}: logits {x.describe()} and labels {y.describe()} do not fit together; labels "
        f"are integers without the last axis, or one-hot in the logits' shape"
        f"\n  at {user_location()}"
    )
