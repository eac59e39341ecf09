"""Reports tell the truth before the first call, and a warm step allocates nothing."""

from __future__ import annotations

import gc
import resource
import sys
import tracemalloc

import numpy as np
import pytest
from compiled import build
from golden.models import mlp

import graphc as gx
from graphc import compile as pipeline
from graphc import optim
from graphc.ir.graph import Graph

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model():
    return mlp(optimizer=optim.Adam(1e-3))


def batch(rows):
    return RNG.standard_normal((rows, 8)).astype("float32"), RNG.integers(0, 4, rows)


def test_arena_bytes_are_what_is_allocated(model):
    run = model._training
    for rows in (1, 7, 64, 128):
        model.train_step(*batch(rows))
        assert run.arena_bytes == model.report.arena_bytes
        assert model.report.batch == rows
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

    def stop(graph, optimized, program, module, report, scalars, step):
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


def test_many_batch_sizes_keep_few_tables(model):
    for rows in range(1, 80):
        model.train_step(*batch(rows))
    assert len(model._training._bound) <= 32
    assert model._training.arena_bytes >= model.report.arena_bytes


def test_parameters_and_buffers_are_aligned(model):
    run = model._training
    run._bind(5)
    for name, array in run._bound[5].memory.items():
        kind = next(b.kind for b in run.program.buffers if b.name == name)
        if kind != "constant" and array.nbytes:
            assert array.ctypes.data % 64 == 0, name
