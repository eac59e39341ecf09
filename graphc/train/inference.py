"""Rows that go through a network in batches, each with random numbers of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphc.ir.graph import Graph
from graphc.ir.op import Array
from graphc.ir.source import input
from graphc.ir.tensor import Tensor
from graphc.ops.draws import by_row, depends_on_rows
from graphc.types import INT64

if TYPE_CHECKING:
    from graphc.run.executable import Executable


@dataclass(frozen=True)
class Inference:
    """A compiled inference form."""

    executable: Executable
    numbered: bool
    """Whether it is also fed the number of its first row."""
    whole: bool
    """Whether all rows must go through at once: their random numbers are not one's own."""

    def __call__(self, arrays: Sequence[Array], first: int = 0) -> dict[str, Array]:
        """Return the outputs for the rows from number ``first`` on."""
        number = (np.asarray(first, np.int64),) if self.numbered else ()
        return self.executable.call((*arrays, *number))

    @staticmethod
    def of(
        inputs: Sequence[Tensor],
        outputs: Mapping[str, Tensor],
        compiled: Callable[[Graph], Executable],
    ) -> Inference:
        """Return the inference form of ``outputs``.

        Where random draws have numbers for each row, a row gets the same in whatever batch.
        """
        graph = Graph(inputs, outputs)
        moving, by_rows = depends_on_rows(graph)
        if moving and by_rows:
            first = input("first row", (), dtype=INT64)
            graph = by_row(Graph((*inputs, first), outputs), first)
        return Inference(compiled(graph), moving and by_rows, moving and not by_rows)
