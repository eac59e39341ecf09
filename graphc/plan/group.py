"""Groups of operations that share a kernel, and the loops that they share.

A group iterates over a *domain*: outer axes, whose iterations are independent, and inner axes,
along which its reductions fold. Reductions that keep the last axis (a bias gradient) are
*column* groups: the fold runs outside and the kept axis inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.ir.op import Elementwise, Reduction
from graphc.ir.tensor import Tensor
from graphc.types import NOMINAL_BATCH, AnyDim, Dim, dim_at, size_of

SERIAL = 16384
"""Elements up to which a loop nest may give up its independent outer axis."""

AxisMap = tuple[int | None, ...]
"""For each axis of a tensor, the domain axis that moves it (None: it does not move)."""


@dataclass(eq=False)
class Group:
    """Operations computed by one kernel."""

    nodes: list[Tensor]
    phase: int
    dims: tuple[AnyDim, ...] = ()
    inner: int = 0
    """The domain axes from this number on are folded; ``len(dims)`` if none is."""
    column: tuple[int, int] | None = None
    """In a column group, the range of the folded axes."""
    maps: dict[Tensor, AxisMap] = field(default_factory=dict)
    """For each node, how its own axes lie in the domain."""
    operand_maps: dict[Tensor, AxisMap] = field(default_factory=dict)
    """For each node, how the axes of its (broadcast) operands lie in the domain."""
    is_loop: bool = True

    @property
    def folds(self) -> bool:
        return self.inner < len(self.dims)


def is_prefix(axes: AxisMap) -> bool:
    """Tell whether the domain axes in ``axes`` are the first ones."""
    moving = {m for m in axes if m is not None}
    return moving == set(range(len(moving)))


def folds_nothing(group: Group) -> bool:
    """Tell whether the group has a reduction over axes of length 1, which no loop stands for."""
    return any(
        isinstance(n.op, Reduction) and all(group.operand_maps[n][k] is None for k in n.op.axes)
        for n in group.nodes
    )


def runs_once(own: AxisMap, group: Group) -> bool:
    """Tell whether what lies along ``own`` is computed once, whatever the lengths and threads.

    What lies outside a divided loop would be stored by each thread, and not at all if the loop
    has no iterations.
    """
    moving = set(own) - {None}
    if group.column is not None:
        return len(moving) == len(group.dims)
    return bool(moving) or group.inner == 0


def is_serial(group: Group) -> bool:
    """Tell whether what needs the group's reductions would have to wait for many elements."""
    return group.folds and group.inner == 0 and is_long(group.dims)


def is_long(dims: tuple[AnyDim, ...]) -> bool:
    return any(isinstance(d, Dim) for d in dims) or nominal_size(dims) > SERIAL


def gathers_batch(group: Group) -> bool:
    """Tell whether the group folds the whole batch: what else it did could not be divided."""
    return group.folds and group.inner == 0 and any(isinstance(d, Dim) for d in group.dims)


def nominal_size(dims: tuple[AnyDim, ...]) -> int:
    return dim_at(size_of(dims), NOMINAL_BATCH)


def is_fusible(node: Tensor) -> bool:
    """Tell whether ``node`` can stand in a loop nest with others."""
    return isinstance(node.op, (Elementwise, Reduction))


def same_loops(a: Group, b: Group) -> bool:
    """Tell whether the domains agree, or one is the outer part of the other."""
    if a.dims == b.dims:
        return not (a.folds and b.folds) or a.inner == b.inner
    if len(a.dims) > len(b.dims):
        a, b = b, a
    return b.folds and not a.folds and a.dims == b.dims[: b.inner]


def own_map(node: Tensor, operand_map: AxisMap) -> AxisMap:
    """Return the map of the node's own axes, given that of its operand's."""
    if not isinstance(node.op, Reduction):
        return operand_map
    if node.op.keepdims:
        return tuple(None if k in node.op.axes else m for k, m in enumerate(operand_map))
    return tuple(m for k, m in enumerate(operand_map) if k not in node.op.axes)
