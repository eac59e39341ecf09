"""Random draws in functions and models: when they move on, and when they are the same."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.ops.random import reference_uniform

X = np.linspace(-1, 1, 30, dtype="float32").reshape(10, 3)


def draw(rows, step=0, stream=0, seed=1, columns=2):
    return reference_uniform((rows, columns), seed=seed, step=step, stream=stream)


def noisy(seed=1, **options):
    """Return a model whose output is noise, whose loss depends on it."""
    x = gx.input("x", (None, 3))
    u = gx.random_uniform((None, 2), seed=seed)
    w = gx.parameter(np.ones(2, "float32"), name="w")
    loss = ((u * w) ** 2.0).mean() + x.mean() * 0.0
    return gx.Model(inputs=x, outputs=u, loss=loss, optimizer=optim.Adam(0.1), **options)


def autoencoder(**options):
    x = gx.input("x", (None, 3))
    mean, spread = nn.Linear(3, 2)(x), nn.Linear(3, 2)(x)
    z = mean + gx.exp(spread * 0.5) * (gx.random_uniform((None, 2), seed=1) * 2 - 1)
    out = nn.Linear(2, 3)(nn.Dropout(0.2)(z))
    kl = -0.5 * (1 + spread - mean**2 - gx.exp(spread)).mean()
    loss = nn.mse_loss(out, x) + kl
    return gx.Model(inputs=x, outputs=out, loss=loss, optimizer=optim.Adam(0.01), **options)


def test_each_step_of_a_model_draws_anew():
    model = noisy()
    for step in range(4):
        np.testing.assert_array_equal(model.forward(X)["outputs"], draw(10, step))
        np.testing.assert_array_equal(model.predict(X), draw(10, step))
        w = model.parameters["w"].copy()
        loss = model.train_step(X)
        np.testing.assert_allclose(loss, ((draw(10, step) * w) ** 2).mean(), rtol=1e-5)


def test_fit_takes_the_draws_that_steps_take():
    whole, single = autoencoder(), autoencoder()
    history = whole.fit(X, epochs=5, batch_size=4, shuffle=False, verbose=0)
    losses = []
    for _ in range(5):
        parts = [X[:4], X[4:8], X[8:]]
        losses.append(sum(single.train_step(p) * len(p) for p in parts) / len(X))
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-6)
    for name, value in whole.parameters.items():
        np.testing.assert_array_equal(value, single.parameters[name])


def test_an_autoencoder_is_not_trained_on_one_draw():
    """The loss at the end is that of any other noise, not of the noise of training alone."""
    model = autoencoder()
    model.fit(X, epochs=300, batch_size=10, verbose=0)
    losses = []
    for _ in range(50):
        losses.append(model.evaluate(X)["loss"])
        model.optimizer.lr = 0.0
        model.train_step(X)
    assert np.std(losses) > 0
    trained = np.mean(losses)
    fresh = []
    for seed in range(50):
        model._clock.op.cell.array[...] = 10_000 + seed
        fresh.append(model.evaluate(X)["loss"])
    assert abs(np.mean(fresh) - trained) < 4 * (np.std(fresh) + np.std(losses)) / 50**0.5


def test_draws_of_one_seed_differ_by_their_node():
    u, v = (gx.random_uniform((5,), seed=1) for _ in range(2))
    other = gx.random_uniform((5,), seed=2)
    same = [gx.random_uniform((5,), seed=1, stream=1) for _ in range(2)]
    found = gx.function([], [u, v, other, *same])()
    expected = [
        reference_uniform((5,), seed=s, stream=k) for s, k in ((1, 0), (1, 2), (2, 0), (1, 1))
    ]
    for got, want in zip(found, [*expected, expected[-1]], strict=True):
        np.testing.assert_array_equal(got, want)


def test_one_node_is_one_draw_wherever_it_stands():
    u = gx.random_uniform((4, 3), seed=3)
    w = gx.parameter(np.ones(3))
    loss = (u * w).sum()
    a, b, g = gx.function([], [u, gx.exp(gx.log(u)), gx.grad(loss, w)])()
    np.testing.assert_allclose(a, b, rtol=1e-5)
    np.testing.assert_allclose(g, a.sum(0), rtol=1e-5)


def test_symbolic_seeds_draw_from_streams_of_their_own():
    seeds = [gx.input(n, (), "int64") for n in "ab"]
    draws = [gx.random_uniform((8,), seed=s) for s in seeds]
    a, b = gx.function(seeds, draws)(5, 5)
    assert (a != b).all()


def test_a_function_without_updates_is_pure_and_one_with_updates_steps():
    u = gx.random_uniform((6,), seed=4)
    pure = gx.function([], u)
    np.testing.assert_array_equal(pure(), pure())
    total = gx.parameter(0.0, name="total")
    step = gx.function([], u, updates={total: total + u.sum()})
    for k in range(3):
        np.testing.assert_array_equal(step(), reference_uniform((6,), seed=4, step=k))
    np.testing.assert_array_equal(pure(), reference_uniform((6,), seed=4))
    again = gx.function([], u, updates={total: total + 1.0})
    np.testing.assert_array_equal(again(), pure())


def test_dropout_moves_on_in_a_function_with_updates():
    x = gx.input("x", (64,))
    out, count = nn.Dropout(0.5)(x), gx.parameter(0.0)
    f = gx.function(x, out, updates={count: count + 1})
    ones = np.ones(64, "float32")
    assert (f(ones) != f(ones)).any()


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_a_step_that_is_a_parameter_counts_steps(dtype):
    def build(**options):
        step = gx.parameter(5, (), name="step", dtype=dtype, trainable=False)
        u = gx.random_uniform((None, 2), seed=1, step=step)
        x, w = gx.input("x", (None, 3)), gx.parameter(np.ones(2, "float32"), name="w")
        loss = (u * w).mean() + x.mean()
        given = {k: v(step) for k, v in options.items()}
        return gx.Model(inputs=x, outputs=u, loss=loss, optimizer=optim.SGD(0.1), **given)

    model, doubled = build(), build(updates=lambda step: {step: step + 2})
    for k in range(3):
        np.testing.assert_array_equal(model.predict(X), draw(10, 5 + k))
        np.testing.assert_array_equal(doubled.predict(X), draw(10, 5 + 2 * k))
        model.train_step(X)
        doubled.fit(X, batch_size=10, verbose=0)
    assert model.parameters["step"] == 8


def test_a_step_that_is_a_number_or_an_input_is_taken_as_it_is():
    step = gx.input("step", (), "int64")
    u, v = gx.random_uniform((3,), seed=1, step=step), gx.random_uniform((3,), seed=1, step=7)
    w = gx.parameter(1.0)
    f = gx.function(step, [u, v], updates={w: w + 1.0})
    for k in (2, 9):
        a, b = f(k)
        np.testing.assert_array_equal(a, reference_uniform((3,), seed=1, step=k))
        np.testing.assert_array_equal(b, reference_uniform((3,), seed=1, step=7, stream=1))


@pytest.mark.parametrize("batch_size", [1, 3, 4, 1024])
def test_rows_get_the_same_numbers_in_any_batch(batch_size):
    model = autoencoder()
    model.train_step(X)
    np.testing.assert_array_equal(noisy().predict(X, batch_size=batch_size), draw(10))
    whole = model.evaluate(X)["loss"]
    np.testing.assert_allclose(model.evaluate(X, batch_size=batch_size)["loss"], whole, rtol=1e-6)
    history = model.fit(X, epochs=1, validation_data=(X,), verbose=0)
    np.testing.assert_allclose(
        history["val_loss"], model.evaluate(X, batch_size=batch_size)["loss"], rtol=1e-6
    )


@pytest.mark.parametrize("shape", ["scaled", "across"])
def test_rows_get_the_same_numbers_in_any_batch_whatever_the_shape(shape):
    x, w = gx.input("x", (None, 3)), gx.parameter(1.0, name="w")
    if shape == "scaled":  # three numbers a row, in one axis
        noise = gx.reshape(gx.random_normal(gx.reshape(x, (-1,)).shape, seed=1), (-1, 3))
    else:  # what lies along the batch belongs to no row: all go through at once
        noise = gx.random_normal((3, None), seed=1).T
    out = x + noise
    model = gx.Model(inputs=x, outputs=out, loss=(out * w).mean(), optimizer=optim.SGD(0.1))
    whole, score = model.predict(X), model.evaluate(X)["loss"]
    for size in (1, 3, 7):
        np.testing.assert_array_equal(model.predict(X, batch_size=size), whole)
        np.testing.assert_allclose(model.evaluate(X, batch_size=size)["loss"], score, rtol=1e-5)
    model.train_step(X)
    assert (model.predict(X) != whole).all()


def test_a_continued_run_is_the_uninterrupted_one(tmp_path):
    whole = autoencoder()
    whole.fit(X, epochs=6, batch_size=4, verbose=0)
    first = autoencoder()
    first.fit(X, epochs=3, batch_size=4, verbose=0)
    first.save(tmp_path / "model", include_optimizer=True)
    second = autoencoder(seed=3)
    second.load(tmp_path / "model", include_optimizer=True)
    second.epochs = first.epochs
    assert second.predict(X).tolist() == first.predict(X).tolist()
    for step in range(2):
        assert second.train_step(X) == first.train_step(X), step
    assert {n for n in first._state if "random" in n} == {"random.step"}
    assert "random.step" not in first.parameters


def test_a_model_without_an_optimizer_draws_the_same_each_time():
    x = gx.input("x", (None, 3))
    u = gx.random_uniform((None, 2), seed=1)
    model = gx.Model(inputs=x, outputs=u, loss=u.mean() + x.mean())
    for _ in range(2):
        np.testing.assert_array_equal(model.predict(X), draw(10))


CODE = """
import sys
sys.path.insert(0, {here!r})
import graphc as gx
from test_draws import X, autoencoder
with gx.config(threads={threads}):
    model = autoencoder()
    losses = [model.train_step(X) for _ in range(3)]
    print(losses, model.predict(X).tolist())
"""


def printed(threads=1, **environment):
    code = CODE.format(here=os.path.dirname(__file__), threads=threads)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    return done.stdout


def test_the_same_seed_gives_the_same_bits_with_any_threads_and_in_another_process():
    assert printed(1) == printed(2) == printed(4)


def test_the_same_seed_gives_the_same_draws_without_the_jit():
    code = (
        "import graphc as gx\n"
        "u, v = (gx.random_uniform((None, 3), seed=9) for _ in range(2))\n"
        "x, w = gx.input('x', (None,)), gx.parameter(0.0)\n"
        "f = gx.function(x, [u, v, x], updates={w: w + 1.0})\n"
        "print([[a.tolist() for a in f([0.0] * 5)] for _ in range(3)])\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "NUMBA_DISABLE_JIT": flag},
        ).stdout
        for flag in "01"
    ]  # fmt: skip
    assert runs[0] == runs[1]
    assert len(runs[0]) > 100
