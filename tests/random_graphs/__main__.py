"""``python -m tests.random_graphs --count 10000 --seed 0 --jobs 2``: find a graph that fails."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time

from .trial import Tally, try_seeds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.random_graphs", description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--jax-every", type=int, default=8, help="0 for never")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to shrink one")
    parser.add_argument("--plain", action="store_true",
                        help="small programs only, as plain Python")  # fmt: skip
    given = parser.parse_args()
    last = given.seed + given.count
    tasks = [(range(first, min(first + 25, last)), given.jax_every, given.patience, given.plain)
             for first in range(given.seed, last, 25)]  # fmt: skip
    start, total, done = time.perf_counter(), Tally(), 0
    # a fresh process now and then: kernels and modules of thousands of graphs fill its memory
    with multiprocessing.get_context("spawn").Pool(given.jobs, maxtasksperchild=10) as pool:
        for task, tally in zip(tasks, pool.imap(try_seeds, tasks), strict=True):
            done += len(task[0])
            for _, text in tally.failures:
                print(text, flush=True)
            total.failures += tally.failures
            for name in ("modes", "ops", "nodes", "jax"):
                getattr(total, name).update(getattr(tally, name))
            rate = done / (time.perf_counter() - start)
            print(
                f"{done} graphs, {len(total.failures)} mismatches, {rate:.1f} graphs/s", flush=True
            )
    print("modes", dict(total.modes))
    print("JAX", dict(total.jax))
    print("nodes", dict(sorted(total.nodes.items())))
    print("ops", dict(total.ops.most_common()))
    print("seeds that failed", [seed for seed, _ in total.failures])
    return bool(total.failures)


if __name__ == "__main__":
    sys.exit(main())
