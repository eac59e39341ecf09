"""The cost model: what a call does, and what a machine's record makes of it."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

import graphc as gx
from graphc.machine.record import CALL, TYPICAL, Rates
from graphc.plan.cost import Work, work_of


def array(*shape, dtype="float32"):
    return gx.parameter(np.ones(shape, dtype))


def only(output):
    """Return what the one call does that computes ``output``."""
    (call,) = gx.function([], output)._executable.program.calls
    return work_of(call)


@pytest.mark.parametrize(("make", "read", "written"), [
    (lambda: array(50, 40) + array(40), 4 * (2000 + 40), 8000),
    (lambda: gx.sum(array(50, 40), axis=1), 8000, 200),
    (lambda: gx.sum(array(50, 40), axis=0), 8000, 160),
    (lambda: gx.exp(array(50, 40, dtype="float64")), 16000, 16000),
    (lambda: array(50, 40) * array(50, 1), 4 * (2000 + 50), 8000),
    (lambda: gx.take(array(5000, 40), np.arange(7), axis=0), 7 * (160 + 8), 7 * 160),
])  # fmt: skip
def test_bytes_are_those_of_the_elements_touched(make, read, written):
    work = only(make())
    assert (work.read, work.written) == (read, written)


def test_rows_of_the_batch_count():
    x = gx.input("x", (None, 8))
    (call,) = gx.function(x, x * 2)._executable.program.calls
    work = work_of(call)
    assert work.nanoseconds(TYPICAL, 1000) > 5 * work.nanoseconds(TYPICAL, 100)


def test_dear_functions_cost_more_and_strides_leave_lanes_empty():
    x = array(300, 200)
    assert only(gx.exp(x)).dear > 10 * only(x * 2).lanes > 0 == only(x * 2).dear
    assert only(gx.reshape(x.T, (60_000,))).singles == 60_000
    assert only(x * 2).singles == 0


def test_running_totals_wait_where_no_lines_lie_beside_each_other():
    assert only(gx.cumulative_sum(array(300), axis=0)).waits == 300
    assert only(gx.cumulative_sum(array(300, 8), axis=0)).waits == 0


def test_steps_in_one_kernel_wait_for_each_other():
    def waits(length):
        x = gx.parameter(np.ones(length, "float32"))
        last, _ = gx.scan(lambda c, v: (gx.tanh(c * 0.5 + v), None), gx.constant(1.0), x)
        calls = gx.function([], last)._executable.program.calls
        return sum(work_of(call).waits for call in calls)

    assert waits(1000) == 100 * waits(10) > 1000


def test_the_slower_of_work_and_memory_is_what_it_takes():
    machine = replace(TYPICAL, rates=replace(TYPICAL.rates, addition=3.0))
    moved = Work(read=4096, written=0)
    assert moved.nanoseconds(machine, 1) == CALL + 4096 / machine.rates.read_first
    both = replace(moved, waits=1000)
    assert both.nanoseconds(machine, 1) == CALL + 3000
    far = Work(read=1 << 30)
    assert far.nanoseconds(machine, 1) == CALL + (1 << 30) / machine.rates.read_memory


@pytest.mark.parametrize("name", [f.name for f in fields(Rates) if f.name != "meeting"])
def test_every_rate_of_the_record_has_its_price(name):
    """A machine that is better in one rate alone is never predicted to be slower in anything."""
    better = 0.5 if name == "addition" else 2.0
    rates = replace(TYPICAL.rates, **{name: better * getattr(TYPICAL.rates, name)})
    machine = replace(TYPICAL, rates=rates)
    works = [
        Work(read=n, written=n, lanes=k, waits=w, singles=w, product=k)
        for n in (4096, 1 << 18, 1 << 23, 1 << 28)
        for k in (0, 1 << 40)
        for w in (0, 1 << 30)
    ]
    times = [(w.nanoseconds(TYPICAL, 1), w.nanoseconds(machine, 1)) for w in works]
    if not name.startswith("read_"):  # what reads faster is said to write slower
        assert all(now <= before for before, now in times)
    assert any(now < before for before, now in times) or name.startswith("read_")
