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
from graphc.schedule.factors import Product
from graphc.schedule.levels import Record

FACTOR = C + 1
"""Position of the address of the factor, in place of a stride over the batch."""


def take_steps(records: Sequence[Record]) -> list[Record]:
    """Return the records with products that update weights in place of their gradients."""
    if not any(record.descent for record in records):
        return list(records)
    keys = {place: float(place) for place in range(len(records))}
    result = list(records)
    products: dict[int, int] = {}
    traffic = _Traffic(records)
    for place, step in enumerate(records):
        if step.kernel.startswith("matmul"):
            products[step.arguments[C]] = place
        if step.descent is None:
            continue
        before = products.get(step.arguments[step.descent.direction])
        product = None if before is None else Product.of(records[before])
        if before is None or product is None or not traffic.allows(before, product, place):
            continue
        weight = step.arguments[step.descent.target]
        size = product.m * product.n * product.itemsize
        after = traffic.last_user(before, place, weight, weight + size)
        factor = traffic.writer(place, step.arguments[step.descent.factor])
        if traffic.changes(before, after, product) or not traffic.can_rise(factor, after):
            continue
        if factor > after:
            keys[factor] = min(keys[factor], after + 0.25)
        keys[place] = after + 0.5
        result[place] = _stepping(product, step)
        del keys[before]
    return [result[place] for place in sorted(keys, key=keys.__getitem__)]


class _Traffic:
    """What all records touch, by their places in the order."""

    def __init__(self, records: Sequence[Record]) -> None:
        found = [(p, r, s) for p, r in enumerate(records) for s in r.slices]
        self.extents = [r.extent for r in records]
        self.place = np.array([p for p, _, _ in found], np.int64)
        self.first = np.array([s.first for _, _, s in found], np.int64)
        self.stop = np.array([s.stop(r.extent) for _, r, s in found], np.int64)
        self.written = np.array([s.written for _, _, s in found], bool)

    def allows(self, before: int, product: Product, place: int) -> bool:
        """Tell whether a product can do the step at ``place``: nobody else meets the gradient.

        It must be the whole gradient, and K be one piece: then the bits are equal.
        """
        gradient = product.result
        if gradient is None or product.panels > 1:
            return False
        others = (self.place != before) & (self.place != place)
        whole = product.m * product.n == self.extents[place]
        return whole and not (self._meets(*gradient) & others).any()

    def last_user(self, before: int, place: int, start: int, stop: int) -> int:
        """Return the last place before ``place`` that touches the weight, or ``before``."""
        inside = (self.place > before) & (self.place < place)
        return int(self.place[inside & self._meets(start, stop)].max(initial=before))

    def writer(self, place: int, factor: int) -> int:
        """Return the last place before ``place`` that writes the factor, or -1."""
        inside = (self.place < place) & self.written
        return int(self.place[inside & self._meets(factor, factor + 1)].max(initial=-1))

    def changes(self, before: int, after: int, product: Product) -> bool:
        """Tell whether what the product reads is written after it and up to ``after``."""
        later = (self.place > before) & (self.place <= after) & self.written
        read = self._meets(*product.left) | self._meets(*product.right)
        return bool((read & later).any())

    def can_rise(self, place: int, after: int) -> bool:
        """Tell whether the record at ``place`` can come right after ``after``."""
        passed = (self.place > after) & (self.place < place)
        own = (self.place == place).nonzero()[0]
        return not any(
            (self._meets(self.first[i], self.stop[i]) & passed & (self.written | self.written[i]))
            .any()
            for i in own
        )  # fmt: skip

    def _meets(self, start: int, stop: int) -> Array:
        found: Array = (self.first < stop) & (self.stop > start)
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
    )
