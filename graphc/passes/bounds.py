"""Which operands hold indices, what they are made of, and which of them a step must check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphc.ir.graph import Graph
from graphc.ir.op import Op, View
from graphc.ir.results import Multiple, Result
from graphc.ir.source import Constant
from graphc.ir.tensor import Tensor
from graphc.ops.cast import Cast
from graphc.types import AnyDim, never_below


@dataclass(frozen=True)
class IndexBounds:
    """Indices of ``node`` in ``[low, high)``: what ``views`` leave of ``source``."""

    source: Tensor
    views: tuple[Op, ...]
    operand: Tensor
    low: AnyDim
    high: AnyDim
    node: Tensor

    @property
    def indices(self) -> Tensor:
        """What must lie within the bounds, as near to the user's as can be."""
        return self.operand if self.views else self.source


def index_bounds(graph: Graph) -> Iterator[IndexBounds]:
    """Yield what the nodes of ``graph`` ask of their indices, each demand once.

    A label and its gradient ask the same.
    """
    seen = set()
    for node in graph.nodes:
        if type(node.op).index_bounds is Op.index_bounds:
            continue
        for position, low, high in node.op.index_bounds(*[x.type for x in node.inputs]):
            source, views = _traced(node.inputs[position])
            if (source, views, low, high) not in seen:
                seen.add((source, views, low, high))
                yield IndexBounds(source, views, node.inputs[position], low, high, node)


def computed_indices(graph: Graph) -> Iterator[IndexBounds]:
    """Yield the demands on indices that neither are fed nor constant nor surely inside."""
    fed = set(graph.inputs)
    for demand in unsure_indices(graph):
        if demand.source not in fed and not isinstance(demand.source.op, Constant):
            yield demand


def unsure_indices(graph: Graph) -> Iterator[IndexBounds]:
    """Yield the demands on indices that are not surely inside: in a loop, nobody else looks."""
    for demand in index_bounds(graph):
        source = demand.source
        if source.type.size == 0:
            continue
        known = _value_bounds(source)
        if known is None or not (
            never_below(known[0], demand.low) and never_below(demand.high, known[1])
        ):
            yield demand


def _value_bounds(source: Tensor) -> tuple[AnyDim, AnyDim] | None:
    if isinstance(source.op, Result):
        (node,) = source.inputs
        several: Multiple = node.op  # type: ignore[assignment]
        return several.result_bounds(source.op.number, *[x.type for x in node.inputs])
    return source.op.value_bounds(*[x.type for x in source.inputs])


def _traced(tensor: Tensor) -> tuple[Tensor, tuple[Op, ...]]:
    """Return what ``tensor`` shows the values of, and the views that leave some of them out."""
    views: list[Op] = []
    while tensor.inputs and tensor.inputs[0].dtype.kind == "i":
        (below, *_) = tensor.inputs
        if isinstance(tensor.op, View):
            if views or not never_below(tensor.type.size, below.type.size):
                views.append(tensor.op)
        elif not isinstance(tensor.op, Cast):
            break
        tensor = below
    return tensor, tuple(reversed(views))
