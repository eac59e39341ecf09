"""Losses of yes or no for each element: of logits, of probabilities, and of regions."""

from __future__ import annotations

from typing import Any

from graphc import ops
from graphc.ir.tensor import Tensor
from graphc.nn.losses.common import Reduction, invalid, like, misshapen, pair, reduced, weighed

LEAST_LOGARITHM = -100.0
"""What PyTorch takes for the logarithm of a probability of 0."""


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
    x, y = pair("binary_cross_entropy_with_logits", logits, targets)
    # Sure and right: the loss is 0, where the formulas have infinity minus infinity.
    right = ops.logical_and(ops.isinf(x), ops.astype(x > 0, x.dtype) == y)
    z = ops.where(right, 0.0, x)
    if pos_weight is None:
        loss = ops.softplus(z) - weighed(y, z)
    else:
        emphasis = 1.0 + (like(pos_weight, x) - 1.0) * y
        loss = weighed(1.0 - y, z) + weighed(emphasis, ops.softplus(-z))
    loss = ops.where(right, 0.0, loss)
    if weight is not None:
        loss = weighed(like(weight, x), loss)
    return reduced("binary_cross_entropy_with_logits", loss, reduction)


def hinge_loss(scores: Any, targets: Any, *, reduction: Reduction = "mean") -> Tensor:
    """``max(0, 1 - target * score)`` for targets -1 and 1."""
    x, y = pair("hinge_loss", scores, targets)
    return reduced("hinge_loss", ops.relu(1.0 - y * x), reduction)


hinge = hinge_loss


def binary_cross_entropy(
    probabilities: Any, targets: Any, *, weight: Any = None, reduction: Reduction = "mean"
) -> Tensor:
    """``-(y log(p) + (1 - y) log(1 - p))``, logarithms at least -100, as in PyTorch.

    ``p`` outside [0, 1] gives NaN. For ``p = sigmoid(x)`` take
    :func:`binary_cross_entropy_with_logits`: there sure predictions keep their gradient.
    """
    p, y = pair("binary_cross_entropy", probabilities, targets)
    yes, no = (ops.maximum(ops.log(q), LEAST_LOGARITHM) for q in (p, 1.0 - p))
    loss = -(y * yes + (1.0 - y) * no)
    if weight is not None:
        loss = weighed(like(weight, p), loss)
    return reduced("binary_cross_entropy", loss, reduction)


def soft_margin_loss(scores: Any, targets: Any, *, reduction: Reduction = "mean") -> Tensor:
    """``log(1 + exp(-target * score))`` for targets -1 and 1."""
    x, y = pair("soft_margin_loss", scores, targets)
    return reduced("soft_margin_loss", ops.softplus(-y * x), reduction)


def focal_loss(
    logits: Any, targets: Any, *, alpha: float | None = 0.25, gamma: float = 2.0,
    reduction: Reduction = "mean",
) -> Tensor:  # fmt: skip
    """``(1 - q)^gamma`` times the binary cross-entropy, ``q`` the probability of the target.

    ``alpha`` weighs targets of 1 and ``1 - alpha`` those of 0; None weighs none (Lin et al.,
    *Focal Loss for Dense Object Detection*, ICCV 2017).
    """
    x, y = pair("focal_loss", logits, targets)
    if not gamma >= 0:
        raise invalid("focal_loss", f"gamma must not be negative, got {gamma}")
    if alpha is not None and not 0 <= alpha <= 1:
        raise invalid("focal_loss", f"alpha must be in [0, 1] or None, got {alpha}")
    entropy = binary_cross_entropy_with_logits(x, y, reduction="none")
    # sigmoid(-x) and not 1 - sigmoid(x): what is left of a sure prediction is not rounded away
    missed = ops.sigmoid(-x) * y + ops.sigmoid(x) * (1.0 - y)
    loss = ops.pow(missed, gamma) * entropy if gamma else entropy
    if alpha is not None:
        loss = loss * (alpha * y + (1.0 - alpha) * (1.0 - y))
    return reduced("focal_loss", loss, reduction)


def tversky_loss(
    probabilities: Any, targets: Any, *, alpha: float = 0.5, beta: float = 0.5,
    smooth: float = 1.0, reduction: Reduction = "mean",
) -> Tensor:  # fmt: skip
    """``1 - (t + smooth) / (t + alpha f + beta m + smooth)`` of each row and class.

    Over all axes between the first, rows, and the last, classes: ``t = sum(p y)`` is what is
    found, ``f = sum(p (1 - y))`` what is found falsely, ``m = sum((1 - p) y)`` what is missed
    (Salehi et al., MLMI 2017). Shapes (N, ..., C), one-hot targets; ``"none"`` gives (N, C).
    """
    p, y = pair("tversky_loss", probabilities, targets)
    if p.ndim < 3:
        raise misshapen("tversky_loss", "probabilities need rows, one or more axes of places, and "
                        f"classes, (N, ..., C), got {p.describe()}")  # fmt: skip
    inner = tuple(range(1, p.ndim - 1))
    found = ops.sum(p * y, axis=inner)
    wrong, missed = ops.sum(p * (1.0 - y), axis=inner), ops.sum((1.0 - p) * y, axis=inner)
    index = (found + smooth) / (found + alpha * wrong + beta * missed + smooth)
    return reduced("tversky_loss", 1.0 - index, reduction)


def dice_loss(
    probabilities: Any, targets: Any, *, smooth: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """``1 - (2 sum(p y) + smooth) / (sum(p) + sum(y) + smooth)`` of each row and class.

    Axes as for :func:`tversky_loss`, of which it is the one with both factors a half
    (Milletari, Navab and Ahmadi, 3DV 2016, without its squares).
    """
    return tversky_loss(probabilities, targets, smooth=smooth / 2.0, reduction=reduction)
