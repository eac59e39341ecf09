"""What calls touch is what they say they touch; levels, chains and blocks follow from it."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import replace

import numpy as np
import pytest
from compiled import build
from random_graphs import random_graph

import graphc as gx
from graphc import nn, optim
from graphc.config import options
from graphc.ir.graph import Graph
from graphc.ir.source import address_of
from graphc.machine import known
from graphc.passes.compare import random_feeds
from graphc.run import frame, table
from graphc.run.frame import PlainFrame
from graphc.run.pace import Pace
from graphc.run.team import team
from graphc.schedule import levels as schedule
from graphc.schedule.footprint import Pointer, Slice
from graphc.schedule.levels import BARRIER, CHAIN, FACTOR, RECORD_HEAD, SHARED, Record, by_levels

RNG = np.random.default_rng(0)
X = RNG.standard_normal((1024, 24)).astype("float32")
Y = RNG.integers(0, 5, 1024)

# -- touches ---------------------------------------------------------------------------------


def touched(touches, position, array, i, batch, extent, written):
    """Return which elements of an argument iteration ``i`` may touch, or may write."""
    inside = np.zeros(array.size, bool)
    for touch in touches:
        if touch.position != position or (written and not touch.written):
            continue
        piece = frame.slice_at(touch, Pointer(0, array.itemsize), batch, extent)
        if piece is not None:
            for line in range(piece.lines):
                start = piece.first + i // piece.every * piece.stride + line * piece.pitch
                inside[start // array.itemsize :][: piece.span // array.itemsize] = True
    return inside


def end(array):
    """Return the address at which a flat array ends: the same for all parts of a buffer."""
    return address_of(array) + array.nbytes


class WatchedFrame(PlainFrame):
    """Runs single iterations of every call by themselves, where only what they touch is sound."""

    predictions = iter(())

    def run(self, kernel, extent, *arguments):
        known = next(self.predictions)
        for i in sorted({0, extent // 2, extent - 1}) if extent > 0 else ():
            self.watch(kernel, known.touches, i, extent, arguments)
        super().run(kernel, extent, *arguments)

    def watch(self, kernel, touches, i, extent, arguments):
        arrays = {k: a for k, a in enumerate(arguments) if isinstance(a, np.ndarray)}
        whole = {end(a): a for a in sorted(arrays.values(), key=len)}  # the longest part
        masks = []
        for written in (False, True):
            mask = {key: np.zeros(len(a), bool) for key, a in whole.items()}
            for k, a in arrays.items():
                own = touched(touches, k, a, i, self.batch, extent, written)
                mask[end(a)][len(mask[end(a)]) - len(a) :] |= own
            masks.append(mask)
        sound = {key: a.copy() for key, a in whole.items()}
        spoilt = {key: np.where(masks[0][key], a, 77).astype(a.dtype) for key, a in whole.items()}
        before = {key: a.copy() for key, a in spoilt.items()}
        for copies in (sound, spoilt):
            passed = [
                copies[end(a)][len(copies[end(a)]) - len(a) :] if k in arrays else a
                for k, a in enumerate(arguments)
            ]
            with np.errstate(all="ignore"):
                kernel(i, i + 1, *passed)
        for key, may in masks[1].items():
            changed = spoilt[key].view(np.uint8) != before[key].view(np.uint8)
            changed = changed.reshape(len(may), spoilt[key].itemsize).any(1)
            assert not (changed & ~may).any(), f"{kernel.name} writes more than it says"
            np.testing.assert_array_equal(
                sound[key][may], spoilt[key][may], f"{kernel.name} reads more than it says"
            )


def watch(graph, feeds, batch, monkeypatch, spoil=lambda touch: touch):
    """Run every call of ``graph`` iteration by iteration; ``spoil`` changes what they say."""
    run = build(graph, plain=True)
    WatchedFrame.predictions = (
        dataclasses.replace(p, touches=tuple(map(spoil, p.touches)))
        for p in run._batches.predictions("call", batch)
    )
    monkeypatch.setattr("graphc.run.executable.PlainFrame", WatchedFrame)
    run.call([feeds[t] for t in graph.inputs])


def drawn(seed):
    dtype = "float64" if seed % 4 else "float32"
    graph = random_graph(seed, dtype=dtype, batch=bool(seed % 2))
    return graph, random_feeds(graph, 3, seed)


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 2)])
def test_what_is_folded_from_nothing_is_written(axis, monkeypatch):
    x, w = gx.input("x", (None, 4, 3)), gx.parameter(RNG.standard_normal((4, 1)), name="w")
    folds = [fold(gx.sin(x) * 2, axis=axis) for fold in (gx.sum, gx.prod, gx.mean)]
    graph = Graph([x], {f"out{k}": t for k, t in enumerate([*folds, gx.sum(w * x, axis=0)])})
    watch(graph, {x: np.zeros((0, 4, 3), "float32")}, 0, monkeypatch)


@pytest.mark.parametrize("seed", range(40))
def test_an_iteration_touches_what_its_call_says(seed, monkeypatch):
    graph, feeds = drawn(seed)
    watch(graph, feeds, 3, monkeypatch)


@pytest.mark.parametrize("batch", [1, 16, 21])
def test_an_iteration_over_short_rows_touches_its_row(batch, monkeypatch):
    x, y = gx.input("x", (None, 10)), gx.input("y", (None,), "int64")
    z, w = gx.input("z", (None, 9, 11)), gx.input("w", (9, 12))
    loss = nn.cross_entropy(x, y)
    outputs = {"g": gx.grad(loss, x), "s": gx.softmax(z * w[:, :11]), "r": gx.softmax(x[:, ::-1])}
    graph = Graph([x, y, z, w], {"loss": loss, **outputs}, {})
    assert build(graph, plain=True).source.count("rows.store(") == 3
    watch(graph, random_feeds(graph, batch, 0), batch, monkeypatch)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: dataclasses.replace(t, spread=()),
        lambda t: dataclasses.replace(t, stride=t.stride * 2),
        lambda t: dataclasses.replace(t, stride=0),
        lambda t: dataclasses.replace(t, first=1),
    ],
)
def test_a_call_that_says_less_is_caught(spoil, monkeypatch):
    x = gx.input("x", (5, 6), "float64")
    w = gx.parameter(RNG.standard_normal((6, 4)))
    graph = Graph([x], {"y": gx.softmax(x @ w), "z": gx.sum(x, axis=0)}, {})
    feeds = {x: RNG.standard_normal((5, 6))}
    watch(graph, feeds, 1, monkeypatch)
    with pytest.raises(AssertionError, match="than it says"):
        watch(graph, feeds, 1, monkeypatch, spoil)


# -- levels ----------------------------------------------------------------------------------


def record(number, extent, *slices, nanoseconds=1e6):
    return Record(1, extent, [], tuple(Slice(*s) for s in slices), nanoseconds, (number,))


def rows(first, stride, written, span=None, every=1):
    return first, stride if span is None else span, stride, every, written


def layout(schedule):
    """Return (rows, factor, shared, barrier) of each record of a table."""
    words, at, found = list(schedule.words), 0, []
    while at < len(words):
        sharing = words[at + 3]
        found.append(
            (words[at + 2], sharing >> FACTOR, bool(sharing & SHARED), bool(sharing & BARRIER))
        )
        at += words[at]
    return found


def test_rows_that_correspond_form_a_chain():
    """x (8, 4) -> y (8, 4), element by element -> z (8,), row by row."""
    a = record(0, 32, rows(0, 4, False), rows(1000, 4, True))
    b = record(1, 8, rows(1000, 16, False), rows(2000, 4, True))
    assert layout(by_levels([a, b], 2)) == [(8, 4, True, True), (8, 1, True, False)]


def test_rows_that_cross_meet_at_a_barrier():
    a = record(0, 8, rows(1000, 16, True))
    b = record(1, 4, rows(1000, 4, False, span=116), rows(2000, 4, True))  # columns of it
    assert layout(by_levels([a, b], 2)) == [(8, 1, True, True), (4, 1, True, True)]


@pytest.mark.parametrize("first", [(True, False), (False, True), (True, True)])
def test_memory_that_is_used_again_waits_for_its_readers(first):
    a = record(0, 8, rows(1000, 16, first[0]))
    b = record(1, 5, rows(1000, 24, first[1]))  # other rows of the same memory
    found = layout(by_levels([a, b], 2))
    assert found == [(8, 1, True, True), (5, 1, True, True)]


def test_reading_together_needs_no_barrier():
    a = record(0, 8, rows(1000, 16, False), rows(2000, 4, True))
    b = record(1, 4, rows(1000, 32, False), rows(3000, 4, True))
    assert [r[3] for r in layout(by_levels([a, b], 2))] == [True, False]


def test_a_scalar_does_not_hold_up_what_does_not_need_it():
    a = record(0, 8, rows(1000, 16, True))
    loss = record(1, 1, (1000, 128, 0, 1, False), (2000, 4, 0, 1, True), nanoseconds=10)
    c = record(2, 8, rows(1000, 16, False), rows(3000, 16, True))
    assert layout(by_levels([a, loss, c], 2)) == [
        (8, 1, True, True), (8, 1, True, False), (1, 1, False, True)
    ]  # fmt: skip


def test_two_chains_join_where_a_record_needs_both():
    a = record(0, 32, rows(1000, 4, True))
    b = record(1, 16, rows(2000, 4, True))
    c = record(2, 8, rows(1000, 16, False), rows(2000, 8, False), rows(3000, 4, True))
    assert layout(by_levels([a, b, c], 2)) == [
        (8, 4, True, True), (8, 2, True, False), (8, 1, True, False)
    ]  # fmt: skip


def test_batches_of_products_correspond_by_product():
    a = record(0, 12, (1000, 64, 64, 3, True))  # 4 products of 3 rows
    b = record(1, 20, (1000, 64, 64, 5, False), (2000, 80, 80, 5, True))
    assert layout(by_levels([a, b], 2)) == [(4, 3, True, True), (4, 5, True, False)]


def test_what_is_too_short_runs_on_one_thread_without_barriers():
    a = record(0, 8, rows(1000, 16, True), nanoseconds=50)
    b = record(1, 4, rows(1000, 4, False, span=116), rows(2000, 4, True), nanoseconds=50)
    found = by_levels([a, b], 2)
    assert (found.barriers, found.divisible_nanoseconds) == (0, 0)
    assert layout(found) == [(8, 1, False, False), (4, 1, False, False)]


def test_calls_farther_back_than_the_window_are_waited_for():
    many = [record(i, 8, rows(1000 * i, 16, True)) for i in range(schedule.WINDOW + 10)]
    last = record(len(many), 4, rows(0, 32, False))
    assert by_levels([*many, last], 2).barriers == 2


def test_rows_that_overflow_the_cache_are_cut_into_blocks(monkeypatch):
    small = replace(known(), caches=(0, 1 << 16, 0))
    monkeypatch.setattr(schedule, "known", lambda: small)
    a = record(0, 4096, rows(0, 64, False), rows(1 << 20, 64, True))
    b = record(1, 4096, rows(1 << 20, 64, False), rows(2 << 20, 64, True))
    words = list(by_levels([a, b], 2).words)
    assert (words[2], words[3] % (1 << FACTOR)) == (4096, CHAIN | SHARED | BARRIER)
    block, length = words[RECORD_HEAD : RECORD_HEAD + 2]
    assert block % schedule.BLOCK == 0
    assert 3 * 64 * block <= 1 << 15
    assert length == len(words) - words[0]


# -- whole steps -----------------------------------------------------------------------------


@pytest.fixture
def divided(monkeypatch):
    """Divide whatever can be, whether it pays or not."""
    monkeypatch.setattr(table, "WORTH_SCHEDULING", 0.0)
    monkeypatch.setattr(schedule, "MEETINGS", 0.0)
    monkeypatch.setattr(
        Pace, "replay", lambda self, table, times: team(options().thread_count()).run(table, times)
    )


def perceptron(optimizer):
    x, y = gx.input("x", (None, 24)), gx.input("y", (None,), "int64")
    h = gx.relu(nn.Linear(24, 48)(x))
    h = gx.tanh(nn.Linear(48, 32)(h))
    out = nn.Linear(32, 5)(h)
    return gx.Model(inputs=x, outputs=out, targets=y, loss=nn.cross_entropy(out, y),
                    optimizer=optimizer, seed=0)  # fmt: skip


def test_a_training_step_meets_twice(divided):
    """Once between the layers, forward and back, and the weights' gradients; once at the end."""
    model = perceptron(optim.SGD(0.1))
    with gx.config(threads=2):
        model.train_step(X[:64], Y[:64])
    (bound,) = model._training._batches
    assert sum(r[3] for r in layout(bound.tables["train_step", 2])) == 2


def test_blocks_and_threads_do_not_change_a_bit(divided, monkeypatch):
    def trained(threads):
        model = perceptron(optim.Adam(1e-2))
        with gx.config(threads=threads):
            losses = [model.train_step(X, Y) for _ in range(2)]
            losses += model.fit(X, Y, batch_size=160, epochs=2, verbose=0)["loss"]
        return losses, {k: v.copy() for k, v in model.parameters.items()}

    losses, values = trained(1)
    for threads, cache in itertools.product((1, 2, 3, 5), (1 << 20, 1 << 15)):
        other = replace(known(), caches=(0, cache, 0))
        monkeypatch.setattr(schedule, "known", lambda other=other: other)
        again, others = trained(threads)
        assert again == losses
        for name, value in values.items():
            np.testing.assert_array_equal(others[name], value, name)


@pytest.mark.parametrize("seed", range(8))
def test_random_graphs_come_out_the_same_on_all_threads(seed, divided):
    graph, feeds = drawn(seed)
    run = build(graph)
    start = {p: p.op.cell.array.copy() for p in graph.parameters}
    wanted = None
    for threads in (1, 2, 3, 4):
        for p, value in start.items():
            p.op.cell.array[...] = value
        with gx.config(threads=threads):
            found = run.call([feeds[t] for t in graph.inputs])
        found |= {p: p.op.cell.array.copy() for p in graph.parameters}
        wanted = wanted or found
        for name, value in found.items():
            np.testing.assert_array_equal(value, wanted[name])
