"""What every section measures with: results that agree first, then medians of interleaved rounds.

A neighbour on the machine slows whoever runs at the moment. So contestants take turns, all in
every round, and what counts is the median over the rounds and the ratio within one run.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "15"))
"""Rounds of a measurement: ``python -m tests.bench --rounds``."""

PAUSE = 0.01
"""Seconds before each call, in which threads of the one before that watch for work go to sleep."""

TINY = 1e-6
"""A norm of what ought to be zero."""

Row = dict[str, Any]
"""A line of a table: heading of the column, and a number, a text, or None for what is not there."""


class DisagreementError(AssertionError):
    """Two contestants computed different things, so their times cannot be compared."""


def agree(results: Mapping[str, Sequence[Any]], tolerance: float) -> None:
    """Raise unless all have the same arrays: ``|a - b| <= tolerance * |b|``, norms over an array.

    ``b`` are those of the first. Norms, because Adam divides by roots of squares: where a gradient
    is nothing but rounding, its step is not.
    """
    import numpy as np

    (reference, expected), *others = results.items()
    for name, found in others:
        if len(found) != len(expected):
            raise DisagreementError(f"{name}: {len(found)} arrays, {reference}: {len(expected)}")
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            if a.shape != b.shape:
                raise DisagreementError(f"array {i}: {name} {a.shape}, {reference} {b.shape}")
            error, bound = np.linalg.norm(a - b), tolerance * max(np.linalg.norm(b), TINY)
            if not error <= bound:
                raise DisagreementError(
                    f"array {i}: {name} and {reference} differ by {error:.2g}, at most {bound:.2g}"
                )


def interleaved(
    runs: Mapping[str, Callable[[], object]], rounds: int | None = None
) -> dict[str, float]:
    """Return the median seconds of each call, after one that does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds or ROUNDS):
        for name, run in runs.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def fastest(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the least seconds of each call, for code in cache that takes microseconds.

    They take turns without a pause, in which a processor would lower its clock.
    """
    seconds = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def ratio(a: float | None, b: float | None) -> float | None:
    """Return ``a / b``, or None where one of them is not there."""
    return None if a is None or b is None else a / b


def least(*values: float | None) -> float | None:
    """Return the least of those that are there, or None."""
    return min((v for v in values if v is not None), default=None)
