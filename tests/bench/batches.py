"""Training steps whose batches are all of different sizes, as episodes and texts are."""

from __future__ import annotations

import time

import numpy as np

import graphc as gx
from graphc import nn, optim
from tests.bench.harness import Row

TITLE = "Steps over many batch sizes"
NOTE = """Microseconds of `train_step` by Adam of a network 4-8-2, over batches of 1 to so many rows
in random order: "first" when a size is new and planned, "again" in later rounds, the best of each,
and "same" the best where the same batch comes again and again. Times grow with the rows."""


def seconds(model: gx.Model, data: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the time of a step for each of the batches."""
    found = []
    for batch in data:
        start = time.perf_counter()
        model.train_step(*batch)
        found.append(time.perf_counter() - start)
    return np.array(found)


def rows(quick: bool) -> list[Row]:
    rng = np.random.default_rng(0)
    X, Y = rng.random((1000, 4), np.float32), rng.integers(0, 2, 1000)
    found = []
    for sizes in (10, 100, 1000):
        x, y = gx.input("x", (None, 4)), gx.input("y", (None,), dtype="int64")
        out = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))(x)
        model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.cross_entropy(out, y),
                         optimizer=optim.Adam(1e-3))  # fmt: skip
        model.train_step(X, Y)
        data = [(X[:n], Y[:n]) for n in rng.permutation(np.arange(1, sizes + 1))]
        first = seconds(model, data).mean()
        again = np.min([seconds(model, data) for _ in range(3 if quick else 15)], axis=0).mean()
        few = data[:: max(1, sizes // 50)]
        same = np.mean([seconds(model, [batch] * 15)[5:].min() for batch in few])
        found.append(
            {"sizes": sizes, "first": first * 1e6, "again": again * 1e6, "same": same * 1e6}
        )
    return found
