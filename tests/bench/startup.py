"""Whole processes, from the import to the first finished step, with empty and with warm caches."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable

from tests.bench.harness import ROUNDS, Row, ratio
from tests.bench.peers import installed
from tests.bench.problem import Problem
from tests.bench.process import measured

TITLE = "Start"
NOTE = """Seconds of a fresh process from `import` (of NumPy and the library) to the end of the
first training step; "import" is the part before the network is declared. Medians of interleaved
rounds. An empty cache is a new folder in each round. JAX keeps no compiled code unless told to.
The deep networks have layers of 32 by 32."""

NETWORK = Problem((784, 512, 512, 10), 128, steps=1)

CACHES = {
    "graphc": ("GRAPHC_CACHE_DIR",),
    "JAX jit": ("JAX_COMPILATION_CACHE_DIR",),
    "torch.compile": ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"),
    "PyTensor": ("PYTENSOR_COMPILEDIR", "NUMBA_CACHE_DIR"),
}
"""Environment variables that name the folders of compiled code."""

ALWAYS_KEEP = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}

SLOW = ("torch.compile", "PyTensor")
"""Those that compile for many seconds; they get three rounds."""


def folders(peer: str, folder: str) -> dict[str, str]:
    """Return the environment in which ``peer`` keeps compiled code in ``folder``."""
    found = dict.fromkeys(CACHES.get(peer, ()), folder)
    if "PYTENSOR_COMPILEDIR" in found:
        found["PYTENSOR_FLAGS"] = f"base_compiledir={found.pop('PYTENSOR_COMPILEDIR')}"
    return found


def warm(peer: str, problem: Problem, folder: str, epochs: int = 0) -> dict[str, float]:
    return measured(peer, problem, epochs, **folders(peer, folder), **ALWAYS_KEEP)


def cold(peer: str, problem: Problem, epochs: int = 0) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return warm(peer, problem, folder, epochs)


def without(peer: str, problem: Problem) -> dict[str, float]:
    return measured(peer, problem)


def deep(layers: int) -> Problem:
    return Problem((32,) * (layers + 1), 8, steps=1, loss="squared")


Start = Callable[[], dict[str, float]]


def starts(folder: str, quick: bool) -> dict[tuple[str, str, str], Start]:
    """Return what is measured: (peer, cache, network)."""
    found: dict[tuple[str, str, str], Start] = {}
    for peer in ("graphc", "JAX jit", "torch", "torch.compile", "PyTensor"):
        if not installed(peer) or (quick and peer in SLOW):
            continue
        if peer in ("torch", "JAX jit"):
            found[peer, "none", NETWORK.name] = lambda p=peer: without(p, NETWORK)
        else:
            found[peer, "empty", NETWORK.name] = lambda p=peer: cold(p, NETWORK)
        if peer != "torch":
            path = f"{folder}/{peer}"
            found[peer, "warm", NETWORK.name] = lambda p=peer, f=path: warm(p, NETWORK, f)
    for layers in (10, 100) if quick else (10, 100, 1000):
        name = f"{layers} layers"
        found["graphc", "empty", name] = lambda n=layers: cold("graphc", deep(n))
        if installed("JAX jit") and layers < 1000:
            found["JAX jit", "none", name] = lambda n=layers: without("JAX jit", deep(n))
    return found


def rows(quick: bool) -> list[Row]:
    times: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        measures = starts(folder, quick)
        for key, start in measures.items():
            if key[1] != "empty":
                start()  # fills its cache, Python's and the disk's
        for turn in range(min(ROUNDS, 2 if quick else 7)):
            for key, start in measures.items():
                if turn < 3 or (key[0] not in SLOW and key[2] == NETWORK.name):
                    times.setdefault(key, []).append(start())
    medians = {
        key: {part: statistics.median(t[part] for t in found) for part in found[0]}
        for key, found in times.items()
    }
    base = {name: t["first"] for (peer, cache, name), t in medians.items()
            if (peer, cache) == ("JAX jit", "none")}  # fmt: skip
    return [
        {
            "network": network, "library": peer, "cache": cache, "import": t["import"],
            "to the first step": t["first"], "of JAX": ratio(t["first"], base.get(network)),
        }
        for (peer, cache, network), t in medians.items()
    ]  # fmt: skip
