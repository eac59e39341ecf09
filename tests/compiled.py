"""Compile a graph as tests want it, and compare every call with the oracle."""

from __future__ import annotations

import os
from contextlib import contextmanager

import numpy as np

from graphc.codegen import steps
from graphc.compile import compile_graph
from graphc.ir.graph import Graph
from graphc.ir.interpret import evaluate
from graphc.run.executable import Executable

TOLERANCE = {"float32": 2e-4, "float64": 1e-9}


@contextmanager
def plain_python(on: bool = True):
    """Let what is compiled inside run as plain Python: no machine code, the same text."""
    before = os.environ.get("NUMBA_DISABLE_JIT")
    if on:
        os.environ["NUMBA_DISABLE_JIT"] = "1"
    try:
        yield
    finally:
        os.environ.pop("NUMBA_DISABLE_JIT", None)
        if before is not None:
            os.environ["NUMBA_DISABLE_JIT"] = before


@contextmanager
def in_table(on: bool = True):
    """Let the steps of loops be in the table, however short they are, and no kernel have them."""
    before = steps.MOST_ELEMENTS
    if on:
        steps.MOST_ELEMENTS = 0
    try:
        yield
    finally:
        steps.MOST_ELEMENTS = before


def build(graph: Graph, *, plain: bool = False, **options) -> Executable:
    with plain_python(plain):
        return compile_graph(graph, **options)


def values(graph: Graph) -> dict:
    """Return copies of the parameters' values."""
    return {p: p.op.cell.array.copy() for p in graph.parameters}


def close(found, wanted, what: str) -> None:
    """Compare, in proportion to the largest value; NaN and infinities must be the same."""
    assert found.shape == wanted.shape, what
    assert found.dtype == wanted.dtype, what
    if wanted.dtype.kind != "f":
        np.testing.assert_array_equal(found, wanted, err_msg=what)
        return
    finite = np.isfinite(wanted)
    largest = float(np.abs(wanted[finite]).max(initial=1.0))
    limit = TOLERANCE[wanted.dtype.name]
    np.testing.assert_allclose(found, wanted, rtol=limit, atol=limit * largest, err_msg=what)


def step_like_the_oracle(run: Executable, feeds: dict, batch: int, what: str = "") -> None:
    """Call ``run`` once; compare all its outputs and new parameters with the oracle's."""
    graph = run.graph
    wanted = evaluate(graph.roots, {**feeds, **values(graph)}, batch)
    wanted = {t: np.array(v) for t, v in wanted.items()}
    kept = {p: v for p, v in values(graph).items() if p not in graph.updates}
    found = run.call([feeds[t] for t in graph.inputs])
    for name, tensor in graph.outputs.items():
        close(found[name], wanted[tensor], f"{what}: {name}")
    for parameter, new in graph.updates.items():
        close(parameter.op.cell.array, wanted[new], f"{what}: new {parameter.name}")
    for parameter, old in kept.items():
        np.testing.assert_array_equal(parameter.op.cell.array, old, err_msg=what)
