"""How the elements of a tensor lie in memory."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TypeAlias

from graphc.types import AnyDim, Shape


@dataclass(frozen=True)
class Layout:
    """Where the elements of a tensor lie in a buffer: offset and strides, in elements."""

    offset: AnyDim
    strides: tuple[AnyDim, ...]

    @staticmethod
    @functools.lru_cache(4096)
    def contiguous(shape: Shape) -> Layout:
        """Return the row-major layout of ``shape``."""
        strides: list[AnyDim] = []
        step: AnyDim = 1
        for dim in reversed(shape):
            strides.append(step)
            step = dim * step
        return Layout(0, tuple(reversed(strides)))

    def is_contiguous(self, shape: Shape) -> bool:
        """Tell whether this is row-major from the buffer's first element (sizes 1 aside)."""
        expected = Layout.contiguous(shape)
        same = all(
            s == e for s, e, d in zip(self.strides, expected.strides, shape, strict=True) if d != 1
        )
        return same and self.offset == 0


Axes: TypeAlias = tuple[tuple[AnyDim, AnyDim], ...]
"""Lengths and strides of axes that are counted through as one, outermost first."""
