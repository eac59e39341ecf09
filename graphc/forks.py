"""What a fork must not cut in two.

A forked process has one thread, and a copy of all memory as it was at that moment: a lock that
another thread held is never released there, and a module that it was importing never finished. So
a fork waits until no thread is amid such work (:func:`whole`) or holds one of the locks that are
known here, and keeps them until there are two processes. It waits for a kernel at most, or for a
model that is compiled.

Locks are taken in one order: those of models and executables, whose holders may compile and take
no other of them; the gate of work that is done whole; Numba's; llvmlite's.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any
from weakref import WeakSet

LIBRARY_LOCKS = {
    "numba.core.compiler_lock": "global_compiler_lock",
    "llvmlite.binding.ffi": "lib._lock",
}
"""Where the locks of other libraries are, once these have been imported, whoever did.

That they are there is checked where graphc imports the libraries, in :mod:`graphc.jit`.
"""


BEHIND = ("logging", "concurrent.futures.thread")
"""Modules that take a lock of their own at a fork, which those that we wait for may wait for."""


class _Gate:
    """Lets any number of threads in, and none while a fork is under way."""

    def __init__(self, depth: int = 0) -> None:
        self._changed = threading.Condition()
        self._inside: Counter[int] = Counter()
        self._closed = False
        if depth:
            self._inside[threading.get_ident()] = depth

    def enter(self) -> None:
        own = threading.get_ident()
        with self._changed:
            while self._closed and own not in self._inside:
                self._changed.wait()
            self._inside[own] += 1

    def leave(self) -> None:
        own = threading.get_ident()
        with self._changed:
            self._inside[own] -= 1
            if not self._inside[own]:
                del self._inside[own]
            self._changed.notify_all()

    def close(self) -> None:
        """Return when no other thread is inside; none will be until :meth:`open`."""
        own = threading.get_ident()
        with self._changed:
            self._closed = True
            while self._inside.keys() - {own}:
                self._changed.wait()

    def open(self) -> None:
        with self._changed:
            self._closed = False
            self._changed.notify_all()

    def copied(self) -> _Gate:
        """Return the gate of a forked process, where this thread is as far inside as it was."""
        return _Gate(self._inside[threading.get_ident()])


class _Forks:
    """What is held while a process forks."""

    def __init__(self) -> None:
        self.gate = _Gate()
        self._one = threading.RLock()
        """One fork at a time, and none while a lock is added."""
        self._locks: WeakSet[Any] = WeakSet()
        self._held: list[Any] = []
        self._depth, self._owner = 0, 0
        self._behind: set[str] | None = None
        """Those of :data:`BEHIND` that Python calls after us."""

    def lock(self) -> Any:
        """Return a new lock, which a forked process finds released."""
        lock = threading.RLock()
        with self._one:
            self._locks.add(lock)
        return lock

    def register(self) -> None:
        """Have Python call us at a fork before all others: who registers last is called first.

        Else a thread may wait for a lock of theirs, and the fork, which holds it, for that thread.
        """
        if not hasattr(os, "register_at_fork"):
            return
        behind = sys.modules.keys() & BEHIND
        if self._behind is not None and behind <= self._behind:
            return
        self._behind = behind
        os.register_at_fork(
            before=self._before, after_in_parent=self._after, after_in_child=self._after_in_child
        )

    def _before(self) -> None:
        self._one.acquire()
        self._owner = threading.get_ident()
        self._depth += 1
        if self._depth > 1:  # registered twice
            return
        for lock in self._locks:
            self._take(lock)
        self.gate.close()
        for name, place in LIBRARY_LOCKS.items():
            module = sys.modules.get(name)
            try:
                lock = None if module is None else attrgetter(place)(module)
            except AttributeError:  # it is being imported, by a thread that is not ours
                continue
            if lock is not None:
                self._take(lock)

    def _take(self, lock: Any) -> None:
        lock.__enter__()
        self._held.append(lock)

    def _after(self) -> None:
        if self._owner != threading.get_ident():  # Ctrl-C came before anything was held
            return
        self._depth -= 1
        if not self._depth:
            while self._held:
                self._held.pop().__exit__(None, None, None)
            self.gate.open()
            self._owner = 0
        self._one.release()

    def _after_in_child(self) -> None:
        if self._depth == 1:
            self.gate = self.gate.copied()
        self._after()


_FORKS = _Forks()
_FORKS.register()

lock = _FORKS.lock


@contextmanager
def whole(*, logs: bool = True) -> Iterator[None]:
    """Do what this block does whole, or not at all, as a forked process sees it.

    The block waits for no other thread that does so, and ``logs`` unless it is certain that
    nothing in it imports :mod:`logging`, which takes milliseconds.
    """
    if logs:
        importlib.import_module("logging")
    _FORKS.register()
    _FORKS.gate.enter()
    try:
        yield
    finally:
        _FORKS.gate.leave()
