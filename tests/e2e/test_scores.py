"""Losses and metrics are those of all rows at once, whatever the size of the batches."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim

RNG = np.random.default_rng(0)
X = RNG.standard_normal((37, 6)).astype("float32")
LABELS = RNG.integers(0, 3, 37)
LABELS[:9] = 0  # batches of nothing but what is ignored


def row_sums(out):
    return gx.sum(gx.square(out), axis=1)


LOSSES = {
    "mean": lambda out, y: nn.cross_entropy(out, y),
    "ignored": lambda out, y: nn.cross_entropy(out, y, ignore_index=0),
    "weighed": lambda out, y: nn.cross_entropy(out, y, weight=[1.0, 2.0, 5.0]),
    "weighed and ignored": lambda out, y: nn.nll_loss(
        gx.log_softmax(out), y, weight=[1.0, 2.0, 5.0], ignore_index=0
    ),
    "sum": lambda out, y: nn.cross_entropy(out, y, reduction="sum"),
    "root": lambda out, y: gx.sqrt(gx.mean(row_sums(out))),
    "penalty": lambda out, y: nn.cross_entropy(out, y) + 0.1 * gx.mean(row_sums(out)) ** 2,
    "several axes": lambda out, y: gx.log(gx.sum(gx.reshape(out * out, (-1,)))),
    "lookup": lambda out, y: gx.sum(row_sums(out) * gx.take(gx.constant([1.0, 2.0, 0.5]), y)),
}


def f1(out, y, average=gx.mean):
    """F1 of each class, from counts that are integers."""
    said, is_so = gx.one_hot(gx.argmax(out, axis=1), 3), gx.one_hot(y, 3)
    right = gx.sum(gx.astype(said * is_so, "int64"), axis=0)
    both = gx.sum(gx.astype(said + is_so, "int64"), axis=0)
    return average(2.0 * gx.astype(right, "float32") / gx.maximum(gx.astype(both, "float32"), 1.0))


def confusion(out, y):
    """The share of right answers of each class, from a matrix of counts."""
    said, is_so = gx.one_hot(gx.argmax(out, axis=1), 3), gx.one_hot(y, 3)
    counts = gx.sum(is_so[:, :, None] * said[:, None, :], axis=0)
    return gx.mean(gx.diagonal(counts) / gx.maximum(gx.sum(counts, axis=1), 1.0))


COUNTED = {"f1": f1, "f1 of the worst": lambda out, y: f1(out, y, gx.min), "confusion": confusion}
"""Metrics, which have no derivative."""

BY_CLASS = {
    "by class": lambda out, y: gx.max(gx.sum(out * out, axis=0)) / gx.sum(row_sums(out)),
}
AT_ONCE = {
    "greatest": lambda out, y: gx.max(out),
    "spread": lambda out, y: gx.mean(gx.square(out - gx.mean(out, axis=0))),
    "neighbours": lambda out, y: gx.mean(gx.square(out[1:] - out[:-1])),
    "turned": lambda out, y: gx.mean(out * gx.flip(out, axis=0)),
    "running": lambda out, y: gx.mean(gx.cumulative_sum(row_sums(out))),
    "places": lambda out, y: gx.mean(row_sums(out) * gx.cumulative_sum(gx.ones_like(out[:, 0]))),
    "product of rows": lambda out, y: gx.sum(out.T @ out),
}


def model(loss, rate=0.0):
    x, y = gx.input("x", (None, 6)), gx.input("y", (None,), "int64")
    out = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))(x)
    return gx.Model(
        inputs=x, outputs=out, targets=y, loss=loss(out, y), seed=0,
        metrics={"accuracy": nn.accuracy(out, y), "same": loss(out, y)}, optimizer=optim.SGD(rate),
    )  # fmt: skip


def of_all_rows(made):
    """Return the loss of all rows, from the forward pass of one batch."""
    return float(made.forward(X, LABELS)["loss"])


@pytest.mark.parametrize("name", [*LOSSES, *BY_CLASS, *AT_ONCE])
def test_evaluate_and_validation(name):
    made = model({**LOSSES, **BY_CLASS, **AT_ONCE}[name])
    wanted = of_all_rows(made)
    assert np.isfinite(wanted)
    found = [made.evaluate(X, LABELS, batch_size=size) for size in (1, 2, 9, 36, 37, 100)]
    for one in found:
        assert one["loss"] == pytest.approx(wanted, rel=2e-5)
        assert one["same"] == one["loss"]
        assert one["accuracy"] == pytest.approx(found[-1]["accuracy"], rel=1e-6)
    history = made.fit(X, LABELS, validation_data=(X, LABELS), batch_size=37, verbose=0)
    assert history["val_loss"][0] == pytest.approx(wanted, rel=2e-5)


@pytest.mark.parametrize("name", [*LOSSES, *BY_CLASS])
def test_history(name):
    """Nothing is learned at a rate of 0, so an epoch is one look at all rows."""
    made = model({**LOSSES, **BY_CLASS}[name])
    wanted, accuracy = of_all_rows(made), made.evaluate(X, LABELS)["accuracy"]
    for size in (1, 4, 9, 37):
        history = made.fit(X, LABELS, batch_size=size, verbose=0)
        assert history["loss"][0] == pytest.approx(wanted, rel=2e-5), size
        assert history["same"][0] == history["loss"][0]
        assert history["accuracy"][0] == pytest.approx(accuracy, rel=1e-6)


def test_history_of_metrics_by_class():
    x, y = gx.input("x", (None, 6)), gx.input("y", (None,), "int64")
    out = nn.Linear(6, 3)(x)
    made = gx.Model(
        inputs=x, outputs=out, targets=y, loss=nn.cross_entropy(out, y), seed=0,
        metrics={name: f(out, y) for name, f in COUNTED.items()}, optimizer=optim.SGD(0.0),
    )  # fmt: skip
    wanted = made.forward(X, LABELS)
    for size in (1, 4, 9, 37):
        history = made.fit(X, LABELS, batch_size=size, verbose=0, validation_data=(X, LABELS))
        for name in COUNTED:
            assert history[name][0] == pytest.approx(float(wanted[name]), rel=1e-6), (name, size)
            assert history[f"val_{name}"][0] == pytest.approx(float(wanted[name]), rel=1e-6)


def test_a_plain_mean_adds_nothing_to_the_step():
    assert not model(LOSSES["mean"])._summed
    assert len(model(LOSSES["ignored"])._summed) == 2


def test_a_batch_of_ignored_labels_trains_nothing_and_spoils_nothing():
    made = model(LOSSES["ignored"], rate=0.1)
    before = {name: value.copy() for name, value in made.parameters.items()}
    assert np.isnan(made.train_step(X[:4], np.zeros(4, int)))  # as in PyTorch: a mean of nothing
    for name, value in made.parameters.items():
        np.testing.assert_array_equal(value, before[name])
    history = made.fit(X, LABELS, batch_size=3, epochs=3, shuffle=False, verbose=0)
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]


def test_draws_of_rows_in_a_loss():
    """Each row has its own noise in whatever batch, so the loss of all rows is one number."""

    def noisy(out, y):
        noise = gx.random_normal((out.type.shape[0], 3), seed=3)
        return gx.sqrt(gx.sum(gx.square(out + noise)))

    made = model(noisy)
    found = [made.evaluate(X, LABELS, batch_size=size)["loss"] for size in (1, 5, 37)]
    assert found == pytest.approx([found[-1]] * 3, rel=2e-5)
