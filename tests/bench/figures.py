"""What was aimed at, beside what was measured."""

from __future__ import annotations

from typing import Any

from tests.bench.harness import Row

TITLE = "Aims"
NOTE = """From the tables below. Ratios of medians of one run; "JAX" is the better of `jit` and
`scan`."""

STEPS = {
    "4-16-16-1, batch 8": (3.0, 60.0, None),
    "64-128-128-10, batch 32": (2.2, 10.0, 1.8),
    "784-128-10, batch 32": (1.9, 6.0, 1.3),
    "784-512-512-10, batch 128": (1.35, 2.7, 1.2),
}
"""SGD: at least so many times faster than JAX and torch eager; at most so many limits."""

Tables = dict[str, dict[str, Any]]


def verdict(what: str, measured: float | None, aim: float, at_least: bool) -> Row:
    relation = "at least" if at_least else "at most"
    met = None if measured is None else ("yes" if (measured >= aim) == at_least else "no")
    return {"": what, "aim": f"{relation} {aim:g}", "measured": measured, "met": met}


def rows(tables: Tables) -> list[Row]:
    """Return a line for each aim whose table is there."""
    makers = {"steps": steps, "simplechains": simplechains, "startup": startup,
              "memory": memory, "threads": threads}  # fmt: skip
    return [row for name, make in makers.items() if name in tables
            for row in make(tables[name]["rows"])]  # fmt: skip


def steps(table: list[Row]) -> list[Row]:
    found = []
    for row in table:
        if row["step"] != "sgd":
            continue
        jax, torch, limit = STEPS[row["network"]]
        found.append(verdict(f"{row['network']}: times faster than JAX", row["vs JAX"], jax, True))
        name = f"{row['network']}: times faster than torch eager"
        found.append(verdict(name, row["vs torch"], torch, True))
        if limit:
            name = f"{row['network']}: multiples of the FMA limit"
            found.append(verdict(name, row["of limit"], limit, False))
    return found


def simplechains(table: list[Row]) -> list[Row]:
    """The aim on all threads is half of JAX's time on one."""
    one, *rest = table
    if one["vs JAX"] is None:
        return []
    found = [verdict("SimpleChains' network, 1 thread: of JAX's time", 1 / one["vs JAX"], 1, False)]
    jax = min(one["JAX jit"], one["JAX scan"])
    for row in rest:
        name = f"SimpleChains' network, {row['threads']} threads: of JAX's time on one"
        found.append(verdict(name, min(row["graphc"], row["graphc fit"]) / jax, 0.5, False))
        name = f"SimpleChains' network, {row['threads']} threads: of JAX's time on as many"
        found.append(verdict(name, 1 / row["vs JAX"], 0.5, False))
    return found


def startup(table: list[Row]) -> list[Row]:
    found = []
    for row in table:
        network, library, cache = row["network"], row["library"], row["cache"]
        if library != "graphc":
            continue
        if cache == "no bytecode":
            found.append(verdict("`import graphc` without bytecode: seconds", row["import"], 0.15,
                                 False))  # fmt: skip
        elif network == "1000 layers":
            found.append(verdict("1000 layers, empty cache: seconds", row["to the first step"], 4.0,
                                 False))  # fmt: skip
        elif "layers" not in network and row["of JAX"] is not None:
            aim = 1.3 if cache == "empty" else 0.7
            found.append(verdict(f"start, {cache} cache: of JAX's time", row["of JAX"], aim, False))
    return found


def memory(table: list[Row]) -> list[Row]:
    return [verdict(f"peak memory, {row['library']}: of JAX's", row["of JAX"], 0.5, False)
            for row in table if row["library"].startswith("graphc") and row["of JAX"]]  # fmt: skip


def threads(table: list[Row]) -> list[Row]:
    found = []
    for row in table:
        faster = [row[key] for key in row if key.startswith("graphc") and key.endswith("faster")]
        slower = 1 / min(faster)
        found.append(verdict(f"{row['network']}: time on all threads of that on one", slower, 1.05,
                             False))  # fmt: skip
    return found
