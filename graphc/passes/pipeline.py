"""The passes in their order: run, timed, verified, and compared where asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import TypeAlias

from graphc.config import options
from graphc.errors import ArgumentError
from graphc.ir.graph import Graph
from graphc.ir.verify import Sound, verify
from graphc.ops.bodies import in_bodies
from graphc.passes.compare import compare
from graphc.passes.cse import cse
from graphc.passes.dce import dce
from graphc.passes.expand import expand
from graphc.passes.fold import fold
from graphc.passes.hoist import hoist
from graphc.passes.matrix_chain import matrix_chain
from graphc.passes.recompute import recompute
from graphc.passes.rows import rows
from graphc.passes.simplify import simplify
from graphc.passes.stabilize import stabilize
from graphc.passes.transpose import transpose

Pass: TypeAlias = Callable[[Graph, "Counter[str]"], Graph]
"""Returns an equal graph, and counts what it did by name."""

STAGES: tuple[Pass, ...] = (
    fold, simplify, stabilize, cse, simplify, transpose, hoist, matrix_chain, dce,
    expand, rows, fold, simplify, cse, recompute,
)  # fmt: skip
"""What is run, in this order. After ``expand``, which comes last of all that see formulas
whole, the formulas' own steps are cleaned up."""

PASSES = tuple(dict.fromkeys(stage.__name__ for stage in STAGES))
"""The names of the passes."""

PLANNING = ("fuse", "merge")
"""What the planner and the code generator do that can be left out too: loops shared by several
operations, and one update for all parameters. They turn nodes into kernel calls."""

REQUIRED = (expand.__name__,)
"""Passes that the compiler cannot do without."""


@dataclass(frozen=True)
class PassReport:
    """What one pass did: nodes before and after, its time, and its hits by rule."""

    name: str
    before: int
    after: int
    milliseconds: float
    hits: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        rules = ", ".join(f"{name} {count}" for name, count in sorted(self.hits.items()))
        nodes = f"{self.before:>7} -> {self.after:<7}"
        return f"{self.name:<13}{nodes}{self.milliseconds:>8.2f} ms  {rules}".rstrip()


def optimize(
    graph: Graph, stages: tuple[Pass, ...] = STAGES
) -> tuple[Graph, tuple[PassReport, ...]]:
    """Return ``graph`` after all passes, and a report of each.

    The graph is verified before the first and after every one. Options in force:
    ``disable_passes`` leaves passes out, ``check`` interprets the graph before and after each
    and compares, ``dump`` writes each stage as ``NN-pass.txt`` into a folder.
    """
    left_out = disabled()
    reports = []
    sound = Sound()
    verify(graph, sound)
    dump(graph, 0, "graph")
    for stage in stages:
        name = stage.__name__
        if name in left_out:
            continue
        hits: Counter[str] = Counter()
        start = perf_counter()
        result = _everywhere(stage, graph, hits)
        elapsed = (perf_counter() - start) * 1e3
        reports.append(PassReport(name, len(graph), len(result), elapsed, dict(hits)))
        if result is not graph:
            verify(result, sound)
        if options().check and result is not graph:
            compare(name, graph, result)
        dump(result, len(reports), name)
        graph = result
    return graph, tuple(reports)


def _everywhere(stage: Pass, graph: Graph, hits: Counter[str]) -> Graph:
    """Return the graph after a pass, which looks inside loops, too."""
    return in_bodies(stage(graph, hits), lambda body: _everywhere(stage, body, hits))


def disabled() -> set[str]:
    """Return the names of the passes that the options leave out, or raise an error."""
    names = {name.strip() for name in options().disable_passes.split(",")} - {""}
    for name in sorted(names):
        if name in REQUIRED:
            raise ArgumentError(f"pass {name!r} cannot be disabled: what follows needs it")
        if name not in (*PASSES, *PLANNING):
            known = ", ".join((*PASSES, *PLANNING))
            raise ArgumentError(f"no pass {name!r} to disable; the passes are {known}")
    return names


def dump(stage: object, number: int, name: str) -> None:
    """Write a stage as text into the folder of the ``dump`` option, if there is one."""
    folder = options().dump_path()
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number:02}-{name}.txt").write_text(f"{stage}\n", encoding="utf-8")
