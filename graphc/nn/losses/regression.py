"""Losses of numbers: distances from targets, and likelihoods of counts and normals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc import ops
from graphc.ir.tensor import Tensor
from graphc.nn.losses.common import (
    Reduction,
    invalid,
    like,
    mismatch,
    pair,
    reduced,
    weighed,
)
from graphc.ops.operands import as_tensor


def mse_loss(
    predictions: Any, targets: Any, *, weight: Any = None, reduction: Reduction = "mean"
) -> Tensor:
    """``(prediction - target)^2``; with a ``weight`` of each, the mean divides by their sum."""
    x, y = pair("mse_loss", predictions, targets)
    difference = x - y
    return _weighted_mean("mse_loss", difference * difference, weight, reduction)


def l1_loss(
    predictions: Any, targets: Any, *, weight: Any = None, reduction: Reduction = "mean"
) -> Tensor:
    """``|prediction - target|``; with a ``weight`` of each, the mean divides by their sum."""
    x, y = pair("l1_loss", predictions, targets)
    return _weighted_mean("l1_loss", abs(x - y), weight, reduction)


def huber_loss(
    predictions: Any, targets: Any, *, delta: float = 1.0, weight: Any = None,
    reduction: Reduction = "mean",
) -> Tensor:  # fmt: skip
    """``d^2 / 2`` where ``d = |prediction - target|`` is below ``delta``, else linear.

    There ``delta * (d - delta / 2)`` (Huber, Ann. Math. Statist. 35, 1964). ``weight`` scales
    each element's loss; the mean divides by their number, as PyTorch's does here.
    """
    x, y = pair("huber_loss", predictions, targets)
    if not delta > 0:
        raise invalid("huber_loss", f"delta must be positive, got {delta}")
    loss = _huber(abs(x - y), delta)
    if weight is not None:
        loss = weighed(pair("huber_loss", loss, weight)[1], loss)
    return reduced("huber_loss", loss, reduction)


def smooth_l1_loss(
    predictions: Any, targets: Any, *, beta: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """``d^2 / (2 beta)`` where ``d = |prediction - target|`` is below ``beta``, else linear.

    There ``d - beta / 2`` (Girshick, *Fast R-CNN*, ICCV 2015); ``beta=0`` is :func:`l1_loss`.
    """
    x, y = pair("smooth_l1_loss", predictions, targets)
    if not beta >= 0:
        raise invalid("smooth_l1_loss", f"beta must not be negative, got {beta}")
    distance = abs(x - y)
    loss = _huber(distance, beta) / beta if beta else distance
    return reduced("smooth_l1_loss", loss, reduction)


def _huber(distance: Tensor, delta: float) -> Tensor:
    # With m = min(d, delta) one formula serves both sides, and its derivative is m.
    nearest = ops.minimum(distance, delta)
    return nearest * (distance - 0.5 * nearest)


def _weighted_mean(what: str, loss: Tensor, weight: Any, reduction: str) -> Tensor:
    """Return the loss of weighted elements, its mean by the sum of the weights."""
    if weight is None:
        return reduced(what, loss, reduction)
    w = pair(what, loss, weight)[1]
    loss = weighed(w, loss)
    if reduction != "mean":
        return reduced(what, loss, reduction)
    return ops.sum(loss) / ops.sum(ops.broadcast_to(w, loss.type.shape))


def log_cosh_loss(predictions: Any, targets: Any, *, reduction: Reduction = "mean") -> Tensor:
    """``log(cosh(prediction - target))``: half the square near 0, the distance far away.

    Its derivative is ``tanh``; differences however large stay finite.
    """
    x, y = pair("log_cosh_loss", predictions, targets)
    d = x - y
    return reduced("log_cosh_loss", d + ops.softplus(-2.0 * d) - math.log(2.0), reduction)


def quantile_loss(
    predictions: Any, targets: Any, *, q: Any = 0.5, reduction: Reduction = "mean"
) -> Tensor:
    """``max(q d, (q - 1) d)`` with ``d = target - prediction``: least at the quantile ``q``.

    ``q`` is in (0, 1), one for all or one for each element (Koenker and Bassett, *Econometrica*
    46, 1978); several at once broadcast against the last axis.
    """
    x, y = pair("quantile_loss", predictions, targets)
    if not isinstance(q, Tensor) and not np.all((np.asarray(q) > 0) & (np.asarray(q) < 1)):
        raise invalid("quantile_loss", f"q must be in (0, 1), got {q}")
    level = pair("quantile_loss", x, q)[1]
    d = y - x
    return reduced("quantile_loss", ops.where(d < 0.0, (level - 1.0) * d, level * d), reduction)


def poisson_nll_loss(
    predictions: Any, targets: Any, *, log_input: bool = True, full: bool = False,
    eps: float = 1e-8, reduction: Reduction = "mean",
) -> Tensor:  # fmt: skip
    """``rate - target log(rate)``: the negative log-likelihood of counts.

    Predictions are logarithms of rates, or with ``log_input=False`` rates, to which ``eps`` is
    added inside the logarithm. ``full`` adds Stirling's approximation of ``log(target!)`` for
    targets above 1.
    """
    x, y = pair("poisson_nll_loss", predictions, targets)
    loss = ops.exp(x) - y * x if log_input else x - y * ops.log(x + eps)
    if full:
        many = y > 1.0
        t = ops.where(many, y, 1.0)
        stirling = t * ops.log(t) - t + 0.5 * ops.log(2.0 * math.pi * t)
        loss = loss + ops.where(many, stirling, 0.0)
    return reduced("poisson_nll_loss", loss, reduction)


def gaussian_nll_loss(
    predictions: Any, targets: Any, variances: Any, *, full: bool = False, eps: float = 1e-6,
    reduction: Reduction = "mean",
) -> Tensor:  # fmt: skip
    """``(log(v) + (prediction - target)^2 / v) / 2`` with ``v = max(variance, eps)``.

    ``variances`` are a number, of the predictions' shape, of that with 1 for an axis, or of that
    without the last axis. A variance below ``eps`` has the derivative of ``eps``, as in
    PyTorch; ``full`` adds ``log(2 pi) / 2`` (Nix and Weigend, ICNN 1994).
    """
    x, y = pair("gaussian_nll_loss", predictions, targets)
    if not isinstance(variances, Tensor) and np.any(np.asarray(variances) < 0):
        raise invalid("gaussian_nll_loss", "variances must not be negative")
    if not eps > 0:
        raise invalid("gaussian_nll_loss", f"eps must be positive, got {eps}")
    v = like(variances, x)
    if v.ndim and v.type.shape == x.type.shape[:-1]:
        v = ops.expand_dims(v, axis=-1)
    pairs = list(zip(v.type.shape, x.type.shape, strict=False))
    if v.ndim and (v.ndim != x.ndim or any(a not in (b, 1) for a, b in pairs)):
        raise mismatch("gaussian_nll_loss", x, as_tensor(variances), "give one variance for each "
                       "prediction, or for each row of them")  # fmt: skip
    v = ops.where(v < eps, v + ops.stop_gradient(eps - v), v)
    loss = 0.5 * (ops.log(v) + ops.square(x - y) / v)
    if full:
        loss = loss + 0.5 * math.log(2.0 * math.pi)
    return reduced("gaussian_nll_loss", loss, reduction)
