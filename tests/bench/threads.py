"""SGD steps on one thread and on all."""

from __future__ import annotations

import os
from functools import partial

from tests.bench.harness import Row, interleaved, ratio
from tests.bench.steps import NETWORKS
from tests.bench.training import checked_runners, scaled

TITLE = "One thread and all"
NOTE = """Microseconds of an SGD step, the same network on one thread and on all processors,
interleaved. JAX takes its threads at the import: its times on one are those of `--threads 1`."""

CONTESTANTS = ("graphc", "graphc fit", "torch")


def on_threads(peer: str, count: int, run: partial) -> None:
    """Call ``run`` with ``count`` threads."""
    if peer == "torch":
        import torch

        torch.set_num_threads(count)
        run()
        return
    import graphc as gx

    with gx.config(threads=count):
        run()


def rows(quick: bool) -> list[Row]:
    counts = (1, len(os.sched_getaffinity(0)))
    found = []
    for network in NETWORKS[:: 3 if quick else 1]:
        runs = {}
        for peer, made in checked_runners(network, CONTESTANTS).items():
            epoch = partial(made.run, network.steps)
            runs |= {f"{peer}, {n}": partial(on_threads, peer, n, epoch) for n in counts}
        seconds = {name: s / network.steps for name, s in interleaved(runs).items()}
        row: Row = {"network": network.name}
        for peer in CONTESTANTS:
            names = [f"{peer}, {n}" for n in counts]
            row |= scaled({name: seconds.get(name) for name in names}, 1e6)
            row[f"{peer}, faster"] = ratio(*map(seconds.get, names))
        found.append(row)
    return found
