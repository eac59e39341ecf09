"""What of a machine can change what a test finds: told from the test's text.

A file of tests is of a kind if it imports one of the kind's modules (or puts something else in
place of what is in them) or says one of its names; those of :data:`SMALL` go through the whole
compiler and are of every kind. A file that only calls graphc's public functions is of none, though
it compiles: ``tests.machines`` runs the whole suite on one machine of each kind.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]

CACHES, VECTORS, THREADS = "caches", "vectors", "threads"

MODULES = {
    CACHES: {
        "graphc.machine", "graphc.schedule", "graphc.emit.shape", "graphc.emit.tiles", "thresholds",
    },
    VECTORS: {
        "graphc.machine", "graphc.jit.processor", "graphc.jit.target", "graphc.emit",
        "graphc.build", "compiled", "kernels", "ops.harness",
    },
    THREADS: {"graphc.schedule", "graphc.run.team", "graphc.run.pace", "thresholds"},
}  # fmt: skip
"""Those of graphc, with all that is in them, and helpers of tests that compile."""

NAMES = {
    CACHES: {"machine", "GRAPHC_MACHINE"},
    VECTORS: {"golden", "NUMBA_CPU_NAME"},
    THREADS: {
        "shared", "threads", "thread_count", "available_cpus", "sched_setaffinity",
        "GRAPHC_THREADS",
    },
}  # fmt: skip
"""Fixtures, arguments, functions and variables of the environment."""

SMALL = ("tests/test_tiny.py", "tests/e2e/test_compiled_random_graphs.py")


def kinds(text: str) -> set[str]:
    """Return the kinds of a file of tests from its text."""
    tree = ast.parse(text)
    names, modules = set(_names(tree)), set(_modules(tree))
    return {kind for kind in MODULES if names & NAMES[kind] or modules & MODULES[kind]}


@cache
def files_of(kind: str) -> tuple[str, ...]:
    """Return the files of tests of a kind."""
    files = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/**/test_*.py"))
    return tuple(f for f in files if f in SMALL or kind in kinds((ROOT / f).read_text()))


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg | ast.keyword):
            yield node.arg or ""
        elif isinstance(node, ast.Constant) and str(node.value).isupper():
            yield str(node.value)


def _modules(tree: ast.Module) -> Iterator[str]:
    """Yield modules and the packages that they are in; ``tests.`` is left out."""
    for node in ast.walk(tree):
        found: list[str] = []
        if isinstance(node, ast.ImportFrom):
            found = [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.Import):
            found = [name.name for name in node.names]
        elif isinstance(node, ast.Constant) and re.fullmatch(r"graphc[.\w]+", str(node.value)):
            found = [str(node.value)]
        for module in found:
            parts = module.removeprefix("tests.").split(".")
            yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))
