"""State of a user's own that each step of a model replaces: averages, targets, counts."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim

X = np.random.default_rng(0).standard_normal((12, 3), dtype="float32")
Y = X[:, :1] * 2


def make(updates=lambda x, layer, loss: None, **options):
    x, y = gx.input("x", (None, 3)), gx.input("y", (None, 1))
    layer = nn.Linear(3, 1)
    out = layer(x)
    loss = nn.mse_loss(out, y)
    return gx.Model(
        inputs=x, outputs=out, targets=y, loss=loss, optimizer=optim.SGD(0.1),
        updates=updates(x, layer, loss), **options,
    )  # fmt: skip


def averaging():
    """Return a model that subtracts the running mean of its inputs, and that parameter."""
    x, y = gx.input("x", (None, 3)), gx.input("y", (None, 1))
    mean = gx.parameter(np.zeros(3, "float32"), name="mean", trainable=False)
    out = nn.Linear(3, 1)(x - mean)
    return gx.Model(
        inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y), optimizer=optim.Adam(0.1),
        updates={mean: 0.9 * mean + 0.1 * x.mean(0)},
    )  # fmt: skip


def test_a_running_mean_runs():
    model, expected = averaging(), np.zeros(3)
    for step in range(3):
        model.forward(X, Y)
        model.gradients(X, Y)
        model.evaluate(X, Y)
        np.testing.assert_allclose(model.parameters["mean"], expected, rtol=1e-5, atol=1e-7)
        if step:
            model.train_step(X, Y)
            expected = 0.9 * expected + 0.1 * X.mean(0)
        else:
            model.fit(X, Y, epochs=2, batch_size=5, shuffle=False, verbose=0)
            for _ in range(2):
                for rows in (X[:5], X[5:10], X[10:]):
                    expected = 0.9 * expected + 0.1 * rows.mean(0)
    np.testing.assert_allclose(model.parameters["mean"], expected, rtol=1e-5, atol=1e-7)


def test_state_is_saved_and_loaded_with_the_parameters(tmp_path):
    model = averaging()
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model")
    again = averaging()
    again.load(tmp_path / "model")
    assert again.parameters["mean"].any()
    np.testing.assert_array_equal(again.predict(X), model.predict(X))

    def counting():
        steps = gx.parameter(0, (), name="steps", dtype="int64", trainable=False)
        return make(lambda x, layer, loss: {steps: steps + 1})

    first, second = counting(), counting()
    first.fit(X, Y, batch_size=4, verbose=0)
    assert first.parameters["steps"] == 3
    first.save(tmp_path / "steps")
    second.load(tmp_path / "steps")
    assert second.parameters["steps"] == 3


def test_a_target_follows_and_all_new_values_are_made_of_the_old_ones():
    target = gx.parameter(nn.init.zeros, (3, 1), name="target", trainable=False)
    before = gx.parameter(nn.init.zeros, (3, 1), name="before", trainable=False)
    model = make(
        lambda x, layer, loss: {
            target: 0.5 * target + 0.5 * layer.weight,
            before: layer.weight,
        }
    )
    for _ in range(3):
        old = {name: value.copy() for name, value in model.parameters.items()}
        model.train_step(X, Y)
        new = model.parameters
        assert (new["linear_0.weight"] != old["linear_0.weight"]).any()
        np.testing.assert_array_equal(new["before"], old["linear_0.weight"])
        np.testing.assert_allclose(
            new["target"], 0.5 * old["target"] + 0.5 * old["linear_0.weight"], rtol=1e-6
        )


def test_new_values_may_be_made_of_gradients_and_draws():
    norm = gx.parameter(0.0, name="norm", trainable=False)
    noise = gx.parameter(np.zeros(4, "float32"), name="noise", trainable=False)

    def updates(x, layer, loss):
        g = gx.grad(loss, layer.weight)
        return {norm: gx.sqrt((g * g).sum()), noise: gx.random_uniform((4,), seed=1)}

    model = make(updates)
    seen = []
    for _ in range(3):
        expected = np.linalg.norm(model.gradients(X, Y)["linear_0.weight"])
        model.train_step(X, Y)
        np.testing.assert_allclose(model.parameters["norm"], expected, rtol=1e-5)
        seen.append(tuple(model.parameters["noise"]))
    assert len(set(seen)) == 3


def test_a_parameter_that_has_an_update_is_state_unless_the_loss_has_it():
    loose = gx.parameter(np.zeros(2, "float32"), name="loose")
    model = make(lambda x, layer, loss: {loose: loose + 1.0})
    model.train_step(X, Y)
    assert model.parameters["loose"].tolist() == [1, 1]
    assert "loose" not in model.gradients(X, Y)


def test_bad_updates():
    w = gx.parameter(np.zeros(3, "float32"), name="w", trainable=False)
    for updates, kind, hint in [
        (lambda x, layer, loss: {w: gx.zeros((2,))}, ValueError, "new value of w: .*float32.2"),
        (lambda x, layer, loss: {w: gx.zeros((3,), dtype="float64")}, ValueError, "float64.*cast"),
        (lambda x, layer, loss: {x: x}, TypeError, "x: .*is not a parameter"),
        (lambda x, layer, loss: {"w": w}, TypeError, "'w', which is not a parameter"),
        (lambda x, layer, loss: [w], TypeError, "must be a dict"),
        (
            lambda x, layer, loss: {layer.weight: layer.weight * 0.5},
            ValueError,
            r"linear_0.weight: .*trained and has an update.*trainable=\[",
        ),
    ]:
        with pytest.raises(kind, match=hint) as error:
            make(updates)
        assert "test_model_updates.py:" in str(error.value)
    x = gx.input("x", (None, 3))
    with pytest.raises(ValueError, match=r"no optimizer; use gx\.function"):
        gx.Model(inputs=x, outputs=x, loss=x.mean(), updates={w: w + 1.0})


def test_a_target_network_behind_stop_gradient_is_state():
    """As in Q-learning: the loss has the target's output, and no gradient reaches it."""
    x, y = gx.input("x", (None, 3)), gx.input("y", (None, 1))
    online, target = nn.Linear(3, 1), nn.Linear(3, 1)
    out = online(x)
    goal = y + 0.9 * gx.stop_gradient(target(x))
    pairs = zip(target.parameters, online.parameters, strict=True)
    model = gx.Model(
        inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, goal),
        optimizer=optim.AdamW(0.1, weight_decay=0.5),
        updates={t: 0.75 * t + 0.25 * p for t, p in pairs},
    )  # fmt: skip
    for _ in range(3):
        old = {name: value.copy() for name, value in model.parameters.items()}
        model.train_step(X, Y)
        for part in ("weight", "bias"):
            np.testing.assert_allclose(
                model.parameters[f"linear_1.{part}"],
                0.75 * old[f"linear_1.{part}"] + 0.25 * old[f"linear_0.{part}"],
                rtol=1e-6,
            )
    assert set(model.gradients(X, Y)) == {"linear_0.weight", "linear_0.bias"}


def test_what_is_not_trained_may_have_an_update():
    x, y = gx.input("x", (None, 3)), gx.input("y", (None, 1))
    first, second = nn.Linear(3, 2), nn.Linear(2, 1)
    out = second(first(x))
    model = gx.Model(
        inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y), optimizer=optim.SGD(0.1),
        trainable=[second], updates={first.weight: first.weight * 0.5},
    )  # fmt: skip
    before = {name: value.copy() for name, value in model.parameters.items()}
    model.train_step(X, Y)
    np.testing.assert_array_equal(
        model.parameters["linear_0.weight"], before["linear_0.weight"] * 0.5
    )
    np.testing.assert_array_equal(model.parameters["linear_0.bias"], before["linear_0.bias"])
