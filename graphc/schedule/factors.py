"""Records of matrix products: what they read and write, and the same divided in other ways."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from graphc.codegen.kernel import Touch
from graphc.codegen.product import (
    COLUMNS,
    FORM,
    A,
    B,
    C,
    touches_by_batch,
    touches_by_columns,
    touches_by_rows,
)
from graphc.lazy import lazy_module
from graphc.schedule.footprint import Pointer, Slice, slice_at
from graphc.schedule.levels import Record

if TYPE_CHECKING:
    from graphc.emit import shape
else:
    shape = lazy_module("graphc.emit.shape")  # it asks LLVM about the processor

Span = tuple[int, int]
"""The first address and the one after the last."""


@dataclass(frozen=True)
class Product:
    """A record of one matrix product of floats."""

    record: Record
    m: int
    n: int
    k: int
    form: int
    itemsize: int

    @classmethod
    def of(cls, record: Record) -> Product | None:
        """Return the product that a record is, divided by rows or columns, or None."""
        if not record.kernel.startswith("matmul_float"):
            return None
        m, n, k, form = record.arguments[: FORM + 1]
        if form & ~COLUMNS or record.extent != (n if form else m):
            return None
        return cls(record, m, n, k, form, int(record.kernel[-2:]) // 8)

    @property
    def panels(self) -> int:
        """In how many parts K is taken at least, each of which is added to C in memory."""
        return -(-self.k // shape.DEPTH)

    @property
    def left(self) -> Span:
        return self._span(A, (self.m, 2), (self.k, 3))

    @property
    def right(self) -> Span:
        return self._span(B, (self.k, 2), (self.n, 3))

    @property
    def result(self) -> Span | None:
        """Where C lies, if its rows lie one behind the other."""
        if self.record.arguments[C + 2] != self.n:
            return None
        start = self.record.arguments[C]
        return start, start + self.m * self.n * self.itemsize

    def _span(self, position: int, *axes: tuple[int, int]) -> Span:
        start = self.record.arguments[position]
        steps = sum((n - 1) * self.record.arguments[position + stride] for n, stride in axes)
        return start, start + (steps + 1) * self.itemsize

    def having(self, *, batch: bool = False, **changes: Any) -> Record:
        """Return the record with changes, and what it touches then."""
        record = replace(self.record, **changes)
        by = touches_by_columns if record.arguments[FORM] & COLUMNS else touches_by_rows
        touches = touches_by_batch(record.arguments) if batch else by(record.arguments)
        record.slices = slices_of(touches, record, self.itemsize)
        return record


def slices_of(touches: Iterable[Touch], record: Record, itemsize: int) -> tuple[Slice, ...]:
    """Return what a record touches, all pointers being to elements of ``itemsize`` bytes."""
    found = [
        slice_at(t, Pointer(record.arguments[t.position], itemsize), 1, record.extent)
        for t in touches
    ]
    return tuple(s for s in found if s is not None)
