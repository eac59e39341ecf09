"""Transposes that a matrix product can do by itself, by reading an operand the other way."""

from __future__ import annotations

from collections import Counter
from typing import Any

from graphc.ir.graph import Graph, replace_inputs
from graphc.ir.op import Contraction
from graphc.ir.tensor import Tensor
from graphc.ops.shape import PermuteDims


def transpose(graph: Graph, hits: Counter[str]) -> Graph:
    """Fold swaps of the last two axes into products.

    ``A^T B`` becomes a product that reads A transposed, and ``(A B)^T``, where nothing else
    needs ``A B``, the product ``B^T A^T``.
    """
    if not any(map(_swaps_last_two, graph.nodes)):
        return graph
    needed = {t.id for t in graph.roots}

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        if isinstance(node.op, Contraction):
            return _absorb(node, operands, hits)
        if not _swaps_last_two(node) or not isinstance(operands[0].op, Contraction):
            return replace_inputs(node, operands)
        (x,) = node.inputs
        if x.id in needed or len(graph.users[x]) > 1:
            return replace_inputs(node, operands)
        hits["product_transposed"] += 1
        (product,) = operands
        a, b = product.inputs
        op: Any = product.op
        flipped = op.replaced(transpose_a=not op.transpose_b, transpose_b=not op.transpose_a)
        return Tensor(flipped, (b, a), node.type, label=node.label, like=node)

    return graph.rebuild(rule)


def _absorb(node: Tensor, operands: tuple[Tensor, ...], hits: Counter[str]) -> Tensor:
    """Return the product over the operands' untransposed selves."""
    op: Any = node.op
    a, b = operands
    if _swaps_last_two(a):
        hits["operand_transposed"] += 1
        op, a = op.replaced(transpose_a=not op.transpose_a), a.inputs[0]
    if _swaps_last_two(b):
        hits["operand_transposed"] += 1
        op, b = op.replaced(transpose_b=not op.transpose_b), b.inputs[0]
    if op is node.op:
        return replace_inputs(node, operands)
    return Tensor(op, (a, b), node.type, label=node.label, like=node)


def _swaps_last_two(t: Tensor) -> bool:
    if not isinstance(t.op, PermuteDims) or t.ndim < 2:
        return False
    return t.op.axes == (*range(t.ndim - 2), t.ndim - 1, t.ndim - 2)
