"""The loss of a language model's head, a part of the rows at a time."""

from __future__ import annotations

from typing import Any

from graphc import ops
from graphc.ir.tensor import Tensor
from graphc.nn.losses.classes import cross_entropy
from graphc.nn.losses.common import Reduction, floating, like, mismatch, misshapen, reduced
from graphc.ops.checkpoint import checkpoint
from graphc.ops.control import scan
from graphc.ops.operands import as_tensor
from graphc.types import size_of

CHUNK = 1 << 20
"""Logits that are in memory at a time: some megabytes, with which a product is near its peak."""


def linear_cross_entropy(
    x: Any, weight: Any, bias: Any, targets: Any, *, ignore_index: int | None = None,
    label_smoothing: float = 0.0, reduction: Reduction = "mean", chunk: int | None = None,
) -> Tensor:  # fmt: skip
    """Return ``nn.cross_entropy(x @ weight + bias, targets)`` with few logits in memory at a time.

    ``x`` (..., E), ``weight`` (E, V), ``bias`` (V,) or None, and ``targets``, integers of the shape
    of ``x`` without the last axis. Rows are taken ``chunk`` at a time (as many as make about a
    million logits, if it is None), and a gradient computes their logits again: so memory is that
    of x and of one chunk, for one product more than without (Wijmans et al., *Cut Your Losses in
    Large-Vocabulary Language Models*, 2024, for why that matters). Where the number of rows is not
    known,
    a chunk is what there is for one element of the first axis: (None, T, E) is taken T rows at a
    time. ``.report.arena_bytes`` says what that saves. The other options are those of
    :func:`nn.cross_entropy`; factors for classes are not supported.
    """
    what = "linear_cross_entropy"
    a, y = floating(what, x), as_tensor(targets)
    w = like(weight, a)
    if a.ndim < 1 or w.ndim != 2 or a.type.shape[-1] != w.type.shape[0]:
        raise mismatch(what, a, w, "x needs the shape (..., E) and weight (E, V)")
    if y.type.shape != a.type.shape[:-1]:
        raise mismatch(what, a, y, "targets need the shape of x without its last axis")
    b = None if bias is None else like(bias, a)

    def losses(rows: Tensor, own: Tensor) -> Tensor:
        logits = rows @ w if b is None else rows @ w + b
        return cross_entropy(
            logits, own, ignore_index=ignore_index, label_smoothing=label_smoothing,
            reduction="none",
        )  # fmt: skip

    loss = ops.reshape(_by_chunks(losses, a, y, w.type.shape[1], chunk), y.type.shape)
    if reduction == "mean" and ignore_index is not None:
        return ops.sum(loss) / ops.sum(ops.astype(y != ignore_index, loss.dtype))
    return reduced(what, loss, reduction)


def _by_chunks(losses: Any, x: Tensor, y: Tensor, classes: Any, chunk: int | None) -> Tensor:
    """Return the losses of all rows, (rows,) or (first axis, rows of each)."""
    rows = size_of(y.type.shape)
    if chunk is not None and (not isinstance(chunk, int) or chunk < 1):
        raise misshapen("linear_cross_entropy", f"the size of a chunk is {chunk!r}")

    def again(state: Any, part: Any) -> Any:
        return state, checkpoint(losses, *part)

    if not isinstance(rows, int):
        if x.ndim < 3:
            return checkpoint(losses, x, y)  # type: ignore[no-any-return]
        return scan(again, (), (x, y))[1]  # type: ignore[no-any-return]
    count = -(-rows * classes // CHUNK) if chunk is None else -(-rows // chunk)
    size = -(-rows // max(count, 1))
    x, y = ops.reshape(x, (rows, x.type.shape[-1])), ops.reshape(y, (rows,))
    if size >= rows:
        return checkpoint(losses, x, y)  # type: ignore[no-any-return]
    blocks = rows // size
    end = blocks * size
    cut = [ops.reshape(t[:end], (blocks, size, *t.type.shape[1:])) for t in (x, y)]
    found = ops.reshape(scan(again, (), tuple(cut))[1], (end,))
    return found if end == rows else ops.concat([found, checkpoint(losses, x[end:], y[end:])])
