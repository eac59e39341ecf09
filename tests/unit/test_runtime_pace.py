"""The choice between one thread and several, on a clock that only steps move."""

from __future__ import annotations

import pytest

from graphc.run import pace as module
from graphc.run.pace import PENALTY_SECONDS, PERIOD_SECONDS, Pace


class Machine:
    """A team whose steps take as long as it says, for one thread and for several."""

    def __init__(self, alone, shared):
        self.cost = {1: alone, 2: shared}
        self.now = 100.0
        self.log = []

    def perf_counter(self):
        return self.now

    def team(self, threads):
        self.threads = threads
        return self

    def run(self, table, times):
        cost = self.cost[self.threads]
        seconds = sum(cost() for _ in range(times)) if callable(cost) else cost * times
        self.now += seconds
        self.log.append((self.threads, times, seconds))

    def share(self, since=0):
        """Return the share of the steps that ran on several threads."""
        runs = self.log[since:]
        return sum(n for t, n, _ in runs if t == 2) / sum(n for _, n, _ in runs)


@pytest.fixture
def machine(monkeypatch):
    result = Machine(100e-6, 60e-6)
    monkeypatch.setattr(module, "team", result.team)
    monkeypatch.setattr(module, "time", result)
    return result


@pytest.mark.parametrize("times", [1, 7, 10_000])
def test_what_is_faster_is_taken(machine, times):
    pace = Pace(1.0, 2)
    for _ in range(30_000 // times):
        pace.replay(None, times)
    assert machine.share() > 0.95
    assert sum(n for _, n, _ in machine.log) == 30_000 // times * times


@pytest.mark.parametrize("times", [1, 1000])
def test_one_thread_is_kept_where_several_are_slower(machine, times):
    machine.cost[2] = 500e-6
    pace = Pace(1.0, 2)
    for _ in range(30_000 // times):
        pace.replay(None, times)
    slow = sum(s for t, _, s in machine.log if t == 2)
    assert slow < 0.05 * sum(s for _, _, s in machine.log)


def test_one_unlucky_trial_is_soon_made_good(machine):
    pace = Pace(1.0, 2)
    machine.cost[2] = 5e-3  # the first trial
    while machine.log[-1:] != [(2, 1, 5e-3)] * 1 or len(machine.log) < 3:
        pace.replay(None, 1)
    pace.replay(None, 1)
    machine.cost[2] = 60e-6
    start, first = machine.now, len(machine.log)
    while machine.now < start + 0.1:
        pace.replay(None, 1)
    assert machine.share(first) > 0.7


def test_a_machine_that_becomes_busy_is_noticed_at_once(machine):
    pace = Pace(1.0, 2)
    for _ in range(2000):
        pace.replay(None, 1)
    assert machine.log[-1][0] == 2
    machine.cost[2] = 400e-6
    start, first = machine.now, len(machine.log)
    while machine.now < start + PERIOD_SECONDS:
        pace.replay(None, 1)
    assert machine.share(first) < 0.2


def test_trials_that_promise_too_much_become_rare(machine):
    """Short trials between the other program's turns look well; whole periods do not."""
    luck = iter(range(10**9))
    machine.cost[2] = lambda: 50e-6 if next(luck) % 400 < 80 else 450e-6
    pace = Pace(1.0, 2)
    while machine.now < 100.0 + 10 * PENALTY_SECONDS:
        pace.replay(None, 1)
    steps = sum(n for _, n, _ in machine.log)
    assert (machine.now - 100.0) / steps < 1.25 * machine.cost[1]


def test_one_thread_and_short_steps_are_never_tried(machine):
    for pace in (Pace(1.0, 1), Pace(0.0, 2)):
        for _ in range(100):
            pace.replay(None, 10)
    assert {t for t, _, _ in machine.log} == {1}
