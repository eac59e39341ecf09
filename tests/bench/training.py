"""Seconds of a step, for all libraries that are installed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

import numpy as np

from tests.bench.harness import agree, interleaved
from tests.bench.machine import fma_peak
from tests.bench.peers import PEERS, runners
from tests.bench.problem import Array, Problem, Runner

CHECKED_STEPS = 3
"""Steps after which the libraries must have changed the parameters equally: rounding has not yet
grown."""

TOLERANCE, CHANGE_TOLERANCE = 1e-4, 1e-2
"""Relative differences of results, and of changes of parameters, which are themselves near the
rounding of the parameters."""


def checked_runners(problem: Problem, peers: Sequence[str]) -> dict[str, Runner]:
    """Return those of ``peers`` that can be had, after their first steps gave the same."""
    made = runners(problem, peers)
    for each in made.values():
        each.run(min(CHECKED_STEPS, problem.steps))
    check(problem, {peer: each.results() for peer, each in made.items()})
    return made


def step_seconds(
    problem: Problem, peers: Sequence[str] = tuple(PEERS), rounds: int | None = None
) -> dict[str, float | None]:
    """Return ``{peer: median seconds of a step}`` over epochs; None for one that is not there."""
    made = checked_runners(problem, peers)
    epochs = {peer: partial(each.run, problem.steps) for peer, each in made.items()}
    seconds = interleaved(epochs, rounds)
    return {p: seconds[p] / problem.steps if p in seconds else None for p in peers}


def scaled(seconds: dict[str, float | None], factor: float) -> dict[str, float | None]:
    """Return the times in another unit."""
    return {peer: None if s is None else s * factor for peer, s in seconds.items()}


def check(problem: Problem, results: dict[str, list[Array]]) -> None:
    """Raise unless the first steps gave the same outputs, gradients, or changes of parameters."""
    if problem.step in ("forward", "gradients"):
        agree(results, TOLERANCE)
        return
    start = [p for w in problem.weights() for p in (w, np.zeros(w.shape[1]))]
    changes = {
        peer: [after - before for after, before in zip(found, start, strict=True)]
        for peer, found in results.items()
    }
    agree(changes, CHANGE_TOLERANCE)


def limit_seconds(problem: Problem) -> float:
    """Return the time of a step's products at the peak of all threads, measured now."""
    return problem.flops() / (fma_peak("float32", len(os.sched_getaffinity(0))) * 1e9)
