"""Loops in which each thread takes rows of its own through all steps, and no thread waits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from compiled import in_table

import graphc as gx
from graphc import nn
from graphc.config import options
from graphc.dims import Sizes
from graphc.run.pace import Pace
from graphc.run.team import team
from graphc.schedule import loops
from graphc.schedule.footprint import Slice
from graphc.schedule.levels import BARRIER, SHARED, SPLIT, Record
from graphc.schedule.loops import Repeat, own_rows, repeated

RNG = np.random.default_rng(0)


def record(extent, *slices, nanoseconds=1e6):
    return Record(1, extent, [], tuple(slices), nanoseconds, (0,))


def loop(count, *records):
    """Return a loop of records, each given as (extent, [(slice, bytes it moves in a step)])."""
    first = [record(extent, *(s for s, _ in own)) for extent, own in records]
    second = [record(extent, *(s.moved(way) for s, way in own)) for extent, own in records]
    return repeated(first, second, count, False, {})


def rows(first, stride, written=False, span=None, every=1):
    return Slice(first, stride if span is None else span, stride, every, written)


# of 8 rows: the state (8, 16 bytes), what is added in each of 20 steps, and products with a weight
STATE, GATES, WEIGHT, ADDED = 1000, 2000, 5000, 10000


def step(read=STATE, stacked=16 * 8, written=STATE):
    """A product of the state and a weight, then the state from it and from a slice."""
    weight = Slice(WEIGHT, 64, 0, 1, False)
    return [
        (8, [(rows(read, 16), 0), (weight, 0), (rows(GATES, 64, True), 0)]),
        (8, [(rows(GATES, 64), 0), (rows(ADDED, 16), stacked), (rows(written, 16, True), 0)]),
    ]


def test_a_recurrence_of_samples_needs_no_meeting():
    assert own_rows(loop(20, *step()), 2) == 8
    assert own_rows(loop(20, *step(stacked=16)), 2) == 8  # nobody writes there
    assert own_rows(loop(20, *step()), 9) == 0  # fewer rows than threads
    assert own_rows(loop(20, *step()), 1) == 0


def test_states_that_are_kept_lie_one_step_behind_the_other():
    """The state of a step is written behind that it is computed from."""
    a, b = step()
    kept = [
        (8, [(rows(20000, 16), 128), *a[1][1:]]),
        (8, [*b[1][:2], (rows(20128, 16, True), 128)]),
    ]
    assert own_rows(loop(20, *kept), 2) == 8
    shifted = [kept[0], (8, [*b[1][:2], (rows(20112, 16, True), 128)])]  # a row too early
    assert own_rows(loop(20, *shifted), 2) == 0


def test_steps_within_rows():
    """Of (rows, steps, 16 bytes) each row holds all its steps."""
    own = [(8, [(rows(0, 320, span=16), 16), (rows(320 * 8, 320, True, span=16), 16)])]
    assert own_rows(loop(20, *own), 2) == 8
    over = [(8, [(rows(0, 320, True, span=16), 16)])]
    assert own_rows(loop(20, *over), 2) == 8
    assert own_rows(loop(21, *over), 2) == 0


def test_what_rows_share_is_met_for():
    a, b = step()
    total = (8, [(rows(STATE, 16), 0), (Slice(7000, 16, 0, 1, True), 0)])  # a sum over rows
    assert own_rows(loop(20, a, b, total), 2) == 0
    crossed = (16, [(rows(STATE, 8, span=8 * 8), 0), (rows(8000, 8, True), 0)])
    assert own_rows(loop(20, a, b, crossed), 2) == 0
    scalar = (1, [(rows(9000, 8), 0), (rows(9008, 8, True), 0)])
    assert own_rows(loop(20, a, b, scalar), 2) == 0
    finer = (32, [(rows(STATE, 4), 0), (rows(8000, 4, True), 0)])  # element by element
    assert own_rows(loop(20, a, b, finer), 2) == 8


def test_what_is_too_short_or_looks_at_memory_is_left_alone():
    short = loop(20, *step())
    short.parts = [record(8, *r.slices, nanoseconds=0.1) for r in short.parts]
    assert own_rows(short, 2) == 0
    looking = loop(20, *step())
    looking.parts[0].mark = 64
    assert own_rows(looking, 2) == 0
    guarded = loop(20, *step())
    guarded.parts[1].guards = True
    assert own_rows(guarded, 2) == 0
    within = Repeat([loop(20, *step())], 3, [])
    assert own_rows(within, 2) == 0


def random_slice(extent):
    """Return a slice of regular rows, or of all, and how it moves."""
    stride = int(RNG.choice([0, 4, 8, 16, 32]))
    span = int(RNG.choice([4, 8, 16]))
    way = int(RNG.choice([0, 0, 4, stride * extent, -stride * extent, 2 * stride * extent]))
    first = int(RNG.integers(0, 40)) * 4 + 4096
    every = int(RNG.choice([1, 1, 2])) if extent % 2 == 0 else 1
    if RNG.random() < 0.1:
        return Slice(first, span, stride, 1, bool(RNG.random() < 0.5), 512, 2), 0
    return Slice(first, span, stride, every, bool(RNG.random() < 0.5)), way


def conflict(records, count, rows):
    """Tell whether a byte that is written in some step is touched by two rows, in any steps."""
    memory, writers = {}, set()
    for extent, own in records:
        for s, way in own:
            for at in range(count):
                for i in range(extent):
                    for line in range(s.lines):
                        start = s.first + at * way + i // s.every * s.stride + line * s.pitch
                        for byte in range(start, start + s.span):
                            memory.setdefault(byte, set()).add(i // (extent // rows))
                            if s.written:
                                writers.add(byte)
    return any(len(memory[byte]) > 1 for byte in writers)


def test_rows_that_are_found_never_meet():
    found = 0
    for _ in range(4000):
        records = [
            (extent, [random_slice(extent) for _ in range(RNG.integers(1, 3))])
            for extent in RNG.choice([4, 8], RNG.integers(1, 4)).tolist()
        ]
        rows = own_rows(loop(9, *records), 2)
        if rows:
            found += 1
            assert not conflict(records, 9, rows), records
    assert found > 200


# -- networks --------------------------------------------------------------------------------------


@pytest.fixture
def shared(monkeypatch):
    """Let all threads take part, however little there is to do."""
    monkeypatch.setattr(loops, "MEETINGS", 0.0)
    monkeypatch.setattr(
        Pace, "replay", lambda self, table, times: team(options().thread_count()).run(table, times)
    )


def sharing(words):
    """Return (is shared, waits) of each record between the heads of loops."""
    at, found = 0, []
    while at < len(words):
        if words[at + 3] & SPLIT:
            found.append([])
        elif found:
            found[-1].append((bool(words[at + 3] & SHARED), bool(words[at + 3] & BARRIER)))
        at += words[at] or 1
    return found


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_recurrent_networks_run_by_rows_and_give_the_same_bits(kind, shared):
    layer = getattr(nn, kind)(24, 48)
    x = gx.input("x", (16, "length", 24))
    y, _ = layer(x)
    f = gx.function(x, [y, *gx.grad(gx.sum(y * y), [x, *layer.parameters])])
    value = RNG.standard_normal((16, 30, 24)).astype("float32")
    with gx.config(threads=1):
        wanted = f(value)
    with gx.config(threads=2):
        f(value)
        bound = f._executable._batches.bind(Sizes(1, [("length", 30)]))
        inside = sharing(bound.tables["call", 2].words.tolist())
        assert sum(all(r == (True, False) for r in own[:-1]) for own in inside) >= 2
    for threads in (2, 3):
        with gx.config(threads=threads):
            for _ in range(3):
                for a, b in zip(f(value), wanted, strict=True):
                    np.testing.assert_array_equal(a, b)


# -- loops of one kernel ---------------------------------------------------------------------------


def heads(f, length):
    """Return the entry of each record of the table."""
    bound = f._executable._batches.bind(Sizes(1, [("length", length)]))
    words, at, found = bound.tables["call", options().thread_count()].words.tolist(), 0, []
    while at < len(words):
        found.append(words[at + 1])
        at += words[at] or 1  # between the copies of a loop's records there are zeros
    return found


def test_buffers_of_such_a_loop_share_no_memory():
    """One thread may be at the first record of a step while another is at the last."""
    w, v = (gx.parameter(RNG.standard_normal(s).astype("float32") / 6) for s in ((4, 32), (32, 4)))

    def step(s, _):
        return s + gx.sin(gx.tanh(s @ w) @ v) + gx.sum(gx.exp(s @ w), axis=1, keepdims=True), None

    x = gx.input("x", (None, 4))
    f = gx.function(x, gx.scan(step, x, length=500)[0])
    with gx.config(threads=2):
        f(np.zeros((64, 4), "float32"))
        batches = f._executable._batches
        (bound,) = batches
        assert f.report.schedule.count("all  ") >= 4
    buffers = {b for call in batches._calls if call.loops for b in call.needs}
    places = [(at, at + b.nbytes(64)) for b, at in bound.plan.offsets.items() if b in buffers]
    assert len(places) > 4
    for (_, end), (start, _) in itertools.pairwise(sorted(places)):
        assert end <= start


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(), (5,), (4096,)])
def test_a_loop_of_one_kernel_is_one_record(threads, shape):
    """Forward and back, of operands that move and of some that do not."""
    xs, a = gx.input("xs", ("length", *shape)), gx.input("a", ())
    _, trail = gx.scan(lambda s, x: (s * x + a,) * 2, gx.zeros(shape), xs)
    loss = gx.sum(trail * trail)
    with in_table():
        f = gx.function([xs, a], [loss, gx.grad(loss, xs)])
    with gx.config(threads=threads):
        for length in (30, 9, 3, 30):
            values = RNG.uniform(-0.9, 0.9, (length, *shape)).astype("float32")
            states = [np.zeros(shape)]
            for x in values:
                states.append(states[-1] * x + 0.9)
            slope, wanted = 0.0, []
            for x, before, s in zip(values[::-1], states[-2::-1], states[:0:-1], strict=True):
                slope = slope + 2 * s
                wanted.append(slope * before)
                slope = slope * x
            for _ in range(2):
                got = f(values, 0.9)
                np.testing.assert_allclose(got[0], np.sum(np.square(states)), rtol=1e-4)
                np.testing.assert_allclose(got[1], wanted[::-1], rtol=1e-3, atol=1e-5)
        records = heads(f, 30)
    entries = f._executable._batches.entries
    stepping = {entry for name, entry in entries.items() if name.endswith(" in steps")}
    assert len(stepping) == 2
    assert sum(entry in stepping for entry in records) == 2


def test_loops_of_one_kernel_within_loops():
    xs = gx.input("xs", (12, 40), "float64")

    def step(s, x):
        return gx.sin(s + x), None

    start = gx.zeros((), dtype="float64")
    last, _ = gx.scan(lambda s, row: (gx.scan(step, s, row)[0], None), start, xs)
    values, s = RNG.standard_normal((12, 40)), 0.0
    for x in values.ravel():
        s = np.sin(s + x)
    np.testing.assert_allclose(gx.function(xs, last)(values), s, rtol=1e-12)
