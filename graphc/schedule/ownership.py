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

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from graphc.codegen.kernel import Touch
from graphc.codegen.product import COLUMNS, FORM, PIECES, SUM, A, B, C
from graphc.ir.op import Array
from graphc.ir.source import address_of, aligned_empty
from graphc.machine import this
from graphc.schedule.epoch import gathering
from graphc.schedule.factors import Product, slices_of
from graphc.schedule.footprint import Slice
from graphc.schedule.levels import Record

LEAST_BYTES = 48 << 10
"""Weights that cost less to send than threads lose by meeting once more."""

SMALLER = 4
"""How many times smaller than the weight the activations must be."""

SHORTEST = 64
"""Steps of K that keep the tiles of a piece busy."""


def own_weights(records: Sequence[Record], threads: int) -> tuple[list[Record], list[Array]]:
    """Return the records with products divided by owner, and the planes that these need."""
    written = [(s, r) for r in records for s in r.slices if s.written and s.stride > 0]
    changed = np.array([(s.first, s.stop(r.extent)) for s, r in written], np.int64).reshape(-1, 2)
    result: list[Record] = []
    planes: list[Array] = []
    parted: dict[int, tuple[Product, int]] = {}
    columns: dict[int, Product] = {}
    for record in records:
        product = Product.of(record)
        if product is None or not _is_worth_owning(product, changed):
            result.append(_by_columns(record, columns))
        elif (pieces := _pieces(product)) > 1:
            record.arguments[FORM] = pieces << PIECES
            if threads > 1:
                plane = aligned_empty(pieces * product.m * product.n * product.itemsize)
                planes.append(plane)
                result += _in_pieces(product, pieces, plane)
                parted[record.arguments[A]] = product, pieces
            else:
                result.append(record)
        elif threads > 1 and _reads_rows(product):
            arguments = list(record.arguments)
            arguments[FORM] = COLUMNS
            result.append(product.having(extent=product.n, arguments=arguments))
            columns[record.arguments[C]] = product
        else:
            result.append(record)
    return [_gathering_parts(record, parted) for record in result], planes


def _is_worth_owning(product: Product, changed: Array) -> bool:
    """Tell whether B is a weight worth owning that the step changes by rows."""
    if product.form or product.k * product.n * product.itemsize < LEAST_BYTES:
        return False
    start, stop = product.right
    return bool(((changed[:, 0] < stop) & (changed[:, 1] > start)).any())


def _pieces(product: Product) -> int:
    """Return in how many equal pieces of K rows of B can be divided, or 1."""
    pieces = max(2, product.panels)
    _, _, b_k, b_j = product.record.arguments[B : B + 4]
    by_rows = b_j == 1 and b_k >= product.n and product.result is not None
    fits = product.k % pieces == 0 and product.k // pieces >= SHORTEST
    return pieces if by_rows and fits and SMALLER * product.m <= product.k else 1


def _reads_rows(product: Product) -> bool:
    """Tell whether columns of B are the rows of a weight larger than the activations."""
    return product.record.arguments[B + 2] == 1 and SMALLER * product.m <= product.n


def _in_pieces(product: Product, pieces: int, plane: Array) -> list[Record]:
    """Return the record that leaves a plane for each piece of K, and the one that adds them up."""
    m, n, steps, address = product.m, product.n, product.k // pieces, address_of(plane)
    whole = product.record
    _, _, _, _, a, _, a_i, a_k, b, _, b_k, b_j, c, _, c_i = whole.arguments
    parts = product.having(
        batch=True,
        extent=pieces * m,
        arguments=[
            m, n, steps, 0, a, steps * a_k, a_i, a_k,
            b, steps * b_k, b_k, b_j, address, m * n, n,
        ],
        moving=tuple(x for x in whole.moving if x[0] != C),
    )  # fmt: skip
    total = replace(
        whole,
        arguments=[m, n, pieces, SUM, address, m * n, n, 1, address, 0, 0, 0, c, 0, c_i],
        moving=tuple(x for x in whole.moving if x[0] == C),
        nanoseconds=m * n * (pieces + 1) * product.itemsize / this().rates.second,
    )
    touches = (Touch(A, False, n, ((pieces, m * n), (n, 1))), Touch(C, True, n, ((n, 1),)))
    total.slices = slices_of(touches, total, product.itemsize)
    return [parts, total]


def _by_columns(record: Record, columns: dict[int, Product]) -> Record:
    """Return a record that takes a matrix element by element by its columns, if those are at hand.

    ``columns`` are the products that leave matrices so, by their addresses.
    """
    if not columns:
        return record
    found = [
        product
        for s in record.slices
        if (product := columns.get(s.first)) is not None and s.stride == product.itemsize
    ]
    if not found:
        return record
    rows, width = found[0].m, found[0].n
    moving = [s for s in record.slices if s.stride]
    if record.extent != rows * width or any(s.span != s.stride or s.every > 1 for s in moving):
        return record
    if any(s.written for s in record.slices if not s.stride):
        return record
    columns.update(
        (s.first, found[0]) for s in moving if s.written and s.stride == found[0].itemsize
    )
    slices = tuple(Slice(*s[:5], width * s.stride, rows) if s.stride else s for s in record.slices)
    return replace(record, extent=width, times=rows, pitch=width, slices=slices)


def _gathering_parts(record: Record, parted: Mapping[int, tuple[Product, int]]) -> Record:
    """Return a record that gathers samples by the pieces in which a product reads them."""
    if record.kernel != "gather":
        return record
    *_, out, row, rows, _ = record.arguments
    product, pieces = parted.get(out, (None, 1))
    if product is None or row != product.k * product.itemsize or rows != product.m:
        return record
    result = replace(record, extent=rows * pieces, arguments=[*record.arguments[:-1], pieces])
    result.slices = slices_of(gathering(row, rows, pieces).touches, result, 1)
    return result
