"""Stable forms."""

from __future__ import annotations

from collections.abc import Collection

from graphc.ir.rewrite import RuleSet
from graphc.ir.tensor import Tensor

STABLE = RuleSet()


def stable_form(node: Tensor, keep: Collection[int]) -> tuple[Tensor, list[Tensor]] | None:
    """Return an equal tensor that bypasses the inner steps of ``node``, and its new nodes.

    None where no rule applies, or where one of the tensors ``keep`` (by id) would be bypassed.
    """
    found = STABLE.apply(node)
    if found is None:
        return None
    form = found[0]
    steps: dict[int, Tensor] = {}
    frontier: set[int] = set()
    stack = [form]
    while stack:
        tensor = stack.pop()
        if tensor.id < node.id:
            frontier.add(tensor.id)
        elif tensor.id not in steps:
            steps[tensor.id] = tensor
            stack.extend(tensor.inputs)
    stack = list(node.inputs)
    for _ in range(_LONGEST):
        if not stack:
            return form, [steps[i] for i in sorted(steps)]
        tensor = stack.pop()
        if tensor.id in frontier:
            continue
        if tensor.id in keep:
            return None
        stack.extend(tensor.inputs)
    return None


_LONGEST = 32
"""Most tensors that a rule may step over."""
