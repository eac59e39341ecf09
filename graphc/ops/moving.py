"""What moves from step to step of a loop though no carry says so: random draws and layers' state.

A draw whose user gave no step is, in each step of a loop, another part of one draw of all steps: it
is what a draw before the loop, scanned over, would give. State that a step of training moves, such
as running statistics, is carried: each step of a loop moves it, a branch only if it is taken, and
the node hands on what it leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import NamedTuple

from graphc.ir.graph import ancestors
from graphc.ir.source import constant
from graphc.ir.tensor import FUNCTIONS, Tensor, apply, building
from graphc.ops.body import placeholder
from graphc.ops.creation import extent
from graphc.ops.random import Clock, RandomUniform, Turn
from graphc.ops.state import state_updates
from graphc.types import INT64, AnyDim, size_of

_MANY = 1 << 24
"""Steps after which draws of a loop without an end may be those of another one around it."""


def mark() -> int:
    """Return a number that tensors made from now on have greater ones than."""
    return constant(0).id


def turn_of(number: Tensor, length: AnyDim, unbounded: AnyDim) -> Callable[[], Tensor]:
    """Return what gives the number of a step among all steps of the loops around it."""
    many = _MANY if length == unbounded else length

    def turn() -> Tensor:
        total: Tensor = FUNCTIONS["add"](number, apply(Turn()) * extent(many, INT64))
        return total

    return turn


def placed(roots: Sequence[Tensor], since: int, turn: Callable[[], Tensor]) -> list[Tensor]:
    """Return ``roots`` with the draws made ``since`` a number each of its own in a step."""
    fresh = [node for node in ancestors(roots) if node.id > since]
    if not any(isinstance(node.op, Turn) or _moves(node) for node in fresh):
        return list(roots)
    place, images = turn(), dict[Tensor, Tensor]()
    for node in fresh:
        operands = tuple(images.get(x, x) for x in node.inputs)
        if isinstance(node.op, Turn):
            images[node] = place
            continue
        if _moves(node):
            with building(phase=node.phase, loc=node.loc, scope=node.scope):
                operands = (*operands, place * extent(size_of(node.type.shape), INT64))
        if len(operands) != len(node.inputs) or not all(map(is_, operands, node.inputs)):
            images[node] = Tensor(node.op, operands, node.type, label=node.label, like=node)
    return [images.get(t, t) for t in roots]


def _moves(node: Tensor) -> bool:
    """Tell whether ``node`` is a draw of the graph's own steps that has no number yet."""
    counts = isinstance(node.op, RandomUniform) and isinstance(node.inputs[1].op, Clock)
    return counts and len(node.inputs) == 2


class Carried(NamedTuple):
    """State as it is before a loop, in a step, and after that; and what the step is for."""

    firsts: list[Tensor]
    carries: list[Tensor]
    following: list[Tensor]
    roots: list[Tensor]


def carried(roots: Sequence[Tensor], since: int) -> Carried:
    """Return ``roots`` with the state that nodes made ``since`` move as carries."""
    moved = state_updates(roots, since)
    if not moved:
        return Carried([], [], [], list(roots))
    images = {state: placeholder(state.label or "state", state.type) for state in moved}
    carries = list(images.values())
    whole = [*moved.values(), *roots]
    for node in ancestors(whole):
        if node.id > since and any(x in images for x in node.inputs):
            operands = tuple(images.get(x, x) for x in node.inputs)
            images[node] = Tensor(node.op, operands, node.type, label=node.label, like=node)
    following = [images.get(t, t) for t in moved.values()]
    return Carried(list(moved), carries, following, [images.get(t, t) for t in roots])
