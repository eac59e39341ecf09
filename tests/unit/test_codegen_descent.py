"""Products that take the step of gradient descent in place of their gradient."""

from __future__ import annotations

import functools
import operator

import numpy as np
import pytest
from compiled import build

import graphc as gx
from graphc import nn, optim
from graphc.codegen import module
from graphc.codegen.product import FORM, UPDATE
from graphc.ir.graph import Graph
from graphc.ir.tensor import building

RNG = np.random.default_rng(0)
X = RNG.standard_normal((96, 40)).astype("float32")
Y = RNG.integers(0, 10, 96)


def stepping(run):
    """Return the calls of products that take a step."""
    return [k for k in run._calls if k.name.startswith("matmul") and k.arguments[FORM] & UPDATE]


def trained(optimizer, threads=1):
    x, y = gx.input("x", (None, 40)), gx.input("y", (None,), "int64")
    h = gx.relu(nn.Linear(40, 24)(x))
    out = nn.Linear(24, 10)(h)
    model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.cross_entropy(out, y),
                     optimizer=optimizer, seed=0)  # fmt: skip
    with gx.config(threads=threads):
        losses = [model.train_step(X[:32], Y[:32]) for _ in range(3)]
        losses += model.fit(X, Y, batch_size=32, epochs=2, verbose=0)["loss"]
    return losses, {k: v.copy() for k, v in model.parameters.items()}, model


def test_a_plain_step_is_taken_by_the_product_with_equal_bits(monkeypatch):
    losses, values, model = trained(optim.SGD(0.1))
    assert len(stepping(model._stepper("train_step"))) == 2
    assert "def descend(m):" in model.source
    assert "def update(m):" not in model.source
    monkeypatch.setattr(module, "take_steps", lambda pairs, kept, by_phase: pairs)
    again, others, _ = trained(optim.SGD(0.1))
    assert again == losses
    for name, value in values.items():
        np.testing.assert_array_equal(others[name], value, name)


@pytest.mark.parametrize("threads", [2, 3])
def test_a_step_in_a_product_does_not_depend_on_threads(threads):
    one, many = trained(optim.SGD(0.1)), trained(optim.SGD(0.1), threads)
    assert one[0] == many[0]
    for name, value in one[1].items():
        np.testing.assert_array_equal(many[1][name], value, name)


def test_gradients_are_still_there_for_who_asks():
    _, values, model = trained(optim.SGD(0.1))
    gradients = model.gradients(X[:32], Y[:32])
    model.train_step(X[:32], Y[:32])
    for name, gradient in gradients.items():
        expected = values[name] - np.float32(0.1) * gradient
        np.testing.assert_allclose(model.parameters[name], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "optimizer",
    [
        optim.SGD(0.1, momentum=0.9),
        optim.SGD(0.1, weight_decay=0.1),
        optim.SGD(0.1, clip_norm=1.0),
        optim.Adam(),
    ],
)
def test_other_steps_need_the_gradient(optimizer):
    _, _, model = trained(optimizer)
    assert not stepping(model._stepper("train_step"))
    assert "def update(m):" in model.source


@pytest.mark.parametrize("seen", [False, True])
def test_a_gradient_that_is_an_output_is_written(seen):
    x, w = gx.input("x", (8, 6), "float64"), gx.parameter(RNG.standard_normal((6, 4)))
    rate = gx.input("rate", (), "float64")
    loss = gx.sum(gx.tanh(x @ w))
    gradient = gx.grad(loss, w)
    feeds = [RNG.standard_normal((8, 6)), np.array(0.5)]
    start = w.op.cell.array.copy()
    run = build(Graph([x, rate], {"g": gradient} if seen else {}, {w: w - rate * gradient}))
    found = run.call(feeds)
    expected = feeds[0].T @ (1 - np.tanh(feeds[0] @ start) ** 2)
    np.testing.assert_allclose(w.op.cell.array, start - 0.5 * expected, rtol=1e-12)
    if seen:
        np.testing.assert_allclose(found["g"], expected, rtol=1e-12)
    assert len(stepping(run)) == (not seen)


# -- what may stand between ------------------------------------------------------------------


class Step:
    """W (6, 4) stepping by its gradient tanh'(x W), x (8, 6), beside other updates."""

    def __init__(self):
        self.x, self.rate = gx.input("x", (None, 6), "float64"), gx.input("rate", (), "float64")
        self.w = gx.parameter(RNG.standard_normal((6, 4)))
        self.v = gx.parameter(RNG.standard_normal((6, 4)))
        self.gradient = gx.grad(gx.sum(gx.tanh(self.x @ self.w)), self.w)

    def check(self, updates, expected, *, products, rows=8, rate=0.5):
        """Run them; ``expected(w, v, g, rate)`` are the values of w and v then."""
        data = RNG.standard_normal((rows, 6))
        w, v = (p.op.cell.array.copy() for p in (self.w, self.v))
        g = data.T @ (1 - np.tanh(data @ w) ** 2)
        run = build(Graph([self.x, self.rate], {}, updates))
        run.call([data, np.array(rate)])
        for p, value in zip((self.w, self.v), expected(w, v, g, rate), strict=True):
            np.testing.assert_allclose(p.op.cell.array, value, rtol=1e-11, atol=1e-12)
        assert len(stepping(run)) == products


@pytest.mark.parametrize("rows", [0, 1, 8, 700])
def test_k_may_be_of_any_length(rows):
    s = Step()
    s.check({s.w: s.w - s.rate * s.gradient}, lambda w, v, g, f: (w - f * g, v),
            products=1, rows=rows)  # fmt: skip


def test_a_gradient_that_others_read_is_written():
    s = Step()
    s.check({s.w: s.w - s.rate * s.gradient, s.v: s.v + gx.cumulative_sum(s.gradient, axis=0)},
            lambda w, v, g, f: (w - f * g, v + np.cumsum(g, 0)), products=0)  # fmt: skip


def test_all_that_read_the_weight_read_it_as_it_was():
    s = Step()
    s.check({s.w: s.w - s.rate * s.gradient, s.v: s.v + gx.cumulative_sum(s.w, axis=0)},
            lambda w, v, g, f: (w - f * g, v + np.cumsum(w, 0)), products=0)  # fmt: skip


def test_what_the_product_reads_is_not_overwritten_before():
    """v is a factor of the product, and takes its own step, which reads w."""
    s = Step()
    gradient = s.v.T @ s.v
    w = gx.parameter(RNG.standard_normal((4, 4)))
    start, v, other = (p.op.cell.array.copy() for p in (w, s.v, s.w))
    run = build(
        Graph([s.rate], {}, {w: w - s.rate * gradient, s.v: s.v + gx.cumulative_sum(s.w, axis=0)})
    )
    run.call([np.array(0.5)])
    np.testing.assert_allclose(w.op.cell.array, start - 0.5 * (v.T @ v), rtol=1e-12)
    np.testing.assert_allclose(s.v.op.cell.array, v + np.cumsum(other, 0), rtol=1e-12)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_factors_of_each_other_step_from_the_same_values(count, backwards):
    """The gradient of each reads the others, which have not stepped yet."""
    shapes = [(6, 5), (5, 7), (7, 4), (4, 8)][:count]
    factors = [gx.parameter(RNG.standard_normal(shape)) for shape in shapes]
    target = gx.input("t", (6, shapes[-1][1]), "float64")
    product = functools.reduce(operator.matmul, factors)
    gradients = gx.grad(gx.sum(gx.square(product - target)), factors)
    updates = {p: p - 0.01 * g for p, g in zip(factors, gradients, strict=True)}
    if backwards:
        updates = dict(reversed(updates.items()))
    values = [p.op.cell.array.copy() for p in factors]
    data = RNG.standard_normal(target.shape)
    run = build(Graph([target], {}, updates))
    run.call([data])
    error = 2 * (functools.reduce(operator.matmul, values) - data)
    for n, (p, value) in enumerate(zip(factors, values, strict=True)):
        left = functools.reduce(operator.matmul, values[:n], np.eye(6))
        right = functools.reduce(operator.matmul, values[n + 1 :], np.eye(value.shape[1]))
        expected = value - 0.01 * left.T @ error @ right.T
        np.testing.assert_allclose(p.op.cell.array, expected, rtol=1e-11, atol=1e-11)


def test_a_gradient_in_loops_around_a_product_is_written():
    """Depth in pieces: samples and places of windows, which no one stride walks."""
    x, w = gx.input("x", (6, 20), "float64"), gx.parameter(RNG.standard_normal((8, 5)))
    rate = gx.input("rate", (), "float64")
    out = gx.einsum("nhk,kd->nhd", gx.sliding_window_view(x, 8, axis=1), w)
    gradient = gx.grad(gx.sum(gx.tanh(out)), w)
    data, start = RNG.standard_normal(x.shape), w.op.cell.array.copy()
    run = build(Graph([x, rate], {}, {w: w - rate * gradient}))
    run.call([data, np.array(0.5)])
    view = np.lib.stride_tricks.sliding_window_view(data, 8, axis=1)
    slope = 1 - np.tanh(view @ start) ** 2
    expected = start - 0.5 * np.einsum("nhk,nhd->kd", view, slope)
    np.testing.assert_allclose(w.op.cell.array, expected, rtol=1e-11, atol=1e-11)
    assert any(k.name.startswith("contract") for k in run._calls)
    assert not stepping(run)


def test_the_factor_is_computed_before():
    """It is one of the update's own, after the product in the order of phases."""
    s = Step()
    with building(phase="update"):
        factor = gx.exp(s.rate)
        steps = {s.w: s.w - factor * s.gradient, s.v: s.v - factor * s.v}
    s.check(steps, lambda w, v, g, f: (w - np.exp(f) * g, v - np.exp(f) * v), products=1)


def test_a_factor_that_needs_the_gradient_prevents_it():
    s = Step()
    factor = s.rate / gx.sum(gx.square(s.gradient))
    s.check({s.w: s.w - factor * s.gradient},
            lambda w, v, g, f: (w - f / np.sum(g**2) * g, v), products=0)  # fmt: skip


def test_an_update_that_reads_elsewhere_is_no_descent():
    """Negative controls: the kernel is the same, the elements are not."""
    p = gx.parameter(RNG.standard_normal((4, 4)))
    g, f = gx.input("g", (4, 4), "float64"), gx.input("f", (), "float64")

    def found(value):
        run = build(Graph([g, f], {}, {p: value}))
        return [k.descent for k in run._calls if k.descent]

    assert len(found(p - f * g)) == 1
    assert len(found(p - g * f)) == 1
    assert not found(p - f * g.T)
    assert not found(p - f * gx.flip(g, 0))
    assert not found(p + f * g)
    assert not found(f * g - p)
    assert not found(p - f * g * g)
    assert not found(g - f * p)
    assert not found(p - g[0, 1] * g)
