"""Losses of distances between rows: what is alike shall be near, what is not far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc import ops
from graphc.ir.tensor import Tensor
from graphc.nn.losses.common import (
    Reduction,
    floating,
    invalid,
    like,
    mismatch,
    pair,
    reduced,
)

_SQUARES = 1e-12
"""What PyTorch adds to squared lengths before it divides by them."""

Distance = Callable[[Tensor, Tensor], Tensor]


def pairwise_distance(
    x1: Any, x2: Any, *, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False
) -> Tensor:
    """Return the ``p``-norm of ``x1 - x2 + eps`` along the last axis; rows broadcast."""
    x = floating("pairwise_distance", x1)
    return ops.vector_norm(x - like(x2, x) + eps, axis=-1, ord=p, keepdims=keepdims)


def triplet_margin_loss(
    anchor: Any, positive: Any, negative: Any, *, margin: float = 1.0, p: float = 2.0,
    eps: float = 1e-6, swap: bool = False, reduction: Reduction = "mean",
) -> Tensor:  # fmt: skip
    """``max(0, margin + d(anchor, positive) - d(anchor, negative))``, rows (..., D).

    ``d`` is :func:`pairwise_distance`. With ``swap`` the negative's distance is the smaller one
    of those from anchor and positive (Balntas et al., BMVC 2016).
    """

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p=p, eps=eps)

    return _triplet("triplet_margin_loss", (anchor, positive, negative), distance, margin, swap,
                    reduction)  # fmt: skip


def triplet_margin_with_distance_loss(
    anchor: Any, positive: Any, negative: Any, *, distance_function: Distance | None = None,
    margin: float = 1.0, swap: bool = False, reduction: Reduction = "mean",
) -> Tensor:  # fmt: skip
    """:func:`triplet_margin_loss` with a distance of one's own, a function of two tensors."""
    distance = pairwise_distance if distance_function is None else distance_function
    return _triplet("triplet_margin_with_distance_loss", (anchor, positive, negative), distance,
                    margin, swap, reduction)  # fmt: skip


def _triplet(
    what: str, rows: tuple[Any, Any, Any], distance: Distance, margin: float, swap: bool,
    reduction: Reduction,
) -> Tensor:  # fmt: skip
    if not margin > 0:
        raise invalid(what, f"margin must be positive, got {margin}")
    anchor = floating(what, rows[0])
    positive, negative = (like(r, anchor) for r in rows[1:])
    for other in (positive, negative):
        if other.ndim != anchor.ndim:
            raise mismatch(what, anchor, other, "give all three as many axes")
    far = distance(anchor, negative)
    if swap:
        far = ops.minimum(far, distance(positive, negative))
    return reduced(what, ops.relu(margin + distance(anchor, positive) - far), reduction)


def contrastive_loss(
    x1: Any, x2: Any, targets: Any, *, margin: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """``(y d^2 + (1 - y) max(0, margin - d)^2) / 2``, ``d`` the distance of two rows.

    Targets are 1 for pairs that are alike and 0 for others (Hadsell, Chopra and LeCun, CVPR
    2006, whose labels are the other way round).
    """
    what = "contrastive_loss"
    a, b = pair(what, x1, x2)
    d, y = pair(what, ops.vector_norm(a - b, axis=-1), targets)
    squares = y * ops.sum(ops.square(a - b), axis=-1)
    return reduced(what, 0.5 * (squares + (1.0 - y) * ops.square(ops.relu(margin - d))), reduction)


def margin_ranking_loss(
    x1: Any, x2: Any, targets: Any, *, margin: float = 0.0, reduction: Reduction = "mean"
) -> Tensor:
    """``max(0, margin - target * (x1 - x2))``; a target of 1 wants ``x1`` larger, -1 ``x2``."""
    what = "margin_ranking_loss"
    a, b = pair(what, x1, x2)
    y = pair(what, a, targets)[1]
    if b.ndim != a.ndim or y.ndim != a.ndim:
        raise mismatch(what, a, b if b.ndim != a.ndim else y, "give all three as many axes")
    return reduced(what, ops.relu(-y * (a - b) + margin), reduction)


def cosine_embedding_loss(
    x1: Any, x2: Any, targets: Any, *, margin: float = 0.0, reduction: Reduction = "mean"
) -> Tensor:
    """``1 - cos`` for targets 1, ``max(0, cos - margin)`` for -1, of rows (N, D) or one row."""
    what = "cosine_embedding_loss"
    a, b = pair(what, x1, x2)
    if a.ndim not in (1, 2) or b.ndim != a.ndim:
        raise mismatch(what, a, b, "give both the shape (N, D), or (D,) for one row")
    y = like(targets, a)
    if y.type.shape != a.type.shape[:-1]:
        raise mismatch(what, a, y, "targets need one number a row")

    def squares(x: Tensor) -> Tensor:
        return ops.sum(ops.square(x), axis=-1) + _SQUARES

    cosine = ops.sum(a * b, axis=-1) / ops.sqrt(squares(a) * squares(b))
    alike = ops.where(y == 1.0, 1.0 - cosine, 0.0)
    apart = ops.where(y == -1.0, ops.relu(cosine - margin), 0.0)
    return reduced(what, alike + apart, reduction)


def hinge_embedding_loss(
    distances: Any, targets: Any, *, margin: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """The distance for targets 1, ``max(0, margin - distance)`` for -1."""
    x, y = pair("hinge_embedding_loss", distances, targets)
    apart = ops.where(y != 1.0, ops.relu(margin - x), 0.0)
    return reduced("hinge_embedding_loss", apart + ops.where(y != -1.0, x, 0.0), reduction)
