"""Products that take the step of gradient descent in place of their gradient."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import build

import graphc as gx
from graphc import nn, optim
from graphc.codegen.kernel import Descent
from graphc.codegen.product import FORM, UPDATE, C
from graphc.ir.graph import Graph
from graphc.run import table
from graphc.schedule.descent import FACTOR, take_steps
from graphc.schedule.footprint import Slice
from graphc.schedule.levels import Record

RNG = np.random.default_rng(0)
X = RNG.standard_normal((96, 40)).astype("float32")
Y = RNG.integers(0, 10, 96)


@pytest.fixture
def updating(monkeypatch):
    """Return a list of the products that take a step, of all that is captured."""
    found = []

    def watch(records):
        after = take_steps(records)
        found.extend(
            r for r in after if r.kernel.startswith("matmul") and r.arguments[FORM] & UPDATE
        )
        return after

    monkeypatch.setattr(table, "take_steps", watch)
    return found


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


def test_a_plain_step_is_taken_by_the_product_with_equal_bits(updating, monkeypatch):
    losses, values, _ = trained(optim.SGD(0.1))
    assert len(updating) == 4  # two weights, in a step and in an epoch
    monkeypatch.setattr(table, "take_steps", list)
    again, others, _ = trained(optim.SGD(0.1))
    assert again == losses
    for name, value in values.items():
        np.testing.assert_array_equal(others[name], value, name)


@pytest.mark.parametrize("threads", [2, 3])
def test_a_step_in_a_product_does_not_depend_on_threads(threads, updating):
    one, many = trained(optim.SGD(0.1)), trained(optim.SGD(0.1), threads)
    assert updating
    assert one[0] == many[0]
    for name, value in one[1].items():
        np.testing.assert_array_equal(many[1][name], value, name)


def test_gradients_are_still_there_for_who_asks(updating):
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
def test_other_steps_need_the_gradient(optimizer, updating):
    trained(optimizer)
    assert not updating


@pytest.mark.parametrize("seen", [False, True])
def test_a_gradient_that_is_an_output_is_written(seen, updating):
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
    assert len(updating) == (not seen)


# -- what may stand between ------------------------------------------------------------------


def records(between=(), direction=2000, k=8):
    """Return G (4, 6) at 2000 = A at 0, B at 1000; then ``between``; then W at 3000 -= f G."""
    arguments = [4, 6, k, 0, 0, 0, k, 1, 1000, 0, 6, 1, 2000, 0, 6]
    slices = (
        Slice(0, 4 * k, 4 * k, 1, False),
        Slice(1000, 24 * k, 0, 1, False),
        Slice(2000, 24, 24, 1, True),
    )
    product = Record(1, 4, arguments, slices, 1.0, (0,), ((C, "g"),), "matmul_float32")
    moved = (
        Slice(direction, 4, 4, 1, False),
        Slice(3000, 4, 4, 1, True),
        Slice(4000, 4, 0, 1, False),
    )
    step = Record(2, 24, [4000, direction, 3000], moved, 1.0, (9,), ((0, "f"),), "step",
                  Descent(0, 1, 2))  # fmt: skip
    return [product, *between, step]


def touching(first, span, written):
    return Record(3, 1, [], (Slice(first, span, 0, 1, written),), 1.0, (5,), (), "other")


def test_a_product_stands_for_the_step():
    (record,) = take_steps(records())
    assert record.arguments[C : C + 3] == [3000, 4000, 6]
    assert record.arguments[FORM] == UPDATE
    assert record.numbers == (0, 9)
    assert record.moving == ((FACTOR, "f"),)
    written = [s for s in record.slices if s.written]
    assert [(s.first, s.span, s.stride) for s in written] == [(3000, 24, 24)]
    assert Slice(4000, 4, 0, 1, False) in record.slices


@pytest.mark.parametrize(
    "between",
    [
        [touching(2040, 4, written=False)],  # reads the gradient
        [touching(2040, 4, written=True)],
        [touching(100, 4, written=True), touching(3040, 4, written=False)],  # overwrites A
        [touching(1100, 4, written=True), touching(3040, 4, written=False)],  # overwrites B
    ],
)
def test_what_stands_between_can_prevent_it(between):
    before = records(between)
    assert take_steps(before) == before


def test_reading_the_factors_or_the_weight_does_not_prevent_it():
    between = [touching(*where, written=False) for where in ((0, 128), (1000, 192), (3000, 96))]
    assert len(take_steps(records(between))) == 4


@pytest.mark.parametrize("changes", [{"direction": 2024}, {"k": 1024}])
def test_the_step_must_be_of_the_whole_gradient_and_k_one_piece(changes):
    before = records(**changes)
    assert take_steps(before) == before


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


def test_the_step_is_taken_as_soon_as_the_weight_is_free():
    """What the product reads may be overwritten after that; the factor is computed before."""
    reader = touching(3000, 96, written=False)
    factor = Record(3, 1, [], (Slice(4000, 4, 0, 1, True),), 1.0, (6,), (), "factor")
    spoiler = touching(0, 128, written=True)
    found = take_steps(records([reader, spoiler, factor]))
    assert [r.kernel for r in found] == ["other", "factor", "matmul_float32", "other"]
    assert found[0] is reader
    before = records([reader, spoiler, touching(4000, 4, written=False), factor])
    assert take_steps(before) == before  # the old factor is still read
