"""Steps of four networks, from the smallest that libraries spend their time around."""

from __future__ import annotations

from tests.bench.harness import Row, least, ratio
from tests.bench.problem import Problem
from tests.bench.training import limit_seconds, scaled, step_seconds

TITLE = "Steps of multilayer perceptrons"
NOTE = """Microseconds a step, float32. "forward" gives the outputs of a batch, "gradients" the
loss and the gradients of all parameters as arrays, "sgd" and "adam" are whole training steps. Only
training steps have epochs in compiled code (`fit`, which also gathers every batch, and `scan`).
The limit is that of the products' multiply-adds in registers, on all threads, measured beside each
row. Ratios are of the better of each library's ways; "of limit" is how many times the limit a step
takes."""

NETWORKS = [
    Problem((4, 16, 16, 1), 8, steps=1000, loss="squared"),
    Problem((64, 128, 128, 10), 32, steps=500),
    Problem((784, 128, 10), 32, steps=200),
    Problem((784, 512, 512, 10), 128, steps=50),
]
STEPS = ("forward", "gradients", "sgd", "adam")


def ratios(seconds: dict[str, float | None], limit: float) -> Row:
    """Return how many times faster graphc is, and how near the limit."""
    ours = least(seconds.get("graphc"), seconds.get("graphc fit"))
    jax = least(seconds.get("JAX jit"), seconds.get("JAX scan"))
    torch = seconds.get("torch")
    return {"vs JAX": ratio(jax, ours), "vs torch": ratio(torch, ours),
            "of limit": ratio(ours, limit)}  # fmt: skip


def rows(quick: bool) -> list[Row]:
    found = []
    for step in ("sgd",) if quick else STEPS:
        for network in NETWORKS:
            problem = network.having(step=step, steps=network.steps // (5 if quick else 1))
            limit = limit_seconds(problem)
            seconds = step_seconds(problem)
            limit = min(limit, limit_seconds(problem))
            row = {"network": problem.name, "step": step, **scaled(seconds, 1e6)}
            found.append(row | {"limit": limit * 1e6} | ratios(seconds, limit))
    return found
