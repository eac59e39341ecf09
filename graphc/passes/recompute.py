"""Values computed again where they are folded, instead of written and read.

A fold down columns, such as the mean and the variance of a channel over a batch, has loops of its
own. What it folds and others read, too, ``x - mean`` say, would be written to memory and read
twice. If it is cheap, and made of one array that lies in memory anyway, it is computed in both
places: a normalisation over a batch is a turn over ``x`` for each fold, and one for the result.
"""

from __future__ import annotations

from collections import Counter

from graphc.ir.graph import Graph, replace_inputs
from graphc.ir.op import Elementwise, Reduction, View
from graphc.ir.tensor import Tensor
from graphc.types import AnyDim

CHEAP = 4.0
"""Cost of an element, in multiplications, up to which to compute it again is less than traffic."""

DEPTH = 8
"""Operations between a fold and what others read, too, that are looked through."""


def recompute(graph: Graph, hits: Counter[str]) -> Graph:
    """Return the graph with cheap operands of folds down columns as nodes of their own."""
    if not any(map(_keeps_columns, graph.nodes)):
        return graph
    shared = _Shared(graph)

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        found = replace_inputs(node, operands)
        if _keeps_columns(node):
            (x,) = node.inputs
            own = shared.apart(x, x.type.size) if x.phase == node.phase else None
            if own is not None:
                hits["columns"] += 1
                found = replace_inputs(node, (own,))
        shared.now[node] = found
        return found

    return graph.rebuild(rule)


def _keeps_columns(node: Tensor) -> bool:
    """Tell whether ``node`` folds an axis, and the last one that moves stays."""
    if not isinstance(node.op, Reduction):
        return False
    moving = [k for k, d in enumerate(node.inputs[0].type.shape) if d != 1]
    folded = [k for k in moving if k in node.op.axes]
    return bool(folded) and moving[-1] not in folded


class _Shared:
    """What several nodes read, and what it is made of."""

    def __init__(self, graph: Graph) -> None:
        self.users, self.roots = graph.users, set(graph.roots)
        self.now: dict[Tensor, Tensor] = {}
        """What has become of each node so far."""

    def apart(self, x: Tensor, size: AnyDim, depth: int = 0) -> Tensor | None:
        """Return ``x`` with what others read, too, computed for it alone; None if that is nothing.

        ``size`` is that of what is folded.
        """
        if not _is_computed(x, size) or depth > DEPTH:
            return None
        if len(self.users[x]) > 1 or x in self.roots:
            return self._anew(x, size) if self._pays(x, size) else None
        own = [self.apart(y, size, depth + 1) for y in x.inputs]
        if all(y is None for y in own):
            return None
        pairs = zip(own, x.inputs, strict=True)
        operands = tuple(self.now[y] if new is None else new for new, y in pairs)
        return Tensor(x.op, operands, x.type, like=x)

    def _pays(self, x: Tensor, size: AnyDim) -> bool:
        """Tell whether ``x`` need not be in memory, is cheap, and is made of one array."""
        users = self.users[x]
        if x in self.roots or any(not _is_fusible(u) or u.phase != x.phase for u in users):
            return False
        made = _made_of(x, size)
        if made is None:
            return False
        arrays, cost = made
        return len(arrays) <= 1 and cost <= CHEAP

    def _anew(self, x: Tensor, size: AnyDim) -> Tensor:
        operands = (self._anew(y, size) if _is_computed(y, size) else self.now[y] for y in x.inputs)
        return Tensor(x.op, tuple(operands), x.type, like=x)


def _is_fusible(node: Tensor) -> bool:
    return isinstance(node.op, (Elementwise, Reduction))


def _is_computed(x: Tensor, size: AnyDim) -> bool:
    """Tell whether each element is computed by itself, and there are as many as ``size``."""
    return isinstance(x.op, Elementwise) and not x.op.indexed and x.type.size == size


def _made_of(x: Tensor, size: AnyDim, depth: int = 0) -> tuple[set[Tensor], float] | None:
    """Return the arrays of that size that ``x`` is computed of, and the cost of an element.

    They must lie in memory: be neither computed by elements nor folded. None if that is not so, or
    not to be seen in a few operations.
    """
    if _is_computed(x, size):
        assert isinstance(x.op, Elementwise)
        arrays: set[Tensor] = set()
        cost = x.op.cost
        for y in x.inputs:
            made = _made_of(y, size, depth + 1) if depth < DEPTH else None
            if made is None:
                return None
            arrays |= made[0]
            cost += made[1]
        return arrays, cost
    base = x
    while isinstance(base.op, View):
        (base,) = base.inputs
    if base.type.size != size:
        return set(), 0.0
    return None if _is_fusible(base) else ({base}, 0.0)
