"""Sizes are Python's integers, of any length: what no memory can hold is refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphc.errors import AllocationError
from graphc.ir.graph import Graph
from graphc.ir.tensor import Tensor
from graphc.plan.program import Buffer
from graphc.types import TensorType, dim_at, shape_at

MOST_BYTES = 1 << 43
"""What no tensor in memory takes: 8 TiB."""

COUNTABLE = 1 << 63
"""Bytes from which kernels cannot number what is never in memory either."""


class SizeChecks:
    """The sizes of all tensors of a program, whether or not they are ever in memory."""

    def __init__(self, graph: Graph, buffers: Sequence[Buffer]) -> None:
        self._sizes = {node.type.nbytes: node for node in reversed(graph.nodes)}
        self._shown = {node.type.nbytes: node for node in graph.outputs.values()}
        self._buffers = [b for b in buffers if b.kind in ("arena", "input")]

    def batch(self, batch: int) -> None:
        """Raise :class:`AllocationError` if a batch of ``batch`` rows makes a tensor too large."""
        for nbytes, tensor in self._sizes.items():
            if dim_at(nbytes, batch) >= COUNTABLE:
                raise beyond_memory(tensor, batch)
        for nbytes, tensor in self._shown.items():
            if dim_at(nbytes, batch) >= MOST_BYTES:
                raise beyond_memory(tensor, batch)
        check_buffers(self._buffers, batch)


def check_buffers(buffers: Iterable[Buffer], batch: int) -> None:
    """Raise :class:`AllocationError` if one of ``buffers`` is larger than any memory."""
    for buffer in buffers:
        if buffer.nbytes(batch) >= MOST_BYTES:
            raise beyond_memory(buffer.tensor, batch)


def beyond_memory(tensor: Tensor, batch: int) -> AllocationError:
    """Return the error of a tensor that no machine can hold."""
    shape = shape_at(tensor.type.shape, batch)
    nbytes = dim_at(tensor.type.nbytes, batch)
    return AllocationError(
        f"{tensor.name}: {TensorType(tensor.dtype, shape)} takes {nbytes} bytes, more than any "
        f"memory has\n  at {tensor.loc}"
    )


def out_of_memory(what: str, sizes: Sequence[tuple[Tensor, int]]) -> AllocationError:
    """Return the error that ``what``, tensors of so many bytes each, did not fit into memory."""
    tensor, most = max(sizes, key=lambda pair: pair[1])
    total = sum(nbytes for _, nbytes in sizes)
    return AllocationError(
        f"{what} of {total} bytes do not fit into memory; the largest is {tensor.describe()} with "
        f"{most} bytes\n  at {tensor.loc}"
    )
