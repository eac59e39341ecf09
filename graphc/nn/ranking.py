"""Metrics of how scores rank rows: they need all rows at once.

``evaluate``, and validation in ``fit``, compute them of all rows whatever the batches; in the
history of training they are means over batches.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from graphc import ops
from graphc.errors import ArgumentError, ShapeError, user_location
from graphc.ir.tensor import Tensor
from graphc.ops.operands import as_tensor
from graphc.types import FLOAT64, INT64, size_of

Mean = Literal["macro", "weighted"] | None


def roc_auc(scores: Any, labels: Any, *, average: Mean = "macro") -> Tensor:
    """Return the area under the receiver operating characteristic, as scikit-learn's.

    That is the probability that a row of the class has a greater score than one that is not of it,
    where equal scores count half (Hanley and McNeil, *Radiology* 143, 1982). Scores of shape (N,)
    or (N, 1) are of label 1 against 0, and so is, of (N, 2), the second less the first. Of (N, C)
    each column is that of a class against the rest, as probabilities are: ``"macro"`` is the
    mean over classes, ``"weighted"`` one weighted by labels, None gives each (C,). NaN for a class
    that has all rows or none.
    """
    x, y = as_tensor(scores), as_tensor(labels)
    if average not in ("macro", "weighted", None):
        raise ArgumentError(f'roc_auc: average must be "macro", "weighted" or None, not '
                            f"{average!r}\n  at {user_location()}")  # fmt: skip
    binary = x.ndim == 1 or (x.ndim == 2 and x.type.shape[1] == 1)
    fits = binary or (x.ndim == 2 and y.ndim == 1)
    if not fits or size_of(y.type.shape) != x.type.shape[0] or y.dtype.kind == "f":
        raise ShapeError(f"roc_auc: scores {x.describe()} and labels {y.describe()} do not fit "
                         "together; labels are integers (N,), scores (N,), (N, 1) or (N, C)"
                         f"\n  at {user_location()}")  # fmt: skip
    y = ops.ravel(y)
    if binary or x.type.shape[1] == 2:
        value = ops.ravel(x) if binary else x[:, 1] - x[:, 0]
        return ops.reshape(_areas(value[None], (y != 0)[None]), ())
    classes = x.type.shape[1]
    if not isinstance(classes, int):
        raise ShapeError(f"roc_auc: the axis of classes of {x.describe()} needs a known length"
                         f"\n  at {user_location()}")  # fmt: skip
    own = ops.arange(classes)[:, None] == y[None]
    areas = _areas(ops.matrix_transpose(x), own)
    if average is None:
        return areas
    if average == "macro":
        return ops.mean(areas)
    weights = ops.sum(ops.astype(own, FLOAT64), axis=1)
    return ops.sum(areas * weights) / ops.sum(weights)


def _areas(scores: Tensor, own: Tensor) -> Tensor:
    """Return the area for each line of scores, and of marks which of them are of the class."""
    order = ops.sort(scores)
    below, upto = (ops.searchsorted(order, scores, side=side) for side in ("left", "right"))
    ranks = ops.astype(ops.where(own, below + upto + 1, 0), FLOAT64) * 0.5
    many = ops.sum(ops.astype(own, INT64), axis=1)
    rest = ops.sum(ops.astype(~own, INT64), axis=1)
    positives, negatives = ops.astype(many, FLOAT64), ops.astype(rest, FLOAT64)
    wins = ops.sum(ranks, axis=1) - positives * (positives + 1) * 0.5
    pairs = positives * negatives
    some = pairs > 0
    return ops.where(some, wins / ops.where(some, pairs, 1), np.nan)
