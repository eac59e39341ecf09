"""``python -m tests.machines``: machines that are told to processes, and a table of what failed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from graphc.config import Options
from tests import machines
from tests.machines import MACHINES, Machine

ROOT = Path(__file__).parents[2]


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
    for test in {t for m in MACHINES for t in m.quick}:
        path, _, name = test.partition("::")
        assert not name or re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE)
        assert (ROOT / path).exists()


def test_caches_of_all_sizes_are_among_them():
    said = [Options(machine=m.environment.get("GRAPHC_MACHINE", "")).caches() for m in MACHINES]
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


def test_a_process_that_dies_has_failed(tmp_path):
    file = tmp_path / "test_end.py"
    file.write_text("import os\n\ndef test_end():\n    os.abort()\n")
    (failed,) = machines.run(Machine("host"), [str(file)]).failed
    assert "the process ended with -6" in failed
