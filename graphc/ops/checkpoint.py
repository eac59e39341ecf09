"""Formulas that derivatives compute again, instead of keeping what they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.errors import ArgumentError, user_location
from graphc.ops.control import scan
from graphc.ops.operands import as_tensor
from graphc.ops.shape import expand_dims
from graphc.tree import tree_leaves, tree_map


def checkpoint(function: Callable[..., Any], *operands: Any) -> Any:
    """Return ``function(*operands)``, whose derivatives compute it again from its operands.

    So nothing inside it is kept for the backward pass: a network of n such parts needs memory for
    n operands and the inside of one, and a forward pass more. Operands and results are tensors, or
    tuples, lists and dicts of them, or None; parameters that the function uses have gradients as
    elsewhere. What it computes from parameters alone is computed once. As ``jax.checkpoint`` and
    PyTorch's ``torch.utils.checkpoint`` (Chen et al., *Training deep nets with sublinear memory
    cost*, 2016); ``.report.arena_bytes`` says what it saves. Random draws and masks of
    dropout are the same when they are computed again; running statistics move once.
    """
    if not callable(function):
        raise ArgumentError(
            f"checkpoint: {function!r} is not callable; pass a function of tensors and what it is "
            f"called with\n  at {user_location()}"
        )
    if not tree_leaves(operands):
        raise ArgumentError(
            "checkpoint: there are no operands from which to compute again; pass what the "
            f"function needs as arguments\n  at {user_location()}"
        )
    one = tree_map(lambda x: None if x is None else expand_dims(as_tensor(x), 0), operands)
    _, results = scan(lambda none, xs: (none, function(*xs)), (), one, length=1, checkpoint=1)
    return tree_map(lambda y: None if y is None else y[0], results)
