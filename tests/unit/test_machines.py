"""``python -m tests.machines``: machines that are told to processes, and a table of what failed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from graphc.config import Options
from tests import machines
from tests.kinds import CACHES, MODULES, ROOT, SMALL, THREADS, VECTORS, files_of, kinds
from tests.machines import MACHINES, Machine
from tests.thresholds import MACHINE


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "tests.machines", *words], cwd=ROOT, capture_output=True, text=True
    )  # fmt: skip


def test_machines_are_listed():
    done = command("--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [m.name for m in MACHINES]
    assert "no machine pdp11" in command("pdp11").stderr


def test_tests_that_are_named_exist():
    for test in {t for m in MACHINES for quick in (True, False) for t in m.tests(quick)}:
        path, _, name = test.partition("::")
        assert not name or re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE)
        assert (ROOT / path).exists()


def test_caches_of_all_sizes_are_among_them():
    ordinary = Machine("", environment={"GRAPHC_MACHINE": "l1=32K,l2=1M"})  # tests/conftest.py's
    told = [m.environment.get("GRAPHC_MACHINE", "") for m in (*MACHINES, ordinary)]
    said = [Options(machine=text).caches() for text in told]
    assert {c[1] >> 10 for c in said if 1 in c} == {32, 48, 64, 0}
    assert {c[2] >> 10 for c in said if 2 in c} == {256, 512, 1024, 2048, 4096, 16384, 0}


def test_tests_mean_the_machine_that_conftest_names():
    """Whatever caches there are where they run: who asks for these, says another machine first."""
    code = "import conftest; from graphc import machine; print(machine.known().caches)"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRAPHC_")}
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert found.split() == [f"({32 << 10},", f"{1 << 20},", f"{16 << 20})"]


# -- which tests a machine runs --------------------------------------------------------------------


@pytest.mark.parametrize(("text", "wanted"), [
    ("from graphc.machine import known\nknown().caches", {CACHES, VECTORS}),
    ("from graphc import machine\nmachine.this()", {CACHES, VECTORS}),
    ("def test(machine):\n    machine('l1=32K')", {CACHES}),
    ("def test(run_python):\n    run_python('', GRAPHC_MACHINE='l2=1M')", {CACHES}),
    ("from graphc.emit import shape\nshape.TARGET", {CACHES, VECTORS}),
    ("from graphc.jit.processor import features", {VECTORS}),
    ("monkeypatch.setattr('graphc.emit.vmath.lower.has_wide', None)", {VECTORS}),
    ("from compiled import build\nbuild(graph)", {VECTORS}),
    ("from tests.kernels import Compiled", {VECTORS}),
    ("import tests.ops.harness", {VECTORS}),
    ("def test(golden):\n    golden('a.py', '')", {VECTORS}),
    ("from graphc.config import options\noptions().threads", {THREADS}),
    ("options().thread_count()", {THREADS}),
    ("import graphc as gx\ngx.config(threads=2)", {THREADS}),
    ("from graphc.run.team import team", {THREADS}),
    ("os.sched_setaffinity(0, {1})", {THREADS}),
    ("from graphc.schedule import levels", {CACHES, THREADS}),
    ("import graphc as gx\nx = gx.input('threads', (None, 4))", set()),
    ("from graphc import viz", set()),
])  # fmt: skip
def test_a_file_that_asks_for_a_machine_is_of_its_kind(text, wanted):
    assert kinds(text) == wanted


def test_files_of_what_asks_for_the_machine_run_on_others():
    """Those that the register of thresholds names, and what goes through the whole compiler."""
    found = {test for kind in MODULES for test in files_of(kind)}
    named = {"tests/" + test.partition("::")[0] for test in MACHINE.values() if test}
    assert named | set(SMALL) <= found
    for kind, modules in MODULES.items():
        assert set(SMALL) < set(files_of(kind))
        for module in modules - {"compiled", "kernels", "thresholds", "ops.harness"}:
            path = ROOT / module.replace(".", "/")
            assert path.exists() or path.with_suffix(".py").exists(), module


def test_one_machine_of_each_kind_runs_all():
    for kind in MODULES:
        of_it = [m for m in MACHINES if m.kinds == (kind,)]
        assert [m.tests() for m in of_it].count([]) == 1
        wanted = sorted({*files_of(kind)} - {*machines.ALONE})
        assert all(m.tests() == wanted for m in of_it if not m.whole)
        assert any(m.tests(quick=True) for m in of_it if m.quick)
    assert all(m.kinds or m.read for m in MACHINES)


# -- running them ----------------------------------------------------------------------------------

TESTS = """
import os, pytest
def test_environment():
    assert os.environ["COLOUR"] == "green"
def test_processors():
    assert len(os.sched_getaffinity(0)) == 1
@pytest.mark.skip
def test_skipped():
    pass
"""


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # JAX's, if another test imported it
def test_a_machine_is_run_and_its_failures_are_named(tmp_path, monkeypatch, capsys):
    file = tmp_path / "test_green.py"
    file.write_text(TESTS)
    green = Machine("green", environment={"COLOUR": "green"}, processors=1)
    blue = Machine("blue", environment={"COLOUR": "blue"}, needs=frozenset({"64bit"}))
    other = Machine("other", needs=frozenset({"of another processor"}))
    monkeypatch.setattr(machines, "MACHINES", [green, blue, other])
    monkeypatch.setattr(machines, "features", lambda: frozenset({"64bit"}))
    monkeypatch.setattr(sys, "argv", ["machines", "--tests", str(file)])
    alone = len(machines.os.sched_getaffinity(0)) == 1
    assert machines.main() == 1
    rows = {line.split()[0]: line.split()[1:4] for line in capsys.readouterr().out.splitlines()}
    assert rows["green"] == ["2", "0", "1"]
    assert rows["blue"] == (["1", "1", "1"] if alone else ["0", "2", "1"])
    assert rows["other"] == ["this", "processor", "has"]
    monkeypatch.setattr(sys, "argv", ["machines", "green", "--tests", str(file)])
    assert machines.main() == 0


def test_what_passed_is_not_run_again_for_the_same_commit(tmp_path, monkeypatch):
    file = tmp_path / "test_once.py"
    file.write_text("def test_once():\n    pass\n")
    monkeypatch.setattr(machines, "KEPT", tmp_path / "kept")
    ran = []
    run = machines.run
    monkeypatch.setattr(machines, "run", lambda *a: ran.append(a) or run(*a))

    def again(machine=Machine("host"), commit="a1"):
        before = len(ran)
        found, passed = machines.remembered(machine, [str(file)], "0", commit)
        assert passed == (len(ran) == before)
        return passed, found.passed, len(found.failed)

    assert [again() for _ in range(2)] == [(False, 1, 0), (True, 1, 0)]
    assert again(commit="b2") == (False, 1, 0)
    assert again(Machine("sse", environment={"NUMBA_CPU_NAME": "generic"})) == (False, 1, 0)
    assert [again(commit="") for _ in range(2)] == [(False, 1, 0)] * 2
    file.write_text("def test_once():\n    assert not 1\n")
    assert [again(commit="c3") for _ in range(2)] == [(False, 0, 1)] * 2


def test_changes_that_are_not_committed_are_no_commit(tmp_path, monkeypatch):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    if shutil.which("git") is None:
        pytest.skip("no git here")
    monkeypatch.setattr(machines, "ROOT", tmp_path)
    assert machines.commit() == ""
    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    assert re.fullmatch("[0-9a-f]{40}", machines.commit())
    (tmp_path / "file").write_text("2")
    assert machines.commit() == ""


def test_a_process_that_dies_has_failed(tmp_path):
    file = tmp_path / "test_end.py"
    file.write_text("import os\n\ndef test_end():\n    os.abort()\n")
    (failed,) = machines.run(Machine("host"), [str(file)], "0").failed
    assert "the process ended with -6" in failed
    (failed,) = machines.run(Machine("host"), [str(file)], "1").failed
    assert "test_end" in failed


def test_a_process_that_hangs_has_failed(tmp_path, monkeypatch):
    file = tmp_path / "test_long.py"
    file.write_text("import time\n\ndef test_long():\n    time.sleep(100)\n")
    monkeypatch.setattr(machines, "_LIMIT", 5)
    (failed,) = machines.run(Machine("host"), [str(file)], "0").failed
    assert "it did not end within 5 s" in failed
