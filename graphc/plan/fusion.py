"""Which operations share a kernel.

Elementwise operations and reductions are grouped into loop nests; everything else is a kernel
of its own. Grouping goes by traits alone, in two linear sweeps that cannot create a cycle:

1. *Sink*, from the last node to the first: a node whose users all stand in one group joins it.
   (A path from the group back to the node would have been a cycle before.)
2. *Lift*, in execution order: a group joins one of its producers if they share their loops, and
   takes along its later producers. (All other operands of those are ready by then.)

Then groups of one element that do not need each other become one, stage by stage.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence, Set

from graphc.ir.graph import Graph, ancestors
from graphc.ir.op import Elementwise, Reduction, Source
from graphc.ir.results import Result
from graphc.ir.tensor import PHASES, Tensor
from graphc.plan.group import (
    AxisMap,
    Group,
    folds_nothing,
    gathers_batch,
    is_fusible,
    is_long,
    is_prefix,
    is_serial,
    own_map,
    runs_once,
    same_loops,
)
from graphc.plan.places import Places

MAX_NODES = 48
"""Nodes of one group: beyond, compile time grows faster than the loops saved."""

CHEAP = 4.0
"""Cost of an element, in multiplications, below which computing it again is no loss."""

_UPDATE = PHASES.index("update")


class Fusion:
    """Groups of a graph, in execution order."""

    def __init__(self, graph: Graph, places: Places, fuse: bool = True) -> None:
        self.graph = graph
        self.places = places
        self.fuse = fuse
        self.stage = _stages(graph)
        self.compute = [
            n
            for n in graph.nodes
            if not isinstance(n.op, (Source, Result)) and not places.is_view(n)
        ]
        self.results: dict[Tensor, dict[int, Tensor]] = {}
        """By node with several results, those that are asked for, by number."""
        self.users = self._real_users()
        self.kept = {places.place[t].base for t in graph.roots}
        self.kept.update(n for n in self.compute if self._must_stay(n))
        self.group: dict[Tensor, Group] = {}
        self._sink()
        for node in graph.nodes:
            if isinstance(node.op, Result):
                (several,) = node.inputs
                self.results.setdefault(several, {}).setdefault(node.op.number, node)
                self.group[node] = self.group[several]
        self.groups = self._ordered()
        if fuse:
            for sweep in (self._lift, self._gather_numbers):
                if sweep():
                    self.groups = self._ordered()

    # -- relations ------------------------------------------------------------------------

    def _real_users(self) -> dict[Tensor, list[tuple[Tensor, int]]]:
        """For every base, the (node, operand position) pairs that read it, through views."""
        users: dict[Tensor, list[tuple[Tensor, int]]] = {n: [] for n in self.graph.nodes}
        for node in self.compute:
            for position, operand in enumerate(node.inputs):
                users[self.places.place[operand].base].append((node, position))
        return users

    def _must_stay(self, node: Tensor) -> bool:
        """Tell whether ``node`` is folded, and compared with what may be a fold of it.

        The greatest element must equal one of them. Computed again, in a loop with other users of
        its products, it could differ by a rounding; unless it is a single operation on memory.
        """
        users = [u for u, _ in self.users[node]]
        if not isinstance(node.op, Elementwise) or node.dtype.kind != "f":
            return False
        if not any(isinstance(u.op, Reduction) for u in users):
            return False
        if not any(u.dtype.kind == "b" for u in users):
            return False
        bases = [self.places.place[x].base for x in node.inputs]
        return node.op.cost > 1.0 or any(is_fusible(b) for b in bases)

    def _producers(self, group: Group) -> set[Group]:
        found = set()
        for node in group.nodes:
            for operand in node.inputs:
                producer = self.group.get(self.places.place[operand].base, group)
                if producer is not group:
                    found.add(producer)
        return found

    def _ordered(self) -> list[Group]:
        """Return the groups so that producers come first, in order of stage and creation."""
        groups = list(dict.fromkeys(self.group.values()))
        waiting = {g: self._producers(g) for g in groups}
        consumers: dict[Group, list[Group]] = {g: [] for g in groups}
        for g, producers in waiting.items():
            for p in producers:
                consumers[p].append(g)
        missing = {g: len(p) for g, p in waiting.items()}
        number = {g: i for i, g in enumerate(groups)}
        heap = [(g.phase, g.nodes[-1].id, number[g]) for g in groups if not missing[g]]
        heapq.heapify(heap)
        result = []
        while heap:
            g = groups[heapq.heappop(heap)[2]]
            result.append(g)
            for c in consumers[g]:
                missing[c] -= 1
                if not missing[c]:
                    heapq.heappush(heap, (c.phase, c.nodes[-1].id, number[c]))
        assert len(result) == len(groups), "fusion made a cycle"
        return result

    # -- sweep 1: sink producers into the group of all their users ------------------------------

    def _sink(self) -> None:
        for node in reversed(self.compute):
            groups = {id(self.group[u]): self.group[u] for u, _ in self.users[node]}
            if self.fuse and len(groups) == 1:
                (target,) = groups.values()
                if self._join(node, target):
                    continue
            self.group[node] = self._start(node)
        for group in dict.fromkeys(self.group.values()):
            group.nodes.sort(key=lambda n: n.id)

    def _start(self, node: Tensor) -> Group:
        group = Group([node], self.stage[node], is_loop=is_fusible(node))
        if not group.is_loop:
            return group
        shape = node.inputs[0].type.shape if isinstance(node.op, Reduction) else node.type.shape
        moving = [k for k, d in enumerate(shape) if d != 1]
        folded = node.op.axes if isinstance(node.op, Reduction) else ()
        fold = [k for k in moving if k in folded]
        keep = [k for k in moving if k not in folded]
        if not fold or moving[-1] in folded:
            order = keep + fold
            group.inner = len(keep)
        else:
            prefix = [k for k in keep if k < fold[0]]
            order = prefix + fold + [k for k in keep if k > fold[0]]
            group.column = (len(prefix), len(prefix) + len(fold))
            group.inner = len(order)
        group.dims = tuple(shape[k] for k in order)
        place = {k: d for d, k in enumerate(order)}
        operand_map = tuple(place.get(k) for k in range(len(shape)))
        group.operand_maps[node] = operand_map
        group.maps[node] = own_map(node, operand_map)
        return group

    def _join(self, node: Tensor, group: Group) -> bool:
        """Put ``node`` into the group of its users if it can run in the same loops."""
        if not (group.is_loop and is_fusible(node)) or self.stage[node] != group.phase:
            return False
        if len(group.nodes) >= MAX_NODES:
            return False
        own = self._map_from_users(node, group)
        if own is None:
            return False
        if isinstance(node.op, Reduction):
            return self._join_reduction(node, own, group)
        if any(m is None and d != 1 for m, d in zip(own, node.type.shape, strict=True)):
            return False
        if not is_prefix(own) and len(set(own) - {None}) < len(group.dims):
            # It would be computed again in every iteration of an outer loop.
            assert isinstance(node.op, Elementwise)
            if node.op.cost > CHEAP or node in self.kept:
                return False
        if node in self.kept and (not runs_once(own, group) or gathers_batch(group)):
            return False
        group.nodes.append(node)
        group.maps[node] = group.operand_maps[node] = own
        self.group[node] = group
        return True

    def _map_from_users(self, node: Tensor, group: Group) -> AxisMap | None:
        """Return how the axes of ``node`` lie in the domain, if all its users agree."""
        found: AxisMap | None = None
        for user, position in self.users[node]:
            trace = self.places.trace[user.inputs[position]]
            if trace.axes is None:
                return None
            own: list[int | None] = [None] * node.ndim
            where = group.operand_maps[user]
            for axis, domain in zip(reversed(trace.axes), reversed(where), strict=False):
                if axis is not None:
                    if domain is None or own[axis] not in (None, domain):
                        return None
                    own[axis] = domain
            if found is not None and tuple(own) != found:
                return None
            found = tuple(own)
        return found

    def _join_reduction(self, node: Tensor, own: AxisMap, group: Group) -> bool:
        if group.column is not None:
            return False
        assert isinstance(node.op, Reduction)
        shape = node.inputs[0].type.shape
        if any(m is None and d != 1 for m, d in zip(own, node.type.shape, strict=True)):
            return False
        if folds_nothing(group):
            return False
        kept_axes = [k for k in range(len(shape)) if node.op.keepdims or k not in node.op.axes]
        where: dict[int, int] = {
            k: m
            for k, m in zip(kept_axes, own, strict=True)
            if m is not None and k not in node.op.axes
        }
        fold = [k for k in node.op.axes if shape[k] != 1]
        moving = [k for k, d in enumerate(shape) if d != 1]
        if not fold or moving[-1] != fold[-1]:
            return False
        outer = len(group.dims) if not group.folds else group.inner
        kept = sorted(where.values())
        if not group.folds and kept == list(range(len(group.dims))):
            inner_dims = tuple(shape[k] for k in fold)  # the group gets inner axes
            group.inner = outer
            group.dims = (*group.dims, *inner_dims)
        else:
            outer = len(group.dims) - len(fold)
            if outer < 0 or (outer == 0 and is_long(group.dims)):
                return False
            if group.folds and outer != group.inner:
                return False
            if kept != list(range(outer)):
                return False
            if tuple(shape[k] for k in fold) != group.dims[outer:]:
                return False
            group.inner = outer
        for d, k in enumerate(fold, outer):
            where[k] = d
        operand_map = tuple(where.get(k) for k in range(len(shape)))
        group.nodes.append(node)
        group.operand_maps[node] = operand_map
        group.maps[node] = own
        self.group[node] = group
        return True

    # -- sweep 2: lift groups into their latest producer -------------------------------------

    def _lift(self) -> bool:
        """Return whether a group has joined another."""
        order = {g: i for i, g in enumerate(self.groups)}
        lifted = False
        for group in self.groups:
            if not group.is_loop or group.column is not None:
                continue
            producers = sorted(self._producers(group), key=order.__getitem__)
            for number, into in enumerate(producers):
                later = producers[number + 1 :]
                if self._can_join(group, into, later, order):
                    for other in (*later, group):
                        self._merge(other, into)
                    lifted = True
                    break
        for group in dict.fromkeys(self.group.values()):
            group.nodes.sort(key=lambda n: n.id)
        return lifted

    # -- sweep 3: numbers that need nothing of each other ---------------------------------------

    def _gather_numbers(self) -> bool:
        """Put groups of one element into the first of their stage, if their operands are ready.

        Return whether there were any. A call costs more than such a group does: an optimiser has
        one for each of its settings.
        """
        order = {g: i for i, g in enumerate(self.groups)}
        first: dict[int, Group] = {}
        gathered = False
        for group in self.groups:
            if not group.is_loop or group.dims or folds_nothing(group):
                continue
            into = first.setdefault(group.phase, group)
            ready = all(order[p] < order[into] for p in self._producers(group))
            if into is not group and ready and len(into.nodes) + len(group.nodes) <= MAX_NODES:
                self._merge(group, into)
                gathered = True
        for group in first.values():
            group.nodes.sort(key=lambda n: n.id)
        return gathered

    def _can_join(
        self, group: Group, into: Group, later: Sequence[Group], order: Mapping[Group, int]
    ) -> bool:
        """Tell whether ``group`` can move to ``into``, with all it needs that comes ``later``."""
        if not self._can_merge(group, into):
            return False
        moving = [*later, group]
        if len(into.nodes) + sum(len(g.nodes) for g in moving) > MAX_NODES:
            return False
        return (
            all(self._can_merge(g, into) for g in later)
            and all(self._can_merge(group, g) for g in later)
            and all(order[p] <= order[into] for g in later for p in self._producers(g))
        )

    def _can_merge(self, group: Group, into: Group) -> bool:
        if not (into.is_loop and group.is_loop) or (into.column or group.column) is not None:
            return False
        if into.phase != group.phase and group.phase == _UPDATE:
            return False
        if not same_loops(group, into):
            return False
        if (group.folds and folds_nothing(into)) or (into.folds and folds_nothing(group)):
            return False
        if group.folds != into.folds and (gathers_batch(group) or gathers_batch(into)):
            return False
        serial = bool(group.dims) and is_serial(into)
        for node in group.nodes:
            where = group.operand_maps[node]
            for operand in node.inputs:
                trace = self.places.trace[operand]
                if self.group.get(trace.base) is not into:
                    continue
                if trace.axes is None:
                    return False
                produced = into.maps[trace.base]
                if serial and not any(m is not None for m in produced):
                    return False
                for axis, domain in zip(reversed(trace.axes), reversed(where), strict=False):
                    if axis is not None and produced[axis] != domain:
                        return False
                if any(m is not None and m not in where for m in produced):
                    return False
        return True

    def _merge(self, group: Group, into: Group) -> None:
        if len(group.dims) > len(into.dims):
            into.dims, into.inner = group.dims, group.inner
        elif group.folds and not into.folds:
            into.inner = group.inner
        into.nodes.extend(group.nodes)
        into.maps.update(group.maps)
        into.operand_maps.update(group.operand_maps)
        for node in group.nodes:
            self.group[node] = into


def _stages(graph: Graph) -> dict[Tensor, int]:
    """Return the phase in which each tensor runs: its own, or a later one of an operand.

    What only updates need runs among them, wherever it was written.
    """
    rank = {phase: i for i, phase in enumerate(PHASES)}
    needed = set(ancestors(graph.outputs.values()))
    stages: dict[Tensor, int] = {}
    for node in graph.nodes:
        own = rank[node.phase] if node in needed or not node.inputs else rank["update"]
        stages[node] = max([own, *(stages[x] for x in node.inputs)])
    return stages


def stored_nodes(
    group: Group, users: dict[Tensor, list[tuple[Tensor, int]]], kept: Set[Tensor]
) -> list[Tensor]:
    """Return the nodes of a group whose values are ``kept`` or read outside it."""
    members = set(group.nodes)
    return [n for n in group.nodes if n in kept or any(u not in members for u, _ in users[n])]
