"""Options and helpers of all tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Every graph that a test compiles is interpreted before and after each pass, and compared.
os.environ.setdefault("GRAPHC_CHECK", "1")
# What is expected of such a machine decides, not how busy it is at the moment.
os.environ.setdefault("GRAPHC_CALIBRATE", "0")

# The machine that tests mean if they say no other: what they find does not depend on where they
# run. python -m tests.machines says others.
os.environ.setdefault("GRAPHC_MACHINE", "l1=32K,l2=1M,l3=16M")

# A shell that starts a job in the background lets it ignore Ctrl-C, and tests would wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden", action="store_true", help="write the golden files from what is generated"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Return the processes of ``pytest -n auto``: memory runs short before many processors do."""
    from graphc.config import available_cpus

    return min(available_cpus(), 4)


@pytest.fixture(scope="session", autouse=True)
def everything():
    """Load every module before a test changes one.

    What is imported while a number is another one keeps that number for all tests to come.
    """
    import pkgutil
    from importlib import import_module

    import graphc

    for found in pkgutil.walk_packages(graphc.__path__, "graphc."):
        if not found.name.endswith("__main__"):
            import_module(found.name)
    return _globals()


def _globals():
    """Return module, name and value of what is global in graphc, but for what it counts itself."""
    return [
        (module, name, value)
        for path, module in sorted(sys.modules.items())
        if path.partition(".")[0] == "graphc"
        for name, value in vars(module).items()
        if not name.startswith("_") or name.lstrip("_").isupper()
    ]


@pytest.fixture(autouse=True)
def nothing_left(everything):
    """Fail a test that leaves graphc other than it was: the tests after it would be of another.

    Asked for before ``monkeypatch``, so that it looks when that has undone what it did.
    """
    from graphc import machine
    from graphc.config import options

    def state():
        return {"the machine": machine.this(), "the options": options()}

    before = state()
    yield
    left = [what for what, value in state().items() if value != before[what]]
    for module, name, value in everything:
        if vars(module).get(name) is not value:
            left.append(f"{module.__name__}.{name}")
            setattr(module, name, value)
    assert not left, f"the test left another value of {', '.join(left)}"


@pytest.fixture
def shared(monkeypatch):
    """Divide work among all threads, whether it pays at the moment or not."""
    from graphc.config import options
    from graphc.run.team import team

    def replay(self, table, times):
        team(options().thread_count()).run(table, times)

    monkeypatch.setattr("graphc.run.pace.Pace.replay", replay)
    monkeypatch.setattr("graphc.run.table.WORTH_SCHEDULING", 0.0)
    monkeypatch.setattr("graphc.schedule.levels.MEETINGS", 0.0)


@pytest.fixture
def machine(monkeypatch):
    """Return a function that gives the test another machine: ``machine("l1=32K,l2=1M")``.

    What follows from the machine is made anew: keys of kernels, and the scratch of threads.
    """
    from graphc import machine
    from graphc.build import loader
    from graphc.config import Options
    from graphc.run.team import team

    def forget():
        machine.known.cache_clear()
        machine._tried.cache_clear()
        loader._machine.cache_clear()
        team.cache_clear()

    def use(text):
        monkeypatch.setattr(machine, "options", lambda: Options(machine=text))
        forget()

    yield use
    monkeypatch.undo()  # before what it gave is forgotten
    forget()


@pytest.fixture
def golden(request):
    """Return a function that compares a text with the golden file of that name."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.write_bytes(text.encode())
        assert path.exists(), f"no {path}; make it with pytest --update-golden"
        assert text == path.read_bytes().decode(), (
            f"{path.name} differs; if that is meant: pytest --update-golden, and read the diff"
        )

    return check


@pytest.fixture
def run_python(tmp_path):
    """Return a function that runs a script in a process of its own and returns its output.

    Keywords are environment variables (None removes one). Compiled code goes to a new folder. The
    timeout is for what hangs, on however busy a machine.
    """

    def run(script: str, *, timeout: float = 600, code: int = 0, **variables: str | None) -> str:
        environment = {**os.environ, "GRAPHC_CACHE_DIR": str(tmp_path / "cache")}
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
        )
        environment.update({k: v for k, v in variables.items() if v is not None})
        for name, value in variables.items():
            if value is None:
                environment.pop(name, None)
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, cwd=tmp_path, timeout=timeout,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == code, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    return run
