"""What a call touches: addresses by iteration, from what is known before it is made."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

from graphc.codegen.kernel import Touch
from graphc.types import dim_at


class Slice(NamedTuple):
    """Addresses ``first + i // every * stride + line * pitch + [0, span)`` touched by iteration i.

    With more than one of the ``lines``, all iterations' parts of a line lie within one pitch.
    """

    first: int
    span: int
    stride: int
    every: int
    written: bool
    pitch: int = 0
    lines: int = 1

    def moved(self, distance: int) -> Slice:
        """Return it so many bytes further on."""
        return Slice(self.first + distance, *self[1:])

    def stop(self, extent: int) -> int:
        """Return the end of what all iterations touch."""
        last = (extent // self.every - 1) * self.stride + (self.lines - 1) * self.pitch
        return self.first + last + self.span

    def row(self, iterations: int) -> tuple[int, int] | None:
        """Return stride and span, in a line, of rows of so many iterations, if they are regular."""
        if self.stride <= 0 or iterations % self.every:
            return None
        times = iterations // self.every
        return times * self.stride, (times - 1) * self.stride + self.span


@dataclass(frozen=True, slots=True)
class Pointer:
    """An address with the size of what it points to; ``p[n:]`` is ``n`` elements further."""

    address: int
    itemsize: int
    moving: str = ""
    """The name of the buffer, if it may lie elsewhere when the table is replayed again."""

    def __getitem__(self, part: slice) -> Pointer:
        return Pointer(self.address + part.start * self.itemsize, self.itemsize, self.moving)

    def __index__(self) -> int:
        return self.address


@dataclass(frozen=True)
class Prediction:
    """What is known of a call before it is made."""

    kernel: str
    nanoseconds: float = 0.0
    touches: tuple[Touch, ...] = ()
    parts: tuple[tuple[int, int], ...] = ()
    guards: bool = False
    loops: tuple[int, ...] = ()
    """Numbers of the loops around it."""


def slice_at(touch: Touch, pointer: Pointer, batch: int, extent: int) -> Slice | None:
    """Return the addresses that a kernel touches, or None if there are none."""
    found = _from_zero(touch, pointer.itemsize, batch, extent)
    return None if found is None else found.moved(pointer.address)


@functools.lru_cache(4096)
def _from_zero(touch: Touch, size: int, batch: int, extent: int) -> Slice | None:
    """Return what :func:`slice_at` does for a pointer to address 0; equal calls are many."""
    first, stride, every = (dim_at(d, batch) for d in (touch.first, touch.stride, touch.every))
    axes = [(dim_at(count, batch), dim_at(step, batch)) for count, step in touch.spread]
    if stride <= 0:  # no rows that threads could part
        axes.append((extent // every, stride))
        stride = 0
    if any(count <= 0 for count, step in axes if step):
        return None  # what does not move along an axis is written even if that is empty: a sum
    lines, pitch = max(axes, key=lambda axis: axis[1], default=(1, 0))
    if lines > 1 and 0 < stride * (extent // every) <= pitch:
        axes.remove((lines, pitch))
    else:
        lines, pitch = 1, 0
    reach = [(count - 1) * step for count, step in axes]
    return Slice(
        (first + sum(min(0, r) for r in reach)) * size,
        (1 + sum(map(abs, reach))) * size,
        stride * size,
        every,
        touch.written,
        pitch * size,
        lines,
    )
