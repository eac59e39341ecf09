"""A process that trains with one library and tells how long its start took, and its memory.

``python -m tests.bench.process PEER '{"sizes": [4, 1], ...}' EPOCHS`` prints a line of JSON.
"""

from __future__ import annotations

import time

START = time.perf_counter()  # before numpy, and before whatever a library brings along

import dataclasses  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402


def peak_megabytes() -> float:
    """Return the most memory this process has had.

    Not ``ru_maxrss``, which a process inherits from the one that started it.
    """
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main(peer: str, description: str, epochs: int) -> dict[str, float]:
    """Return seconds from the start until the import and the first step are done, and memory."""
    from tests.bench.peers import PEERS, module, runner
    from tests.bench.problem import Problem

    problem = Problem(**json.loads(description))
    module(PEERS[peer][0])
    imported = time.perf_counter() - START
    baseline = peak_megabytes()
    made = runner(peer, problem)
    made.run(1)
    first = time.perf_counter() - START
    for _ in range(epochs):
        made.run(problem.steps)
    return {"import": imported, "first": first, "baseline": baseline, "peak": peak_megabytes()}


def measured(peer: str, problem: object, epochs: int = 0, **environment: str) -> dict[str, float]:
    """Run :func:`main` in a new process, which may keep Python's compiled modules."""
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    text = json.dumps(dataclasses.asdict(problem))
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.process", peer, text, str(epochs)],
        env=variables | environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{peer}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
