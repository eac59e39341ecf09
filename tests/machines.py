"""The tests on other machines than this one: ``python -m tests.machines [--quick] [name ...]``.

Each machine is this one with other caches, fewer instructions, threads or processors, which the
environment says to a process of its own. What this processor has not is compiled for and read, not
run. A machine runs the tests that it can change (``tests/kinds.py`` says which these are), and one
of each kind runs all. Prints a table, and what failed below it; the exit code is 1 if anything did.

A machine that passed is passed over until there is another commit, so that a run may be stopped and
begun again; with uncommitted changes every machine runs.

``read`` compiles for processors that are not here, AVX-512 and 64-bit Arm among them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass, field
from pathlib import Path

from graphc.jit.processor import features, target
from graphc.jit.versions import installed
from tests.kinds import CACHES, ROOT, THREADS, VECTORS, files_of

KEPT = ROOT / "build" / "machines"
"""Where it is written what passed."""

_LIMIT = 3600
"""Seconds after which a machine's tests are taken to hang."""

_GEMM, _VMATH = "tests/unit/test_gemm.py::test_", "tests/unit/test_vmath.py::test_"
_BITS = _GEMM + "bits_depend_neither_on_form_nor_on_parts"
QUICK = {
    CACHES: (_BITS, "tests/unit/test_runtime_schedule.py", "tests/test_tiny.py"),
    VECTORS: (
        _GEMM + "random_shapes_strides_and_parts",
        _BITS,
        _VMATH + "error_of_one_operand",
        _VMATH + "error_of_powers_near_one",
        _VMATH + "an_element_has_the_same_bits_in_a_vector_as_alone",
        "tests/test_tiny.py",
    ),
    THREADS: (
        "tests/e2e/test_threads.py",
        "tests/unit/test_runtime_ownership.py",
        "tests/test_tiny.py",
    ),
}
"""Some tests of each kind, which take seconds."""

READ = "tests/unit/test_cross_compiled.py"
"""Compiles for processors that are not there, and reads what comes out."""

ALONE = (READ, "tests/unit/test_machines.py")
"""Ask for machines of all kinds themselves, and find the same on each."""


@dataclass(frozen=True)
class Machine:
    """A machine, and how to run a process as if on it."""

    name: str
    kinds: tuple[str, ...] = ()
    """What about it is another: the tests of these kinds run."""
    whole: bool = False
    """Whether all tests run."""
    quick: bool = False
    """Whether ``--quick`` runs some tests of its kinds; else it leaves the machine out."""
    environment: dict[str, str] = field(default_factory=dict)
    needs: frozenset[str] = frozenset()
    """The features that its code may use."""
    processors: int = 0
    """How many the process may use; 0 for all."""
    read: bool = False
    """Whether its code is read, not run."""

    def tests(self, quick: bool = False) -> list[str]:
        """Return the tests to run; none stands for all."""
        if self.read:
            return [READ]
        if self.whole and not quick:
            return []
        named = {t for kind in self.kinds for t in (QUICK[kind] if quick else files_of(kind))}
        return sorted(named - {*ALONE})

    def lack(self) -> str:
        """Return why this machine cannot be had here, or nothing."""
        if not features() >= self.needs:
            return f"this processor has no {', '.join(sorted(self.needs - features()))}"
        if self.processors and not hasattr(os, "sched_setaffinity"):
            return "this system binds no process to processors"
        return ""


def _caches(text: str, name: str = "", **options: bool) -> Machine:
    return Machine(name or text, (CACHES,), environment={"GRAPHC_MACHINE": text}, **options)


def _processor(name: str, cpu: str, chosen: str, *needs: str, **options: bool) -> Machine:
    environment = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": chosen}
    needed = frozenset({"sse2", *needs})
    return Machine(name, (VECTORS,), environment=environment, needs=needed, **options)


def _threads(count: int) -> Machine:
    return Machine(f"threads={count}", (THREADS,), environment={"GRAPHC_THREADS": str(count)})


MACHINES = [
    Machine(
        "host",
        (CACHES, VECTORS, THREADS),
        environment={"GRAPHC_MACHINE": "", "GRAPHC_CALIBRATE": "1"},
    ),
    _caches("l1=32K,l2=256K", whole=True, quick=True),
    _caches("l1=32K,l2=512K"),
    _caches("l1=48K,l2=1M"),
    _caches("l1=48K,l2=2M"),
    _caches("l1=32K,l2=4M"),
    _caches("l1=64K,l2=16M"),
    _caches("l1=unknown,l2=unknown,l3=unknown", name="unknown", quick=True),
    _processor("avx512", "skylake-avx512", "", "avx512f", "avx512dq", "avx512vl", "avx512bw"),
    _processor("avx2", "haswell", "", "avx2", "fma", "bmi2"),
    _processor("avx2-no-fma", "haswell", "-fma", "avx2", "bmi2", quick=True),
    _processor("avx", "sandybridge", "", "avx"),
    _processor("sse4.2", "nehalem", "", "sse4.2"),
    _processor("sse2", "generic", "", whole=True, quick=True),
    Machine(
        "avx-off",
        (VECTORS,),
        environment={"NUMBA_ENABLE_AVX": "0"},
        needs=frozenset({"sse2"}),
    ),
    Machine("read", quick=True, read=True),
    *map(_threads, (1, 2, 4)),
    Machine("processors=1", (THREADS,), whole=True, quick=True, processors=1),
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


def run(machine: Machine, tests: list[str], jobs: str = "auto") -> Outcome:
    """Run tests in processes that are told to be on ``machine``."""
    if why := machine.lack():
        return Outcome(why=why)
    start, found = time.perf_counter(), Outcome()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", "-n", jobs, f"--junitxml={report}", *tests]
        allowed = (
            sorted(os.sched_getaffinity(0))[: machine.processors] if machine.processors else []
        )
        with subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **machine.environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=(lambda: os.sched_setaffinity(0, allowed)) if allowed else None,
        ) as process:  # fmt: skip
            try:
                said = process.communicate(timeout=_LIMIT)[0]
            except BaseException as error:
                process.terminate()  # its workers end with it
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                said = f"it did not end within {_LIMIT} s\n" + process.communicate()[0]
        if report.exists():
            _read(report, found)
        if not report.exists() or (process.returncode and not found.failed):
            found.failed.append(f"the process ended with {process.returncode}:\n{said[-2000:]}")
    found.seconds = time.perf_counter() - start
    return found


def _read(report: Path, found: Outcome) -> None:
    """Count the tests of a report of pytest's."""
    for case in ET.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            path = f"{case.get('classname', '').replace('.', '/')}.py"
            found.failed.append(f"{path}::{case.get('name')}")
        elif "skipped" in kinds:
            found.skipped += 1
        else:
            found.passed += 1


# -- what passed before ----------------------------------------------------------------------------


def commit() -> str:
    """Return the commit that is checked out, or nothing if it is not what is there."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else "?"

    try:
        return "" if git("status", "--porcelain") else git("rev-parse", "HEAD").strip("?\n")
    except OSError:  # no git here
        return ""


def _place(machine: Machine, tests: list[str], commit: str) -> Path:
    """Return the file that says that these tests passed on a machine, with these versions."""
    versions = [installed(name) for name in ("numba", "llvmlite", "numpy")]
    told = sorted(i for i in os.environ.items() if i[0].startswith(("GRAPHC_", "NUMBA_")))
    facts = repr((machine, tests, commit, sys.version, versions, target(), told))
    return KEPT / f"{hashlib.sha256(facts.encode()).hexdigest()[:16]}.json"


def remembered(machine: Machine, tests: list[str], jobs: str, commit: str) -> tuple[Outcome, bool]:
    """Run tests on a machine, unless they passed there before; return whether they did."""
    place = _place(machine, tests, commit)
    if commit and place.exists():
        return Outcome(**json.loads(place.read_text())), True
    found = run(machine, tests, jobs)
    if commit and found.passed and not found.failed:
        KEPT.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(asdict(found)))
    return found, False


BEFORE = "passed before"


# -- the command -----------------------------------------------------------------------------------


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.machines", description=__doc__)
    parser.add_argument(
        "machines", nargs="*", metavar="name", help="machines; all if none is named"
    )
    parser.add_argument("--list", action="store_true", help="print the machines and run nothing")
    parser.add_argument("--quick", action="store_true", help="some tests on some machines: minutes")
    parser.add_argument("--tests", action="append", metavar="PATH", help="these tests, no others")
    parser.add_argument("--again", action="store_true", help="run what passed before, too")
    parser.add_argument("-n", default="auto", metavar="N", help="processes of each machine's tests")
    given = parser.parse_args()
    unknown = set(given.machines) - {m.name for m in MACHINES}
    if unknown:
        parser.error(f"no machine {', '.join(sorted(unknown))}; see --list")
    return given


def _numbers(found: Outcome) -> str:
    return f"{found.passed:8}{len(found.failed):8}{found.skipped:8}{found.seconds:9.0f}"


def table(rows: list[tuple[str, Outcome, str]]) -> str:
    """Return machines, what their tests came to and a note, and below what failed."""
    lines = [
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors",
        f"{'machine':16}{'passed':>8}{'failed':>8}{'skipped':>8}{'seconds':>9}",
    ]
    for name, found, note in rows:
        lines.append(f"{name:16}{found.why or _numbers(found)}  {note}".rstrip())
    seconds = sum(found.seconds for _, found, note in rows if note != BEFORE)
    lines.append(f"{len(rows)} machines in {seconds / 60:.0f} minutes")
    lines += [f"failed on {name}: {test}" for name, found, _ in rows for test in found.failed]
    return "\n".join(lines)


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
    rows: list[tuple[str, Outcome, str]] = []
    try:
        at = "" if given.again else commit()
        for machine in chosen:
            tests = given.tests or machine.tests(given.quick)
            found, before = remembered(machine, tests, given.n, at)
            note = BEFORE if before else " ".join(machine.kinds) if tests else "all tests"
            rows.append((machine.name, found, note))
            said = [f"{machine.name:16}{found.why or _numbers(found)}", *found.failed]
            print("\n  ".join(said), file=sys.stderr, flush=True)
    finally:
        print(table(rows), flush=True)
    return any(found.failed for _, found, _ in rows)


if __name__ == "__main__":
    sys.exit(main())
