"""Sizes that have a name: several dimensions stay open, and one binary serves all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.errors import ArgumentError, ShapeError
from graphc.ir.interpret import batch_size
from graphc.types import Dim, Sizes, as_dim, dim_at, with_batch

rng = np.random.default_rng(0)


def batch_of(n, length, features=4):
    return rng.standard_normal((n, length, features)).astype("float32")


def mean_field():
    x = gx.input("x", (None, "length", 4))
    w = gx.input("w", ("length",))
    hidden = gx.tanh(x * w[:, None])
    return [x, w], {"mean": gx.mean(hidden, axis=1), "all": gx.sum(hidden), "scores": x @ x[0].T}


def by_hand(x, w):
    hidden = np.tanh(x * w[:, None])
    return {"mean": hidden.mean(1), "all": hidden.sum(), "scores": x @ x[0].T}


def test_one_binary_serves_all_sizes():
    f = gx.function(*mean_field())
    misses = None
    for n, length in ((3, 5), (3, 9), (7, 5), (1, 1), (3, 5), (40, 200)):
        x, w = batch_of(n, length), rng.standard_normal(length).astype("float32")
        for name, expected in by_hand(x, w).items():
            np.testing.assert_allclose(f(x, w)[name], expected, rtol=2e-4, atol=2e-5)
        misses = f.report.cache_misses if misses is None else misses
        assert f.report.cache_misses == misses
    assert "size_length" in f.source
    x, _ = f.graph.inputs
    assert str(x.shape) == "(None, length, 4)"
    assert "(None, length, 4)" in str(f.graph)


def test_gradients_over_named_sizes():
    (x, w), out = mean_field()
    loss = gx.sum(gx.sin(out["mean"])) + out["all"]
    feeds = {"x": batch_of(2, 3), "w": rng.standard_normal(3).astype("float32")}
    gx.check_grads(loss, [x, w], feeds)
    f = gx.function([x, w], gx.grad(loss, [x, w]))
    for length in (3, 6):
        dx, dw = f(batch_of(2, length), np.ones(length, "float32"))
        assert (dx.shape, dw.shape) == ((2, length, 4), (length,))


def test_sizes_of_one_name_must_agree():
    f = gx.function(*mean_field())
    with pytest.raises(ShapeError) as caught:
        f(batch_of(2, 5), np.ones(6, "float32"))
    text = str(caught.value)
    assert "'length': input 'x' has 5 along axis 1 and input 'w' has 6 along axis 0" in text
    assert Path(__file__).name in text
    a, b = gx.input("a", (None,)), gx.input("b", (None,))
    with pytest.raises(ShapeError, match=r"size of the batch: input 'a' has 2 .* input 'b' has 3"):
        gx.function([a, b], a + b)(np.ones(2, "float32"), np.ones(3, "float32"))


def test_sizes_of_different_names_do_not_meet():
    a, b = gx.input("a", ("n",)), gx.input("b", ("m",))
    with pytest.raises(ShapeError, match=r"shapes \(n,\) \(m,\)"):
        a + b
    outer = a[:, None] * b
    got = gx.function([a, b], outer)(np.ones(3, "float32"), np.full(2, 2, "float32"))
    assert got.shape == (3, 2)
    joined = gx.function([a, b], gx.concat([a, b]))(np.ones(3, "float32"), np.ones(2, "float32"))
    assert joined.shape == (5,)


def test_errors_name_the_sizes():
    with pytest.raises(ShapeError, match='a size that is open elsewhere has a name, like "length"'):
        gx.input("x", (3, None))
    with pytest.raises(ArgumentError, match="must be an identifier"):
        gx.input("x", (3, "a b"))
    x = gx.input("x", (None, "length"))
    doubled = gx.function(x, x * 2)
    with pytest.raises(ShapeError, match=r"\(None, length\), got an array of shape \(3,\)"):
        doubled(np.ones(3, "float32"))
    fifth = gx.function(x, x[:, 4])
    with pytest.raises(IndexError, match="a batch of 1 rows, length 2 is too small: length - 5"):
        fifth(np.ones((1, 2), "float32"))


def test_the_batch_may_be_named():
    x = gx.input("x", ("batch", 2))
    assert x.shape == (None, 2)
    assert gx.function(x, x + 1)(np.ones((3, 2), "float32")).shape == (3, 2)


def test_sizes_count_as_the_batch():
    sizes = Sizes(4, [("length", 7), ("depth", 2)])
    length, depth = as_dim("length"), as_dim("depth")
    assert [dim_at(d, sizes) for d in (Dim(), length, 2 * length + depth, length * depth)] == [
        4, 7, 16, 14,
    ]  # fmt: skip
    assert with_batch(sizes, 9) == Sizes(9, sizes.named)
    assert sizes != 4
    assert len({sizes, Sizes(4, reversed(sizes.named)), Sizes(4, [("length", 8)])}) == 2
    assert dim_at(length, 5) == 5
    x = gx.input("x", (None, "length"))
    assert batch_size({x: np.zeros((3, 8))}) == Sizes(3, [("length", 8)])


def test_models_train_on_named_sizes():
    x, y = gx.input("x", (None, "length", 4)), gx.input("y", (None,))
    out = gx.mean(nn.Linear(4, 1)(x), axis=1)[:, 0]
    model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                     optimizer=optim.Adam(0.05), seed=0)  # fmt: skip
    weight = np.arange(4, dtype="float32")
    for length in (5, 8):
        values = batch_of(64, length)
        targets = (values @ weight).mean(1)
        history = model.fit(values, targets, epochs=60, batch_size=24, verbose=0)
        assert history["loss"][-1] < 1e-2
        assert model.evaluate(values, targets)["loss"] < 1e-2
        np.testing.assert_allclose(model.predict(values), targets, atol=0.3)


def test_plain_python_knows_the_sizes():
    code = """
import numpy as np, graphc as gx
x = gx.input("x", (None, "length"))
f = gx.function(x, gx.sum(x, axis=0))
for n, m in ((2, 3), (4, 5)):
    np.testing.assert_array_equal(f(np.ones((n, m), "float32")), np.full(m, n))
"""
    environment = {"NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **environment})
