"""How many threads a captured table runs on: whatever is faster at present.

Dividing kernels pays on an idle machine. On a busy one a thread may be off its processor when
the others wait for it at a barrier, and a step takes many times as long. So the way that is not
taken is tried now and then for a few steps, against the average of the way that is. One
trial may be unlucky, so what lost is tried again soon, and ever later if it keeps losing. The
results do not depend on any of it.
"""

from __future__ import annotations

import time

from graphc.ir.op import Array
from graphc.run.team import team

TRIAL_SECONDS = 2e-3
"""Length of a trial; a single step may be longer."""

SOON_SECONDS = 0.01
"""From the first trial that several threads lost to the next. This and the following are seconds
of running: between calls that are far apart nothing is learned and nothing tried."""

PERIOD_SECONDS = 0.5
"""From one trial to the next of what keeps losing, or of one thread while several are better."""

PENALTY_SECONDS = 1.0
"""The longest that several threads are not tried after they turned out worse than their trial; at
first it is but a little while, for a neighbour's turn may just have ended."""

ADVANTAGE = 0.95
"""Share of the time of one thread that several must need at most to be taken."""


class Pace:
    """The average time of a step as it is run, trials of the other way, and the choice."""

    def __init__(self, divisible_seconds: float, threads: int) -> None:
        self._divide = threads > 1 and divisible_seconds > 0
        self._threads = threads
        self._shared = False
        self._seconds, self._steps = 0.0, 0  # of the way taken, since it was last compared
        self._alone = 0.0  # seconds of a step on one thread, when last known
        self._trial_seconds, self._trial_steps = 0.0, -1  # -1: none is on
        self._clock = self._next_trial = 0.0
        self._wait = SOON_SECONDS
        self._penalty = 2 * SOON_SECONDS

    def replay(self, table: Array, times: int) -> None:
        """Run ``table`` ``times`` times, on as many threads as are worth it."""
        if not self._divide:
            team(1).run(table, times)
            return
        while times:
            start = time.perf_counter()
            trial = self._trial_steps >= 0 or self._begins_trial()
            steps = min(times, self._few_steps()) if trial or not self._next_trial else times
            team(self._threads if self._shared != trial else 1).run(table, steps)
            seconds = time.perf_counter() - start
            times -= steps
            self._clock += seconds
            if trial:
                self._note_trial(seconds, steps)
            else:
                self._note(seconds, steps)

    def _begins_trial(self) -> bool:
        if self._clock < self._next_trial or self._seconds < TRIAL_SECONDS:
            return False
        self._trial_seconds, self._trial_steps = 0.0, 0
        return True

    def _few_steps(self) -> int:
        """Return how many steps to take next in a trial, or before the first.

        The first step of a trial, which wakes the threads, is taken by itself.
        """
        if not self._trial_steps or not self._steps:
            return 1
        return max(1, int(TRIAL_SECONDS * self._steps / self._seconds))

    def _note(self, seconds: float, steps: int) -> None:
        self._seconds += seconds
        self._steps += steps
        enough = self._shared and self._seconds > 2 * TRIAL_SECONDS
        if enough and self._seconds > self._alone * self._steps:
            self._next_trial = self._clock  # not what the trial promised

    def _note_trial(self, seconds: float, steps: int) -> None:
        self._trial_steps += steps
        if self._trial_steps > 1:  # the first is not counted
            self._trial_seconds += seconds
        if self._trial_seconds >= ADVANTAGE * TRIAL_SECONDS:
            self._choose()

    def _choose(self) -> None:
        """Compare the trial with the average since the last; take the better way from now on."""
        taken = self._seconds / self._steps
        tried = self._trial_seconds / (self._trial_steps - 1)
        shared, alone = (taken, tried) if self._shared else (tried, taken)
        better = shared < ADVANTAGE * alone
        if better:
            if self._shared:
                self._penalty = 2 * SOON_SECONDS
            self._wait = SOON_SECONDS
            self._next_trial = self._clock + PERIOD_SECONDS
        elif self._shared:  # worse than their trial
            self._next_trial = self._clock + self._penalty
            self._penalty = min(2 * self._penalty, PENALTY_SECONDS)
        else:
            self._next_trial = self._clock + self._wait
            self._wait = min(2 * self._wait, PERIOD_SECONDS)
        self._shared, self._alone = better, alone
        self._seconds, self._steps, self._trial_steps = 0.0, 0, -1
