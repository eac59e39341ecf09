"""The threads that share a step.

Workers are Python threads that spend their time in compiled code without the interpreter's
lock. After a job they watch for the next one for a moment, so that a training loop in Python
does not pay for waking them at every step, and then sleep.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from graphc.build.loader import LOADER
from graphc.ir.op import Array
from graphc.ir.source import address_of, aligned_empty
from graphc.lazy import lazy_module
from graphc.run.replay import (
    ARRIVED,
    AWAKE,
    BASE,
    JOB,
    SEEN,
    TABLE,
    TIMES,
    WORDS,
    replay,
    serve,
)
from graphc.schedule.levels import RECORD_HEAD

if TYPE_CHECKING:
    from graphc.emit import shape
else:
    shape = lazy_module("graphc.emit.shape")  # it asks LLVM about the processor

_WATCH_TURNS = 20_000
"""Turns that an idle worker watches for the next job: about 0.2 ms."""

_ENTRY = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)


_current_cpu = ctypes.CDLL(None).sched_getcpu if sys.platform == "linux" else lambda: 0


class _Own(threading.local):
    """What each Python thread that runs tables has for itself."""

    def __init__(self) -> None:
        self.scratch = aligned_empty(shape.scratch_bytes())
        self.place = address_of(self.scratch)
        self.record = np.zeros(5, np.int64)
        """With which :func:`replay` walks a table."""
        self.address = address_of(self.record)
        self.table: Array | None = None
        """What the record says; none while it is written, which Ctrl-C may interrupt."""


class Team:
    """Replays tables on ``threads`` threads, the caller's included; one job at a time."""

    def __init__(self, threads: int) -> None:
        entries, _ = LOADER.load([replay, serve])
        self.threads = threads
        self._entries = entries  # keeps the code
        self._replay_address = entries[replay.name]
        self._replay = _ENTRY(self._replay_address)
        self._serve = _ENTRY(entries[serve.name])
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._own = _Own()
        self._words = np.zeros(AWAKE + 8 * (threads + 1), np.int64)
        self._wake = [threading.Semaphore(0) for _ in range(1, threads)]
        self._places: dict[int, set[int]] = {}  # processors of each worker, by its system number
        for worker in range(1, threads):
            threading.Thread(target=self._work, args=(worker,), daemon=True).start()

    def run(self, table: Array, times: int) -> None:
        """Replay ``table`` ``times`` times.

        If another Python thread has the team at work, this one runs alone.
        """
        alone = self.threads > 1 and not self._lock.acquire(blocking=False)
        if alone:
            words = [address_of(table), len(table), 1, 0, address_of(self._own.scratch)]
            alone_record = np.array(words, np.int64)
            self._replay(address_of(alone_record), 0, times, 0)
            return
        record = self._recorded(table)
        if self.threads == 1:
            self._replay(record, 0, times, 0)
            return
        try:
            self._post(table, times)
            self._replay(record, 0, times, 0)
        finally:
            if self._words[SEEN] != self._words[JOB]:
                self._catch_up(record, times)
            self._lock.release()

    def _catch_up(self, record: int, times: int) -> None:
        """Do the leader's part of a job after Ctrl-C came when it had just been posted.

        The other threads are at it or wait for it, and a step is finished once begun.
        """
        for wake in self._wake:
            wake.release()
        self._replay(record, 0, times, 0)

    def rest(self) -> None:
        """Return when no worker is in compiled code, or after a second.

        Those of a parent process are not here.
        """
        if self._process != os.getpid():
            return
        deadline = time.monotonic() + 1.0  # an interrupted call may have left a worker asleep
        while any(self._words[AWAKE + 8 * w] for w in range(1, self.threads)):
            if time.monotonic() > deadline:
                return
            time.sleep(1e-4)

    def _recorded(self, table: Array) -> int:
        """Return the address of this thread's record, after it says ``table``."""
        own = self._own
        if own.table is not table:
            own.table = None
            own.record[:] = (
                address_of(table), len(table), self.threads, address_of(self._words), own.place
            )  # fmt: skip
            own.table = table
        return own.address

    def _post(self, table: Array, times: int) -> None:
        words = self._words
        words[BASE] = words[ARRIVED]
        words[TABLE], words[WORDS], words[TIMES] = address_of(table), len(table), times
        words[JOB] += 1
        fence = threading.Lock()
        with fence:  # an atomic operation: what follows reads after JOB is written
            pass
        for worker, wake in enumerate(self._wake, 1):
            if words[AWAKE + 8 * worker] == 0:
                self._keep_apart()
                words[AWAKE + 8 * worker] = 1
                wake.release()

    def _keep_apart(self) -> None:
        """Keep the workers off this thread's processor.

        The system likes to wake a thread where it was woken from; there it would wait until this
        thread's time is up, as this thread does for it at the first barrier.
        """
        if sys.platform != "linux":
            return
        allowed = os.sched_getaffinity(0)
        others = allowed - {_current_cpu()} or allowed
        for thread, place in self._places.items():
            if place != others:
                os.sched_setaffinity(thread, others)
                self._places[thread] = others

    def _work(self, worker: int) -> None:
        if sys.platform == "linux":
            self._places[threading.get_native_id()] = set()
        head = [0, self._replay_address, *[0] * (RECORD_HEAD - 2)]
        words, scratch = address_of(self._words), address_of(self._own.scratch)
        record = np.array([*head, 0, 0, self.threads, words, scratch], np.int64)
        call = np.array([address_of(self._words), address_of(record)], np.int64)
        while True:
            self._wake[worker - 1].acquire()
            self._serve(address_of(call), worker, _WATCH_TURNS, 0)


@functools.cache
def team(threads: int) -> Team:
    """Return the team of ``threads`` threads of this process; a forked child gets its own."""
    result = Team(threads)
    atexit.register(result.rest)  # the code and the words they watch are about to go
    return result


if os.name == "posix":
    os.register_at_fork(after_in_child=team.cache_clear)
