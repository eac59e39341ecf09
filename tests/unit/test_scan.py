"""Loops with a body, from the graph to the table, against recurrences unrolled by hand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from compiled import in_table

import graphc as gx
from graphc import nn, optim
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.ir.interpret import evaluate
from graphc.types import Sizes

rng = np.random.default_rng(0)


def unrolled(step, init, xs, length=None, reverse=False):
    """Return what ``scan`` does, as one node a step."""
    count = length if xs is None else xs.type.shape[0]
    carry, ys = init, [None] * count
    for t in reversed(range(count)) if reverse else range(count):
        carry, ys[t] = step(carry, None if xs is None else xs[t])
    return carry, ys


def agrees(inputs, outputs, wanted, feeds, rtol=1e-10):
    """Compile both, and interpret the first; the three must agree.

    The first twice, with short steps in kernels and in the table: to the same bits.
    """
    f = gx.function(inputs, outputs)
    got = f(*feeds)
    with in_table():
        table = gx.function(inputs, outputs)(*feeds)
    for a, b in zip(got, table, strict=True):
        np.testing.assert_array_equal(a, b)
    hand = gx.function(inputs, wanted)(*feeds)
    read = evaluate(outputs, dict(zip(inputs, feeds, strict=True)))
    for a, b, tensor in zip(got, hand, outputs, strict=True):
        atol = rtol * max(1.0, np.abs(b).max(initial=0.0))
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
        np.testing.assert_allclose(read[tensor], b, rtol=rtol, atol=atol)
    return f


def derivatives(outputs, wrt):
    """Return a scalar of ``outputs``, its gradients, and a scalar's of those again."""
    loss = sum((gx.sum(gx.sin(t)) for t in outputs[1:]), gx.sum(gx.sin(outputs[0])))
    first = gx.grad(loss, wrt, unconnected="zero")
    again = sum((gx.sum(t * t) for t in first[1:]), gx.sum(first[0] * first[0]))
    return [loss, *first, *gx.grad(again, wrt, unconnected="zero")]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("length", [1, 2, 7])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_recurrent_network_and_its_derivatives(dtype, length, reverse):
    x = gx.input("x", (length, 3, 4), dtype=dtype)
    u = gx.input("u", (4, 5), dtype=dtype)
    w = gx.input("w", (5, 5), dtype=dtype)
    h = gx.input("h", (3, 5), dtype=dtype)

    def step(h, v):
        new = gx.tanh(v @ u + h @ w)
        return new, new * h

    last, ys = gx.scan(step, h, x, reverse=reverse)
    hand_last, hand = unrolled(step, h, x, reverse=reverse)
    assert ys.shape == (length, 3, 5)
    feeds = [rng.standard_normal(t.shape).astype(dtype) for t in (x, u, w, h)]
    wrt = [x, u, w, h]
    rtol = 1e-9 if dtype == "float64" else 3e-4
    agrees(
        wrt,
        [last, ys, *derivatives([last, ys], wrt)],
        [hand_last, gx.stack(hand), *derivatives([hand_last, gx.stack(hand)], wrt)],
        feeds,
        rtol,
    )


def test_no_step_leaves_the_carry():
    x, h = gx.input("x", (0, 2), dtype="float64"), gx.input("h", (2,), dtype="float64")
    last, ys = gx.scan(lambda c, v: (c * v, c + v), h, x)
    loss = gx.sum(last * last) + gx.sum(ys)
    f = gx.function([x, h], [last, ys, *gx.grad(loss, [x, h])])
    values = np.array([2.0, 3.0])
    got = f(np.zeros((0, 2)), values)
    np.testing.assert_array_equal(got[0], values)
    np.testing.assert_array_equal(got[3], 2 * values)
    assert [g.shape for g in got] == [(2,), (0, 2), (0, 2), (2,)]


def test_structures_captured_tensors_and_no_sequence():
    n = gx.input("n", (3,), dtype="float64")
    k = gx.parameter(np.arange(3.0), name="k")

    def step(carry, x):
        assert x is None
        return {"a": carry["b"], "b": carry["a"] + k * n}, (carry["a"], None)

    init = {"a": gx.constant(np.ones(3)), "b": n}
    carry, (trail, none) = gx.scan(step, init, length=5)
    hand, ys = unrolled(step, init, None, 5)
    assert none is None
    wrt = [n, k]
    outs, wanted = (
        [carry["a"], carry["b"], trail],
        [hand["a"], hand["b"], gx.stack([y[0] for y in ys])],
    )
    agrees([n], [*outs, *derivatives(outs, wrt)], [*wanted, *derivatives(wanted, wrt)],
           [rng.standard_normal(3)])  # fmt: skip


@pytest.mark.parametrize("reverse", [False, True])
def test_loops_within_loops(reverse):
    x = gx.input("x", (4, 3), dtype="float64")
    w = gx.input("w", (), dtype="float64")

    def inner(c, v):
        return gx.sin(c * w + v), c * v

    def step(c, row):
        last, ys = gx.scan(inner, c, row, reverse=reverse)
        return last, gx.sum(ys) + c

    def by_hand(c, row):
        last, ys = unrolled(inner, c, row, reverse=reverse)
        return last, sum(ys, 0.0) + c

    first = gx.input("c", (), dtype="float64")
    last, ys = gx.scan(step, first, x)
    hand, wanted = unrolled(by_hand, first, x)
    wrt = [x, w, first]
    agrees(
        wrt,
        [last, ys, *derivatives([last, ys], wrt)],
        [hand, gx.stack(wanted), *derivatives([hand, gx.stack(wanted)], wrt)],
        [rng.standard_normal((4, 3)), np.float64(0.7), np.float64(0.3)],
        1e-8,
    )


def test_forward_mode_and_finite_differences():
    x = gx.input("x", (4, 2), dtype="float64")
    w = gx.input("w", (2, 2), dtype="float64")
    last, ys = gx.scan(lambda h, v: (gx.tanh(h @ w + v), gx.exp(h)), gx.constant(np.ones(2)), x)
    feeds = {"x": rng.standard_normal((4, 2)), "w": rng.standard_normal((2, 2))}
    gx.check_grads([last, ys], [x, w], feeds)


def test_the_axis_of_slices_and_of_what_is_left():
    x = gx.input("x", (2, 5, 3))
    last, ys = gx.scan(lambda c, v: (c + v, c), gx.constant(np.zeros((2, 3), "float32")), x, axis=1)
    assert (last.shape, ys.shape) == ((2, 3), (2, 5, 3))
    values = rng.standard_normal((2, 5, 3)).astype("float32")
    got = gx.function(x, [last, ys])(values)
    np.testing.assert_allclose(got[0], values.sum(1), rtol=1e-5)
    np.testing.assert_allclose(got[1], values.cumsum(1) - values, rtol=1e-5, atol=1e-5)


def test_lengths_that_are_open():
    x = gx.input("x", (None, "length", 2), dtype="float64")
    w = gx.parameter(np.float64(0.5), name="w")
    first = gx.sum(x, axis=1) * 0.0
    last, ys = gx.scan(lambda c, v: (c * w + v, gx.sum(c, axis=1)), first, x, axis=1)
    f = gx.function(x, [last, ys, gx.grad(gx.sum(last), w)])
    for n, length in ((2, 3), (4, 6), (2, 1)):
        values = rng.standard_normal((n, length, 2))
        c, trail, slope = np.zeros((n, 2)), [], np.zeros((n, 2))
        for t in range(length):
            trail.append(c.sum(1))
            c, slope = c * 0.5 + values[:, t], slope * 0.5 + c
        got = f(values)
        np.testing.assert_allclose(got[0], c, rtol=1e-12)
        np.testing.assert_allclose(got[1], np.stack(trail, 1), rtol=1e-12)
        np.testing.assert_allclose(got[2], slope.sum(), rtol=1e-12)


def test_a_program_does_not_grow_with_the_length():
    sizes = set()
    for length in (10, 1000):
        x = gx.input("x", (length,))
        last, _ = gx.scan(lambda h, v: (gx.tanh(h * v), None), gx.constant(np.float32(1.0)), x)
        f = gx.function(x, gx.grad(last, x))
        assert f(np.ones(length, "float32")).shape == (length,)
        sizes.add((len(f.optimized_graph), f.source.count("\n"), f.report.cache_misses > 20))
    assert len(sizes) == 1


def test_what_the_user_reads():
    x = gx.input("x", (6, 2))
    last, ys = gx.scan(lambda c, v: (c * 2.0 + v, c), gx.constant(np.zeros(2, "float32")), x)
    with in_table():
        f = gx.function(x, [last, ys])
    assert "for step_0 in m.loop(0, range(6)):" in f.source
    shown = str(f.graph)
    assert "length=6" in shown
    inside = shown[shown.index("    step(carry, x):") :]
    assert re.search(r"\n        add_0: float32\(2,\) += add\(multiply_0, x\) ", inside)
    assert "return next 0 = add_0" in inside
    loop = next(n for n in f.optimized_graph if n.op.name == "scan")
    assert Path(__file__).name in loop.loc


@pytest.mark.parametrize("reverse", [False, True])
def test_carries_are_computed_in_their_place(reverse):
    """One kernel a step: what a gradient reads later is kept where it is computed."""
    x = gx.input("x", (12,), dtype="float64")
    a = gx.input("a", (), dtype="float64")
    last, ys = gx.scan(lambda c, v: (gx.tanh(a * c + v), c * v), 0.0, x, reverse=reverse)
    loss = gx.exp(last) + gx.sum(ys * ys)
    with in_table():
        f = gx.function([a, x], [loss, *gx.grad(loss, [a, x])])
    steps = f.source.split("in m.loop(")[1:]
    inside = [re.findall(r"\n        +run\(\s*(\w+)", text.split("\n    #")[0]) for text in steps]
    assert [len(names) for names in inside] == [1, 1]
    hand, wanted = unrolled(lambda c, v: (gx.tanh(a * c + v), c * v), 0.0, x, reverse=reverse)
    other = gx.exp(hand) + sum((t * t for t in wanted), 0.0)
    agrees([a, x], [loss, *gx.grad(loss, [a, x])], [other, *gx.grad(other, [a, x])],
           [np.float64(0.7), rng.standard_normal(12)])  # fmt: skip


def test_carries_that_change_places_or_leave_are_not_overwritten():
    """Each is the other's next, one is read late in the step, and all leave the function."""
    x = gx.input("x", (9, 2), dtype="float64")

    def step(c, v):
        p, q, r = c
        return (q, p * 0.5 + v, gx.flip(r) + p), (gx.sum(r) * q, r)

    first = tuple(gx.constant(np.array(v)) for v in ([1.0, 2.0], [3.0, 4.0], [5.0, 7.0]))
    last, ys = gx.scan(step, first, x)
    hand, wanted = unrolled(step, first, x)
    outs, wants = [*last, *ys], [*hand, *(gx.stack([y[k] for y in wanted]) for k in range(2))]
    values = rng.standard_normal((9, 2))
    agrees([x], [*outs, *derivatives(outs, [x])], [*wants, *derivatives(wants, [x])], [values])


def test_passes_look_inside():
    x = gx.input("x", (6,))
    y = gx.input("y", ())

    def step(c, v):
        return c + gx.log(gx.exp(v)) * 1.0 + (y * y) + (y * y), gx.cos(c) * 0.0 + v

    last, ys = gx.scan(step, gx.constant(np.float32(0.0)), x)
    f = gx.function([x, y], last)
    (loop,) = (n for n in f.optimized_graph if n.op.name == "scan")
    names = [n.op.name for n in loop.op.body.nodes if n.inputs]
    assert names == ["add", "add"] or names == ["add"] * 3, names
    assert ys.shape == (6,)


def test_random_programs_of_loops():
    ops = [gx.sin, gx.tanh, lambda t: t * t, lambda t: t * 0.5 + 1.0, gx.cos]
    for seed in range(8):
        draw = np.random.default_rng(seed)
        a, b = (ops[k] for k in draw.integers(0, len(ops), 2))
        x = gx.input("x", (3, 2), dtype="float64")
        w = gx.input("w", (2,), dtype="float64")
        k = int(draw.integers(0, 3))

        def step(carry, v, a=a, b=b, k=k, w=w):
            p, q = carry
            new = (a(p * w) + v, b(q) * 0.3 + p)
            return (new if k else new[::-1]), (p * q, new[k % 2])

        init = (w * 1.0, gx.constant(np.ones(2)))
        flip = bool(draw.integers(0, 2))
        (p, q), (y, z) = gx.scan(step, init, x, reverse=flip)
        (hp, hq), hand = unrolled(step, init, x, reverse=flip)
        outs = [p, q, y, z]
        wanted = [hp, hq, gx.stack([h[0] for h in hand]), gx.stack([h[1] for h in hand])]
        agrees([x, w], [*outs, *derivatives(outs, [x, w])], [*wanted, *derivatives(wanted, [x, w])],
               [draw.standard_normal((3, 2)), draw.standard_normal(2)], 1e-8)  # fmt: skip


@pytest.mark.parametrize("passes", ["", "fold,simplify,cse,dce,fuse,merge,stabilize"])
def test_a_recurrent_network_learns(passes):
    x, y = gx.input("x", (None, 12, 2)), gx.input("y", (None,))
    cell, wide = nn.Linear(8, 8), nn.Linear(2, 8)

    def step(h, v):
        return gx.tanh(cell(h) + wide(v)), None

    first = x[:, 0, :1] * gx.constant(np.zeros((1, 8), "float32"))
    h, _ = gx.scan(step, first, x, axis=1)
    out = nn.Linear(8, 1)(h)[:, 0]
    with gx.config(disable_passes=passes):
        model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                         optimizer=optim.Adam(1e-2), seed=0)  # fmt: skip
        values = np.random.default_rng(1).standard_normal((256, 12, 2)).astype("float32")
        targets = np.tanh(values[:, -5:, 0].sum(1) * 0.5)
        history = model.fit(values, targets, epochs=40, batch_size=64, verbose=0)
    assert history["loss"][-1] < 0.1 * history["loss"][0]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("width", [4, 256])
def test_long_loops_stand_in_the_table_once(threads, width):
    """Records move with the step, for each thread its own, and are as before after the last."""
    x = gx.input("x", ("length", 32, width))
    w = gx.input("w", (width, width))
    first = gx.constant(np.zeros((32, width), "float32"))
    last, ys = gx.scan(lambda h, v: (gx.tanh(h @ w * 0.1 + v), gx.sum(h, axis=1)), first, x)
    with gx.config(threads=threads):
        f = gx.function([x, w], [last, ys, gx.grad(gx.sum(last * last), w)])
        sizes = {}
        weight = (rng.standard_normal((width, width)) / width).astype("float32")
        for length in (20, 150, 20, 3):
            values = rng.standard_normal((length, 32, width)).astype("float32")
            h, trail = np.zeros((32, width)), []
            for v in values:
                trail.append(h.sum(1))
                h = np.tanh(h @ weight * 0.1 + v)
            for _ in range(2):
                got = f(values, weight)
                np.testing.assert_allclose(got[0], h, rtol=2e-4, atol=1e-5)
                np.testing.assert_allclose(got[1], trail, rtol=2e-4, atol=1e-3)
            bound = f._executable._batches.bind(Sizes(1, [("length", length)]))
            sizes[length] = max(len(table.words) for table in bound.tables.values())
        assert sizes[150] == sizes[20]


@pytest.mark.parametrize("threads", [1, 2])
def test_long_loops_within_long_loops(threads):
    x = gx.input("x", (12, 20, 3), dtype="float64")
    w = gx.input("w", (3,), dtype="float64")

    def inner(c, v):
        return gx.sin(c * w + v), c * 0.5

    def step(c, rows):
        last, ys = gx.scan(inner, c, rows, reverse=True)
        return last * 0.9, gx.sum(ys, axis=0)

    first = gx.constant(np.ones(3))
    last, ys = gx.scan(step, first, x)
    loss = gx.sum(last * last) + gx.sum(ys)
    c, trail, values = np.ones(3), [], rng.standard_normal((12, 20, 3))
    weight = np.array([0.3, -0.2, 0.1])
    for rows in values:
        total = np.zeros(3)
        for v in rows[::-1]:
            total += c * 0.5
            c = np.sin(c * weight + v)
        c = c * 0.9
        trail.append(total)
    outputs = [last, ys, *gx.grad(loss, [x, w])]
    with gx.config(threads=threads):
        f = gx.function([x, w], outputs)
        for _ in range(2):
            got = f(values, weight)
    read = evaluate(outputs, {x: values, w: weight})
    np.testing.assert_allclose(got[0], c, rtol=1e-10)
    np.testing.assert_allclose(got[1], trail, rtol=1e-10)
    for a, tensor in zip(got, outputs, strict=True):
        np.testing.assert_allclose(a, read[tensor], rtol=1e-9, atol=1e-12)


def test_a_loop_of_many_steps_is_made_as_fast_as_a_short_one():
    seconds = {50: np.inf, 10_000: np.inf}  # of the processors: other processes are at work
    for length in (50, 10_000, 50, 10_000):
        x = gx.input("x", (length,))
        last, _ = gx.scan(lambda h, v: (gx.tanh(h * v), None), gx.constant(np.float32(1.0)), x)
        start = time.process_time()
        with gx.config(check=False):  # to interpret so many steps takes seconds
            f = gx.function(x, gx.grad(last, x))
        f(np.ones(length, "float32"))
        seconds[length] = min(seconds[length], time.process_time() - start)
    assert seconds[10_000] < 3 * seconds[50] + 0.1


def test_a_wrong_index_inside_stops_the_step():
    table = gx.parameter(np.arange(8.0).reshape(4, 2), name="table")
    at = gx.input("at", (3,), dtype="int64")
    last, _ = gx.scan(lambda c, k: (c + table[k], None), gx.constant(np.zeros(2)), at)
    f = gx.function(at, last, updates={table: table + 1.0})
    np.testing.assert_array_equal(f(np.array([0, 1, 3])), [8.0, 11.0])
    with pytest.raises(IndexError, match="out of bounds for an axis of size 4"):
        f(np.array([0, 4, 1]))
    np.testing.assert_array_equal(f(np.array([0, 0, 0])), [3.0, 6.0])


def test_errors_say_what_to_do():
    x = gx.input("x", (5, 2))
    zero = gx.constant(np.zeros(2, "float32"))
    cases = [
        (ShapeError, "its shape must stay", lambda: gx.scan(lambda c, v: (gx.sum(v), c), zero, x)),
        (DTypeError, "give init this type",
         lambda: gx.scan(lambda c, v: (c.astype("float64"), v), zero, x)),
        (ArgumentError, "must have one structure",
         lambda: gx.scan(lambda c, v: ((c, c), v), zero, x)),
        (ArgumentError, r"begins as \{'a': \*\} and step returns \{'b': \*\}",
         lambda: gx.scan(lambda c, v: ({"b": c["a"]}, v), {"a": zero}, x)),
        (DTypeError, "must return a pair", lambda: gx.scan(lambda c, v: c * 2, (zero, zero), x)),
        (ShapeError, "xs must have one length",
         lambda: gx.scan(lambda c, v: (c, v), zero, (x, gx.input("z", (4,))))),
        (ArgumentError, "pass xs, or a length", lambda: gx.scan(lambda c, v: (c, v), zero)),
        (ArgumentError, "cannot be negative",
         lambda: gx.scan(lambda c, v: (c, v), zero, length=-1)),
        (DTypeError, "length: a dimension must be an integer",
         lambda: gx.scan(lambda c, v: (c, v), zero, length=2.5)),
        (ArgumentError, "pass max_length",
         lambda: gx.scan(lambda c, v: (c, v), zero, length=gx.input("n", (), dtype="int64"))),
        (ShapeError, "5 slices where 4 are needed",
         lambda: gx.scan(lambda c, v: (c, v), zero, x, length=4)),
        (DTypeError, "must be a function", lambda: gx.scan(zero, zero, x)),
        (DTypeError, "must return a pair", lambda: gx.scan(lambda c, v: None, zero, x)),
        (ArgumentError, "checkpoint is 0",
         lambda: gx.scan(lambda c, v: (c, v), zero, x, checkpoint=0)),
        (ArgumentError, "needs a fixed length",
         lambda: gx.scan(lambda c, v: (c, v), 0.0, gx.input("s", ("n",)), checkpoint=2)),
        (ArgumentError, "unroll is 0", lambda: gx.scan(lambda c, v: (c, v), zero, x, unroll=0)),
        (ShapeError, "cannot be stacked along axis 1",
         lambda: gx.scan(lambda c, v: (c, gx.sum(v)), 0.0, x, axis=1)),
        (DTypeError, "scan: ", lambda: gx.scan(lambda c, v: (c, "y"), zero, x)),
        (ShapeError, "no axis", lambda: gx.scan(lambda c, v: (c, v), 0.0, gx.input("s"))),
    ]  # fmt: skip
    for kind, words, make in cases:
        with pytest.raises(kind, match=words) as caught:
            make()
        assert Path(__file__).name in str(caught.value)


def test_plain_python_runs_the_same_loop():
    code = """
import numpy as np, graphc as gx
x = gx.input("x", (5, 2), dtype="float64")
last, ys = gx.scan(lambda c, v: (c * 0.5 + v, c), gx.constant(np.zeros(2)), x, reverse=True)
f = gx.function(x, [last, ys, gx.grad(gx.sum(last * last), x)])
v = np.arange(10.0).reshape(5, 2)
c, trail = np.zeros(2), []
for row in v[::-1]:
    trail.append(c)
    c = c * 0.5 + row
got = f(v)
np.testing.assert_allclose(got[0], c)
np.testing.assert_allclose(got[1], trail[::-1])
np.testing.assert_allclose(got[2][4], 2 * c * 0.5 ** 4)
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("unroll", [1, 2, 3, 7, 100, True])
def test_several_steps_of_one(unroll, reverse):
    x = gx.input("x", (7, 2), dtype="float64")
    w = gx.input("w", (2,), dtype="float64")
    first = gx.constant(np.ones(2))

    def step(c, v):
        return {"h": gx.sin(c["h"] * w + v)}, (c["h"] * v, None)

    last, (ys, none) = gx.scan(step, {"h": first}, x, reverse=reverse, unroll=unroll)
    hand, wanted = gx.scan(step, {"h": first}, x, reverse=reverse)
    assert none is None
    (loop,) = (n for n in gx.Graph([x, w], {"y": ys, "c": last["h"]}) if n.op.name == "scan")
    assert loop.op.length == 7 // (7 if unroll is True else min(7, unroll))
    outs, wants = [last["h"], ys], [hand["h"], wanted[0]]
    agrees([x, w], [*outs, *derivatives(outs, [x, w])], [*wants, *derivatives(wants, [x, w])],
           [rng.standard_normal((7, 2)), rng.standard_normal(2)])  # fmt: skip


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("every", [1, 3, 7, 50])
def test_every_kth_carry_is_kept(every, reverse):
    x = gx.input("x", (7, 2), dtype="float64")
    w = gx.input("w", (2, 2), dtype="float64")

    def step(c, v):
        h, n = c
        new = gx.sin(h @ w + v)
        return (new, n + gx.sum(new)), {"y": h * v}

    first = (gx.constant(np.ones(2)), 0)
    (h, n), ys = gx.scan(step, first, x, reverse=reverse, checkpoint=every)
    (other, m), wanted = gx.scan(step, first, x, reverse=reverse)
    outs, wants = [h, n, ys["y"]], [other, m, wanted["y"]]
    agrees([x, w], [*outs, *derivatives(outs, [x, w])], [*wants, *derivatives(wants, [x, w])],
           [rng.standard_normal((7, 2)), rng.standard_normal((2, 2))])  # fmt: skip


def test_checkpoints_save_memory():
    x = gx.input("x", (1024, 64))
    w = gx.input("w", (64,))
    taken = {}
    for every in (None, 32):
        last, _ = gx.scan(
            lambda h, v: (gx.tanh(gx.sin(h * w) + gx.cos(h) * v), None),
            gx.constant(np.zeros(64, "float32")), x, checkpoint=every,
        )  # fmt: skip
        with gx.config(check=False):
            f = gx.function([x, w], gx.grad(gx.sum(last), w))
        values = [np.full((1024, 64), 0.3, "float32"), np.full(64, 0.5, "float32")]
        taken[every] = f.report.arena_bytes - values[0].nbytes, f(*values)
    assert taken[32][0] < 0.2 * taken[None][0]
    np.testing.assert_allclose(taken[32][1], taken[None][1], rtol=1e-4, atol=1e-6)


def test_numbers_of_python_take_the_type_of_what_they_become():
    x = gx.input("x", (4,), dtype="float64")
    (total, count), ys = gx.scan(lambda c, v: ((c[0] + v, c[1] + 1), v), (0.0, 0), x)
    assert (total.dtype, count.dtype, ys.dtype) == ("float64", "int64", "float64")
    got = gx.function(x, [total, count])([1.0, 2.0, 3.0, 4.5])
    assert got[0] == 10.5
    assert got[1] == 4
    mean, _ = gx.scan(lambda c, v: (c + v / 4, None), 0, x)
    assert mean.dtype == "float64"


def test_dictionaries_may_come_in_another_order():
    x = gx.input("x", (3,), dtype="float64")
    zero = gx.constant(np.float64(0.0))
    last, _ = gx.scan(lambda c, v: ({"b": c["b"] + 2 * v, "a": c["a"] + v}, None),
                      {"a": zero, "b": zero}, x)  # fmt: skip
    got = gx.function(x, last)([1.0, 2.0, 3.0])
    assert (got["a"], got["b"]) == (6.0, 12.0)


def test_an_error_of_the_step_is_the_users_own():
    x = gx.input("x", (3,))
    with pytest.raises(TypeError, match=r"^mine$"):
        gx.scan(lambda c, v: (_ for _ in ()).throw(TypeError("mine")), 0.0, x)


def test_as_jax_has_it():
    """Values, gradients, tangents and second derivatives, of structures, with and without xs."""
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy

    def body(np_, w):
        def step(carry, x):
            h, (n,) = carry["h"], carry["n"]
            a, b = x
            new = np_.tanh(h @ w + a) * np_.cos(n)
            return {"h": new, "n": [n + np_.sum(b * new)]}, {"y": (new * b, n), "none": None}

        return step

    feeds = {"w": (3, 3), "h": (2, 3), "a": (5, 2, 3), "b": (5, 3)}
    values = {k: 0.4 * rng.standard_normal(shape) for k, shape in feeds.items()}
    directions = [0.3 * rng.standard_normal(shape) for shape in feeds.values()]
    symbols = [gx.input(k, shape, dtype="float64") for k, shape in feeds.items()]

    def run(np_, scan, reverse, w, h, a, b):
        init = {"h": h, "n": [np_.sum(h) * 0.1]}
        last, ys = scan(body(np_, w), init, (a, b), reverse=reverse)
        return [last["h"], last["n"][0], *ys["y"]]

    def loss(np_, outs):
        return sum(np_.sum(np_.sin(t)) for t in outs)

    for reverse in (False, True):
        outs = run(gx, gx.scan, reverse, *symbols)
        total = loss(gx, outs)
        slopes = gx.grad(total, symbols)
        curve = gx.jvp(slopes, symbols, [gx.constant(d) for d in directions])
        pushed = gx.jvp(outs, symbols, [gx.constant(d) for d in directions])
        got = gx.function(symbols, [*outs, *slopes, *pushed, *curve])(*values.values())

        def theirs(*args, reverse=reverse):
            return run(jnp, jax.lax.scan, reverse, *args)

        given = tuple(values.values())
        gradient = jax.grad(lambda *a: loss(jnp, theirs(*a)), argnums=(0, 1, 2, 3))
        wanted = [
            *theirs(*given), *gradient(*given),
            *jax.jvp(theirs, given, tuple(directions))[1],
            *jax.jvp(gradient, given, tuple(directions))[1],
        ]  # fmt: skip
        for mine, other in zip(got, wanted, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_parameters_captured_in_a_body_are_trained(threads):
    """A step of training against the same network, unrolled."""
    x, y = gx.input("x", (None, 9, 3)), gx.input("y", (None, 4))
    own = np.random.default_rng(1)
    values = own.standard_normal((16, 9, 3)).astype("float32")
    targets = own.standard_normal((16, 4)).astype("float32")

    def trained(loop):
        wide = gx.parameter(nn.init.xavier_uniform(), (3, 4), name="wide")
        deep = gx.parameter(nn.init.xavier_uniform(), (4, 4), name="deep")
        first = gx.broadcast_to(gx.constant(np.float32(0.0)), (*x.type.shape[:1], 4))
        out = loop(lambda h, v: (gx.tanh(h @ deep + v @ wide), h), first)
        loss = nn.mse_loss(out, y)
        return gx.Model(
            inputs=x, outputs=out, targets=y, loss=loss, optimizer=optim.SGD(0.2), seed=3
        )

    def by_hand(step, h):
        for t in range(9):
            h, _ = step(h, x[:, t])
        return h

    with gx.config(threads=threads):
        one = trained(lambda step, first: gx.scan(step, first, x, axis=1)[0])
        two = trained(by_hand)
        for k, value in one.parameters.items():
            two.parameters[k][...] = value
        for _ in range(20):
            mine, other = one.train_step(values, targets), two.train_step(values, targets)
            np.testing.assert_allclose(mine, other, rtol=2e-5)
        for k, value in one.parameters.items():
            np.testing.assert_allclose(value, two.parameters[k], rtol=1e-3, atol=1e-5)
        history, wanted = (
            model.fit(values, targets, epochs=3, batch_size=5, shuffle=False, verbose=0)["loss"]
            for model in (one, two)
        )
        np.testing.assert_allclose(history, wanted, rtol=1e-3)
