"""The loops that run captured tables: kernels themselves, by the same calling convention.

A team of threads walks one table. Each record says how many threads share its range, and
whether all must meet before it: a barrier is an atomic count that the waiting threads watch
(0.2 us), so a whole step needs no call into the operating system.

The team talks through an array of words: see the constants below.
"""

from __future__ import annotations

from typing import Any

from graphc.runtime import intrinsics
from graphc.runtime.kernel import kernel
from graphc.runtime.schedule import BARRIER, CHAIN, FACTOR, GUARD, RECORD_HEAD, SHARED

ARRIVED = 0  # arrivals at barriers, over all jobs: never reset, for a thread may still look
JOB = 8  # number of the latest job; workers wait for it to change
TABLE = 9  # address of the job's first record
WORDS = 10
TIMES = 11
BASE = 12  # arrivals before the job
AWAKE = 16  # + 8 * thread: whether the thread watches for jobs
SEEN = 17  # + 8 * thread: number of the last job it ran; the leader's (0) once all have

PATIENCE = 200
"""Turns that a barrier spins before it gives way to other threads at each further turn."""

_GRAIN = 16
"""Shares are multiples of this many iterations, so that no cache line has two writers."""


@kernel("table: int64*, words: int64, threads: int64, team: int64*, scratch: int64")
def replay(lo: int, hi: int, table: Any, words: int, threads: int, team: Any, scratch: int) -> None:
    """As thread ``lo``, run the records of ``table`` in order, ``hi`` times, or up to a verdict."""
    arrivals = team[BASE] if threads > 1 else 0
    guard = -1  # the last guard passed: all of a table share one verdict
    for _ in range(hi):
        at = 0
        while at < words:
            rows = table[at + 2]
            sharing = table[at + 3]
            if threads > 1 and sharing & BARRIER:
                arrivals += threads
                intrinsics.atomic_add(team, ARRIVED, 1)
                turns = 0
                while intrinsics.atomic_load(team, ARRIVED) < arrivals:
                    turns += 1
                    if turns < PATIENCE:
                        intrinsics.spin()
                    else:
                        intrinsics.give_way()
            start, stop = 0, rows
            if threads > 1:
                if sharing & SHARED:
                    share = (rows + threads - 1) // threads
                    if share >= 4 * _GRAIN:
                        share = (share + _GRAIN - 1) // _GRAIN * _GRAIN
                    start = min(rows, lo * share)
                    stop = min(rows, start + share)
                elif lo > 0:
                    stop = 0
            if guard >= 0 and intrinsics.follow(table, guard + RECORD_HEAD) != 0:
                stop = 0  # go on to the barriers, at which the others wait
            if sharing & GUARD:
                guard = at
            if sharing & CHAIN:
                block, head = table[at + RECORD_HEAD], at + table[at]
                at = head + table[at + RECORD_HEAD + 1]
                while start < stop:
                    last = min(stop, start + block)
                    record = head
                    while record < at:
                        factor = table[record + 3] >> FACTOR
                        for time in range(table[record + 4]):
                            further = time * table[record + 5]
                            first = start * factor + further
                            end = last * factor + further
                            intrinsics.invoke(table, record, first, end, scratch)
                        record += table[record]
                    start = last
            else:
                if start < stop:
                    factor = sharing >> FACTOR
                    for time in range(table[at + 4]):
                        further = time * table[at + 5]
                        first, end = start * factor + further, stop * factor + further
                        intrinsics.invoke(table, at, first, end, scratch)
                at += table[at]
    if threads > 1:
        intrinsics.atomic_add(team, ARRIVED, 1)
        turns = 0
        while intrinsics.atomic_load(team, ARRIVED) < arrivals + threads:
            turns += 1
            if turns < PATIENCE:
                intrinsics.spin()
            else:
                intrinsics.give_way()
        if lo == 0:
            team[SEEN] = team[JOB]


@kernel("team: int64*, record: int64*")
def serve(lo: int, hi: int, team: Any, record: Any) -> None:
    """As worker ``lo``, run jobs as they are posted, until none came for ``hi`` turns.

    ``record`` is a record of :func:`replay` whose table is filled in here.
    """
    idle = 0
    while True:
        if intrinsics.atomic_load(team, JOB) != team[SEEN + 8 * lo]:
            team[SEEN + 8 * lo] += 1
            record[RECORD_HEAD] = team[TABLE]
            record[RECORD_HEAD + 1] = team[WORDS]
            intrinsics.invoke(record, 0, lo, team[TIMES], 0)
            idle = 0
            continue
        idle += 1
        if idle < hi:
            intrinsics.spin()
            continue
        intrinsics.atomic_store(team, AWAKE + 8 * lo, 0)
        if intrinsics.atomic_load(team, JOB) == team[SEEN + 8 * lo]:
            return
        intrinsics.atomic_store(team, AWAKE + 8 * lo, 1)
