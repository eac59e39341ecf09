"""SGD steps on one thread and on all."""

from __future__ import annotations

import os
from functools import partial

from tests.bench.harness import Row, interleaved
from tests.bench.peers import installed, runner
from tests.bench.steps import NETWORKS

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
        for peer in filter(installed, CONTESTANTS):
            run = partial(runner(peer, network).run, network.steps)
            runs |= {(peer, n): partial(on_threads, peer, n, run) for n in counts}
        seconds = interleaved(runs)
        row: Row = {"network": network.name}
        for peer in CONTESTANTS:
            one, all_ = (seconds.get((peer, n)) for n in counts)
            row |= {f"{peer}, 1": one and one / network.steps * 1e6,
                    f"{peer}, {counts[1]}": all_ and all_ / network.steps * 1e6,
                    f"{peer}, faster": one and one / all_}  # fmt: skip
        found.append(row)
    return found
