"""Draws and state of layers within loops (the op ``turn``), branches and checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import plain_python

import graphc as gx
from graphc import nn, optim

rng = np.random.default_rng(0)
X = rng.standard_normal((5, 3))


def uniform(shape=(3,), **options):
    return gx.random_uniform(shape, seed=1, dtype="float64", **options)


def drawn_before(shape):
    x = gx.input("x", ())
    return gx.function(x, uniform(shape))(0.0)


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "compiled"])
@pytest.mark.parametrize(
    "options", [{}, {"unroll": 2}, {"unroll": True}, {"checkpoint": 2}, {"reverse": True}], ids=str
)
def test_each_step_draws_what_a_draw_of_all_steps_has_there(options, plain):
    x = gx.input("x", (5, 3), "float64")
    calls = []

    def step(carry, row):
        calls.append(1)
        u = uniform()
        return carry + gx.random_normal((3,), seed=9, dtype="float64") * row * carry, u * row

    carry, ys = gx.scan(step, gx.ones((3,), dtype="float64"), x, **options)
    assert len(calls) == 1
    z = gx.random_normal((5, 3), seed=9, dtype="float64")
    loss, inputs = gx.sum(carry * carry), gx.function(gx.input("a", ()), z)(0.0)
    with plain_python(plain):
        got, left, slope = gx.function(x, (carry, ys, gx.grad(loss, x)))(X)
    wanted = np.prod(1 + inputs * X, axis=0)
    np.testing.assert_allclose(got, wanted, rtol=1e-12)
    np.testing.assert_allclose(left, drawn_before((5, 3)) * X, rtol=1e-12)
    np.testing.assert_allclose(slope, 2 * wanted**2 / (1 + inputs * X) * inputs, rtol=1e-10)


def test_nested_loops_draw_one_draw_of_all_steps():
    def inner(carry, _):
        return carry, uniform()

    def outer(carry, _):
        return carry, gx.scan(inner, carry, None, 3)[1]

    a = gx.input("a", ())
    _, ys = gx.scan(outer, a, None, 4)
    np.testing.assert_array_equal(gx.function(a, ys)(0.0), drawn_before((4, 3, 3)))

    def body(carry):
        k, total = carry
        return k + 1, total + uniform() * gx.astype(k + 1, "float64")

    _, total = gx.while_loop(lambda c: c[0] < 4, body, (0, gx.zeros((3,), dtype="float64")), 9)
    wanted = (drawn_before((4, 3)) * np.arange(1, 5)[:, None]).sum(0)
    np.testing.assert_allclose(gx.function(a, total)(0.0), wanted, rtol=1e-12)


def test_a_step_that_is_given_is_kept():
    a = gx.input("a", ())
    _, ys = gx.scan(lambda c, _: (c, uniform(step=3)), a, None, 4)
    got = gx.function(a, ys)(0.0)
    assert (got == got[0]).all()
    _, ys = gx.scan(lambda k, _: (k + 1, uniform(step=k)), gx.constant(0), None, 4)
    got = gx.function(a, ys)(0.0)
    assert len({row.tobytes() for row in got}) == 4


def test_draws_of_carried_logits():
    logits = gx.input("logits", (4,))

    def step(carry, _):
        k = gx.random_categorical(carry, seed=5)
        return carry - 3.0 * gx.one_hot(k, 4), k

    _, ks = gx.scan(step, logits, None, 40)
    got = gx.function(logits, ks)(np.zeros(4))
    assert np.bincount(got, minlength=4).min() >= 8


def test_a_branch_draws_and_another_step_draws_anew():
    x, flag = gx.input("x", (3,), "float64"), gx.input("flag", (), "bool")
    count = gx.parameter(0, (), dtype="int64", trainable=False)
    out = gx.cond(flag, lambda a: a * uniform(), lambda a: a, x)
    f = gx.function([x, flag], [out, gx.grad(gx.sum(out), x)], updates={count: count + 1})
    first, slope = f(np.ones(3), True)
    np.testing.assert_array_equal(first, slope)
    second, _ = f(np.ones(3), True)
    assert (first != second).all()
    np.testing.assert_array_equal(f(np.ones(3), False)[0], np.ones(3))
    _, ys = gx.scan(lambda c, _: (c, gx.cond(flag, lambda: uniform(), lambda: c)), x, None, 4)
    np.testing.assert_array_equal(gx.function([x, flag], ys)(np.ones(3), True),
                                  drawn_before((4, 3)))  # fmt: skip


def trained(make, X, steps=3, **options):
    x, y = gx.input("x", (None, 3), "float64"), gx.input("y", (None,), "float64")
    out = make(x)
    loss = nn.mse_loss(gx.sum(out, axis=1), y)
    model = gx.Model(inputs=x, outputs=out, targets=y, loss=loss, optimizer=optim.SGD(0.1),
                     seed=0, **options)  # fmt: skip
    losses = [model.train_step(X, X[:, 0]) for _ in range(steps)]
    return model, losses


def norm():
    return nn.BatchNorm1d(3, dtype="float64", name="norm")


def dense():
    values = np.random.default_rng(3).standard_normal((3, 3))
    return nn.Linear(3, 3, dtype="float64", name="dense", weight_init=lambda *_: values,
                     bias_init=nn.init.zeros)  # fmt: skip


def test_checkpointed_layers_do_what_they_do_alone():
    def net():
        one, two = dense(), norm()
        drop = nn.Dropout(0.5, name="drop")
        return lambda x: drop(gx.tanh(two(one(x))))

    X = rng.standard_normal((8, 3))
    (a, plain), (b, again) = (
        trained(lambda x: net()(x), X),
        trained(lambda x: gx.checkpoint(net(), x), X),
    )
    np.testing.assert_allclose(again, plain, rtol=1e-12)
    for name, value in a.state.items():
        np.testing.assert_allclose(b.state[name], value, rtol=1e-12)
    np.testing.assert_allclose(b.predict(X), a.predict(X), rtol=1e-12)
    assert b.state["norm.num_batches_tracked"] == 3


@pytest.mark.parametrize("taken", [True, False])
def test_only_the_branch_taken_moves_its_statistics(taken):
    def make(x):
        layer, other = norm(), nn.BatchNorm1d(3, dtype="float64", name="other")
        return dense()(gx.cond(gx.sum(x) * 0.0 < (1.0 if taken else -1.0), layer, other, x))

    model, _ = trained(make, X, 2)
    moved, still = ("norm", "other") if taken else ("other", "norm")
    assert model.state[f"{moved}.num_batches_tracked"] == 2
    assert model.state[f"{still}.num_batches_tracked"] == 0
    assert (model.state[f"{still}.running_mean"] == 0).all()
    alone, _ = trained(lambda x: dense()(norm()(x)), X, 2)
    for part in ("running_mean", "running_var"):
        np.testing.assert_allclose(model.state[f"{moved}.{part}"], alone.state[f"norm.{part}"])
    np.testing.assert_allclose(model.predict(X), alone.predict(X), rtol=1e-10)


def test_a_layer_in_all_branches_and_before_moves_once_each_time():
    def switched(x):
        layer = norm()
        y = layer(x)
        branches = [layer, lambda z: layer(z * 2.0), lambda z: z]
        return dense()(gx.switch(gx.astype(gx.sum(x) * 0.0, "int64") + 1, branches, y))

    def plain(x):
        layer = norm()
        return dense()(layer(layer(x) * 2.0))

    (a, one), (b, two) = trained(switched, X), trained(plain, X)
    np.testing.assert_allclose(one, two, rtol=1e-10)
    for name, value in b.state.items():
        np.testing.assert_allclose(a.state[name], value, rtol=1e-10)
    assert a.state["norm.num_batches_tracked"] == 6


def test_a_loop_moves_statistics_in_each_step():
    def looped(x):
        layer, d = norm(), dense()
        return gx.scan(lambda c, _: (gx.tanh(d(layer(c))), None), x, None, 4)[0]

    def written_out(x):
        layer, d = norm(), dense()
        for _ in range(4):
            x = gx.tanh(d(layer(x)))
        return x

    (a, one), (b, two) = trained(looped, X), trained(written_out, X)
    np.testing.assert_allclose(one, two, rtol=1e-9)
    for name, value in b.state.items():
        np.testing.assert_allclose(a.state[name], value, rtol=1e-9)
    assert a.state["norm.num_batches_tracked"] == 12
    np.testing.assert_allclose(a.predict(X), b.predict(X), rtol=1e-9)
    assert a.predict(X).shape == X.shape


def test_dropout_in_a_loop_draws_a_mask_each_step():
    drop = nn.Dropout(0.5)
    x = gx.input("x", (1000,))
    _, ys = gx.scan(lambda c, _: (c, drop(x) > 0), x, None, 3)
    f = gx.function(x, ys)
    masks = f(np.ones(1000))
    np.testing.assert_array_equal(masks, f(np.ones(1000)))
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert 400 < (masks[a] != masks[b]).sum() < 600
    count = gx.parameter(0, (), dtype="int64", trainable=False)
    f = gx.function(x, ys, updates={count: count + 1})
    assert (f(np.ones(1000)) != f(np.ones(1000))).any()


def test_random_rows_in_a_loop_are_predicted_at_once():
    x = gx.input("x", (None, 3), "float64")
    _, ys = gx.scan(lambda c, _: (c, c + uniform((None, 3))), x, None, 2)
    out = gx.sum(ys, axis=0)
    model = gx.Model(inputs=x, outputs=out, loss=gx.mean(out), seed=0)
    whole = model.predict(np.zeros((5, 3)))
    np.testing.assert_array_equal(model.predict(np.zeros((5, 3)), batch_size=2), whole)
