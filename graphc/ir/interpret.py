"""The oracle: evaluate a graph node by node with NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from graphc.errors import VerificationError
from graphc.ir.graph import Graph, ancestors
from graphc.ir.op import Array
from graphc.ir.sizes import OpenSizes
from graphc.ir.source import Input
from graphc.ir.tensor import Tensor
from graphc.types import Several, shape_at


def batch_size(feeds: Mapping[Tensor, Array]) -> int:
    """Return the sizes left open that the fed arrays have; 1 for a batch that none has."""
    return OpenSizes(tuple(feeds)).of([np.asarray(value) for value in feeds.values()])


def evaluate(
    roots: Iterable[Tensor], feeds: Mapping[Tensor, Array], batch: int | None = None
) -> dict[Tensor, Array]:
    """Return the value of every tensor that ``roots`` need, computed by the NumPy references.

    ``feeds`` gives the values of the inputs; of any other tensor it holds, it overrides them.
    Raises :class:`VerificationError` where a reference and its type rule disagree.
    """
    values: dict[Tensor, Array] = {}
    size = batch_size(feeds) if batch is None else batch
    with np.errstate(all="ignore"):
        for node in ancestors(roots, feeds):
            if isinstance(node.type, Several):  # each result is looked at as it is taken
                values[node] = node.op.bind(size).numpy(*[values[x] for x in node.inputs])
                continue
            if node in feeds or isinstance(node.op, Input):
                value = np.asarray(feeds[node])
            else:
                value = np.asarray(node.op.bind(size).numpy(*[values[x] for x in node.inputs]))
            expected = shape_at(node.type.shape, size)
            if value.dtype != node.dtype or value.shape != expected:
                raise VerificationError(
                    f"{node.op.name}: its NumPy reference gave {value.dtype.name}{value.shape} "
                    f"where its type rule says {node.dtype.name}{expected}"
                )
            values[node] = value
    return values


def interpret(graph: Graph, feeds: Mapping[Tensor, Array]) -> dict[str, Array]:
    """Return the graph's outputs; parameters are read and not written."""
    values = evaluate(graph.roots, feeds, batch_size(feeds))
    return {name: values[tensor] for name, tensor in graph.outputs.items()}
