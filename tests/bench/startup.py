"""Whole processes, from the import to the first finished step, with empty and with warm caches."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from tests.bench.harness import ROUNDS, Row, ratio
from tests.bench.peers import installed
from tests.bench.problem import Problem
from tests.bench.process import measured

TITLE = "Start"
NOTE = """Seconds of a fresh process from `import` (of NumPy and the library) to the end of the
first training step; "import" is the part before the network is declared. Medians of interleaved
rounds. An empty cache is a new folder in each round. JAX keeps no compiled code unless told to.
The deep networks have layers of 32 by 32. The row without bytecode is what `import graphc` takes
beyond Python's own start where Python can keep no compiled modules of it; least of the rounds."""

NETWORK = Problem((784, 512, 512, 10), 128, steps=1)

CACHES = {
    "graphc": {"GRAPHC_CACHE_DIR": "{}"},
    "JAX jit": {
        "JAX_COMPILATION_CACHE_DIR": "{}",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    },
    "torch.compile": {"TORCHINDUCTOR_CACHE_DIR": "{}", "TRITON_CACHE_DIR": "{}"},
    "PyTensor": {"PYTENSOR_FLAGS": "base_compiledir={}", "NUMBA_CACHE_DIR": "{}"},
}
"""Environment variables that make a library keep compiled code in the folder ``{}``."""

SLOW = ("torch.compile", "PyTensor")
"""Those that compile for many seconds."""


def warm(peer: str, problem: Problem, folder: str, epochs: int = 0) -> dict[str, float]:
    environment = {name: value.format(folder) for name, value in CACHES[peer].items()}
    return measured(peer, problem, epochs, **environment)


def cold(peer: str, problem: Problem, epochs: int = 0) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return warm(peer, problem, folder, epochs)


def without(peer: str, problem: Problem) -> dict[str, float]:
    return measured(peer, problem)


def deep(layers: int) -> Problem:
    return Problem((32,) * (layers + 1), 8, steps=1, loss="squared")


class Key(NamedTuple):
    """What is measured."""

    network: str
    peer: str
    cache: str
    """empty, warm, or none."""


def starts(folder: str, quick: bool) -> dict[Key, Callable[[], dict[str, float]]]:
    """Return functions that start a process each; warm caches are in ``folder``."""
    found = {}
    for peer in ("graphc", "JAX jit", "torch", "torch.compile", "PyTensor"):
        if not installed(peer) or (quick and peer in SLOW):
            continue
        if peer in ("torch", "JAX jit"):
            found[Key(NETWORK.name, peer, "none")] = lambda p=peer: without(p, NETWORK)
        else:
            found[Key(NETWORK.name, peer, "empty")] = lambda p=peer: cold(p, NETWORK)
        if peer in CACHES:
            path = f"{folder}/{peer}"
            found[Key(NETWORK.name, peer, "warm")] = lambda p=peer, f=path: warm(p, NETWORK, f)
    for layers in (10, 100) if quick else (10, 100, 1000):
        name = f"{layers} layers"
        found[Key(name, "graphc", "empty")] = lambda n=layers: cold("graphc", deep(n))
        if installed("JAX jit") and layers < 1000:
            found[Key(name, "JAX jit", "none")] = lambda n=layers: without("JAX jit", deep(n))
    return found


def rounds(key: Key) -> int:
    if key.peer in SLOW:
        return 1
    return 7 if key.network == NETWORK.name else 3


def import_without_bytecode(turns: int = 15) -> float:
    """Return the seconds of ``import graphc`` beyond Python's start, without bytecode of graphc."""
    package = Path(__file__).parents[2] / "graphc"
    least = dict.fromkeys(("pass", "import graphc"), float("inf"))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        left_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, Path(folder) / "graphc", ignore=left_out)
        variables = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": folder}
        for _ in range(turns):
            for code in least:
                start = perf_counter()
                subprocess.run([sys.executable, "-c", code], env=variables, cwd="/", check=True)
                least[code] = min(least[code], perf_counter() - start)
    return least["import graphc"] - least["pass"]


def rows(quick: bool) -> list[Row]:
    times: dict[Key, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        measures = starts(folder, quick)
        for key, start in measures.items():
            if key.cache != "empty":
                start()  # fills its cache, Python's and the disk's
        for turn in range(min(ROUNDS, 2 if quick else 7)):
            for key, start in measures.items():
                if turn < rounds(key):
                    times.setdefault(key, []).append(start())
    medians = {
        key: {part: statistics.median(t[part] for t in found) for part in found[0]}
        for key, found in times.items()
    }
    alone: Row = {
        "network": "none", "library": "graphc", "cache": "no bytecode",
        "import": import_without_bytecode(), "to the first step": None, "of JAX": None,
    }  # fmt: skip
    base = {k.network: t["first"] for k, t in medians.items() if k[1:] == ("JAX jit", "none")}
    return [
        {
            "network": key.network, "library": key.peer, "cache": key.cache, "import": t["import"],
            "to the first step": t["first"], "of JAX": ratio(t["first"], base.get(key.network)),
        }
        for key, t in medians.items()
    ] + [alone]  # fmt: skip
