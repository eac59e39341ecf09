"""The kernels of a training loop: gather a batch, add up the scalars, move on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from graphc.codegen.kernel import Touch
from graphc.machine import this
from graphc.runtime.frame import Prediction
from graphc.runtime.kernel import kernel


@kernel(
    "data: uint8*, order: int64*, cursor: int64*, out: uint8*, "
    "row: int64, rows: int64, parts: int64"
)
def gather(
    lo: int, hi: int, data: Any, order: Any, cursor: Any, out: Any, row: int, rows: int, parts: int
) -> None:
    """Copy the rows ``order[cursor + i]`` of ``data``, of ``row`` bytes each.

    Iteration ``e * rows + i`` copies part e of row i, which has ``parts`` equal ones.
    """
    width = row // parts
    for n in range(lo, hi):
        e, i = n // rows, n % rows
        start = order[cursor[0] + i] * row + e * width
        for j in range(width):
            out[i * row + e * width + j] = data[start + j]


@kernel("x: float32*, sums: float64*, index: int64, weight: int64")
def accumulate_float32(lo: int, hi: int, x: Any, sums: Any, index: int, weight: int) -> None:
    """Add ``x[i] * weight`` to ``sums[index + i]``."""
    for i in range(lo, hi):
        sums[index + i] += x[i] * weight


@kernel("x: float64*, sums: float64*, index: int64, weight: int64")
def accumulate_float64(lo: int, hi: int, x: Any, sums: Any, index: int, weight: int) -> None:
    """Add ``x[i] * weight`` to ``sums[index + i]``."""
    for i in range(lo, hi):
        sums[index + i] += x[i] * weight


@kernel("cursor: int64*, rows: int64")
def advance(lo: int, hi: int, cursor: Any, rows: int) -> None:
    """Move the cursor by ``rows``."""
    for _ in range(lo, hi):
        cursor[0] += rows


def gathering(row: int, rows: int, parts: int = 1) -> Prediction:
    """Return what is known of a call of :func:`gather`: nobody writes the data or the order."""
    width = row // parts
    out = Touch(3, True, row, ((row, 1),))
    if parts > 1:
        out = Touch(3, True, width, ((rows, row), (width, 1)), every=rows)
    return Prediction("gather", row * rows / this().rates.memory, (Touch(2, False, 0), out))


def accounting(dtypes: Iterable[np.dtype[Any]]) -> Iterator[Prediction]:
    """Yield what is known of the calls that add up scalars, and of the last, which moves on."""
    for dtype in dtypes:
        touches = (Touch(0, False, 0), Touch(1, True, 0))
        yield Prediction(f"accumulate_{dtype.name}", 0.0, touches)
    yield Prediction("advance", 0.0, (Touch(0, True, 0),))
