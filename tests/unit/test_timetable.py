"""The text of a schedule says what is replayed: every kernel, loop, block and meeting."""

from __future__ import annotations

import re

import numpy as np
import pytest
from compiled import in_table

import graphc as gx
from graphc.run.timetable import MEETING, entries
from graphc.schedule.levels import BARRIER

RNG = np.random.default_rng(0)


def schedule_of(function, batch=1):
    return function._executable._batches._schedule(batch)[0]


def kernels(text):
    return re.findall(r"^ *[\d.]+ +[\d,x ]+ +(?:one|all) +(\w+)", text, re.M)


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    with gx.config(threads=request.param):
        yield request.param


def layers(width, depth):
    h = x = gx.input("x", (None, width))
    for k in range(depth):
        h = gx.tanh(h @ gx.parameter(RNG.standard_normal((width, width)), name=f"w{k}"))
    return x, h


def test_every_record_is_there_in_order(threads):
    x, h = layers(64, 3)
    f = gx.function(x, (h, gx.sum(h, axis=0)))
    f(np.ones((200, 64), "float32"))
    schedule = schedule_of(f, 200)
    found = list(entries(schedule))
    text = f.report.schedule
    assert kernels(text) == [e.record.kernel for e in found]
    words, at, addresses, meetings = schedule.words, 0, [], 0
    while at < len(words):
        meetings += bool(words[at + 3] & BARRIER)
        addresses += [words[at + 1]] if words[at + 1] else []
        at += words[at]
    assert addresses == [e.record.entry for e in found]
    assert text.count(MEETING) == meetings == (0 if threads == 1 else sum(e.meets for e in found))
    assert f"200 rows; threads: {threads};" in text
    assert ("all  " in text) == (threads > 1)


def test_loops_stand_around_their_kernels(threads):
    x = gx.input("x", (30, 4, 8))

    def inner(c, v):
        return gx.sin(c) + v, None

    def outer(c, v):
        last, _ = gx.scan(inner, c, gx.stack([v] * 20))
        return gx.cos(last), None

    last, _ = gx.scan(outer, gx.zeros((4, 8)), x)
    with in_table():
        f = gx.function(x, gx.exp(last))
    f(np.ones((30, 4, 8), "float32"))
    text = f.report.schedule
    assert re.search(r"\n +30 steps:\n(.*\n)* +20 steps:\n(.*\n)* .*sin", text)
    found = {e.record.kernel.split("_")[0]: e for e in entries(schedule_of(f))}
    assert found["sin"].around[-2:] == ("30 steps", "20 steps")
    assert found["sin"].times == 600
    assert found["cos"].around == ("30 steps",)
    assert found["exp"].around == ()


def test_steps_that_memory_counts_are_at_most():
    x = gx.input("x", (3,))
    f = gx.function(x, gx.while_loop(lambda c: gx.sum(c) < 50, lambda c: c * 2, x, max_steps=70))
    f(np.ones(3, "float32"))
    assert "up to 70 steps:" in f.report.schedule


def test_rows_that_overflow_the_cache_go_through_a_chain_in_blocks(machine):
    machine("l2=256K")
    with gx.config(threads=2):
        x, h = layers(48, 4)
        f = gx.function(x, h)
        f(np.ones((20_000, 48), "float32"))
        found = list(entries(schedule_of(f, 20_000)))
    blocks = {text for e in found for text in e.around}
    assert len(blocks) == 1
    assert re.fullmatch(r"blocks of \d+ rows", *blocks)
    assert f.report.schedule.count("blocks of") == 1


def test_python_that_runs_has_none(run_python):
    code = (
        "import numpy as np, graphc as gx\n"
        "x = gx.input('x', (3,)); f = gx.function(x, x * 2)\n"
        "f(np.ones(3, 'float32')); print(repr(f.report.schedule))"
    )
    assert run_python(code, NUMBA_DISABLE_JIT="1").strip() == "''"
