"""How many threads a captured table runs on: whatever is faster at present.

Dividing kernels pays on an idle machine. On a busy one a thread may be off its processor when
the others wait for it at a barrier, and a step takes many times as long. So both ways are timed
now and then on a few steps, and the faster one is taken until the next trial. The results do
not depend on it.
"""

from __future__ import annotations

import time

from graphc.ir.op import Array
from graphc.runtime.team import team

TRIAL_SECONDS = 2e-3
"""Length of a trial; a single step may be longer."""

PERIOD_SECONDS = 0.25
"""From one trial to the next."""

ADVANTAGE = 0.95
"""Share of the time of one thread that several must need at most to be taken."""


class Pace:
    """Times of a step alone and shared, and the choice that follows from them."""

    def __init__(self, divisible_seconds: float, threads: int) -> None:
        self._divisible = divisible_seconds
        self._threads = threads
        self._seconds = {False: 0.0, True: 0.0}
        self._trials: list[bool] = []
        self._next_trial = 0.0
        self._shared = False

    def replay(self, table: Array, times: int) -> None:
        """Run ``table`` ``times`` times, on as many threads as are worth it."""
        threads = self._threads
        if threads == 1 or not self._divisible:
            team(1).run(table, times)
            return
        while times:
            start = time.perf_counter()
            if not self._trials and start >= self._next_trial:
                self._trials = [False, True, False, True]
            if not self._trials:
                team(threads if self._shared else 1).run(table, times)
                return
            mode = self._trials.pop()
            steps = min(times, self._steps_of_trial())
            team(threads if mode else 1).run(table, steps)
            self._note(mode, (time.perf_counter() - start) / steps)
            times -= steps

    def _steps_of_trial(self) -> int:
        alone = self._seconds[False] or 2.0 * self._divisible
        return max(1, int(TRIAL_SECONDS / alone))

    def _note(self, mode: bool, seconds: float) -> None:
        """Take a measurement; after the last of a trial, choose."""
        first = len(self._trials) >= 2
        self._seconds[mode] = seconds if first else min(seconds, self._seconds[mode])
        if not self._trials:
            self._shared = self._seconds[True] < ADVANTAGE * self._seconds[False]
            self._next_trial = time.perf_counter() + PERIOD_SECONDS
