"""Constant folding: what depends on constants only is computed now."""

from __future__ import annotations

from collections import Counter

import numpy as np

from graphc.ir.graph import Graph, replace_inputs
from graphc.ir.op import View
from graphc.ir.source import Constant, Frozen
from graphc.ir.tensor import Tensor
from graphc.types import Several

_LARGEST = 1 << 16
"""Elements of a constant that folding may make."""

_FREE = 16
"""Elements that a constant may always have, however small its operands."""


def fold(graph: Graph, hits: Counter[str]) -> Graph:
    """Replace ops of constants by their values, unless those are much larger than the operands.

    Sources are left alone: what has no operands is no function of constants.
    """

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        new = replace_inputs(node, operands)
        if not _foldable(new):
            return new
        arrays = [x.op.numpy() for x in new.inputs]
        with np.errstate(all="ignore"):
            value = np.asarray(new.op.numpy(*arrays), new.dtype)
        hits[node.op.name] += 1
        return Tensor(Constant(Frozen(value)), (), new.type, label=node.label, like=node)

    return graph.rebuild(rule) if any(map(_foldable, graph.nodes)) else graph


def _foldable(node: Tensor) -> bool:
    if not node.inputs or isinstance(node.type, Several):
        return False
    for x in node.inputs:
        if not isinstance(x.op, Constant):
            return False
    size = node.size
    if not isinstance(size, int) or not all(isinstance(d, int) for d in node.type.shape):
        return False
    if node.op.bind(1) is not node.op or node.op.bind(2) is not node.op:
        return False
    given = sum(x.size for x in node.inputs if isinstance(x.size, int))
    grows = isinstance(node.op, View) and size > given
    return not grows and size <= min(_LARGEST, max(_FREE, given))
