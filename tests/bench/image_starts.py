"""Networks of images, from their making to the first finished step, in processes of their own.

``python -m tests.bench.image_starts CONTESTANT NETWORK`` prints the seconds.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from tests.bench.convolution import NETWORKS, with_graphc, with_jax, with_torch
from tests.bench.harness import Row, ratio
from tests.bench.startup import CACHES

TITLE = "Compilation of networks of images"
NOTE = """Seconds from the making of a network to the end of its first training step, without
imports, in a fresh process; medians. An empty cache is a new folder each time."""
THREADS = (2,)

CONTESTANTS = {"graphc": with_graphc, "jax": with_jax, "torch": with_torch}
KEPT = {"graphc": CACHES["graphc"], "jax": CACHES["JAX jit"], "torch": {}}
TURNS = 3


def first_step(contestant: str, network: str) -> float:
    """Return the seconds until a step is done."""
    _, shape, batch, classes = NETWORKS[network]
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, *shape), np.float32)
    y = rng.integers(0, classes, batch)
    importlib.import_module(contestant)
    start = time.perf_counter()
    float(CONTESTANTS[contestant](network)["step"](x, y))
    return time.perf_counter() - start


def measured(contestant: str, network: str, folder: str) -> float:
    """Return the seconds of a new process that keeps compiled code in ``folder``."""
    kept = {name: value.format(folder) for name, value in KEPT[contestant].items()}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.image_starts", contestant, network],
        env=os.environ | kept, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout.splitlines()[-1])


def cold(contestant: str, network: str) -> float:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return measured(contestant, network, folder)


def rows(quick: bool) -> list[Row]:
    without = os.environ.get("BENCH_WITHOUT", "").split(",")
    there = [n for n in CONTESTANTS if importlib.util.find_spec(n) and n not in without]
    turns = 1 if quick else TURNS
    table = []
    for network in NETWORKS:
        row: Row = {"network": network}
        for name in there:
            row[f"{name}, empty"] = statistics.median(cold(name, network) for _ in range(turns))
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                measured(name, network, folder)
                warm = [measured(name, network, folder) for _ in range(turns)]
            row[f"{name}, warm"] = statistics.median(warm)
        if "jax" in there:
            jax = row["jax, empty"]
            row["graphc / JAX, empty"] = ratio(row["graphc, empty"], jax)
            row["graphc warm / JAX empty"] = ratio(row["graphc, warm"], jax)
        table.append(row)
    return table


if __name__ == "__main__":
    print(first_step(*sys.argv[1:]))
