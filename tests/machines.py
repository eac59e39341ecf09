"""The tests on other machines than this one: ``python -m tests.machines [--quick] [name ...]``.

Each machine is this one with other caches, fewer instructions, threads or processors, which the
environment says to a process of its own. What this processor has not is compiled for and read, not
run. Prints a table, and what failed below it; the exit code is 1 if anything did.

``read`` compiles for processors that are not here, AVX-512 and 64-bit Arm among them.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

from graphc.jit.processor import features

ROOT = Path(__file__).parents[1]

_GEMM, _VMATH = "tests/unit/test_gemm.py::test_", "tests/unit/test_vmath.py::test_"
_BITS = _GEMM + "bits_depend_neither_on_form_nor_on_parts"
CACHES = (_BITS, "tests/unit/test_runtime_schedule.py", "tests/test_tiny.py")
VECTORS = (
    _GEMM + "random_shapes_strides_and_parts",
    _BITS,
    _VMATH + "error_of_one_operand",
    _VMATH + "error_of_powers_near_one",
    _VMATH + "an_element_has_the_same_bits_in_a_vector_as_alone",
    "tests/test_tiny.py",
)
THREADS = (
    "tests/e2e/test_threads.py",
    "tests/unit/test_runtime_ownership.py",
    "tests/test_tiny.py",
)
READ = "tests/unit/test_cross_compiled.py"
"""Compiles for processors that are not there, and reads what comes out."""


@dataclass(frozen=True)
class Machine:
    """A machine, and how to run a process as if on it."""

    name: str
    quick: tuple[str, ...] = ()
    """The tests that ``--quick`` runs; if there are none, it leaves the machine out."""
    environment: dict[str, str] = field(default_factory=dict)
    needs: frozenset[str] = frozenset()
    """The features that its code may use."""
    processors: int = 0
    """How many the process may use; 0 for all."""
    read: bool = False
    """Whether its code is read, not run."""

    def lack(self) -> str:
        """Return why this machine cannot be had here, or nothing."""
        if not features() >= self.needs:
            return f"this processor has no {', '.join(sorted(self.needs - features()))}"
        if self.processors and not hasattr(os, "sched_setaffinity"):
            return "this system binds no process to processors"
        return ""


def _caches(text: str, *quick: str, name: str = "") -> Machine:
    return Machine(name or text, quick, {"GRAPHC_MACHINE": text})


def _processor(
    name: str, cpu: str, chosen: str, *needs: str, quick: tuple[str, ...] = ()
) -> Machine:
    environment = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": chosen}
    return Machine(name, quick, environment, frozenset({"sse2", *needs}))


MACHINES = [
    Machine("host", (), {"GRAPHC_MACHINE": "", "GRAPHC_CALIBRATE": "1"}),
    *map(_caches, ("l1=32K", "l1=48K")),
    _caches("l2=256K", *CACHES),
    *map(_caches, ("l2=512K", "l2=1M")),
    *map(_caches, ("l2=2M", "l2=4M", "l1=64K,l2=16M")),
    _caches("l1=unknown,l2=unknown,l3=unknown", *CACHES, name="unknown"),
    _processor("avx512", "skylake-avx512", "", "avx512f", "avx512dq", "avx512vl", "avx512bw"),
    _processor("avx2", "haswell", "", "avx2", "fma", "bmi2"),
    _processor("avx2-no-fma", "haswell", "-fma", "avx2", "bmi2", quick=VECTORS),
    _processor("avx", "sandybridge", "", "avx"),
    _processor("sse4.2", "nehalem", "", "sse4.2"),
    _processor("sse2", "generic", "", quick=VECTORS),
    Machine("avx-off", (), {"NUMBA_ENABLE_AVX": "0"}, frozenset({"sse2"})),
    Machine("read", (READ,), read=True),
    *(Machine(f"threads={n}", (), {"GRAPHC_THREADS": str(n)}) for n in (1, 2, 4)),
    Machine("processors=1", THREADS, processors=1),
]


@dataclass
class Outcome:
    """What the tests on a machine came to."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: int = 0
    seconds: float = 0.0
    why: str = ""
    """Why the machine cannot be had, or how the process ended."""


def run(machine: Machine, tests: list[str]) -> Outcome:
    """Run tests in a process that is told to be on ``machine``."""
    if why := machine.lack():
        return Outcome(why=why)
    start, found = time.perf_counter(), Outcome()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *tests]
        allowed = (
            sorted(os.sched_getaffinity(0))[: machine.processors] if machine.processors else []
        )
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **machine.environment}, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=(lambda: os.sched_setaffinity(0, allowed)) if allowed else None,
        )  # fmt: skip
        if report.exists():
            _read(report, found)
        if not report.exists() or (done.returncode and not found.failed):
            found.failed.append(f"the process ended with {done.returncode}:\n{done.stdout[-2000:]}")
    found.seconds = time.perf_counter() - start
    return found


def _read(report: Path, found: Outcome) -> None:
    """Count the tests of a report of pytest's."""
    for case in ET.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            found.failed.append(f"{case.get('classname')}::{case.get('name')}")
        elif "skipped" in kinds:
            found.skipped += 1
        else:
            found.passed += 1


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.machines", description=__doc__)
    parser.add_argument(
        "machines", nargs="*", metavar="name", help="machines; all if none is named"
    )
    parser.add_argument("--list", action="store_true", help="print the machines and run nothing")
    parser.add_argument("--quick", action="store_true", help="some tests on some machines: minutes")
    parser.add_argument("--tests", action="append", metavar="PATH", help="these tests, not all")
    given = parser.parse_args()
    unknown = set(given.machines) - {m.name for m in MACHINES}
    if unknown:
        parser.error(f"no machine {', '.join(sorted(unknown))}; see --list")
    return given


def main() -> int:
    given = _parsed()
    chosen = [m for m in MACHINES if m.name in given.machines or not given.machines]
    if given.quick:
        chosen = [m for m in chosen if m.quick]
    if given.list:
        for machine in chosen:
            told = [f"{k}={v}" for k, v in machine.environment.items()]
            print(f"{machine.name:16}{' '.join(told) or machine.lack()}")
        return 0
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors")
    print(f"{'machine':16}{'passed':>8}{'failed':>8}{'skipped':>8}{'seconds':>9}", flush=True)
    failures: list[tuple[str, str]] = []
    for machine in chosen:
        tests = (
            [READ] if machine.read else list(machine.quick) if given.quick else given.tests or []
        )
        found = run(machine, tests)
        numbers = f"{found.passed:8}{len(found.failed):8}{found.skipped:8}{found.seconds:9.0f}"
        print(f"{machine.name:16}" + (found.why or numbers), flush=True)
        failures += [(machine.name, test) for test in found.failed]
    for name, test in failures:
        print(f"failed on {name}: {test}")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
