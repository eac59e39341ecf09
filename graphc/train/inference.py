"""Rows that go through a network in batches, each with random numbers of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.ir.graph import Graph, ancestors
from graphc.ir.op import Array
from graphc.ir.source import input
from graphc.ir.tensor import Tensor
from graphc.ops.draws import by_row, draws_rows
from graphc.runtime.executable import Executable
from graphc.types import INT64


@dataclass(frozen=True)
class Inference:
    """A compiled inference form; with ``by_rows`` it is fed the number of its first row."""

    executable: Executable
    by_rows: bool

    def __call__(self, arrays: Sequence[Array], first: int = 0) -> dict[str, Array]:
        """Return the outputs for the rows from number ``first`` on."""
        numbered = (np.asarray(first, np.int64),) if self.by_rows else ()
        return self.executable.call((*arrays, *numbered))


def numbered_rows(inputs: Sequence[Tensor], outputs: Mapping[str, Tensor]) -> tuple[Graph, bool]:
    """Return the graph of ``outputs``, and whether it is also fed the number of its first row.

    It is where a random draw has a number for each row of the batch: a row gets the same one
    in whatever batch it comes.
    """
    if not any(map(draws_rows, ancestors(outputs.values()))):
        return Graph(inputs, outputs), False
    first = input("first row", (), dtype=INT64)
    return by_row(Graph((*inputs, first), outputs), first), True
