"""Who owns what of the weights: threads multiply by the rows that they update.

A training step reads each weight in products and then writes it. If a product's samples are
divided among the threads, each of them reads what the others have just written: whole weights
cross from one processor's cache to another's, several times slower than from its own. Where weights
are larger than activations, a product is divided as the update is, by rows of the weight:

* X W by pieces of K. Each leaves a sum in a *plane*; the planes are added up by rows of samples.
* Y W^T by columns.

Activations cross instead: tensor parallelism (Shoeybi et al., *Megatron-LM*, 2019). K is cut in the
same pieces whatever the number of threads, so that they do not change a bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from graphc.codegen.kernel import Touch
from graphc.codegen.product import (
    COLUMNS,
    FORM,
    PIECES,
    SUM,
    A,
    B,
    C,
    touches_by_batch,
    touches_by_columns,
)
from graphc.ir.op import Array
from graphc.ir.source import address_of, aligned_empty
from graphc.plan.cost import CACHED_BYTES_PER_NANOSECOND
from graphc.runtime.epoch import gathering
from graphc.runtime.features import host, panel_depth
from graphc.runtime.frame import Pointer, slice_at
from graphc.runtime.schedule import Record, Slice

LEAST_BYTES = 48 << 10
"""Weights that cost less to send than threads lose by meeting once more."""

SMALLER = 4
"""How many times smaller than the weight the activations must be."""

SHORTEST = 64
"""Steps of K that keep the tiles of a piece busy."""


@dataclass(frozen=True)
class _Product:
    """A record of one matrix product that is divided by rows."""

    record: Record
    m: int
    n: int
    k: int
    itemsize: int

    @classmethod
    def of(cls, record: Record) -> _Product | None:
        if not record.kernel.startswith("matmul_float"):
            return None
        m, n, k, form = record.arguments[: FORM + 1]
        if form or record.extent != m:
            return None
        return cls(record, m, n, k, int(record.kernel[-2:]) // 8)

    def weight(self) -> tuple[int, int]:
        """Return where B starts and stops."""
        b, _, b_k, b_j = self.record.arguments[B : B + 4]
        steps = (self.k - 1) * b_k + (self.n - 1) * b_j + 1
        return b, b + steps * self.itemsize

    @property
    def pieces(self) -> int:
        """Equal pieces of K by which rows of B can be divided, or 1."""
        panel = panel_depth(2 * host().vector_bytes)
        pieces = max(2, -(-self.k // panel))
        _, _, b_k, b_j = self.record.arguments[B : B + 4]
        by_rows = b_j == 1 and b_k >= self.n and self.record.arguments[C + 2] == self.n
        fits = self.k % pieces == 0 and self.k // pieces >= SHORTEST
        return pieces if by_rows and fits and SMALLER * self.m <= self.k else 1

    @property
    def by_columns(self) -> bool:
        """Whether columns of B are the rows of a weight."""
        return self.record.arguments[B + 2] == 1 and SMALLER * self.m <= self.n

    def dividing(self, **changes: object) -> Record:
        """Return the record with changes, and what it touches then."""
        record = replace(self.record, **changes)  # type: ignore[arg-type]
        by = touches_by_columns if record.arguments[FORM] & COLUMNS else touches_by_batch
        record.slices = _slices(by(record.arguments), record, self.itemsize)
        return record


def own_weights(records: Sequence[Record], threads: int) -> tuple[list[Record], list[Array]]:
    """Return the records with products divided by owner, and the planes that these need."""
    written = [s for r in records for s in r.slices if s.written and s.stride > 0]
    stops = {s: s.stop(r.extent) for r in records for s in r.slices}
    result: list[Record] = []
    planes: list[Array] = []
    parted: dict[int, _Product] = {}
    for record in records:
        product = _Product.of(record)
        if product is None or not _is_changed(product, written, stops):
            result.append(record)
        elif product.pieces > 1:
            record.arguments[FORM] = product.pieces << PIECES
            if threads > 1:
                plane = aligned_empty(product.pieces * product.m * product.n * product.itemsize)
                planes.append(plane)
                result += _in_pieces(product, plane)
                parted[record.arguments[A]] = product
            else:
                result.append(record)
        elif product.by_columns and threads > 1:
            arguments = list(record.arguments)
            arguments[FORM] = COLUMNS
            result.append(product.dividing(extent=product.n, arguments=arguments))
        else:
            result.append(record)
    return [_gathering_parts(record, parted) for record in result], planes


def _is_changed(product: _Product, written: Iterable[Slice], stops: dict[Slice, int]) -> bool:
    """Tell whether B is a weight worth owning that the step changes by rows."""
    if product.k * product.n * product.itemsize < LEAST_BYTES:
        return False
    start, stop = product.weight()
    return any(s.first < stop and stops[s] > start for s in written)


def _in_pieces(product: _Product, plane: Array) -> list[Record]:
    """Return the record that leaves a plane for each piece of K, and the one that adds them up."""
    m, n, pieces, address = product.m, product.n, product.pieces, address_of(plane)
    steps = product.k // pieces
    whole = product.record
    _, _, _, _, a, _, a_i, a_k, b, _, b_k, b_j, c, c_b, c_i = whole.arguments
    parts = product.dividing(
        extent=pieces * m,
        arguments=[
            m, n, steps, 0, a, steps * a_k, a_i, a_k,
            b, steps * b_k, b_k, b_j, address, m * n, n,
        ],
        moving=tuple(x for x in whole.moving if x[0] != C),
    )  # fmt: skip
    total = replace(
        whole,
        arguments=[m, n, pieces, SUM, address, m * n, n, 1, address, 0, 0, 0, c, c_b, c_i],
        moving=tuple(x for x in whole.moving if x[0] == C),
        nanoseconds=m * n * (pieces + 1) * product.itemsize / CACHED_BYTES_PER_NANOSECOND,
    )
    touches = (Touch(A, False, n, ((pieces, m * n), (n, 1))), Touch(C, True, n, ((n, 1),)))
    total.slices = _slices(touches, total, product.itemsize)
    return [parts, total]


def _gathering_parts(record: Record, parted: dict[int, _Product]) -> Record:
    """Return a record that gathers samples by the pieces in which a product reads them."""
    if record.kernel != "gather":
        return record
    *_, out, row, rows, _ = record.arguments
    product = parted.get(out)
    if product is None or row != product.k * product.itemsize or rows != product.m:
        return record
    pieces = product.pieces
    result = replace(record, extent=rows * pieces, arguments=[*record.arguments[:-1], pieces])
    result.slices = _slices(gathering(row, rows, pieces).touches, result, 1)
    return result


def _slices(touches: Iterable[Touch], record: Record, itemsize: int) -> tuple[Slice, ...]:
    found = [
        slice_at(t, Pointer(record.arguments[t.position], itemsize), 1, record.extent)
        for t in touches
    ]
    return tuple(s for s in found if s is not None)
