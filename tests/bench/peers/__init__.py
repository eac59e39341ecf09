"""The libraries side by side: one module each, which sets up a :class:`Problem`."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Sequence
from types import ModuleType

from tests.bench.problem import Problem, Runner

PEERS = {
    "graphc": ("graphc", "step"),
    "graphc fit": ("graphc", "epoch"),
    "torch": ("torch", "eager"),
    "torch.compile": ("torch", "compile"),
    "JAX jit": ("jax", "step"),
    "JAX scan": ("jax", "epoch"),
    "PyTensor": ("pytensor", "step"),
}
"""Column of a table: the library, and its way to take steps.

``step`` is a loop in Python over compiled steps; ``epoch`` loops in compiled code.
"""


def installed(peer: str) -> bool:
    """Tell whether the library of ``peer`` is there and was not left out by ``--without``."""
    library = PEERS[peer][0]
    left_out = os.environ.get("BENCH_WITHOUT", "").split(",")
    return library not in left_out and importlib.util.find_spec(library) is not None


def module(library: str) -> ModuleType:
    """Import what sets up ``library``, and the library."""
    return importlib.import_module(f"tests.bench.peers.with_{library}")


def runner(peer: str, problem: Problem) -> Runner | None:
    """Return ``peer`` set up for ``problem``, or None if it is not installed or has no such way.

    Only training steps have epochs.
    """
    library, way = PEERS[peer]
    if way == "epoch" and problem.step in ("forward", "gradients"):
        return None
    return module(library).make(problem, way) if installed(peer) else None


def runners(problem: Problem, peers: Sequence[str] = tuple(PEERS)) -> dict[str, Runner]:
    """Return those of ``peers`` that can be had."""
    found = {peer: runner(peer, problem) for peer in peers}
    return {peer: made for peer, made in found.items() if made is not None}
