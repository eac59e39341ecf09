"""SGD steps as the network gets deeper or wider, or the batch larger."""

from __future__ import annotations

from tests.bench.harness import Row
from tests.bench.problem import Problem
from tests.bench.steps import ratios
from tests.bench.training import limit_seconds, scaled, step_seconds

TITLE = "Scaling with depth, width and batch"
NOTE = """Microseconds of an SGD step; columns as for steps above."""

PEERS = ("graphc", "graphc fit", "torch", "JAX jit", "JAX scan")


def problems(quick: bool) -> list[tuple[str, Problem]]:
    """Return (what varies, problem), each with some 50 ms of steps in an epoch."""
    depths, widths, batches = (2, 16, 64), (16, 64, 256, 1024), (1, 8, 32, 128, 512, 2048)
    if quick:
        depths, widths, batches = depths[:2], widths[:2], batches[:2]
    found = [(f"{n} layers", Problem((64,) * n + (10,), 32)) for n in depths]
    found += [(f"width {n}", Problem((n, n, n, 10), 64)) for n in widths]
    found += [(f"batch {n}", Problem((64, 128, 128, 10), n)) for n in batches]
    steps = [max(10, min(500, int(5e9 / p.flops()))) for _, p in found]
    return [(what, p.having(steps=n)) for (what, p), n in zip(found, steps, strict=True)]


def rows(quick: bool) -> list[Row]:
    found = []
    for what, problem in problems(quick):
        seconds = step_seconds(problem, PEERS)
        limit = limit_seconds(problem)
        row = {"": what, "network": problem.name, **scaled(seconds, 1e6), "limit": limit * 1e6}
        found.append(row | ratios(seconds, limit))
    return found
