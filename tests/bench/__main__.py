"""Benchmarks of graphc beside other libraries: ``python -m tests.bench [section ...]``.

Prints a markdown table for each section and for what was aimed at. Libraries that are not installed
are left out; ``pip install -e ".[bench]"`` has them all.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from graphc.machine import known
from tests.bench import figures
from tests.bench.harness import Row
from tests.bench.tables import Record, filled, machine, markdown, page

SECTIONS = ("machine", "steps", "simplechains", "startup", "memory", "threads", "scaling", "busy",
            "gemm", "elementary", "chains", "batches", "nests", "convolution",
            "lookups", "image_starts", "sequences", "attention")  # fmt: skip
ENVIRONMENT = {"OPENBLAS_THREAD_TIMEOUT": "22"}
"""Of all sections. Idle threads of OpenBLAS (NumPy's and PyTensor's) watch for work for 2^28 clock
ticks, 0.1 s, and so take a processor from the contestant after them; now for 2 ms."""

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
RECORDS = ROOT / "docs" / "benchmarks"
"""A record and a page for each kind of processor."""


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="few rows and rounds: minutes in all")
    parser.add_argument("--rounds", type=int, help="rounds of a measurement (15; 3 with --quick)")
    parser.add_argument("--without", default="", help="libraries to leave out: torch,jax,pytensor")
    parser.add_argument("--threads", type=int, help="processors to use (all)")
    where = "write the results there, over those of the same sections"
    parser.add_argument("--json", type=Path, metavar="FILE", help=where)
    pages = f"write {PAGE.name} and what belongs to this processor in docs/"
    parser.add_argument("--write-docs", action="store_true", help=pages)
    found = parser.parse_args(arguments)
    unknown = set(found.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    return found


def measured(name: str, quick: bool) -> Record:
    """Return the table of a section, run in a process for each number of threads it asks for."""
    module = importlib.import_module(f"tests.bench.{name}")
    counts = getattr(module, "THREADS", (None,))
    rows: list[Row] = []
    for count in counts:
        used = count or len(os.sched_getaffinity(0))
        named = {"threads": used} if len(counts) > 1 else {}
        rows += [named | row for row in in_process(name, count or 0, quick, module)]
    note = getattr(module, "NOTE", "")
    date = datetime.datetime.now().isoformat(timespec="minutes")
    return {"title": module.TITLE, "note": note, "date": date, "rows": rows}


def in_process(name: str, threads: int, quick: bool, module: object) -> list[Row]:
    environment = os.environ | ENVIRONMENT | getattr(module, "ENVIRONMENT", {})
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "tests.bench.section", name, str(threads),
                   str(int(quick)), str(file)]  # fmt: skip
        subprocess.run(command, env=environment, check=True)
        return json.loads(file.read_text(encoding="utf-8"))


def loaded(file: Path | None) -> Record:
    """Return the record in ``file``, or an empty one."""
    if file is None or not file.exists():
        return {"sections": {}}
    return json.loads(file.read_text(encoding="utf-8"))


def write_pages(folder: Path, page_of_all: Path) -> None:
    """Write the page of each record in ``folder``, and the table of all of them."""
    records = {file: loaded(file) for file in sorted(folder.glob("*.json"), reverse=True)}
    for file, record in records.items():
        file.with_suffix(".md").write_text(page(record), encoding="utf-8")
    text = page_of_all.read_text(encoding="utf-8")
    page_of_all.write_text(filled(text, list(records.values())), encoding="utf-8")


def main() -> int:
    options = parsed()
    rounds = options.rounds or (3 if options.quick else None)
    if rounds:
        os.environ["BENCH_ROUNDS"] = str(rounds)
    os.environ["BENCH_WITHOUT"] = options.without
    if options.threads:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    own = RECORDS / f"{known().processor}.json"
    file = own if options.write_docs and not options.json else options.json
    record, failed = loaded(file), []
    record["machine"] = machine() | {"quick": options.quick}
    for name in options.sections or SECTIONS:
        try:
            table = measured(name, options.quick)
        except (ImportError, subprocess.CalledProcessError) as error:
            failed.append(name)
            print(f"{name} failed: {error}", file=sys.stderr)
            continue
        print(f"\n## {table['title']}\n\n{markdown(table['rows'])}", flush=True)
        record["sections"][name] = table
        if file:  # after each section, so that nothing is lost
            order = {n: record["sections"][n] for n in SECTIONS if n in record["sections"]}
            record["sections"] = order
            file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    aims = figures.rows(record["sections"])
    if aims:
        print(f"\n## {figures.TITLE}\n\n{markdown(aims)}")
    if options.write_docs:
        write_pages(RECORDS, PAGE)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
