"""A training step of a table of vectors: its time must not grow with the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import graphc as gx
from graphc import nn, optim
from tests.bench.harness import Row, interleaved, ratio

TITLE = "Lookups"
NOTE = "Microseconds of a step, tables of 64 numbers a row, 256 lookups, float32."

SMALL, LARGE, WIDTH, BATCH, STEPS = 10**3, 10**6, 64, 256, 200

OPTIMIZERS: dict[str, Callable[[], optim.Optimizer]] = {
    "SGD": lambda: optim.SGD(0.1),
    "Adagrad": lambda: optim.Adagrad(0.1),
    "Adam, lazy": lambda: optim.Adam(1e-3, lazy=True),
}


def epoch(length: int, optimizer: optim.Optimizer, steps: int) -> Callable[[], Any]:
    """Return what takes so many steps of a table of ``length`` rows."""
    i, y = gx.input("i", (None,), "int64"), gx.input("y", (None, WIDTH))
    out = nn.Embedding(length, WIDTH)(i)
    model = gx.Model(inputs=i, targets=y, outputs=out, loss=nn.mse_loss(out, y),
                     optimizer=optimizer)  # fmt: skip
    rng = np.random.default_rng(0)
    lookups = rng.integers(0, length, steps * BATCH)
    goal = rng.standard_normal((steps * BATCH, WIDTH), np.float32)
    return lambda: model.fit(lookups, goal, epochs=1, batch_size=BATCH, verbose=0)


def rows(quick: bool) -> list[Row]:
    steps = STEPS // 10 if quick else STEPS
    found = []
    for name, make in OPTIMIZERS.items():
        runs = {f"{n:,} rows": epoch(n, make(), steps) for n in (SMALL, LARGE)}
        micros = {n: s / steps * 1e6 for n, s in interleaved(runs).items()}
        small, large = micros.values()
        found.append({"optimizer": name, **micros, "large / small": ratio(large, small)})
    return found
