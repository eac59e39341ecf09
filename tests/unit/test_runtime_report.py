"""Reports tell the truth before the first call, and a warm step allocates nothing."""

from __future__ import annotations

import gc
import resource
import sys
import tracemalloc
import weakref

import numpy as np
import pytest
from compiled import build
from golden.models import mlp

import graphc as gx
from graphc import compile as pipeline
from graphc import optim
from graphc.ir.graph import Graph
from graphc.run import batches

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model():
    return mlp(optimizer=optim.Adam(1e-3))


def batch(rows):
    return RNG.standard_normal((rows, 8)).astype("float32"), RNG.integers(0, 4, rows)


def test_arena_bytes_are_what_is_allocated():
    model = mlp(optimizer=optim.Adam(1e-3))
    run = model._training
    model.train_step(*batch(1))
    assert run.arena_bytes == model.report.arena_bytes
    for rows in (7, 64, 128):  # larger ones than before: and some more, for those to come
        model.train_step(*batch(rows))
        assert model.report.batch == rows
        assert model.report.arena_bytes <= run.arena_bytes <= 1.2 * model.report.arena_bytes
    largest = run.arena_bytes
    model.train_step(*batch(3))
    assert run.arena_bytes == largest  # memory is kept
    assert model.report.arena_bytes < largest


def test_parameters_and_gradients(model):
    weights = 8 * 16 + 16 + 16 * 4 + 4
    assert model.report.gradient_bytes == 4 * weights
    own = sum(p.op.cell.nbytes for p in model.graph.parameters)
    assert model.report.parameter_bytes == own
    assert own >= 3 * 4 * weights  # Adam keeps two more


def test_flops_of_products_are_as_counted_by_hand():
    x = gx.input("x", (None, 8), "float64")
    w1, w2 = gx.parameter(np.ones((8, 16))), gx.parameter(np.ones((16, 4)))
    y = gx.exp(x @ w1) @ w2
    run = build(Graph([x], {"y": gx.sum(y), "d": gx.grad(gx.sum(y * y), w1)}), plain=True)
    for rows in (1, 10):
        run.call([np.ones((rows, 8))])
        products = sum(k.flops for k in run.report.kernels if k.computes == "matmul")
        forward = 2 * rows * 8 * 16 + 2 * rows * 16 * 4
        backward = 2 * rows * 4 * 16 + 2 * 8 * rows * 16
        assert products == forward + backward
        assert run.report.flops > products


def test_flops_of_a_loop():
    x = gx.input("x", (None, 8), "float64")
    run = build(Graph([x], {"y": gx.sum(x * x + 2.0)}), plain=True)
    run.call([np.ones((5, 8))])
    assert run.report.flops == 3 * 5 * 8


def test_costs_are_known_before_anything_is_compiled(monkeypatch):
    made = []

    class Stopped(Exception):
        pass

    def stop(graph, optimized, program, module, report, *scalars, step):
        made.append(report)
        raise Stopped

    monkeypatch.setattr(pipeline, "Executable", stop)
    with pytest.raises(Stopped):
        _ = mlp()._training
    found = made[0](32)
    assert found.flops > 2 * 3 * 32 * 8 * 16
    assert len(found.kernels) > 8
    monkeypatch.undo()
    model = mlp()
    model.train_step(*batch(32))
    after = model.report
    assert (after.flops, after.kernels) == (found.flops, found.kernels)


def test_the_report_prints_as_a_table(model):
    text = str(model.report)
    for part in ("arena", "parameters", "FLOPs", "kernel", "pass", "before", "after"):
        assert part in text
    assert len(model.report.kernels) == len(model._training.program.calls)
    assert {p.name for p in model.report.passes} >= {"fold", "cse", "simplify"}


def test_equal_calls_are_printed_once():
    x = gx.input("x", (4, 4))
    y = x
    for _ in range(200):
        y = gx.tanh(y @ x)
    run = build(Graph([x], {"y": y}), plain=True)
    text = str(run.report)
    assert len(run.report.kernels) >= 200
    assert text.count("\n") < 60
    (head,) = [line for line in text.splitlines() if line.startswith("kernel")]
    assert head.split()[:3] == ["kernel", "phase", "calls"]
    table = text.split(head)[1].split("\n\n")[0].splitlines()[2:]
    assert sum(int(row.split()[2]) for row in table) == len(run.report.kernels)


def test_a_warm_step_allocates_nothing(model):
    x, y = batch(32)
    for _ in range(50):
        model.train_step(x, y)
    gc.collect()
    blocks = sys.getallocatedblocks()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(1000):
        model.train_step(x, y)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 200  # of 1000 steps
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 2048  # KiB
    tracemalloc.start()
    try:
        model.train_step(x, y)
        before = tracemalloc.take_snapshot()
        for _ in range(100):
            model.train_step(x, y)
        growth = tracemalloc.take_snapshot().compare_to(before, "filename")
        own = [d for d in growth if "graphc" in d.traceback[0].filename]
        assert sum(d.size_diff for d in own) < 2000
        tracemalloc.reset_peak()
        now, _ = tracemalloc.get_traced_memory()
        model.train_step(x, y)
        assert tracemalloc.get_traced_memory()[1] - now < 16_384
    finally:
        tracemalloc.stop()


def test_epochs_do_not_pile_up_memory(model):
    x, y = batch(256)
    model.fit(x, y, epochs=20, batch_size=32, verbose=0)
    gc.collect()
    blocks = sys.getallocatedblocks()
    model.fit(x, y, epochs=100, batch_size=32, verbose=0)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 100 * 8 + 300  # the history grows


def test_a_batch_size_is_planned_once(monkeypatch):
    model = mlp(optimizer=optim.Adam(1e-3))
    planned = []
    bind = batches.Batches._bind
    monkeypatch.setattr(
        batches.Batches, "_bind", lambda self, n: planned.append(n) or bind(self, n)
    )
    sizes = [int(n) for n in RNG.permutation(np.arange(1, 301))]
    for rows in (*sizes, *sizes, *sorted(sizes)):
        model.train_step(*batch(rows))
    assert planned == sizes
    assert model._training._batches.nbytes < batches.KEPT_BYTES


@pytest.mark.parametrize("kept", [0, 60_000])
def test_tables_are_kept_up_to_a_number_of_bytes(kept, monkeypatch):
    """And where they are not, what comes out is the same."""
    first, second = (mlp(optimizer=optim.Adam(1e-3)) for _ in range(2))
    data = [batch(int(n)) for n in RNG.integers(1, 60, 100)]
    wanted = [first.train_step(*pair) for pair in data]
    monkeypatch.setattr(batches, "KEPT_BYTES", kept)
    assert [second.train_step(*pair) for pair in data] == wanted
    run = second._training._batches
    assert len(list(run)) == 1 if kept == 0 else 1 < len(list(run)) < 20
    assert run.nbytes <= max(kept, 30_000)
    assert run.nbytes == sum(bound.nbytes for bound in run)


def test_sizes_that_grow_and_shrink_lie_in_one_arena():
    """Places are taken over from larger sizes, tables move with the arena: the bits stay."""
    one, many = mlp(optimizer=optim.SGD(0.0)), mlp(optimizer=optim.SGD(0.0))
    for rows in (3, 50, 7, 49, 120, 3, 50, 500, 7, 0 + 1, 120):
        pair = batch(rows)
        one._training._batches._bound.clear()
        one._training._batches._plans.clear()
        assert one.train_step(*pair) == many.train_step(*pair)
        for name, value in one.gradients(*pair).items():
            np.testing.assert_array_equal(many.gradients(*pair)[name], value)
        assert many.fit(*pair, epochs=1, batch_size=rows, verbose=0, shuffle=False)
    arena = many._training._batches.arena
    for bound in many._training._batches:
        for name in (b.name for b in many._training.program.inputs):
            if bound.memory.arena is not None:
                assert np.shares_memory(bound.memory[name], arena)


def test_an_arena_goes_with_its_last_user():
    """At once, without the garbage collector; also the one before it when an arena grows."""
    gc.disable()
    try:
        trained = mlp(optimizer=optim.Adam(1e-3))
        trained.train_step(*batch(64))
        trained.predict(batch(64)[0])
        trained.fit(*batch(100), batch_size=30, epochs=1, verbose=0)
        x = gx.input("x", (None, 8))
        f = gx.function(x, gx.cumulative_sum(gx.exp(x), axis=0))
        f(batch(64)[0])
        with pytest.raises(ValueError, match="x"):
            f(batch(64)[0][:, :2])
        runs = [trained._training, trained._prediction.executable, f._executable]
        gone = [weakref.ref(run._batches.arena.base) for run in runs]
        f(batch(512)[0])
        assert gone[2]() is None  # it has grown
        gone = [*gone[:2], weakref.ref(f._executable._batches.arena.base)]
        assert all(ref() is not None for ref in gone)
        del trained, f, runs, x
        assert all(ref() is None for ref in gone)
    finally:
        gc.enable()


def test_parameters_and_buffers_are_aligned(model):
    run = model._training
    for name, array in run._bind(5).memory.everything().items():
        kind = next(b.kind for b in run.program.buffers if b.name == name)
        if kind != "constant" and array.nbytes:
            assert array.ctypes.data % 64 == 0, name
