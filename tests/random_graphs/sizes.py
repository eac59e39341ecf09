"""The sizes of random programs: small ones mostly, and those on both sides of each threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SMALL = (1, 2, 3, 4, 5, 7, 8)
VECTORS = (15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 129, 255, 256, 257)
"""Both sides of a vector's lanes, of blocks of rows, and of tiles of products."""
ELEMENTS = (4095, 4097, 16383, 16385, 32767, 32768, 65535, 65536, 65537, 131073)
"""Both sides of 256 KiB in float32 and float64, and of the shares of threads."""


@dataclass(frozen=True)
class Sizes:
    """The shapes of the first leaves (None is the batch) and how far a program may grow."""

    shapes: tuple[tuple[int | None, ...], ...]
    batch: int
    open: bool
    limit: int
    steps: int
    small: bool


def sizes(rng: np.random.Generator) -> Sizes:
    """Return the sizes of a program."""
    scale = rng.random()
    batch = int(rng.choice([1, 2, 3, 5, 8]))
    steps = 18
    if scale < 0.65:
        pool, limit = tuple(int(n) for n in rng.choice(SMALL, 3)), 2000
        if rng.random() < 0.08:
            pool = (0, *pool)
    elif scale < 0.88:
        pool, limit = (int(rng.choice(VECTORS)), int(rng.choice(VECTORS)), 3), 40_000
        batch = int(rng.choice([1, 7, 16, 33, 100]))
    else:
        elements = int(rng.choice(ELEMENTS))
        rows = int(rng.choice([1, 2, 3, 16, 255, 256, 257]))
        pool, limit, steps = (rows, -(-elements // rows)), 300_000, 8
        batch = rows
    ranks = rng.choice([0, 1, 2, 2, 2, 3], int(rng.integers(1, 4)))
    if scale >= 0.88:
        whole = (elements,) if rng.random() < 0.3 else pool
        shapes = [tuple(whole), *[tuple(pool[-int(r) :]) for r in ranks if r]]
    else:
        shapes = [tuple(int(n) for n in rng.choice(pool, int(r))) for r in ranks]
    opened = bool(rng.random() < 0.5)
    if opened:
        shapes = [(None, *s[1:]) if s and (i == 0 or rng.random() < 0.5) else s
                  for i, s in enumerate(shapes)]  # fmt: skip
        if scale >= 0.88 and len(shapes[0]) == 1:
            batch = elements
    opened = any(None in s for s in shapes)
    return Sizes(tuple(shapes), batch, opened, limit, steps, scale < 0.65)
