"""Modules that load when they are first used: whole, once, and for all threads at once."""

from __future__ import annotations

import sys
import threading

import pytest

from graphc.lazy import lazy_module, loaded

SLOW = """
import threading, time
executed = globals().get("executed", 0) + 1
time.sleep(0.2)
late = executed
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that writes a module and returns it, not yet loaded."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(text):
        name = f"lazy_{len(list(tmp_path.iterdir()))}_{abs(hash(str(tmp_path)))}"
        (tmp_path / f"{name}.py").write_text(text)
        return lazy_module(name)

    return make


def test_it_loads_at_the_first_access(module):
    made = module("value = 3")
    assert made.__name__ not in sys.modules
    assert made.value == 3
    assert sys.modules[made.__name__] is loaded(made)
    assert lazy_module(made.__name__) is loaded(made)
    made.value = 4
    assert loaded(made).value == 4
    del made.value
    assert not hasattr(made, "value")
    assert loaded(sys) is sys


def test_no_thread_sees_half_of_it(module):
    made = module(SLOW)
    start, problems = threading.Barrier(8), []

    def use():
        start.wait()
        try:
            assert made.late == 1
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_what_fails_fails_again_in_the_same_words(module):
    made = module("before = 1\nraise ImportError('no such library')")
    for name in ("before", "after", "before"):
        with pytest.raises(ImportError, match="no such library"):
            getattr(made, name)


def test_a_module_that_there_is_not():
    with pytest.raises(ImportError, match="no module named 'nowhere_to_be_found'"):
        lazy_module("nowhere_to_be_found")


RACE = """
import threading
import numpy as np
import graphc as gx
start, problems = threading.Barrier(6), []

def work(i):
    start.wait()
    try:
        x = gx.input("x", (7,))
        gx.function(x, gx.sum(gx.tanh(x * (i + 1.5))))(np.ones(7, "float32"))
    except BaseException as problem:
        problems.append(problem)

threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(problems)
"""


def test_threads_that_are_all_the_first_to_compile(run_python):
    for _ in range(4):  # at first all compile; later, the code is in the cache
        assert run_python(RACE).strip() == "[]"
