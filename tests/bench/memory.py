"""Peak memory of processes that do nothing but train."""

from __future__ import annotations

import statistics

from tests.bench.harness import ROUNDS, Row, ratio
from tests.bench.peers import installed
from tests.bench.problem import Problem
from tests.bench.process import measured
from tests.bench.startup import cold

TITLE = "Peak memory"
NOTE = """Megabytes of a fresh process: after the import, at most while it trains 784-512-512-10
with batches of 128 for two epochs of 50 steps, and the difference. The data are 20 MB, and
parameters 2.7. "empty cache" is a graphc that compiles in the same process."""

NETWORK = Problem((784, 512, 512, 10), 128, steps=50)


def rows(quick: bool) -> list[Row]:
    peers = ("graphc", "graphc fit", "torch", "JAX jit", "JAX scan", "PyTensor")
    runs = {p: lambda p=p: measured(p, NETWORK, 2) for p in peers if installed(p)}
    runs["graphc, empty cache"] = lambda: cold("graphc", NETWORK, 2)
    runs["graphc"]()  # fills its cache
    found = {name: [] for name in runs}
    for _ in range(min(ROUNDS, 1 if quick else 3)):
        for name, run in runs.items():
            found[name].append(run())
    medians = {
        name: {part: statistics.median(r[part] for r in results) for part in ("baseline", "peak")}
        for name, results in found.items()
    }
    jax = min((medians[p]["peak"] for p in ("JAX jit", "JAX scan") if p in medians), default=None)
    return [
        {
            "library": name, "after import": m["baseline"], "peak": m["peak"],
            "training": m["peak"] - m["baseline"], "of JAX": ratio(m["peak"], jax),
        }
        for name, m in medians.items()
    ]  # fmt: skip
