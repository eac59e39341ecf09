"""Results as markdown tables, and as pages: ``docs/benchmarks.md``, and one for each processor."""

from __future__ import annotations

import os
import platform
import re
import textwrap
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from graphc.machine import known
from tests.bench import figures
from tests.bench.harness import Row

REGION = "(<!-- benchmarks: begin -->\n).*?(<!-- benchmarks: end -->\n)"
LIBRARIES = ("graphc", "numba", "numpy", "torch", "jax", "pytensor")

Record = dict[str, Any]


def cell(value: object) -> str:
    """Return a dash for None, and numbers to three digits."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def markdown(rows: Sequence[Row]) -> str:
    """Return a table with the keys of all rows as headings, in the order they come."""
    heads = list(dict.fromkeys(key for row in rows for key in row))
    lines = [heads, ["---"] * len(heads), *([cell(row.get(h)) for h in heads] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def machine() -> Record:
    """Return what the figures hold for: the processor, and the versions of the libraries."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"kind": known().processor, "processor": processor(),
            "processors": len(os.sched_getaffinity(0)), "python": platform.python_version(),
            "versions": versions}  # fmt: skip


def processor() -> str:
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"model name\s*: (.*)", text)
    wide = " with AVX-512" if "avx512f" in text else ""
    return f"{found[1] if found else platform.machine()}{wide}"


def sentence(record: Record) -> str:
    """Return the machine in a line."""
    found = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    quick = " Few rows and rounds (`--quick`)." if found.get("quick") else ""
    return (f"{found['processors']} processors of an {found['processor']} ({found['kind']}); "
            f"Python {found['python']}, {versions}.{quick}")  # fmt: skip


def paragraph(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 115, break_on_hyphens=False) + "\n"


def section(table: Record) -> str:
    note = f"{paragraph(table['note'])}\n" if table["note"] else ""
    return f"## {table['title']}\n\n{note}{markdown(table['rows'])}"


def summary(record: Record) -> str:
    """Return what the README shows of a processor: SGD steps, and the start of a process."""
    tables = record["sections"]
    heads = {"network": "SGD step, microseconds", "graphc": "graphc `train_step`",
             "graphc fit": "graphc `fit`", "torch": "torch eager", "torch.compile": "torch.compile",
             "JAX jit": "JAX jit", "JAX scan": "JAX scan", "PyTensor": "PyTensor",
             "limit": "FMA limit"}  # fmt: skip
    rows = [row for row in tables.get("steps", {"rows": []})["rows"] if row["step"] == "sgd"]
    table = markdown([{head: row[key] for key, head in heads.items()} for row in rows])
    start = start_line(tables.get("startup", {"rows": []})["rows"])
    return f"{paragraph(sentence(record))}\n{table}{start}"


def start_line(rows: Sequence[Row]) -> str:
    seconds = {(r["library"], r["cache"]): r["to the first step"] for r in rows
               if "layers" not in r["network"]}  # fmt: skip
    if ("graphc", "warm") not in seconds:
        return ""
    text = "A fresh process, from `import` to the end of the first step of 784-512-512-10: "
    text += f"{cell(seconds['graphc', 'empty'])} s with an empty cache, "
    text += f"{cell(seconds['graphc', 'warm'])} s with a warm one"
    jax = seconds.get(("JAX jit", "none"))
    return "\n" + paragraph(text + (f"; JAX {cell(jax)} s." if jax else "."))


def page(record: Record) -> str:
    """Return the page of one processor."""
    tables = record["sections"]
    aims = {"title": figures.TITLE, "note": figures.NOTE, "rows": figures.rows(tables)}
    found = "\n".join(section(t) for t in (aims, *tables.values()) if t["rows"])
    return f"# Benchmarks: {record['machine']['kind']}\n\n{paragraph(sentence(record))}\n{found}"


def filled(text: str, records: Sequence[Record]) -> str:
    """Return ``text`` with its region ``benchmarks`` made of what is known of all processors."""
    note = "Medians of interleaved rounds, float32, the same data, initial parameters and update; "
    note += "results are compared before anything is timed."
    pattern = re.compile(REGION, re.DOTALL)
    assert pattern.search(text), "the page has no region of benchmarks"
    inside = "\n".join([paragraph(note), *map(summary, records)])
    return pattern.sub(lambda m: m[1] + inside + m[2], text)
