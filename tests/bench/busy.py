"""SGD steps while other processes keep the machine's processors busy."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from tests.bench.harness import Row, ratio
from tests.bench.problem import Problem
from tests.bench.training import scaled, step_seconds

TITLE = "A busy machine"
NOTE = """Microseconds of an SGD step on all threads while so many other processes compute, and how
many times as long that is. With n processors a library that divides its work evenly and loses
nothing takes 1 + hogs/n times as long."""

PEERS = ("graphc", "graphc fit", "torch", "JAX jit", "JAX scan")
NETWORKS = [
    Problem((4, 16, 16, 1), 8, steps=1000, loss="squared"),
    Problem((64, 128, 128, 10), 32, steps=500),
    Problem((784, 512, 512, 10), 128, steps=25),
]
HOG = "import time; end = time.time() + 60\nwhile time.time() < end: pass"


@contextlib.contextmanager
def hogs(count: int) -> Iterator[None]:
    """Have ``count`` processes compute until the block ends, or a minute."""
    processes = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def rows(quick: bool) -> list[Row]:
    found = []
    for network in NETWORKS[1:2] if quick else NETWORKS:
        alone: dict[str, float | None] = {}
        for count in (0, 1, len(os.sched_getaffinity(0))):
            with hogs(count):
                seconds = step_seconds(network, PEERS, rounds=5)
            alone = alone or seconds
            slower = {f"{p}, slower": ratio(seconds[p], alone[p]) for p in PEERS}
            row = {"network": network.name, "hogs": count, **scaled(seconds, 1e6)}
            found.append(row | slower)
    return found
