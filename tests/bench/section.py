"""One section, in a process of its own: ``python -m tests.bench.section NAME THREADS QUICK FILE``.

So libraries do not disturb each other across sections, one that crashes costs only its section, and
the number of processors holds for all: threads are as many as the process may use. 0 is all.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path


def main(name: str, threads: str, quick: str, file: str) -> None:
    if int(threads):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    rows = importlib.import_module(f"tests.bench.{name}").rows(quick == "1")
    Path(file).write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
