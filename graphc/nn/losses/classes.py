"""Losses of one class, or several classes, of many; classes lie on the last axis."""

from __future__ import annotations

from typing import Any, Literal

from graphc import ops
from graphc.errors import DTypeError, user_location
from graphc.ir.tensor import Tensor
from graphc.nn.losses.common import (
    Reduction,
    floating,
    invalid,
    like,
    mismatch,
    misshapen,
    pair,
    reduced,
    rows_and_classes,
    weighed,
)
from graphc.ops.along import pick
from graphc.ops.operands import as_tensor
from graphc.types import normalize_axis, show_shape


def cross_entropy(
    logits: Any,
    targets: Any,
    *,
    axis: int = -1,
    weight: Any = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """``-sum_c target_c log(softmax(logits)_c)``, finite for any finite logits.

    ``targets`` are integer labels, of the shape of ``logits`` without ``axis``, or
    probabilities, of the shape of ``logits``. ``weight`` has one factor a class: a mean over
    labels divides by the sum of the labels' weights, one over probabilities by their number.
    Labels equal to ``ignore_index`` count nowhere. ``label_smoothing`` mixes the targets with
    that share of the uniform distribution (Szegedy et al., CVPR 2016).
    """
    x, y = floating("cross_entropy", logits), as_tensor(targets)
    if not 0.0 <= label_smoothing <= 1.0:
        raise invalid("cross_entropy", f"label_smoothing must be in [0, 1], got {label_smoothing}")
    if y.dtype.kind in "iu":
        axis = _class_axis("cross_entropy", x, y, axis)
        log_probs = ops.log_softmax(x, axis=axis)
        return _of_labels("cross_entropy", log_probs, y, axis, weight, ignore_index,
                          label_smoothing, reduction)  # fmt: skip
    if ignore_index is not None:
        raise invalid("cross_entropy", "ignore_index needs integer labels, not probabilities")
    if y.type.shape != x.type.shape:
        raise mismatch(
            "cross_entropy", x, y,
            "probabilities need the shape of the logits; if these are labels, give them an "
            'integer dtype, as in gx.input(..., dtype="int64")',
        )  # fmt: skip
    axis = normalize_axis(axis, x.ndim)
    y = ops.astype(y, x.dtype)
    if label_smoothing:
        y = y * (1.0 - label_smoothing) + label_smoothing / _classes("cross_entropy", x, axis)
    if weight is not None:
        y = y * _per_class("cross_entropy", weight, x, axis)
    terms = weighed(y, ops.log_softmax(x, axis=axis))
    return reduced("cross_entropy", -ops.sum(terms, axis=axis), reduction)


def nll_loss(
    log_probs: Any,
    labels: Any,
    *,
    axis: int = -1,
    weight: Any = None,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """``-log_probs[label]``: cross-entropy after :func:`log_softmax`.

    ``labels``, ``weight``, ``ignore_index`` and the mean are those of :func:`cross_entropy`.
    """
    x, y = floating("nll_loss", log_probs), as_tensor(labels)
    _integers("nll_loss", y)
    axis = _class_axis("nll_loss", x, y, axis)
    return _of_labels("nll_loss", x, y, axis, weight, ignore_index, 0.0, reduction)


def kl_div(
    log_probs: Any,
    targets: Any,
    *,
    log_target: bool = False,
    reduction: Reduction | Literal["batchmean"] = "mean",
) -> Tensor:
    """``target * (log(target) - log_prob)``, pointwise; 0 where the target is 0.

    With ``log_target`` the targets are logarithms too. ``"mean"`` divides by the number of
    elements; ``"batchmean"`` by the first axis, which gives the mean divergence of the rows.
    """
    x, y = pair("kl_div", log_probs, targets)
    if log_target:
        loss = weighed(ops.exp(y), y - x)
    else:
        # log(1) where the target is 0: neither value nor gradient meets log(0).
        loss = y * ops.log(ops.where(y == 0.0, 1.0, y)) - weighed(y, x)
    if reduction != "batchmean":
        return reduced("kl_div", loss, reduction)
    if not loss.ndim:
        raise misshapen("kl_div", 'reduction "batchmean" needs a batch axis, got scalars')
    rows = ops.sum(loss, axis=tuple(range(1, loss.ndim)))
    return ops.mean(rows)


def _of_labels(
    what: str,
    log_probs: Tensor,
    labels: Tensor,
    axis: int,
    weight: Any,
    ignore_index: int | None,
    smoothing: float,
    reduction: Reduction,
) -> Tensor:
    """Return the negative log-likelihood of integer labels."""
    counts = None if ignore_index is None else labels != ignore_index
    if counts is not None:
        labels = ops.where(counts, labels, 0)
    loss = -pick(log_probs, labels, axis)
    share = None  # what each label adds to the mean's denominator
    if weight is not None:
        factors = _per_class(what, weight, log_probs, axis)
        share = ops.take(ops.reshape(factors, (-1,)), labels)
        loss = weighed(share, loss)
    if smoothing:
        spread = log_probs if weight is None else weighed(factors, log_probs)
        uniform = -ops.mean(spread, axis=axis)
        loss = smoothing * uniform + (0.0 if smoothing == 1.0 else (1.0 - smoothing) * loss)
    if counts is not None:
        zero = ops.zeros_like(loss)
        loss = ops.where(counts, loss, zero)
        share = ops.astype(counts, loss.dtype) if share is None else (
            ops.where(counts, share, zero)
        )  # fmt: skip
    if reduction != "mean" or share is None:
        return reduced(what, loss, reduction)
    return ops.sum(loss) / ops.sum(share)


def _class_axis(what: str, x: Tensor, labels: Tensor, axis: int) -> int:
    """Return the class axis of ``x``, counted from the front, if ``labels`` fit the others."""
    if not x.ndim:
        raise misshapen(what, f"{x.describe()} has no axis of classes")
    axis = normalize_axis(axis, x.ndim)
    rest = x.type.shape[:axis] + x.type.shape[axis + 1 :]
    if labels.type.shape != rest:
        raise mismatch(
            what, x, labels, f"integer labels need the shape {show_shape(rest)}, without the "
            f"class axis {axis}; probabilities need a floating-point dtype",
        )  # fmt: skip
    return axis


def _classes(what: str, x: Tensor, axis: int) -> int:
    """Return the number of classes."""
    classes = x.type.shape[axis]
    if not isinstance(classes, int):
        raise misshapen(what, f"axis {axis} of {x.describe()} is the batch, not classes")
    return classes


def _per_class(what: str, weight: Any, x: Tensor, axis: int) -> Tensor:
    """Return the class weights in a shape that broadcasts against ``x``."""
    w = like(weight, x)
    classes = _classes(what, x, axis)
    if w.type.shape != (classes,):
        raise mismatch(what, x, w, f"weight needs one factor for each of {classes} classes")
    return ops.reshape(w, tuple(classes if a == axis else 1 for a in range(x.ndim)))


def multi_margin_loss(
    scores: Any, labels: Any, *, p: int = 1, margin: float = 1.0, weight: Any = None,
    reduction: Reduction = "mean",
) -> Tensor:  # fmt: skip
    """``sum_i max(0, margin - score_label + score_i)^p / C`` over the other classes ``i``.

    ``scores`` (N, C) and ``labels`` (N,), or one row of each; ``p`` is 1 or 2, ``weight`` has
    one factor a class, by which the row's loss is scaled (Crammer and Singer, JMLR 2, 2001).
    """
    what = "multi_margin_loss"
    x, y = floating(what, scores), as_tensor(labels)
    if p not in (1, 2):
        raise invalid(what, f"p must be 1 or 2, got {p}")
    classes = rows_and_classes(what, x)
    _integers(what, y)
    axis = _class_axis(what, x, y, -1)
    own = ops.expand_dims(pick(x, y, axis), axis=-1)
    excess = ops.relu(margin - own + x)
    excess = ops.square(excess) if p == 2 else excess
    places = ops.arange(classes, dtype=y.dtype)
    others = places != ops.expand_dims(y, axis=-1)
    loss = ops.sum(ops.where(others, excess, 0.0), axis=-1) / classes
    if weight is not None:
        factors = ops.reshape(_per_class(what, weight, x, axis), (-1,))
        loss = weighed(ops.take(factors, y, axis=0), loss)
    return reduced(what, loss, reduction)


def multilabel_margin_loss(scores: Any, labels: Any, *, reduction: Reduction = "mean") -> Tensor:
    """``sum_ji max(0, 1 - score_j + score_i) / C`` over labels ``j`` and all other classes ``i``.

    ``labels`` are integers of the shape of ``scores``, (N, C) or (C,): those of a row stand
    first, and behind the last a negative number ends them.
    """
    what = "multilabel_margin_loss"
    x, y = floating(what, scores), as_tensor(labels)
    classes = rows_and_classes(what, x)
    _integers(what, y)
    if y.type.shape != x.type.shape:
        raise mismatch(what, x, y, "labels need the shape of the scores, filled up with -1")
    listed = ops.cumulative_sum(ops.astype(y < 0, "int64"), axis=-1) == 0
    places = ops.where(listed, y, 0)
    named = ops.logical_and(
        ops.expand_dims(places, axis=-1) == ops.arange(classes, dtype=y.dtype),
        ops.expand_dims(listed, axis=-1),
    )
    others = ~ops.any(named, axis=-2, keepdims=True)
    own = ops.expand_dims(ops.take_along_axis(x, places, axis=-1), axis=-1)
    excess = ops.relu(1.0 - own + ops.expand_dims(x, axis=-2))
    counts = ops.logical_and(ops.expand_dims(listed, axis=-1), others)
    return reduced(what, ops.sum(ops.where(counts, excess, 0.0), axis=(-2, -1)) / classes,
                   reduction)  # fmt: skip


def multilabel_soft_margin_loss(
    logits: Any, targets: Any, *, weight: Any = None, reduction: Reduction = "mean"
) -> Tensor:
    """The mean over classes of the binary cross-entropy of each; ``weight`` broadcasts."""
    what = "multilabel_soft_margin_loss"
    x, y = pair(what, logits, targets)
    if not x.ndim:
        raise misshapen(what, f"{x.describe()} has no axis of classes")
    loss = weighed(y, ops.softplus(-x)) + weighed(1.0 - y, ops.softplus(x))
    if weight is not None:
        loss = weighed(like(weight, x), loss)
    return reduced(what, ops.mean(loss, axis=-1), reduction)


def _integers(what: str, labels: Tensor) -> None:
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"{what}: labels must be integers, got {labels.describe()}"
                         f"\n  at {user_location()}")  # fmt: skip
