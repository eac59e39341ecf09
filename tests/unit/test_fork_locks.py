"""What a fork waits for, and in what state it leaves both processes."""

from __future__ import annotations

import os
import threading
import time

import pytest
from llvmlite.binding import ffi
from numba.core.compiler_lock import global_compiler_lock

from graphc import forks
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
