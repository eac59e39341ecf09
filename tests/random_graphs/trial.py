"""Draw, check and shrink the programs of some seeds."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field, replace

from graphc.ir.graph import ancestors

from .check import check
from .derivatives import COMPARED
from .draw import draw
from .shrink import shrink


@dataclass
class Tally:
    """What a part of the seeds gave."""

    failures: list[tuple[int, str]] = field(default_factory=list)
    modes: Counter[str] = field(default_factory=Counter)
    ops: Counter[str] = field(default_factory=Counter)
    nodes: Counter[int] = field(default_factory=Counter)
    jax: Counter[str] = field(default_factory=Counter)


def try_seeds(task: tuple[range, int, float, bool]) -> Tally:
    """Try the programs of some seeds, each ``jax_every``-th against JAX; shrink what fails.

    ``plain`` runs the small ones as plain Python, forty times as fast, and leaves out the others.
    """
    seeds, jax_every, patience, plain = task
    warnings.simplefilter("ignore")
    COMPARED.clear()
    tally = Tally()
    for seed in seeds:
        program = draw(seed)
        if plain:
            if not program.small:
                tally.modes["left out"] += 1
                continue
            program = replace(program, plain=True)
        tally.modes[program.mode] += 1
        tally.nodes[len(program.nodes)] += 1
        against = bool(jax_every) and seed % jax_every == 0
        failure = check(program, jax=against)
        if failure is None:
            built = program.build()
            tally.ops.update({t.op.name for t in ancestors(built.outputs)})
            continue
        smallest, last = shrink(program, failure, jax=against, seconds=patience)
        tally.failures.append((seed, f"seed {seed}: {last.kind}: {last.text}\n{smallest.text()}\n"))
    tally.jax.update(COMPARED)
    return tally
