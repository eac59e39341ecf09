"""The kernels of a training loop: gather a batch, add up the scalars, move on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from graphc.codegen.kernel import KernelText, Parameter, Touch
from graphc.emit.kernel import GeneratedKernel
from graphc.kernel.code import HI, LO, Writer
from graphc.kernel.value import UINT8, Name, Pointer
from graphc.machine import this
from graphc.schedule.footprint import Prediction
from graphc.types import FLOAT32, FLOAT64, INT64


def _gather() -> GeneratedKernel:
    """Copy the rows ``order[cursor + i]`` of ``data``, of ``row`` bytes each.

    Iteration ``e * rows + i`` copies part e of row i, which has ``parts`` equal ones.
    """
    w = Writer()
    data, out = Pointer("data", UINT8), Pointer("out", UINT8)
    order, cursor = Pointer("order", INT64), Pointer("cursor", INT64)
    row, rows, parts = Name("row"), Name("rows"), Name("parts")
    width = w.let("width", row // parts)
    with w.loop("n", HI, LO) as n:
        e, i = w.let("e", n // rows), w.let("i", n % rows)
        start = w.let("start", order[cursor[0] + i] * row + e * width)
        with w.loop("j", width) as j:
            w.store(out[i * row + e * width + j], data[start + j])
    return _shipped("gather", w, data, order, cursor, out, row, rows, parts)


def _accumulate(dtype: np.dtype[Any]) -> GeneratedKernel:
    """Add ``x[i] * weight`` to ``sums[index + i]``."""
    w = Writer()
    x, sums = Pointer("x", dtype), Pointer("sums", FLOAT64)
    index, weight = Name("index"), Name("weight")
    with w.loop("i", HI, LO) as i:
        total = sums[index + i]
        w.store(total, total + x[i].cast(FLOAT64) * weight.cast(FLOAT64))
    return _shipped(f"accumulate_{dtype.name}", w, x, sums, index, weight)


def _advance() -> GeneratedKernel:
    """Move the cursor by ``rows``."""
    w, cursor, rows = Writer(), Pointer("cursor", INT64), Name("rows")
    with w.loop("_", HI, LO):
        w.store(cursor[0], cursor[0] + rows)
    return _shipped("advance", w, cursor, rows)


def _shipped(name: str, writer: Writer, *arguments: Pointer | Name) -> GeneratedKernel:
    parameters = tuple(
        Parameter(a.name, a.dtype if isinstance(a, Pointer) else None) for a in arguments
    )
    return GeneratedKernel(KernelText(name, parameters, tuple(writer.body), fixed=name))


gather, advance = _gather(), _advance()
accumulate_float32, accumulate_float64 = _accumulate(FLOAT32), _accumulate(FLOAT64)


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
