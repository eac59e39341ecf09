"""The graph that stands in a node: what a loop does in a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from graphc.ir.graph import Graph, ancestors
from graphc.ir.op import Source
from graphc.ir.source import Constant, Input, Parameter, constant
from graphc.ir.tensor import FUNCTIONS, Tensor
from graphc.types import Several, TensorType


class Body:
    """What a loop does in a step: a graph that stands for itself, equal to itself only."""

    def __init__(
        self,
        carries: Sequence[Tensor],
        slices: Sequence[Tensor],
        captured: Sequence[Tensor],
        following: Sequence[Tensor],
        others: Sequence[Tensor] = (),
        going: Tensor | None = None,
        states: Iterable[Tensor] = (),
    ) -> None:
        """``following`` are the next carries; ``others`` more values that may be asked for.

        After a step in which ``going`` is false, there is none. The first carry then is the
        number of steps taken, from 0. ``states`` are carries that are state of layers, which
        what a step leaves for others has no derivatives by.
        """
        self.carries, self.slices, self.captured = map(tuple, (carries, slices, captured))
        self.sliced, self.taken = frozenset(slices), frozenset(captured)
        self.following, self.others, self.going = tuple(following), tuple(others), going
        self.states = frozenset(states)
        roots = [*self.inputs, *following, *others, *([] if going is None else [going])]
        self.nodes = tuple(ancestors(roots))
        self.place = {node: place for place, node in enumerate(self.nodes)}

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The operands of the loop, as the body sees them."""
        return (*self.carries, *self.slices, *self.captured)

    def graph_of(self, places: Iterable[int]) -> Graph:
        """Return the graph of the next carries and of the values at ``places``."""
        outputs = {f"next {k}": t for k, t in enumerate(self.following)}
        outputs |= {f"value {place}": self.nodes[place] for place in places}
        if self.going is not None:
            outputs["go on"] = self.going
        return Graph(self.inputs, outputs)

    def still(self, values: Sequence[Tensor]) -> Body:
        """Return the body in which no step moves the state, of ``values`` and the next carries."""
        pairs = zip(self.carries, self.following, strict=True)
        following = [c if c in self.states else new for c, new in pairs]
        return Body(self.carries, self.slices, self.captured, following, values, self.going)


def placeholder(label: str, type: TensorType) -> Tensor:
    return Tensor(Input(label, type, object()), (), type, label=label)


def copied(roots: Sequence[Tensor], images: dict[Tensor, Tensor]) -> None:
    """Copy what ``roots`` need, over the images of the tensors that have one; add the copies."""
    for node in ancestors(roots, images):
        if node in images or not node.inputs:
            continue
        new = tuple(images.get(x, x) for x in node.inputs)
        images[node] = Tensor(node.op, new, node.type, label=node.label, like=node)


def substituted(roots: Sequence[Tensor], images: Mapping[Tensor, Tensor]) -> list[Tensor]:
    """Return ``roots`` over the images of tensors; what owes nothing to these is not copied."""
    new = dict(images)
    for node in ancestors(roots, images):
        if node not in new and any(new.get(x, x) is not x for x in node.inputs):
            operands = tuple(new.get(x, x) for x in node.inputs)
            new[node] = Tensor(node.op, operands, node.type, label=node.label, like=node)
    return [new.get(t, t) for t in roots]


def zeros(type: TensorType) -> Tensor:
    zeros: Tensor = FUNCTIONS["broadcast_to"](constant(np.zeros((), type.dtype)), type.shape)
    return zeros


class Closed(NamedTuple):
    """A body, the tensors from outside that it captures, and the others of its values."""

    body: Body
    outside: list[Tensor]
    values: list[Tensor]


def closed(
    carries: Sequence[Tensor],
    slices: Sequence[Tensor],
    following: Sequence[Tensor],
    ys: Sequence[Tensor],
    going: Tensor | None = None,
    since: int | None = None,
    states: Iterable[Tensor] = (),
) -> Closed:
    """Return the body of a step: what it does not change from step to step comes from outside.

    What was made ``since`` a tensor of this number stays inside all the same, but for sources.
    """
    roots = [*following, *ys, *([] if going is None else [going])]
    inside = {*carries, *slices}
    for node in ancestors(roots):
        made_here = since is not None and node.id > since and node.inputs
        if made_here or not inside.isdisjoint(node.inputs):
            inside.add(node)
    images: dict[Tensor, Tensor] = {}
    outside: dict[Tensor, Tensor] = {}
    used = [x for node in ancestors(roots) if node in inside for x in node.inputs]
    for x in dict.fromkeys([*used, *roots]):
        if x in inside or isinstance(x.type, Several):
            continue
        if not _stays_inside(x):
            outside[x] = images[x] = placeholder(x.label or "captured", x.type)
    copied([t for t in roots if t in inside], images)
    body = Body(
        carries, slices, list(outside.values()),
        [images.get(t, t) for t in following], [images.get(t, t) for t in ys],
        None if going is None else images.get(going, going), states,
    )  # fmt: skip
    return Closed(body, list(outside), [images.get(t, t) for t in ys])


def _stays_inside(x: Tensor) -> bool:
    """Tell whether a body makes a value that is always the same itself, as kernels do."""
    if isinstance(x.op, Constant):
        return x.size == 1
    return isinstance(x.op, Source) and not isinstance(x.op, (Input, Parameter))
