"""Folds of many elements into few: divided among threads, and added up in a wider type.

A fold without independent outer axes is done in two steps: each chunk of its first axis leaves
a part, and the parts are folded. The chunks depend on the shape alone, so the bits of the
result do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from graphc.ir.layout import Layout
from graphc.ir.op import Reduction
from graphc.ir.tensor import Tensor
from graphc.plan.group import Group, nominal_size
from graphc.plan.program import Access, Buffer, Division, LoopNest
from graphc.types import Shape, dim_ceildiv, size_of

CHUNK = 16384
"""Elements that leave one part, about."""

COLUMNS = 256
"""Kept elements from which on a fold is divided among them instead."""

EXACT_ROWS = 2048
"""Rows that a column adds up in the type of the result: the error stays at 1e-6 in float32."""

Scratch = Callable[[Tensor, np.dtype[Any], Shape], Buffer]
"""Returns memory of a data type and shape, for a step on the way to a tensor."""


def divided(nest: LoopNest, scratch: Scratch) -> list[LoopNest]:
    """Return the nests that compute ``nest``, in order: itself, or two where its fold is large."""
    group = nest.group
    if group.column is not None:
        return _divided_columns(nest, scratch)
    behind = _behind(nest)
    one_turn = not any(isinstance(n.op, Reduction) or _moves(group, n) for n in behind)
    if not group.folds or group.inner != 0 or not _is_large(group) or not one_turn:
        return [nest]
    return _steps(nest, behind, (), scratch)


def _divided_columns(nest: LoopNest, scratch: Scratch) -> list[LoopNest]:
    group = nest.group
    assert group.column is not None
    start, stop = group.column
    (fold,) = (n for n in group.nodes if isinstance(n.op, Reduction))
    assert isinstance(fold.op, Reduction)
    kept = group.dims[stop:]
    if start == 0 and _is_large(group) and nominal_size(kept) < COLUMNS:
        leaving, finishing = _steps(nest, set(), kept, scratch)
        return [leaving, _in_wide(finishing, fold, scratch)]
    rows = size_of(group.dims[start:stop])
    few = isinstance(rows, int) and rows <= EXACT_ROWS
    return [nest if few else _in_wide(nest, fold, scratch)]


def _in_wide(nest: LoopNest, fold: Tensor, scratch: Scratch) -> LoopNest:
    """Return ``nest`` with memory to add up in the wider type, if there is one."""
    assert isinstance(fold.op, Reduction)
    wide = fold.op.wide(fold.dtype)
    if wide is None or wide == fold.dtype:
        return nest
    buffer = scratch(fold, wide, fold.type.shape)
    return replace(nest, wide=replace(nest.stores[fold], buffer=buffer))


def _steps(nest: LoopNest, behind: set[Tensor], kept: Shape, scratch: Scratch) -> list[LoopNest]:
    """Return the nest that leaves parts, and the one that folds them into the results."""
    group = nest.group
    chunk = max(1, CHUNK // nominal_size(group.dims[1:]))
    count = dim_ceildiv(group.dims[0], chunk)
    folded = (0,) * (len(group.dims) - len(kept))
    first, *rest = Layout.contiguous((count, *kept)).strides
    layout = Layout(0, (first, *folded, *rest))
    parts = {}
    for fold in group.nodes:
        if isinstance(fold.op, Reduction):
            dtype = fold.op.wide(fold.dtype) or fold.dtype
            buffer = scratch(fold, dtype, (count, *kept))
            parts[fold] = Access(buffer, layout, (count, *group.dims))
    # What does not move is computed by both, and stored by the second.
    last = {n for n in group.nodes if n in behind or n in parts or not _moves(group, n)}
    early = tuple(n for n in group.nodes if n not in behind)
    late = tuple(n for n in group.nodes if n in last)
    return [
        replace(
            nest,
            loads={(n, i): a for (n, i), a in nest.loads.items() if n not in behind},
            stores={n: a for n, a in nest.stores.items() if n not in last},
            division=Division(count, chunk, parts, False, early),
        ),
        replace(
            nest,
            loads={(n, i): a for (n, i), a in nest.loads.items() if n in last and n not in parts},
            stores={n: a for n, a in nest.stores.items() if n in last},
            division=Division(count, chunk, parts, True, late),
        ),
    ]


def _is_large(group: Group) -> bool:
    return nominal_size(group.dims) >= 2 * CHUNK


def _moves(group: Group, node: Tensor) -> bool:
    """Tell whether ``node`` has a value for each of many places."""
    return any(m is not None for m in group.maps[node])


def _behind(nest: LoopNest) -> set[Tensor]:
    """Return the nodes that need a reduction of their group."""
    members, found = set(nest.group.nodes), set()
    for node in nest.group.nodes:
        bases = {nest.places.place[x].base for x in node.inputs} & members
        if any(isinstance(b.op, Reduction) or b in found for b in bases):
            found.add(node)
    return found
