"""The network of SimpleChains' paper, which learns the exponential of 2x2 matrices."""

from __future__ import annotations

from tests.bench.harness import Row
from tests.bench.problem import Problem
from tests.bench.steps import ratios
from tests.bench.training import limit_seconds, scaled, step_seconds

TITLE = "SimpleChains' network"
NOTE = """4-32-16-4 with tanh, 10,000 rows, all in every step, squared loss and Adam (Elrod, Korsbo
and Rackauckas, "SimpleChains.jl", 2022). Milliseconds a step, the process bound to so many
processors."""
THREADS = (1, None)

NETWORK = Problem((4, 32, 16, 4), 10_000, "adam", 20, "tanh", "squared")


def rows(quick: bool) -> list[Row]:
    problem = NETWORK.having(steps=5) if quick else NETWORK
    seconds = step_seconds(problem)
    limit = limit_seconds(problem)
    return [{**scaled(seconds, 1e3), "limit": limit * 1e3, **ratios(seconds, limit)}]
