"""The shapes of tiles, blocks and panels, from the processor's registers and caches.

Analytical, as Low, Igual, Smith and Quintana-Orti show is enough for BLIS (*Analytical Modeling Is
Enough for High-Performance BLIS*, 2016); sizes are in elements of ``itemsize`` bytes.
"""

from __future__ import annotations

from math import lcm
from typing import NamedTuple

from graphc.machine import known
from graphc.machine.isa import Isa

TARGET: Isa = known().isa
"""The instruction set that kernels are compiled for."""

DEPTH = 256
"""Rows of a panel of B: most steps of K that a product takes before it adds to C in memory.

The same on every machine, as bits depend on it. A panel and the rows of A of a tile fill two thirds
to nine tenths of first caches of 32 and 48 KB.
"""

VECTORS = 2
"""Vectors in a row of a tile: each broadcast of A serves two multiply-adds."""


def lanes(itemsize: int) -> int:
    """Elements of a vector."""
    return TARGET.vector_bytes // itemsize


def width(itemsize: int) -> int:
    """Columns of a tile, a block or a panel."""
    return VECTORS * lanes(itemsize)


def unit(itemsize: int) -> int:
    """Rows by which tiles differ: the high one has three units, the low one two, a short one one.

    Registers hold the tile, a row of B and a broadcast: 12x2 and 8x2 of 32, 6x2 and 4x2 of 16.
    """
    return (TARGET.registers - VECTORS - 1) // (3 * VECTORS)


def high(itemsize: int) -> int:
    """Rows of the high tile."""
    return 3 * unit(itemsize)


def low(itemsize: int) -> int:
    """Rows of the low tile: with it, every number of units is a sum of heights, but for one."""
    return 2 * unit(itemsize)


def middle(itemsize: int) -> int:
    """Rows of the tile between: ten, as many as there are digits, where the high one has twelve."""
    return 5 * unit(itemsize) // 2


def narrow(itemsize: int) -> int:
    """Columns of a narrow product, ten for as many digits, or 0.

    Registers hold their sums, a square of vectors and what it takes to transpose it.
    """
    return 10 if TARGET.registers > 10 + lanes(itemsize) + VECTORS else 0


def step(itemsize: int) -> int:
    """Rows by which the heights of tiles differ."""
    return unit(itemsize) // 2


def square(itemsize: int) -> int:
    """Rows that are whole tiles as well as whole vectors: so many are transposed at a time."""
    return lcm(high(itemsize), lanes(itemsize))


def rows(itemsize: int) -> int:
    """Rows of a block of A.

    It takes three fifths of the second cache, where it stays while the panels of B pass by.
    """
    fit = 3 * known().second // 5 // (DEPTH * itemsize)
    return max(1, fit // square(itemsize)) * square(itemsize)


def broad(itemsize: int) -> int:
    """Columns of B whose panels are copied before the blocks of A pass by.

    Twice as much as the second cache holds, so that they stay in the third: to pack A for each such
    part of B costs next to nothing.
    """
    panels = 2 * known().second // (DEPTH * itemsize * width(itemsize))
    return max(1, panels) * width(itemsize)


class Scratch(NamedTuple):
    """Where the parts of a thread's scratch start, in elements."""

    panel: int
    other: int
    """A second panel: one is copied while the other is multiplied."""
    turned: int
    """Tiles of the transpose of C."""
    block: int
    """Of A."""
    panels: int
    """Those that blocks of A share."""
    tables: int
    """Three, of where runs of steps start."""
    end: int


def scratch(itemsize: int) -> Scratch:
    """Return where the parts of a thread's scratch start."""
    panel, tiles = DEPTH * width(itemsize), square(itemsize) * width(itemsize)
    start = 2 * panel + tiles
    # A low tile may have more rows than there are.
    panels = start + (rows(itemsize) + high(itemsize)) * DEPTH
    tables = panels + DEPTH * broad(itemsize)
    tables += -tables % (8 // itemsize)
    end = tables + 3 * DEPTH * 8 // itemsize
    return Scratch(0, panel, 2 * panel, start, panels, tables, end)


def scratch_bytes() -> int:
    """Return the bytes that a thread needs to multiply matrices of either type."""
    return max(scratch(itemsize).end * itemsize for itemsize in (4, 8))


def piece(itemsize: int) -> int:
    """Elements of a vector that stay in the first cache while rows are added to them."""
    return known().first // (4 * itemsize)


def large(itemsize: int) -> int:
    """Elements from which an operand overflows the first cache several times.

    Rows at strides of kilobytes meet in few of its places, and each tile would bring a panel anew
    from the second: panels are then copied.
    """
    return 4 * known().first // itemsize
