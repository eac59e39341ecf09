"""Losses of sequences that end early, and of labels whose places nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc import ops
from graphc.errors import DTypeError, user_location
from graphc.ir.tensor import Tensor
from graphc.nn.losses.common import Reduction, floating, invalid, mismatch, misshapen, reduced
from graphc.ops.control import scan
from graphc.ops.creation import iota
from graphc.ops.operands import as_tensor, value_of
from graphc.ops.slices import part
from graphc.types import INT64, AnyDim

_NEVER = -1e30
"""The logarithm of the probability of what cannot be: sums of it stay finite in float32."""


def sequence_mask(lengths: Any, length: AnyDim) -> Tensor:
    """Return which of ``length`` steps are there: ``(..., length)`` of bool, for ``lengths`` (...).

    As ``tf.sequence_mask``. ``length`` is an integer or a size of another tensor's shape.
    """
    ends = _integers("sequence_mask", "lengths", lengths)
    places = iota((*[1] * ends.ndim, length), ends.ndim, INT64)
    return places < ops.expand_dims(ops.astype(ends, INT64), -1)


def masked_mean(x: Any, mask: Any, axis: int | Sequence[int] | None = None) -> Tensor:
    """Return the mean of the elements where ``mask``, of bool, is true; 0 where it never is.

    ``mask`` has the shape of ``x`` or its first axes, as that of steps does beside features; other
    elements are not looked at, and may be NaN.
    """
    t, there = floating("masked_mean", x), as_tensor(mask)
    if there.dtype.kind != "b":
        raise DTypeError(
            f"masked_mean: mask must be of bool, got {there.describe()}\n  at {user_location()}"
        )
    if there.type.shape != t.type.shape[: there.ndim]:
        raise mismatch("masked_mean", t, there, "a mask has the first axes of what it masks")
    there = ops.reshape(there, (*there.type.shape, *[1] * (t.ndim - there.ndim)))
    there = ops.broadcast_to(there, t.type.shape)
    total = ops.sum(ops.where(there, t, 0.0), axis=axis)
    return total / ops.maximum(ops.sum(ops.astype(there, t.dtype), axis=axis), 1.0)


def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Return the negative logarithm of the probability that steps, some of them blank, spell the
    targets, whichever step each label falls on (Graves et al., ICML 2006).

    ``log_probs`` are ``(N, T, C)``, the batch first, logarithms of probabilities of C classes, as
    :func:`log_softmax` makes them; ``targets`` are integers ``(N, S)``, none of them ``blank``, and
    ``input_lengths`` and ``target_lengths`` ``(N,)`` say how many steps and labels are there: what
    is behind is not looked at. Without N, ``(T, C)``, ``(S,)`` and scalars. A mean divides the loss
    of each sample by its number of labels, at least 1. Where the steps are too few, the loss is
    infinite, and its gradient 0 (PyTorch's is NaN); with ``zero_infinity`` both are 0. Lengths must
    be from 0 to T and to S: those of constants are checked.

    As PyTorch's ``ctc_loss`` but for the batch; targets one behind the other in one axis are not
    supported. PyTorch's gradient by ``log_probs`` has ``exp(log_probs)`` added, which its
    ``log_softmax`` takes away again; here it is the derivative, and has derivatives itself.
    """
    what = "ctc_loss"
    x, y = floating(what, log_probs), _integers(what, "targets", targets)
    ends = [_integers(what, n, t) for n, t in
            (("input_lengths", input_lengths), ("target_lengths", target_lengths))]  # fmt: skip
    if x.ndim not in (2, 3):
        raise misshapen(what, f"log_probs must have axes (N, T, C) or (T, C), got {x.describe()}")
    lead = x.type.shape[:-2]
    if y.ndim != x.ndim - 1 or y.type.shape[:-1] != lead:
        raise mismatch(what, x, y, "targets have axes (N, S) or (S,)")
    for t in ends:
        if t.type.shape != lead:
            raise mismatch(what, x, t, "lengths have one element for each sample")
    _within(what, "input_lengths", ends[0], x.type.shape[-2])
    _within(what, "target_lengths", ends[1], y.type.shape[-1])
    classes = x.type.shape[-1]
    if isinstance(blank, bool) or not isinstance(blank, (int, np.integer)):
        raise invalid(what, f"blank must be an integer, not {blank!r}")
    if blank < 0 or (isinstance(classes, int) and blank >= classes):
        raise invalid(what, f"blank is {blank}, which is none of {classes} classes")
    if not lead:
        x, y = ops.expand_dims(x, 0), ops.expand_dims(y, 0)
        ends = [ops.expand_dims(t, 0) for t in ends]
    labels = ops.astype(ends[1], x.dtype)
    lost = _unspelled(x, y, ends[0], ends[1], int(blank))
    impossible = lost > -0.5 * _NEVER
    loss = ops.where(impossible, 0.0 if zero_infinity else float("inf"), lost)
    if reduction == "mean":
        loss = loss / ops.maximum(labels, 1.0)
    return reduced(what, loss if lead else ops.squeeze(loss, 0), reduction)


def _unspelled(x: Tensor, y: Tensor, steps: Tensor, labels: Tensor, blank: int) -> Tensor:
    """Return the loss of each sample, by the forward variables of section 4.1 of the paper.

    A path goes over the places ``blank, label, blank, ..., label, blank``: to the same place, the
    next one, or over a blank between two labels that differ. Two places stand before these: a path
    starts at the second, which leads to the first blank and the first label, and none goes back.
    """
    steps, labels = (ops.expand_dims(ops.astype(t, INT64), -1) for t in (steps, labels))
    y = ops.where(sequence_mask(labels[:, 0], y.type.shape[1]), ops.astype(y, INT64), blank)
    blanks = ops.full_like(y, blank)
    pairs = ops.reshape(ops.stack([blanks, y], axis=2), (y.type.shape[0], 2 * y.type.shape[1]))
    places = ops.pad(pairs, ((0, 0), (0, 1)), constant_values=blank)
    count = places.type.shape[1]
    behind = ops.pad(places, ((0, 0), (2, 0)), constant_values=blank)
    before = part(behind, 1, 0, count)
    over = ops.logical_and(places != blank, places != before)
    there = ops.expand_dims(sequence_mask(steps[:, 0], x.type.shape[1]), -1)
    x = ops.maximum(ops.where(there, x, 0.0), _NEVER)
    shape = (*x.type.shape[:2], count)
    own = ops.take_along_axis(x, ops.broadcast_to(ops.expand_dims(places, 1), shape), axis=2)
    start = ops.where(iota((1, count + 2), 1, INT64) == 1, 0.0, _NEVER)
    first = ops.broadcast_to(ops.astype(start, x.dtype), (shape[0], count + 2))

    def step(paths: Tensor, given: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
        seen, at = given
        jumped, moved, stayed = (part(paths, 1, start, count) for start in range(3))
        came = ops.logaddexp(ops.logaddexp(stayed, moved), ops.where(over, jumped, _NEVER))
        new = ops.pad(seen + came, ((0, 0), (2, 0)), constant_values=_NEVER)
        return ops.where(at < steps, new, paths), None

    counted = iota((shape[1],), 0, INT64)
    paths, _ = scan(step, first, (ops.moveaxis(own, 1, 0), counted))
    last = ops.take_along_axis(paths, ops.concat([2 * labels + 1, 2 * labels + 2], axis=1), axis=1)
    return -ops.logaddexp(last[:, 0], last[:, 1])


def _within(what: str, name: str, lengths: Tensor, most: AnyDim) -> None:
    """Raise where a length that is known is negative, or goes over the end."""
    found = value_of(lengths)
    if found is not None:
        wrong = found[(found < 0) | (found > most if isinstance(most, int) else False)]
        if wrong.size:
            raise invalid(what, f"{name} must be from 0 to {most}, got {wrong[0]}")


def _integers(what: str, name: str, value: Any) -> Tensor:
    t = as_tensor(value)
    if t.dtype.kind not in "iu":
        raise DTypeError(
            f"{what}: {name} must be integers, got {t.describe()}\n  at {user_location()}"
        )
    return t
