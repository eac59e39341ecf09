"""Steps of gradient descent taken by the products that compute the gradient: W -= f X^T G.

A weight's gradient is as large as the weight. Where a plain step is all that reads it, tiles
subtract it from the weight as they are stored, and it is never written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.codegen.kernel import Touch
from graphc.codegen.product import FORM, UPDATE, C
from graphc.ir.op import Array
from graphc.runtime.factors import Product, Span
from graphc.runtime.features import host, panel_depth
from graphc.runtime.schedule import Record

FACTOR = C + 1
"""Position of the address of the factor, in place of a stride over the batch."""


def take_steps(records: Sequence[Record]) -> list[Record]:
    """Return the records with products that update weights in place of their gradients."""
    if not any(record.descent for record in records):
        return list(records)
    result: list[Record | None] = list(records)
    products: dict[int, tuple[int, Product]] = {}
    traffic = _Traffic(records)
    for place, record in enumerate(records):
        product = Product.of(record)
        if product is not None and product.result is not None:
            products[product.result[0]] = place, product
        if record.descent is None:
            continue
        found = products.get(record.arguments[record.descent.direction])
        if found is not None and traffic.allows(*found, place, record):
            result[found[0]] = None
            result[place] = _stepping(found[1], record)
    return [record for record in result if record is not None]


class _Traffic:
    """What all records touch."""

    def __init__(self, records: Sequence[Record]) -> None:
        found = [(p, r, s) for p, r in enumerate(records) for s in r.slices]
        self.place = np.array([p for p, _, _ in found], np.int64)
        self.first = np.array([s.first for _, _, s in found], np.int64)
        self.stop = np.array([s.stop(r.extent) for _, r, s in found], np.int64)
        self.written = np.array([s.written for _, _, s in found], bool)

    def allows(self, before: int, product: Product, place: int, step: Record) -> bool:
        """Tell whether a product can do the step at ``place``: nobody else reads the gradient.

        What the product reads must be there still, and K be one piece: then the bits are equal.
        """
        gradient = product.result
        if gradient is None or product.k > panel_depth(2 * host().vector_bytes):
            return False
        if product.m * product.n != step.extent:
            return False
        later = (self.place > before) & (self.place <= place) & self.written
        others = (self.place != before) & (self.place != place)
        return not (
            (self._meets(gradient) & others).any()
            or (self._meets(product.left) & later).any()
            or (self._meets(product.right) & later).any()
        )

    def _meets(self, span: Span) -> Array:
        found: Array = (self.first < span[1]) & (self.stop > span[0])
        return found


def _stepping(product: Product, step: Record) -> Record:
    """Return the record of a product that does ``step`` with its result."""
    assert step.descent is not None
    whole, descent = product.record, step.descent
    arguments = list(whole.arguments)
    arguments[FORM] |= UPDATE
    arguments[C], arguments[FACTOR] = (step.arguments[i] for i in (descent.target, descent.factor))
    places = {descent.target: C, descent.factor: FACTOR}
    moving = [x for x in whole.moving if x[0] != C]
    moving += [(places[i], name) for i, name in step.moving if i in places]
    return product.having(
        Touch(FACTOR, False, 0),
        arguments=arguments,
        moving=tuple(moving),
        numbers=(*whole.numbers, *step.numbers),
        nanoseconds=whole.nanoseconds,
    )
