"""Seconds of a step, for all libraries that are installed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

import numpy as np

from tests.bench.harness import agree, interleaved
from tests.bench.machine import fma_peak
from tests.bench.peers import PEERS, runners
from tests.bench.problem import Array, Problem

CHECKED_STEPS = 3
"""Steps after which the libraries must have changed the parameters equally: rounding has not yet
grown."""

TOLERANCE, CHANGE_TOLERANCE = 1e-4, 1e-2
"""Relative differences of results, and of changes of parameters, which are themselves near the
rounding of the parameters."""


def step_seconds(
    problem: Problem, peers: Sequence[str] = tuple(PEERS), rounds: int | None = None
) -> dict[str, float]:
    """Return ``{peer: median seconds of a step}`` over epochs, after all results agree."""
    made = runners(problem, peers)
    for each in made.values():
        each.run(min(CHECKED_STEPS, problem.steps))
    check(problem, {peer: each.results() for peer, each in made.items()})
    epochs = {peer: partial(each.run, problem.steps) for peer, each in made.items()}
    return {peer: s / problem.steps for peer, s in interleaved(epochs, rounds).items()}


def check(problem: Problem, results: dict[str, list[Array]]) -> None:
    """Raise unless the first steps gave the same outputs, gradients, or changes of parameters."""
    if problem.step in ("forward", "gradients"):
        agree(results, TOLERANCE)
        return
    start = [p for w in problem.weights() for p in (w, np.zeros(w.shape[1]))]
    agree(
        {
            peer: [a - b for a, b in zip(found, start, strict=True)]
            for peer, found in results.items()
        },
        CHANGE_TOLERANCE,
    )


def limit_seconds(problem: Problem) -> float:
    """Return the time of a step's products at the peak of all threads, measured now."""
    return problem.flops() / (fma_peak("float32", len(os.sched_getaffinity(0))) * 1e9)
