"""Metrics: scalars that are formulas of sums over rows.

A model adds up the sums over batches and takes the formula once (``graphc/train/scores.py``), so
that ``evaluate`` and the history of ``fit`` hold what all rows at once have, not means of batches.
Counts are integers, and sums of numbers float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from graphc import ops
from graphc.errors import ArgumentError, DTypeError, ShapeError, user_location
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor
from graphc.nn.losses.classes import cross_entropy
from graphc.ops.operands import as_tensor
from graphc.types import FLOAT32, FLOAT64, INT64, size_of

Average = Literal["binary", "macro", "micro", "weighted"] | None


def accuracy(logits: Any, labels: Any, *, ignore_index: int | None = None) -> Tensor:
    """Return the share of rows whose largest logit is that of the label.

    ``labels`` are integers of shape ``logits.shape[:-1]``, or one-hot in the shape of
    ``logits``. Logits of shape (N,) or (N, 1) are of one class against the other: above 0
    means label 1, for labels of shape (N,) or (N, 1). Labels equal to ``ignore_index``, such as
    those behind the ends of sequences, count nowhere.
    """
    x, y = as_tensor(logits), as_tensor(labels)
    if x.ndim < 2 or x.type.shape[-1] == 1:
        if size_of(x.type.shape) != size_of(y.type.shape):
            raise _mismatch("accuracy", x, y)
        own = ops.reshape(y, x.type.shape)
        return _share((x > 0) == (own > 0), _counted("accuracy", own, ignore_index))
    own = _labels("accuracy", x, y)
    return _share(ops.argmax(x, axis=-1) == own, _counted("accuracy", y, ignore_index))


def top_k_accuracy(
    logits: Any, labels: Any, k: int = 5, *, ignore_index: int | None = None
) -> Tensor:
    """Return the share of rows whose label is among the ``k`` largest logits.

    A label that is no class is among none of them. Of equal logits those of lower classes come
    first. ``labels`` and ``ignore_index`` as for :func:`accuracy`.
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
    hits = ops.logical_and(rank < k, ops.any(chosen, axis=-1))
    return _share(hits, _counted("top_k_accuracy", y, ignore_index))


def precision(
    logits: Any, labels: Any, *, average: Average = "binary", ignore_index: int | None = None
) -> Tensor:
    """Return the share of what is found of a class that is of it, ``tp / (tp + fp)``.

    The class found is that of the largest logit. ``average`` says of which class: with
    ``"binary"`` class 1 of two; ``"macro"`` is the mean over the classes that are found or
    labelled at all, ``"weighted"`` one weighted by labels, ``"micro"`` counts all classes together,
    and None gives each (C,). Of nothing the share is 0. As scikit-learn's, but for its warnings.

    ``labels`` are as for :func:`accuracy`, and so are logits of two classes; those equal to
    ``ignore_index`` count nowhere.
    """
    c = _Counts.of("precision", logits, labels, average, ignore_index)
    return c.averaged(c.right, c.found)


def recall(
    logits: Any, labels: Any, *, average: Average = "binary", ignore_index: int | None = None
) -> Tensor:
    """Return the share of what is of a class that is found, ``tp / (tp + fn)``.

    Arguments are those of :func:`precision`.
    """
    c = _Counts.of("recall", logits, labels, average, ignore_index)
    return c.averaged(c.right, c.labelled)


def f1_score(
    logits: Any, labels: Any, *, average: Average = "binary", ignore_index: int | None = None
) -> Tensor:
    """Return the harmonic mean of precision and recall, ``2 tp / (2 tp + fp + fn)``.

    Arguments are those of :func:`precision`.
    """
    c = _Counts.of("f1_score", logits, labels, average, ignore_index)
    return c.averaged(2 * c.right, c.found + c.labelled)


def iou(
    logits: Any, labels: Any, *, average: Average = "macro", ignore_index: int | None = None
) -> Tensor:
    """Return intersection over union, the Jaccard index ``tp / (tp + fp + fn)``.

    Arguments are those of :func:`precision`; of images (N, H, W, C) each place counts.
    """
    c = _Counts.of("iou", logits, labels, average, ignore_index)
    return c.averaged(c.right, c.found + c.labelled - c.right)


def confusion_matrix(logits: Any, labels: Any) -> Tensor:
    """Return how often a label (row) was taken for a class (column), int64 (C, C).

    It is no scalar: give it to ``gx.function``, or a formula of it to a model. A label that is no
    class counts nowhere.
    """
    x, y = _two_sided("confusion_matrix", logits, labels)
    is_so, found = _marks(x, y)
    both = ops.logical_and(ops.expand_dims(is_so, axis=-1), ops.expand_dims(found, axis=-2))
    return _count(both, keep=2)


def perplexity(logits: Any, labels: Any, *, ignore_index: int | None = None) -> Tensor:
    """Return ``exp`` of the mean cross-entropy of integer labels, those to ignore left out."""
    loss = cross_entropy(logits, labels, ignore_index=ignore_index, reduction="none")
    y = as_tensor(labels)
    if y.dtype.kind != "i":
        raise DTypeError(f"perplexity: labels must be integers, got {y.describe()}"
                         f"\n  at {user_location()}")  # fmt: skip
    counted = ops.ones_like(y) if ignore_index is None else ops.astype(y != ignore_index, INT64)
    return ops.exp(ops.sum(ops.astype(loss, FLOAT64)) / ops.astype(ops.sum(counted), FLOAT64))


def mae(predictions: Any, targets: Any) -> Tensor:
    """Return the mean of ``|prediction - target|`` over all elements."""
    x, y = _numbers("mae", predictions, targets)
    return ops.mean(ops.abs(x - y))


def rmse(predictions: Any, targets: Any) -> Tensor:
    """Return the root of the mean of ``(prediction - target)^2`` over all elements."""
    x, y = _numbers("rmse", predictions, targets)
    return ops.sqrt(ops.mean(ops.square(x - y)))


def r2_score(predictions: Any, targets: Any) -> Tensor:
    """Return ``1 - sum((prediction - target)^2) / sum((target - mean(target))^2)``.

    Of several columns it is the mean. Where all targets are equal it is 1 for a perfect
    prediction and else 0, as scikit-learn has it.
    """
    x, y = _numbers("r2_score", predictions, targets)
    if not y.ndim:
        raise ShapeError(f"r2_score needs an axis of rows, got {y.describe()}"
                         f"\n  at {user_location()}")  # fmt: skip
    rows = ops.sum(ops.ones_like(y), axis=0)
    missed, total = ops.sum(ops.square(x - y), axis=0), ops.sum(y, axis=0)
    squares = ops.sum(ops.square(y), axis=0)
    spread = squares - ops.square(total) / rows
    # less than rounding leaves of the difference: the targets are equal
    flat = spread <= squares * (4 * np.finfo(FLOAT64).eps)
    share = missed / ops.where(flat, 1.0, spread)
    perfect = ops.astype(missed == 0.0, FLOAT64)
    return ops.mean(ops.where(flat, perfect, 1.0 - share))


@dataclass(frozen=True)
class _Counts:
    """Of each class, how many places are found and labelled, found, and labelled."""

    right: Tensor
    found: Tensor
    labelled: Tensor
    average: Average

    @classmethod
    def of(
        cls, what: str, logits: Any, labels: Any, average: Average, ignore_index: int | None
    ) -> _Counts:
        x, y = _two_sided(what, logits, labels)
        if average not in ("binary", "macro", "micro", "weighted", None):
            raise ArgumentError(f'{what}: average must be "binary", "macro", "micro", "weighted" '
                                f"or None, not {average!r}\n  at {user_location()}")  # fmt: skip
        if average == "binary" and x.type.shape[-1] != 2:
            raise ArgumentError(f'{what}: average="binary" is of two classes, not '
                                f'{x.type.shape[-1]}; take "macro", "micro" or "weighted"'
                                f"\n  at {user_location()}")  # fmt: skip
        is_so, found = _marks(x, y)
        if ignore_index is not None:
            counts = ops.expand_dims(y != ignore_index, axis=-1)
            is_so, found = ops.logical_and(is_so, counts), ops.logical_and(found, counts)
        right = ops.logical_and(is_so, found)
        return cls(_count(right), _count(found), _count(is_so), average)

    def averaged(self, part: Tensor, whole: Tensor) -> Tensor:
        """Return ``part / whole`` of the classes, averaged; 0 of nothing."""
        if self.average == "micro":
            return _ratio(ops.sum(part), ops.sum(whole))
        each = _ratio(part, whole)
        if self.average is None:
            return each
        if self.average == "binary":
            return each[1]
        met = ops.astype(self.found + self.labelled > 0, INT64)
        weights = met if self.average == "macro" else self.labelled
        return _ratio(ops.sum(each * ops.astype(weights, FLOAT64)), ops.sum(weights))


def _two_sided(what: str, logits: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """Return logits with an axis of classes, two of them for one logit, and integer labels."""
    x, y = as_tensor(logits), as_tensor(labels)
    if x.ndim >= 2 and x.type.shape[-1] != 1:
        if not isinstance(x.type.shape[-1], int):
            raise _mismatch(what, x, y)
        return x, _labels(what, x, y)
    if size_of(x.type.shape) != size_of(y.type.shape) or y.dtype.kind == "f":
        raise _mismatch(what, x, y)
    x, y = ops.ravel(x), ops.ravel(y)
    return ops.stack([ops.zeros_like(x), x], axis=-1), ops.astype(y, INT64)


def _marks(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return whether each class is that of the label, and that of the largest logit."""
    size = x.type.shape[-1]
    assert isinstance(size, int)
    classes = ops.arange(size)
    found = ops.expand_dims(ops.argmax(x, axis=-1), axis=-1)
    return ops.expand_dims(y, axis=-1) == classes, found == classes


def _count(marks: Tensor, keep: int = 1) -> Tensor:
    """Return how many are true, for each place of the last ``keep`` axes."""
    return ops.sum(ops.astype(marks, INT64), axis=tuple(range(marks.ndim - keep)))


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    some = whole > 0
    share = ops.astype(part, FLOAT64) / ops.astype(ops.where(some, whole, 1), FLOAT64)
    return ops.where(some, share, 0.0)


def _numbers(what: str, predictions: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Return predictions and targets of one shape, in float64, in which they are added up."""
    x, y = as_tensor(predictions), as_tensor(targets)
    if x.type.shape != y.type.shape:
        raise ShapeError(f"{what}: predictions {x.describe()} and targets {y.describe()} need one "
                         f"shape; reshape one\n  at {user_location()}")  # fmt: skip
    return ops.astype(x, FLOAT64), ops.astype(y, FLOAT64)


def _labels(what: str, x: Tensor, y: Tensor) -> Tensor:
    """Return integer labels of shape ``x.shape[:-1]``."""
    if y.type.shape == x.type.shape:
        return ops.argmax(y, axis=-1)
    if y.type.shape != x.type.shape[:-1] or y.dtype.kind != "i":
        raise _mismatch(what, x, y)
    return ops.astype(y, "int64")


def _counted(what: str, y: Tensor, ignore_index: int | None) -> Tensor | None:
    """Return which labels count, or None if all do."""
    if ignore_index is None:
        return None
    if y.dtype.kind != "i":
        raise DTypeError(
            f"{what}: ignore_index is for integer labels, got {y.describe()}\n"
            f"  at {user_location()}"
        )
    return y != ignore_index


def _share(hits: Tensor, counted: Tensor | None) -> Tensor:
    if counted is None:
        return ops.mean(ops.astype(hits, FLOAT32))
    found = ops.sum(ops.astype(ops.logical_and(hits, counted), INT64))
    return ops.astype(_ratio(found, ops.sum(ops.astype(counted, INT64))), FLOAT32)


def _mismatch(what: str, x: Tensor, y: Tensor) -> ShapeError:
    return ShapeError(
        f"{what}: logits {x.describe()} and labels {y.describe()} do not fit together; labels "
        f"are integers without the last axis, or one-hot in the logits' shape"
        f"\n  at {user_location()}"
    )
