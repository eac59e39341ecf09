"""What is checked before a call writes anything: indices, and dimensions that must exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.errors import GraphcError, IndexingError
from graphc.ir.graph import Graph
from graphc.ir.op import Array
from graphc.ir.source import Constant
from graphc.ir.tensor import Tensor, building, located
from graphc.passes.bounds import IndexBounds, index_bounds
from graphc.types import AnyDim, Dim, TensorType, dim_at, shape_at, show_sizes, with_batch


@dataclass(frozen=True)
class IndexCheck:
    """Bounds of indices that are fed (as the input at ``position``) or constant.

    Those that the graph computes are checked in the step, by a
    :class:`~graphc.plan.program.Guard`.
    """

    bounds: IndexBounds
    position: int | None

    @property
    def depends_on_batch(self) -> bool:
        return isinstance(self.bounds.high, Dim) or bool(self.bounds.views)

    def check(self, feeds: Sequence[Array], batch: int) -> None:
        """Raise :class:`IndexingError` if an index lies outside the axis."""
        source, bounds = self.bounds.source, self.bounds
        values = source.op.numpy() if self.position is None else feeds[self.position]
        for view in bounds.views:
            values = view.bind(batch).numpy(values)
        check_indices(values, bounds.low, bounds.high, batch, bounds.node, source)


def check_indices(
    values: Array, low: AnyDim, high: AnyDim, batch: int, node: Tensor, operand: Tensor
) -> None:
    """Raise :class:`IndexingError` if one of the ``values`` lies outside ``[low, high)``.

    They are those of ``operand``, with which ``node`` indexes.
    """
    if not values.size:
        return
    least, most = dim_at(low, batch), dim_at(high, batch) - 1
    smallest, largest = int(values.min()), int(values.max())
    if smallest < least or largest > most:
        bad = smallest if smallest < least else largest
        raise IndexingError(
            f"{node.op.name}: index {bad} in {operand.describe()} is out of bounds for an "
            f"axis of size {most + 1} (from {least} to {most})\n  at {node.loc}"
        )


class CallChecks:
    """The checks of one graph."""

    def __init__(self, graph: Graph) -> None:
        places = {t: i for i, t in enumerate(graph.inputs)}
        self._lengths: dict[AnyDim, Tensor] = {}
        for node in graph.nodes:
            for dim in node.op.nonnegative(*[x.type for x in node.inputs]):
                self._lengths.setdefault(dim, node)
        self._indices = [
            IndexCheck(bounds, places.get(bounds.source))
            for bounds in index_bounds(graph)
            if bounds.source in places or isinstance(bounds.source.op, Constant)
        ]

    def batch(self, batch: int) -> None:
        """Raise what an op says to a batch of ``batch`` rows, if that is too small for it."""
        for dim, node in self._lengths.items():
            if dim_at(dim, batch) >= 0:
                continue
            types = [TensorType(x.dtype, shape_at(x.type.shape, batch)) for x in node.inputs]
            what = f"a batch of {show_sizes(batch)} is too small: {dim} is negative"
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
            self.batch(with_batch(batch_size, size))
        for check in self._indices:
            if not check.depends_on_batch:
                check.check(arrays, with_batch(batch_size, 0))
                continue
            place = check.position or 0
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                fed = {place: arrays[place][rows]}
                check.check(fed, with_batch(batch_size, len(rows)))  # type: ignore[arg-type]
