"""The loops that run captured tables: kernels themselves, by the same calling convention.

A team of threads walks one table. Each record says how many threads share its range, and
whether all must meet before it: a barrier is an atomic count that the waiting threads watch
(0.2 us), so a whole step needs no call into the operating system. The code is that of
:mod:`graphc.run.walk`.

The team talks through an array of words: see the constants below.
"""

from __future__ import annotations

from typing import NoReturn

from graphc.emit.kernel import Kernel
from graphc.lazy import lazy_module

walk = lazy_module("graphc.run.walk")

ARRIVED = 0  # arrivals at barriers, over all jobs: never reset, for a thread may still look
JOB = 8  # number of the latest job; workers wait for it to change
TABLE = 9  # address of the job's first record
WORDS = 10
TIMES = 11
BASE = 12  # arrivals before the job
AWAKE = 16  # + 8 * thread: whether the thread watches for jobs
SEEN = 17  # + 8 * thread: number of the last job it ran; the leader's (0) once all have


def _never() -> NoReturn:
    raise NotImplementedError("plain Python has no table")


replay = Kernel(
    "replay", ("int64*", "int64", "int64", "int64*", "int64"), _never, lambda f: walk.emit_replay(f)
)
"""``replay(lo, hi, table, words, threads, team, scratch)``: as thread ``lo``, run the records of
``table`` in order, ``hi`` times, or up to a verdict."""

serve = Kernel("serve", ("int64*", "int64*"), _never, lambda f: walk.emit_serve(f))
"""``serve(lo, hi, team, record)``: as worker ``lo``, run jobs as they are posted, until none came
for ``hi`` turns. ``record`` is one of :data:`replay` whose table is filled in here."""
