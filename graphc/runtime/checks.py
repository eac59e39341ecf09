"""What is checked before a call writes anything: indices, and dimensions that must exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.errors import GraphcError, IndexingError
from graphc.ir.graph import Graph
from graphc.ir.op import Array, Op, View
from graphc.ir.source import Constant
from graphc.ir.tensor import Tensor, building, located
from graphc.ops.cast import Cast
from graphc.types import AnyDim, Dim, TensorType, dim_at, never_below, shape_at


@dataclass(frozen=True)
class IndexCheck:
    """An operand of ``node`` that holds indices in ``[low, high)``.

    They are what ``views`` leave of an input (the one at ``position``) or of a constant. Indices
    that the graph computes are not checked: kernels move them to the end of the axis.
    """

    source: Tensor
    position: int | None
    views: tuple[Op, ...]
    low: AnyDim
    high: AnyDim
    node: Tensor

    @property
    def depends_on_batch(self) -> bool:
        return isinstance(self.high, Dim) or bool(self.views)

    def check(self, feeds: Sequence[Array], batch: int) -> None:
        """Raise :class:`IndexingError` if an index lies outside the axis."""
        source = self.source
        values = source.op.numpy() if self.position is None else feeds[self.position]
        for view in self.views:
            values = view.bind(batch).numpy(values)
        if not values.size:
            return
        least, most = dim_at(self.low, batch), dim_at(self.high, batch) - 1
        smallest, largest = int(values.min()), int(values.max())
        if smallest < least or largest > most:
            bad = smallest if smallest < least else largest
            raise IndexingError(
                f"{self.node.op.name}: index {bad} in {source.describe()} is out of bounds for an "
                f"axis of size {most + 1} (from {least} to {most})\n  at {self.node.loc}"
            )


class CallChecks:
    """The checks of one graph."""

    def __init__(self, graph: Graph) -> None:
        places = {t: i for i, t in enumerate(graph.inputs)}
        found: dict[object, IndexCheck] = {}  # a label and its gradient ask the same
        self._lengths: dict[AnyDim, Tensor] = {}
        for node in graph.nodes:
            types = [x.type for x in node.inputs]
            for dim in node.op.nonnegative(*types):
                self._lengths.setdefault(dim, node)
            for operand, low, high in node.op.index_bounds(*types):
                source, views = _traced(node.inputs[operand])
                if source in places or isinstance(source.op, Constant):
                    check = IndexCheck(source, places.get(source), views, low, high, node)
                    found.setdefault((source, views, low, high), check)
        self._indices = list(found.values())

    def batch(self, batch: int) -> None:
        """Raise what an op says to a batch of ``batch`` rows, if that is too small for it."""
        for dim, node in self._lengths.items():
            if dim_at(dim, batch) >= 0:
                continue
            types = [TensorType(x.dtype, shape_at(x.type.shape, batch)) for x in node.inputs]
            what = f"a batch of {batch} rows is too small: {dim} is negative"
            with building(loc=node.loc):
                try:
                    node.op.bind(batch).infer(*types)
                except GraphcError as error:
                    said = type(error)(f"{what}; {error}")
                    raise located(said, node.op.name, node.inputs) from None
            raise IndexingError(f"{what}\n  at {node.loc}")

    def call(self, feeds: Sequence[Array], batch: int) -> None:
        """Raise :class:`IndexingError` if an index among ``feeds`` lies outside its axis."""
        for check in self._indices:
            check.check(feeds, batch)

    def epoch(self, arrays: Sequence[Array], order: Array, batch_size: int) -> None:
        """Raise :class:`IndexingError` if some batch of the rows ``order`` would."""
        for size in {min(batch_size, len(order)), len(order) % batch_size} - {0}:
            self.batch(size)
        for check in self._indices:
            if not check.depends_on_batch:
                check.check(arrays, 0)
                continue
            place = check.position or 0
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                fed = {place: arrays[place][rows]}
                check.check(fed, len(rows))  # type: ignore[arg-type]


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
