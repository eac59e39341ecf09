"""Where the elements of a tensor are found: views resolved to the tensor they look at."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from graphc.ir.graph import Graph
from graphc.ir.layout import Axes, Layout
from graphc.ir.op import Assembly, Contraction, Elementwise, Loops, View
from graphc.ir.results import Result
from graphc.ir.tensor import Tensor
from graphc.types import Dim, Shape


@dataclass(frozen=True)
class Place:
    """A tensor seen as ``layout`` over the row-major elements of ``base``."""

    base: Tensor
    layout: Layout
    groups: tuple[Axes, ...] | None = None
    """The axes that each axis is made of, if one stride cannot walk it."""


@dataclass(frozen=True)
class Trace:
    """How the axes of a tensor walk the axes of ``base``.

    ``axes[k]`` is the axis of ``base`` that moves with axis ``k``, or None where the tensor
    repeats. ``axes`` is None where the relation is no such simple one (a slice, a fold).
    """

    base: Tensor
    axes: tuple[int | None, ...] | None


class Places:
    """Place and trace of every tensor of a graph, of which those of ``kept`` need one of theirs."""

    def __init__(self, graph: Graph, kept: Iterable[Tensor] = ()) -> None:
        kept = {*graph.roots, *kept}
        users = [(x, isinstance(n.op, Contraction)) for n in graph.nodes for x in n.inputs]
        others = {x for x, is_product in users if not is_product}
        self._read = {x for x, _ in users} - others - kept
        """What only products read, which can walk several axes as one."""
        self.place: dict[Tensor, Place] = {}
        self.trace: dict[Tensor, Trace] = {}
        self._results: dict[tuple[Tensor, int], Tensor] = {}
        """The first of the nodes that show the same result of a node with several."""
        self.hosts = _hosts(graph, kept)
        """Where what is computed within a whole of several parts lies in it."""
        for node in graph.nodes:
            self.place[node] = self._resolve(node)
            self.trace[node] = self._follow(node)

    def _resolve(self, node: Tensor) -> Place:
        own = Place(node, self.own_layout(node))
        if isinstance(node.op, Result):
            return Place(
                self._results.setdefault((node.inputs[0], node.op.number), node), own.layout
            )
        if not isinstance(node.op, View):
            return own
        (x,) = node.inputs
        seen = self.place[x]
        if seen.groups is not None:
            return own
        layout = node.op.layout(seen.layout, x.type, node.type)
        if layout is not None:
            return Place(seen.base, layout)
        groups = node.op.groups(seen.layout, x.type, node.type) if node in self._read else None
        return own if groups is None else Place(seen.base, seen.layout, groups)

    def own_layout(self, node: Tensor) -> Layout:
        """Return how the elements of what is no view lie, from the first of them on."""
        if node in self.hosts:
            return Layout(0, self.hosts[node][1].strides)
        return Layout.contiguous(node.type.shape)

    def _follow(self, node: Tensor) -> Trace:
        base = self.place[node].base
        if base is node or isinstance(node.op, Result):
            return Trace(base, tuple(_moving(node)))
        (x,) = node.inputs
        below = self.trace[x]
        if below.axes is None or not isinstance(node.op, View):
            return Trace(base, None)
        # Probe the view with strides that no arithmetic on small shapes yields, and see
        # where each of them ends up.
        probes = tuple(_PROBE + k for k in range(x.ndim))
        layout = node.op.layout(Layout(0, probes), x.type, node.type)
        if self.place[node].groups or layout is None or layout.offset != 0:
            return Trace(base, None)
        axes: list[int | None] = []
        for stride, dim in zip(layout.strides, node.type.shape, strict=True):
            if dim == 1 or stride == 0:
                axes.append(None)
            elif isinstance(stride, Dim) or stride not in probes:
                return Trace(base, None)
            else:
                k = probes.index(stride)
                if x.type.shape[k] != dim:
                    return Trace(base, None)
                axes.append(below.axes[k])
        if set(_moving(base)) - {None} != set(axes) - {None}:
            return Trace(base, None)  # one place of an axis only
        return Trace(base, tuple(axes))

    def is_view(self, node: Tensor) -> bool:
        """Tell whether ``node`` occupies no memory of its own."""
        return self.place[node].base is not node


NEIGHBOURS = 16
"""Elements that must lie one behind the other for a part to be computed within its whole."""


def _hosts(graph: Graph, kept: Set[Tensor]) -> dict[Tensor, tuple[Tensor, Layout]]:
    """Return, for tensors that are parts of another, that one and their region in it.

    They need not be copied: they are computed there, and read there by others.
    """
    hosts: dict[Tensor, tuple[Tensor, Layout]] = {}
    for whole in graph.nodes:
        op = whole.op
        if not isinstance(op, Assembly):
            continue
        types = [x.type for x in whole.inputs]
        if op.fill() is not None and op.outside(whole.type, *types) is None:
            continue
        for x, region in zip(whole.inputs, op.regions(whole.type, *types), strict=True):
            if x in hosts or x in kept or not isinstance(x.op, (Elementwise, Loops)):
                continue
            if x.inputs and _neighbours(region, x.type.shape) >= NEIGHBOURS:
                hosts[x] = whole, region
    return hosts


def _neighbours(layout: Layout, shape: Shape) -> int:
    """Return how many elements lie one behind the other."""
    count = 1
    for dim, stride in zip(reversed(shape), reversed(layout.strides), strict=True):
        if stride != count or not isinstance(dim, int):
            break
        count *= dim
    return count


_PROBE = 1_000_000_007


def _moving(node: Tensor) -> list[int | None]:
    return [None if d == 1 else k for k, d in enumerate(node.type.shape)]
