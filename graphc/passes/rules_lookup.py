"""Products of rows that are looked up in a small table: the table is multiplied, once.

A network that reads characters multiplies the vectors of thousands of them by its first weights,
though there are only some dozens of different ones. So are, in derivatives, cotangents of equal
rows added up before they are multiplied.
"""

from __future__ import annotations

from graphc.dims import dim_at
from graphc.ir.rewrite import RuleSet
from graphc.ir.tensor import Tensor, apply
from graphc.ops.arithmetic import Add
from graphc.ops.comparison import where
from graphc.ops.gather import ScatterAdd, Take
from graphc.ops.linalg import Matmul
from graphc.ops.reduce import any as any_of
from graphc.ops.shape import PermuteDims, Reshape, permute_dims, reshape
from graphc.types import AnyDim

LOOKUPS = RuleSet()


@LOOKUPS.on(Matmul)
def product_of_lookup(node: Tensor) -> Tensor | None:
    """``take(table, i) @ w = take(table @ w, i)``, where there are fewer rows than places."""
    x, w = node.inputs
    op = node.op
    assert isinstance(op, Matmul)
    if op.transpose_a or w.ndim != 2:
        return None
    found = _lookup(x)
    if found is None:
        return None
    table, places = found
    return apply(Take(0), apply(op, table, w), places)


@LOOKUPS.on(Add)
def sum_of_lookup(node: Tensor) -> Tensor | None:
    """``take(table, i) + b = take(table + b, i)``, where there are fewer rows than places."""
    for x, b in (node.inputs, node.inputs[::-1]):
        found = _lookup(x) if b.type.shape == x.type.shape[-1:] else None
        if found is not None:
            return apply(Take(0), apply(Add(), found[0], b), found[1])
    return None


@LOOKUPS.on(Matmul)
def product_with_lookup(node: Tensor) -> Tensor | None:
    """``take(table, i)^T @ g = table^T @ scatter_add(g, i)``: of the table what is read counts."""
    x, g = node.inputs
    op = node.op
    assert isinstance(op, Matmul)
    if not op.transpose_a or op.transpose_b or x.ndim != 2 or g.ndim != 2:
        return None
    found = _lookup(x)
    if found is None:
        return None
    table, places = found
    shape = (table.type.shape[0], g.type.shape[1])
    added = apply(ScatterAdd(0, shape), g, places)
    read = where(any_of(added != 0.0, axis=1, keepdims=True), table, 0.0)
    return apply(op, read, added)


@LOOKUPS.on(ScatterAdd)
def scatter_of_product(node: Tensor) -> Tensor | None:
    """``scatter_add(g @ w, i) = scatter_add(g, i) @ w``, where there are fewer rows than places."""
    op = node.op
    assert isinstance(op, ScatterAdd)
    if op.axis or len(op.shape) != 2 or len(node.inputs) != 2:
        return None
    x, places = node.inputs
    if not _is_small(op.shape[0], places.size):
        return None
    while isinstance(x.op, (PermuteDims, Reshape)):
        (inner,) = x.inputs
        if isinstance(x.op, Reshape):
            if not inner.ndim or inner.type.shape[-1] != op.shape[1]:
                return None
            places = reshape(places, inner.type.shape[:-1])
        else:
            axes = x.op.axes
            if axes[-1] != len(axes) - 1:
                return None
            places = permute_dims(places, tuple(axes.index(a) for a in range(len(axes) - 1)))
        x = inner
    if not isinstance(x.op, Matmul) or x.op.transpose_a or x.inputs[1].ndim != 2:
        return None
    g, w = x.inputs
    added = apply(ScatterAdd(0, (op.shape[0], g.type.shape[-1])), g, places)
    return apply(x.op, added, w)


def _lookup(x: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return a matrix and the places of its rows that ``x`` is made of, if these are more."""
    op = x.op
    if isinstance(op, Take):
        table, index = x.inputs[:2]
        whole = not op.axis and len(x.inputs) == 2 and table.ndim == 2
        return (table, index) if whole and _is_small(table.type.shape[0], index.size) else None
    if not isinstance(op, (PermuteDims, Reshape)):
        return None
    found = _lookup(x.inputs[0])
    if found is None:
        return None
    table, places = found
    if isinstance(op, PermuteDims):
        rest = op.axes[:-1]
        return None if op.axes[-1] != len(rest) else (table, permute_dims(places, rest))
    if not x.ndim or x.type.shape[-1] != table.type.shape[1]:
        return None
    return table, reshape(places, x.type.shape[:-1])


def _is_small(rows: AnyDim, places: AnyDim) -> bool:
    """Tell whether a table has fewer rows than are looked up.

    If the batch is open, at most twice as many as for a batch of one.
    """
    if not isinstance(rows, int):
        return False
    return rows < places if isinstance(places, int) else rows <= 2 * dim_at(places, 1)
