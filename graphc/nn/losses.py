"""Losses, with PyTorch's definitions.

All return a scalar by default: ``reduction`` is ``"mean"``, ``"sum"`` or ``"none"``. The first
argument is the model's; targets take its data type. Classes lie on the last axis unless
``axis`` says otherwise.
"""

from __future__ import annotations

from typing import Any, Literal

from graphc import ops
from graphc.errors import ArgumentError, DTypeError, GraphcError, ShapeError, user_location
from graphc.ir.tensor import Tensor
from graphc.ops.along import pick
from graphc.ops.operands import as_tensor
from graphc.types import broadcast_shapes, normalize_axis, show_shape

Reduction = Literal["mean", "sum", "none"]


# -- regression ---------------------------------------------------------------------------


def mse_loss(predictions: Any, targets: Any, *, reduction: Reduction = "mean") -> Tensor:
    """``(prediction - target)^2``."""
    x, y = _pair("mse_loss", predictions, targets)
    difference = x - y
    return _reduce("mse_loss", difference * difference, reduction)


def l1_loss(predictions: Any, targets: Any, *, reduction: Reduction = "mean") -> Tensor:
    """``|prediction - target|``."""
    x, y = _pair("l1_loss", predictions, targets)
    return _reduce("l1_loss", abs(x - y), reduction)


def huber_loss(
    predictions: Any, targets: Any, *, delta: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """``d^2 / 2`` where ``d = |prediction - target|`` is below ``delta``, else linear.

    There ``delta * (d - delta / 2)`` (Huber, Ann. Math. Statist. 35, 1964).
    """
    x, y = _pair("huber_loss", predictions, targets)
    if not delta > 0:
        raise _invalid("huber_loss", f"delta must be positive, got {delta}")
    return _reduce("huber_loss", _huber(abs(x - y), delta), reduction)


def smooth_l1_loss(
    predictions: Any, targets: Any, *, beta: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """``d^2 / (2 beta)`` where ``d = |prediction - target|`` is below ``beta``, else linear.

    There ``d - beta / 2`` (Girshick, *Fast R-CNN*, ICCV 2015); ``beta=0`` is :func:`l1_loss`.
    """
    x, y = _pair("smooth_l1_loss", predictions, targets)
    if not beta >= 0:
        raise _invalid("smooth_l1_loss", f"beta must not be negative, got {beta}")
    distance = abs(x - y)
    loss = _huber(distance, beta) / beta if beta else distance
    return _reduce("smooth_l1_loss", loss, reduction)


def _huber(distance: Tensor, delta: float) -> Tensor:
    # With m = min(d, delta) one formula serves both sides, and its derivative is m.
    nearest = ops.minimum(distance, delta)
    return nearest * (distance - 0.5 * nearest)


# -- two classes --------------------------------------------------------------------------


def binary_cross_entropy_with_logits(
    logits: Any,
    targets: Any,
    *,
    weight: Any = None,
    pos_weight: Any = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """``-(y log(sigmoid(x)) + (1 - y) log(1 - sigmoid(x)))``, finite for any finite logit.

    ``targets`` are probabilities. ``weight`` scales each element's loss and ``pos_weight`` its
    first term; both broadcast.
    """
    x, y = _pair("binary_cross_entropy_with_logits", logits, targets)
    # Sure and right: the loss is 0, where the formulas have infinity minus infinity.
    right = ops.logical_and(ops.isinf(x), ops.astype(x > 0, x.dtype) == y)
    z = ops.where(right, 0.0, x)
    if pos_weight is None:
        loss = ops.softplus(z) - _weighed(y, z)
    else:
        emphasis = 1.0 + (_like(pos_weight, x) - 1.0) * y
        loss = _weighed(1.0 - y, z) + _weighed(emphasis, ops.softplus(-z))
    loss = ops.where(right, 0.0, loss)
    if weight is not None:
        loss = _weighed(_like(weight, x), loss)
    return _reduce("binary_cross_entropy_with_logits", loss, reduction)


def hinge_loss(scores: Any, targets: Any, *, reduction: Reduction = "mean") -> Tensor:
    """``max(0, 1 - target * score)`` for targets -1 and 1."""
    x, y = _pair("hinge_loss", scores, targets)
    return _reduce("hinge_loss", ops.relu(1.0 - y * x), reduction)


hinge = hinge_loss


# -- many classes -------------------------------------------------------------------------


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
    x, y = _floating("cross_entropy", logits), as_tensor(targets)
    if not 0.0 <= label_smoothing <= 1.0:
        raise _invalid("cross_entropy", f"label_smoothing must be in [0, 1], got {label_smoothing}")
    if y.dtype.kind in "iu":
        axis = _class_axis("cross_entropy", x, y, axis)
        log_probs = ops.log_softmax(x, axis=axis)
        return _of_labels("cross_entropy", log_probs, y, axis, weight, ignore_index,
                          label_smoothing, reduction)  # fmt: skip
    if ignore_index is not None:
        raise _invalid("cross_entropy", "ignore_index needs integer labels, not probabilities")
    if y.type.shape != x.type.shape:
        raise _mismatch(
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
    terms = _weighed(y, ops.log_softmax(x, axis=axis))
    return _reduce("cross_entropy", -ops.sum(terms, axis=axis), reduction)


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
    x, y = _floating("nll_loss", log_probs), as_tensor(labels)
    if y.dtype.kind not in "iu":
        raise DTypeError(f"nll_loss: labels must be integers, got {y.describe()}"
                         f"\n  at {user_location()}")  # fmt: skip
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
    x, y = _pair("kl_div", log_probs, targets)
    if log_target:
        loss = _weighed(ops.exp(y), y - x)
    else:
        # log(1) where the target is 0: neither value nor gradient meets log(0).
        loss = y * ops.log(ops.where(y == 0.0, 1.0, y)) - _weighed(y, x)
    if reduction != "batchmean":
        return _reduce("kl_div", loss, reduction)
    if not loss.ndim:
        raise _misshapen("kl_div", 'reduction "batchmean" needs a batch axis, got scalars')
    rows = ops.sum(loss, axis=tuple(range(1, loss.ndim)))
    return ops.mean(rows)


# -- shared -------------------------------------------------------------------------------


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
        loss = _weighed(share, loss)
    if smoothing:
        spread = log_probs if weight is None else _weighed(factors, log_probs)
        uniform = -ops.mean(spread, axis=axis)
        loss = smoothing * uniform + (0.0 if smoothing == 1.0 else (1.0 - smoothing) * loss)
    if counts is not None:
        zero = ops.zeros_like(loss)
        loss = ops.where(counts, loss, zero)
        share = ops.astype(counts, loss.dtype) if share is None else (
            ops.where(counts, share, zero)
        )  # fmt: skip
    if reduction != "mean" or share is None:
        return _reduce(what, loss, reduction)
    return ops.sum(loss) / ops.sum(share)


def _weighed(weight: Tensor, value: Tensor) -> Tensor:
    """Return ``weight * value``, 0 where the weight is 0 and the value no finite number.

    The convention of entropies, ``0 log 0 = 0`` (``scipy.special.rel_entr``), for the value and
    for the derivatives: what has no weight moves nothing.
    """
    lost = ops.logical_and(weight == 0.0, ~ops.isfinite(value))
    return weight * ops.where(lost, 0.0, value)


def _reduce(what: str, loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return ops.mean(loss)
    if reduction == "sum":
        return ops.sum(loss)
    if reduction == "none":
        return loss
    raise _invalid(what, f'reduction must be "mean", "sum" or "none", not {reduction!r}')


def _floating(what: str, value: Any) -> Tensor:
    x = as_tensor(value)
    if x.dtype.kind != "f":
        raise DTypeError(
            f"{what}: predictions must be floating-point, got {x.describe()}"
            f"\n  at {user_location()}"
        )
    return x


def _like(value: Any, x: Tensor) -> Tensor:
    """Return ``value`` in the data type of ``x``."""
    return ops.astype(as_tensor(value), x.dtype)


def _pair(what: str, predictions: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Return predictions and targets in one data type; targets may broadcast, not predictions.

    Predictions (N, 1) against targets (N,) would silently give N x N differences.
    """
    x = _floating(what, predictions)
    y = _like(targets, x)
    try:
        fits = broadcast_shapes(x.type.shape, y.type.shape) == x.type.shape
    except GraphcError:
        fits = False
    if not fits:
        raise _mismatch(what, x, y, "reshape one to the shape of the other")
    return x, y


def _class_axis(what: str, x: Tensor, labels: Tensor, axis: int) -> int:
    """Return the class axis of ``x``, counted from the front, if ``labels`` fit the others."""
    if not x.ndim:
        raise _misshapen(what, f"{x.describe()} has no axis of classes")
    axis = normalize_axis(axis, x.ndim)
    rest = x.type.shape[:axis] + x.type.shape[axis + 1 :]
    if labels.type.shape != rest:
        raise _mismatch(
            what, x, labels, f"integer labels need the shape {show_shape(rest)}, without the "
            f"class axis {axis}; probabilities need a floating-point dtype",
        )  # fmt: skip
    return axis


def _classes(what: str, x: Tensor, axis: int) -> int:
    """Return the number of classes."""
    classes = x.type.shape[axis]
    if not isinstance(classes, int):
        raise _misshapen(what, f"axis {axis} of {x.describe()} is the batch, not classes")
    return classes


def _per_class(what: str, weight: Any, x: Tensor, axis: int) -> Tensor:
    """Return the class weights in a shape that broadcasts against ``x``."""
    w = _like(weight, x)
    classes = _classes(what, x, axis)
    if w.type.shape != (classes,):
        raise _mismatch(what, x, w, f"weight needs one factor for each of {classes} classes")
    return ops.reshape(w, tuple(classes if a == axis else 1 for a in range(x.ndim)))


def _mismatch(what: str, x: Tensor, y: Tensor, advice: str) -> ShapeError:
    return ShapeError(
        f"{what}: {x.describe()} and {y.describe()} do not fit together; {advice}"
        f"\n  at {user_location()}"
    )


def _misshapen(what: str, problem: str) -> ShapeError:
    return ShapeError(f"{what}: {problem}\n  at {user_location()}")


def _invalid(what: str, problem: str) -> ArgumentError:
    return ArgumentError(f"{what}: {problem}\n  at {user_location()}")
