"""What a fork waits for, and in what state it leaves both processes."""

from __future__ import annotations

import os
import threading
import time

import pytest
from llvmlite.binding import ffi
from numba.core.compiler_lock import global_compiler_lock

from graphc import forks
from graphc.cached import cached_property, made_once
from graphc.forks import whole

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),  # of JAX, where it is installed
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),  # Python 3.12
]


def in_a_child(check):
    """Return whether ``check()`` is true in a forked process, which must end soon."""
    child = os.fork()
    if not child:
        found = False
        try:
            found = check()
        finally:
            os._exit(not found)
    for _ in range(2000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


def takes(lock):
    """Tell whether a new thread can take a lock."""

    def take():
        with lock:
            found.append(1)

    found = []
    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    thread.join(5)
    return bool(found)


class Inside:
    """A thread that does something whole, or holds a lock, for a moment."""

    def __init__(self, block, seconds=0.2):
        self.entered, self.seconds, self.left = threading.Event(), seconds, False
        self.thread = threading.Thread(target=self.run, args=(block,))
        self.thread.start()
        assert self.entered.wait(5)

    def run(self, block):
        with block:
            self.entered.set()
            time.sleep(self.seconds)
            self.left = True


@pytest.mark.parametrize("kind", ["whole", "ours", "numba", "llvmlite"])
def test_a_fork_waits_for_what_others_are_amid(kind):
    lock = forks.lock()
    blocks = {"ours": lock, "numba": global_compiler_lock, "llvmlite": ffi.lib._lock}
    other = Inside(whole() if kind == "whole" else blocks[kind])
    free = [lock, global_compiler_lock, ffi.lib._lock]
    assert in_a_child(lambda: other.left and all(map(takes, [*free, whole()])))
    assert all(map(takes, [*free, whole()]))
    other.thread.join()


def test_a_fork_amid_work_of_the_same_thread_goes_on():
    def child():
        left = not forks._FORKS.gate._inside.keys() - {threading.get_ident()}
        return left and forks._FORKS.gate._inside[threading.get_ident()] == 2

    with whole(), whole(), global_compiler_lock:
        assert in_a_child(child)
    assert not forks._FORKS.gate._inside


def test_two_threads_fork_at_once():
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(in_a_child(lambda: takes(whole()))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [True] * 4


def test_an_interrupt_while_a_fork_waits_leaves_the_gate_open(monkeypatch):
    def strike():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(forks._FORKS.gate, "close", strike)
        with pytest.raises(KeyboardInterrupt):
            forks._FORKS._before()
    forks._FORKS._after()
    assert takes(whole())
    forks._FORKS._after()  # of a fork before which nothing was taken
    assert takes(whole())
    assert in_a_child(lambda: True)


# -- what is computed when it is first asked for ---------------------------------------------------


class Slow:
    """Has properties that take a moment to compute."""

    def __init__(self, seconds=0.2):
        self._making = forks.lock()
        self.begun, self.seconds, self.times = threading.Event(), seconds, 0

    def compute(self):
        self.times += 1
        self.begun.set()
        time.sleep(self.seconds)
        return self.times

    @cached_property
    def plain(self):
        return self.compute()

    @made_once
    def once(self):
        return self.compute()


@pytest.mark.parametrize("name", ["plain", "once"])
def test_a_child_has_what_another_thread_was_computing(name):
    """Nor does a thread wait for another that computes that of another object."""
    slow, quick = Slow(), Slow(0)
    other = threading.Thread(target=getattr, args=(slow, name))
    other.start()
    assert slow.begun.wait(5)
    assert getattr(quick, name) == 1
    assert "once" not in vars(slow)  # it is at it still
    assert in_a_child(lambda: getattr(slow, name) >= 1 and getattr(Slow(0), name) == 1)
    other.join()
    assert getattr(slow, name) == slow.times == 1


def test_what_is_made_once_is_made_by_one_thread():
    slow, found = Slow(), []
    threads = [threading.Thread(target=lambda: found.append(slow.once)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1, 1, 1, 1]
    assert slow.times == 1


def test_what_fails_is_computed_again():
    slow = Slow(0)
    del slow.seconds
    for name in ("plain", "once"):
        with pytest.raises(AttributeError, match="seconds"):
            getattr(slow, name)
    slow.seconds = 0
    assert (slow.plain, slow.once, slow.plain) == (3, 4, 3)
    assert Slow.plain.__doc__ == Slow.__dict__["plain"].__doc__
    assert isinstance(Slow.once, made_once)


# -- who else does something at a fork -------------------------------------------------------------

ORDER = """
import {first}
from graphc import forks
import concurrent.futures.thread as pool, logging, os, threading
with forks.whole():
    pass
close, held = forks._FORKS.gate.close, []

def take(lock):
    if found := lock.acquire(timeout=5):
        lock.release()
    held.append(not found)

def closing():
    for lock in (pool._global_shutdown_lock, logging._lock):
        thread = threading.Thread(target=take, args=(lock,))
        thread.start()
        thread.join()
    close()

forks._FORKS.gate.close = closing
child = os.fork()
if not child:
    os._exit(0)
print(os.waitpid(child, 0)[1], held)
"""


@pytest.mark.parametrize("first", ["logging", "concurrent.futures.thread", "sys"])
def test_a_fork_waits_before_others_take_their_locks(first, run_python):
    """Threads that it waits for may start others and write to logs, whoever was imported first."""
    script = "import warnings; warnings.simplefilter('ignore')\n" + ORDER.format(first=first)
    assert run_python(script) == "0 [False, False]\n"
