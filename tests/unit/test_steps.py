"""Loops whose steps are short stand in a kernel: the same bits as in the table, one call."""

from __future__ import annotations

import time

import numpy as np
import pytest
from compiled import in_table, plain_python

import graphc as gx
from graphc.types import BATCH, as_dim

rng = np.random.default_rng(0)
HERE = np.float64(0.6), rng.standard_normal(40), rng.standard_normal((3, 3)) / 2


def inputs(length=40):
    return [gx.input("a", (), "float64"), gx.input("x", (length,), "float64"),
            gx.input("w", (3, 3), "float64")]  # fmt: skip


def scalar(a, x, w):
    return gx.scan(lambda c, v: (gx.tanh(a * c + v), c * v), gx.constant(0.0, "float64"), x)


def backwards(a, x, w):
    return gx.scan(lambda c, v: (c * a + v, gx.sin(c)), a, x, reverse=True)


def several(a, x, w):
    """Carries that change places, a reduction, and a condition."""

    def step(c, v):
        k, u, t = c
        u = gx.where(gx.sum(u) > 0.1, u * a, u + v)
        return (k + 1, t * 0.5 + u, u), (gx.max(t), k % 2 == 0)

    (k, u, t), (ys, even) = gx.scan(step, (gx.constant(0), gx.stack([a, a, a]), w[0]), x)
    return u + t, gx.sum(ys) + gx.sum(gx.where(even, 1.0, 0.0)) + gx.astype(k, "float64")


def within(a, x, w):
    def outer(c, v):
        c, ys = gx.scan(lambda d, u: (d * 0.5 + u * v, d), c, w[0])
        return c, gx.sum(ys)

    return gx.scan(outer, a, x)


def running(a, x, w):
    """Nothing is carried: steps are independent, and may be lanes."""
    return gx.scan(lambda c, v: (c, gx.exp(v * a)), a, x)


CASES = [scalar, backwards, several, within, running]


def everything(f, ins):
    out = f(*ins)
    loss = gx.sum(gx.sin(out[0])) + gx.sum(out[1] * out[1])
    g = gx.grad(loss, ins, unconnected="zero")
    second = gx.grad(gx.sum(g[1] * g[1]), ins, unconnected="zero")
    return [*out, *g, *second]


@pytest.mark.parametrize("f", CASES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("length", [40, "length"])
def test_the_bits_are_those_of_the_table(f, length):
    ins = inputs(length)
    out = everything(f, ins)
    kernel = gx.function(ins, out)
    assert "m.loop(" not in kernel.source
    assert "for step in range(n" in kernel.source
    with in_table():
        table = gx.function(ins, out)
    assert "m.loop(" in table.source
    with plain_python():
        plain = gx.function(ins, out)
    for count in (40,) if length == 40 else (40, 1, 0, 3):
        feeds = HERE[0], HERE[1][:count], HERE[2]
        for a, b, c in zip(kernel(*feeds), table(*feeds), plain(*feeds), strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_allclose(a, c, rtol=1e-12, atol=1e-12)


def test_long_steps_stay_in_the_table():
    x = gx.input("x", (5, 4000))
    f = gx.function(x, gx.scan(lambda c, v: (c * 0.5 + v, None), x[0], x)[0])
    assert "m.loop(" in f.source
    y = gx.input("y", (None, 5, 3))
    g = gx.function(y, gx.scan(lambda c, v: (c * 0.5 + v, None), y[:, 0], gx.moveaxis(y, 1, 0))[0])
    assert "m.loop(" in g.source


def test_a_step_takes_less_than_a_call():
    ins = [gx.input("a", ()), gx.input("x", (100_000,))]
    last, _ = gx.scan(lambda c, v: (ins[0] * c + v, None), gx.constant(np.float32(0)), ins[1])
    feeds = np.float32(0.5), np.ones(100_000, "float32")
    spent = []
    for on in (False, True):
        with in_table(on), gx.config(threads=1):
            f = gx.function(ins, last)
        f(*feeds)
        best = np.inf
        for _ in range(5):
            start = time.process_time()
            f(*feeds)
            best = min(best, time.process_time() - start)
        spent.append(best)
    assert spent[0] < 0.7 * spent[1]


def test_places_are_taken_apart_by_the_step():
    step = as_dim("n")
    assert (3 * step + BATCH * step - 2).by(step) == (-2, BATCH + 3)
    assert BATCH.by(step) == (BATCH, 0)
