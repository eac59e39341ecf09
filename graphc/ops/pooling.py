"""The greatest elements of windows, with their places, in images ``(N, *space, C)``.

The derivative of a maximum goes to the place of the first greatest element, or the last NaN, as in
PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import product
from typing import Any

import numpy as np

from graphc.ir.op import Access, Array, Emitter, Loops, register
from graphc.ir.results import Multiple, results
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Name, Value, select
from graphc.ops.along import ScatterAddAlongAxis, TakeAlongAxis
from graphc.ops.batched import merged
from graphc.ops.loops import nest, places
from graphc.ops.shape import reshape
from graphc.types import INT64, AnyDim, Several, TensorType, size_of

TAPS = 16
"""Elements of a window up to which they are compared in registers, each written out."""


@register
@merged(0)
class GreatestInWindows(Multiple, Loops):
    """The first greatest element of each window, and its place in the image, in row-major order.

    Operands are the image and, for each axis of space, two tables with one number for each window:
    its first element, and how many it has, ``gaps`` apart. A NaN is greater than all: the last one.
    """

    gaps: tuple[int, ...]
    window: tuple[int, ...] = ()
    """How many elements along each axis, if that is the same for all windows."""

    def infer(self, *types: TensorType) -> TensorType:
        x, *tables = types
        lengths = tuple(t.shape[0] for t in tables[::2])
        best = x.with_shape((x.shape[0], *lengths, x.shape[-1]))
        return Several.of([best, best.with_dtype(INT64)])

    def result_bounds(self, number: int, *types: TensorType) -> tuple[AnyDim, AnyDim] | None:
        return (0, size_of(types[0].shape[1:-1])) if number == 1 else None

    def numpy(self, *arrays: Array) -> Any:
        x, *tables = arrays
        firsts, counts = tables[::2], tables[1::2]
        flat = x.reshape(len(x), -1, x.shape[-1])
        shape = (len(x), *(len(t) for t in firsts), x.shape[-1])
        best, place = np.empty(shape, x.dtype), np.zeros(shape, INT64)
        for at in np.ndindex(*shape[1:-1]):
            windows = zip(firsts, counts, at, self.gaps, strict=True)
            taps = [f[o] + np.arange(c[o]) * gap for f, c, o, gap in windows]
            seen = np.ravel_multi_index(tuple(zip(*product(*taps), strict=True)), x.shape[1:-1])
            window = flat[:, seen]
            nan, last = np.isnan(window), window.shape[1] - 1
            first = np.where(
                nan.any(axis=1), last - np.argmax(nan[:, ::-1], axis=1), np.argmax(window, axis=1)
            )
            own = (slice(None), *at)
            place[own] = seen[first]
            best[own] = np.take_along_axis(window, first[:, None], 1)[:, 0]
        return best, place

    def loops(self, e: Emitter, out: Any, *ins: Access) -> None:
        x, *tables = ins
        names = places(out[0])
        rank = len(self.gaps)
        with nest(e, out[0], range(rank + 1), parallel=True):
            own = enumerate(names[1:-1])
            first = [e.let(f"first{a}", tables[2 * a].at(o).cast(INT64)) for a, o in own]
            if self.window and math.prod(self.window) <= TAPS:
                with nest(e, out[0], [rank + 1], lanes=True):
                    self._in_registers(e, out, x, names, first)
            else:
                self._in_memory(e, out, ins, names, first)

    def _in_registers(
        self, e: Emitter, out: Any, x: Access, names: Sequence[Name], first: Sequence[Value]
    ) -> None:
        """Write the elements of a window, which are as many in all, one after the other."""
        best, place = out
        lead, *_, channel = names

        def element(tap: Sequence[int]) -> tuple[Value, Value]:
            at = [f + t if t else f for f, t in zip(first, tap, strict=True)]
            return x.at(lead, *at, channel).load(x.dtype), self._flat(x, at)

        own = zip(self.window, self.gaps, strict=True)
        head, *rest = product(*(range(0, n * gap, gap) for n, gap in own))
        value, flat = element(head)
        greatest, flat = e.let("greatest", value), e.let("place", flat)
        for tap in rest:
            value, other = element(tap)
            value = e.let("value", value)
            more = e.let("more", _is_more(value, greatest))
            flat = e.let("place", select(more, other, flat))
            greatest = e.let("greatest", select(more, value, greatest))
        e.store(best.at(*names), greatest)
        e.store(place.at(*names), flat)

    def _in_memory(
        self, e: Emitter, out: Any, ins: Sequence[Access], names: Sequence[Name],
        first: Sequence[Value],
    ) -> None:  # fmt: skip
        """Write loops over the elements of a window."""
        best, place = out
        x, *tables = ins
        (lead, *own, channel), rank = names, len(self.gaps)
        count = [e.let(f"count{a}", tables[2 * a + 1].at(o)) for a, o in enumerate(own)]
        flat = e.let("place", self._flat(x, first))
        with nest(e, best, [rank + 1], lanes=True):
            e.store(best.at(*names), x.at(lead, *first, channel))
            e.store(place.at(*names), flat)
        with ExitStack() as taps:
            at = []
            for a in range(rank):
                tap = taps.enter_context(e.loop(f"tap{a}", count[a]))
                at.append(e.let(f"at{a}", first[a] + tap * self.gaps[a]))
            flat = e.let("place", self._flat(x, at))
            with nest(e, best, [rank + 1], lanes=True):
                value = x.at(lead, *at, channel).load(x.dtype)
                greatest = best.at(*names).load(best.dtype)
                more = _is_more(value, greatest)
                e.store(place.at(*names), select(more, flat, place.at(*names).load(INT64)))
                e.store(best.at(*names), select(more, value, greatest))

    @staticmethod
    def _flat(x: Access, at: Sequence[Value]) -> Value:
        place, *rest = at
        for number, length in zip(rest, x.shape[2:-1], strict=True):
            place = place * length + number
        return place

    def vjps(
        self, gs: Mapping[int, Tensor], out: Tensor, *inputs: Tensor
    ) -> Sequence[Tensor | None]:
        x, *tables = inputs
        if 0 not in gs:
            return (None,) * len(inputs)
        g, place = _lines(gs[0]), _lines(results(out)[1])
        back = apply(ScatterAddAlongAxis(1, size_of(x.type.shape[1:-1])), g, place)
        return (reshape(back, x.type.shape), *(None for _ in tables))

    def jvps(
        self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor
    ) -> Mapping[int, Tensor]:
        t = tangents[0]
        if t is None:
            return {}
        best, place = results(out)
        picked = apply(TakeAlongAxis(1), _lines(t), _lines(place))
        return {0: reshape(picked, best.type.shape)}

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return types[0].size


def _is_more(value: Value, greatest: Value) -> Value:
    """Return whether a value takes the place of the greatest before, as each NaN does."""
    if value.dtype.kind != "f":
        return value > greatest
    return (value > greatest) | value.differs(value)


def _lines(x: Tensor) -> Tensor:
    """Return an image with its axes of space as one."""
    shape = x.type.shape
    return reshape(x, (shape[0], size_of(shape[1:-1]), shape[-1]))
