"""Indices are checked before a parameter changes, and computed ones never leave their axis."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import build

import graphc as gx
from graphc import nn, optim
from graphc.ir.graph import Graph

PLAIN = [True, False]


def counted(inputs, outputs):
    """Return the function with a counter of the calls that wrote something."""
    count = gx.parameter(np.zeros(()))
    graph = Graph(inputs, {f"out{i}": t for i, t in enumerate(outputs)}, {count: count + 1.0})
    run = build(graph, plain=True)
    return run, lambda: int(count.op.cell.array)


def refused(run, calls, *feeds):
    before = calls()
    with pytest.raises(IndexError) as caught:
        run.call(list(feeds))
    assert calls() == before
    return str(caught.value)


@pytest.fixture(name="table")
def make_table():
    return gx.parameter(np.arange(8.0).reshape(4, 2), name="table")


def test_fed_indices(table):
    i = gx.input("i", (None,), "int64")
    run, calls = counted([i], [gx.take(table, i, axis=0)])
    run.call([np.array([3, -4])])
    for bad in ([4], [0, -5], [1, 2**62], [-(2**62)]):
        text = refused(run, calls, np.array(bad))
        assert f"index {bad[-1]} in i: int64(None,) is out of bounds for an axis of size 4" in text
        assert "test_runtime_checks.py:" in text
    run.call([np.array([], np.int64)])
    assert calls() == 2


def test_labels_of_a_loss():
    x, labels = gx.input("x", (None, 3)), gx.input("labels", (None,), "int64")
    run, calls = counted([x, labels], [nn.cross_entropy(x, labels)])
    logits = np.ones((2, 3), "float32")
    run.call([logits, np.array([0, 2])])
    refused(run, calls, logits, np.array([0, 3]))


def test_what_views_leave_of_fed_indices(table):
    i = gx.input("i", (None, 2), "int32")
    column = gx.reshape(i[:, 1], (-1, 1))
    run, calls = counted([i], [gx.take(table, gx.astype(column, "int64"), axis=0)])
    run.call([np.array([[99, 1], [-99, -4]], np.int32)])
    refused(run, calls, np.array([[0, 1], [0, 4]], np.int32))


def test_lengths_that_depend_on_the_batch():
    x, i = gx.input("x", (None, 3), "float64"), gx.input("i", (2,), "int64")
    run, calls = counted([x, i], [gx.take(x, i, axis=0)])
    run.call([np.ones((6, 3)), np.array([5, -6])])
    refused(run, calls, np.ones((5, 3)), np.array([5, 0]))
    refused(run, calls, np.ones((0, 3)), np.array([0, 0]))


def test_constant_indices_into_the_batch():
    x = gx.input("x", (None, 3), "float64")
    run, calls = counted([x], [x[np.array([5, -1])]])
    np.testing.assert_array_equal(run.call([np.ones((6, 3))])["out0"], np.ones((2, 3)))
    for rows in (5, 0):
        refused(run, calls, np.ones((rows, 3)))


def test_a_batch_too_small_for_an_index():
    x = gx.input("x", (None, 3), "float64")
    run, calls = counted([x], [x[5]])
    run.call([np.ones((6, 3))])
    refused(run, calls, np.ones((5, 3)))


def test_floats_and_computed_indices_are_not_taken_for_fed_ones(table):
    x, i = gx.input("x", (None, 4), "float64"), gx.input("i", (None,), "int64")
    best = gx.take(table, gx.argmax(x, axis=1), axis=0)
    f = gx.function([x, i], (best, gx.take(table, -i, axis=0)))
    found = f(np.array([[100.0, 1, 2, 3], [0, 9, 0, 1]]), np.array([4, 1]))
    np.testing.assert_array_equal(found[0], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(found[1], [[0, 1], [6, 7]])


def test_what_surely_lies_inside_is_not_checked(table):
    x, i = gx.input("x", (None, 4), "float64"), gx.input("i", (None,), "int64")
    picked = gx.take(table, gx.argmax(x, axis=1), axis=0)
    assert not build(Graph([x], {"out": picked})).program.guards
    guards = build(Graph([i], {"out": gx.take(table, i - 1, axis=0)})).program.guards
    assert [(g.low, g.high, g.number) for g in guards] == [(-4, 4, 1)]


def stopped(run, parameters, *feeds, match):
    """Ask for an error that leaves the parameters as they are."""
    before = [p.op.cell.array.copy() for p in parameters]
    with pytest.raises(IndexError, match=match) as caught:
        run.call(list(feeds))
    for parameter, value in zip(parameters, before, strict=True):
        np.testing.assert_array_equal(parameter.op.cell.array, value)
    assert "test_runtime_checks.py:" in str(caught.value)


@pytest.mark.parametrize("plain", PLAIN)
def test_computed_indices_are_checked_in_the_step(plain, table):
    i = gx.input("i", (None,), "int64")
    count, total = gx.parameter(np.zeros(())), gx.parameter(np.zeros(2), name="total")
    rows = gx.take(table, i * 3, axis=0)
    updates = {count: count + 1.0, total: total + gx.sum(rows, axis=0)}
    run = build(Graph([i], {"rows": rows}, updates), plain=plain)
    np.testing.assert_array_equal(run.call([np.array([0, 1])])["rows"], [[0, 1], [6, 7]])
    for bad, index in (([0, 2], 6), ([-2, 1], -6), ([10**12, 0], 3 * 10**12)):
        text = rf"take: index {index} in multiply: int64\(None,\) .*from -4 to 3"
        stopped(run, [count, total, table], np.array(bad), match=text)
    found = run.call([np.array([-1, 0])])["rows"]
    np.testing.assert_array_equal(found, [[2, 3], [0, 1]])
    assert float(count.op.cell.array) == 2.0
    np.testing.assert_array_equal(total.op.cell.array, [8, 12])


@pytest.mark.parametrize("plain", PLAIN)
def test_bounds_of_computed_indices_that_follow_the_batch(plain):
    x, i = gx.input("x", (None, 2), "float64"), gx.input("i", (2,), "int64")
    run = build(Graph([x, i], {"rows": gx.take(x, i + 1, axis=0)}), plain=plain)
    for rows in (7, 3):
        data = np.arange(2.0 * rows).reshape(rows, 2)
        found = run.call([data, np.array([rows - 2, -rows - 1])])["rows"]
        np.testing.assert_array_equal(found, data[[rows - 1, -rows]])
        stopped(run, [], data, np.array([rows - 1, 0]), match=f"size {rows}")
    stopped(run, [], np.ones((0, 2)), np.array([0, 0]), match="size 0")


@pytest.mark.parametrize("plain", PLAIN)
def test_indices_that_are_a_parameter(plain, table):
    places = gx.parameter(np.array([0, 3]), dtype="int64", name="places")
    run = build(Graph([], {"out": gx.take(table, places, axis=0)}, {places: places + 1}),
                plain=plain)  # fmt: skip
    np.testing.assert_array_equal(run.call([])["out"], [[0, 1], [6, 7]])
    stopped(run, [places], match="index 4 in places")


@pytest.mark.parametrize("plain", PLAIN)
def test_every_op_that_indexes_is_checked(plain):
    i = gx.input("i", (2, 3), "int64")
    x = gx.parameter(np.arange(12.0).reshape(4, 3), name="x")
    along = gx.take_along_axis(x, i + 1, axis=0)
    inputs = np.zeros((2, 3), np.int64)
    for out, bad in ((along, 3), (gx.grad(gx.sum(along), x), 3), (x[i - 1], 5)):
        run = build(Graph([i], {"out": out}), plain=plain)
        run.call([inputs])
        stopped(run, [x], np.where([[0, 1, 0]] * 2, bad, inputs), match="out of bounds")


def test_labels_beyond_the_classes_beside_ignored_ones():
    x, labels = gx.input("x", (None, 3)), gx.input("labels", (None,), "int64")
    out = nn.Linear(3, 3)(x)
    for loss in (
        nn.cross_entropy(out, labels, ignore_index=-1),
        nn.nll_loss(gx.log_softmax(out), labels, ignore_index=9),
        nn.cross_entropy(out, labels, ignore_index=-1, weight=[1.0, 2.0, 3.0]),
    ):
        model = gx.Model(inputs=x, outputs=out, targets=labels, loss=loss, seed=0,
                         optimizer=optim.Adam(0.1))  # fmt: skip
        rows, good = np.ones((4, 3), "float32"), np.array([0, 2, 1, 2])
        model.train_step(rows, good)
        before = {name: value.copy() for name, value in model.parameters.items()}
        for bad in (3, -2):
            for attempt in (model.train_step, model.evaluate):
                with pytest.raises(IndexError, match=f"index {bad} in .*from 0 to 2"):
                    attempt(rows, np.array([0, bad, 1, 2]))
        for name, value in before.items():
            np.testing.assert_array_equal(model.parameters[name], value)
        model.train_step(rows, good)


def shifted_model(width, optimizer):
    """A model of layers, whose labels are computed: they are fed one too high."""
    x, labels = gx.input("x", (None, width)), gx.input("labels", (None,), "int64")
    net = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))
    out = net(x)
    loss = nn.cross_entropy(out, labels - 1)
    return gx.Model(inputs=x, outputs=out, targets=labels, loss=loss, optimizer=optimizer, seed=0)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("width", [8, 256])
@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam])
def test_a_step_stops_before_its_updates(threads, width, optimizer, shared):
    """On one thread or more, in products that take the step themselves, and in an epoch."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((160, width)).astype("float32")
    labels = rng.integers(1, 11, 160)
    with gx.config(threads=threads):
        model, other = (shifted_model(width, optimizer(0.01)) for _ in range(2))
        for _ in range(3):
            model.train_step(rows[:64], labels[:64])
            other.train_step(rows[:64], labels[:64])
        wrong = labels.copy()
        wrong[40] = 11
        for _ in range(5):
            with pytest.raises(IndexError, match="index 10 in subtract"):
                model.train_step(rows[:64], wrong[:64])
        same_parameters(model, other)
        model.train_step(rows[:64], labels[:64])
        other.train_step(rows[:64], labels[:64])
        same_parameters(model, other)
        with pytest.raises(IndexError, match="index 10 in subtract"):
            model.fit(rows, wrong, batch_size=16, shuffle=False, verbose=0)
        for start in (0, 16):  # the steps before the wrong label stand
            other.train_step(rows[start : start + 16], labels[start : start + 16])
        same_parameters(model, other)


def same_parameters(model, other):
    for name, value in other.parameters.items():
        np.testing.assert_array_equal(model.parameters[name], value, err_msg=name)


@pytest.mark.parametrize("plain", PLAIN)
def test_a_wrong_index_is_met_inside_its_axis(plain, monkeypatch):
    """Rows around what is indexed hold guard values: none of them is read or written.

    The calls that follow a wrong index do not run, but those beside its check may.
    """
    monkeypatch.setattr("graphc.compile.computed_indices", lambda graph: [])
    i, guard = gx.input("i", (None,), "int64"), 1e30
    whole = gx.parameter(np.full((6, 3), guard), name="whole")
    inner = whole[2:4]
    inner_values = np.arange(6.0).reshape(2, 3)
    whole.op.cell.array[2:4] = inner_values
    far = i * 3
    rows = gx.take(inner, far, axis=0)
    along = gx.take_along_axis(
        inner, gx.broadcast_to(gx.expand_dims(far, axis=1), (i.type.shape[0], 3)), axis=0
    )
    picked = gx.grad(gx.sum(rows) + gx.sum(along), whole)
    run = build(Graph([i], {"rows": rows, "along": along, "d": picked}), plain=plain)
    found = run.call([np.array([0, 1, -1, 10**12, -(10**12)])])
    clipped = inner_values[[0, 1, 0, 1, 0]]
    np.testing.assert_array_equal(found["rows"], clipped)
    np.testing.assert_array_equal(found["along"], clipped)
    np.testing.assert_array_equal(
        found["d"], [[0.0] * 3] * 2 + [[6.0] * 3, [4.0] * 3] + [[0.0] * 3] * 2
    )


@pytest.mark.parametrize("plain", PLAIN)
def test_computed_indices_into_an_empty_axis(plain, monkeypatch):
    monkeypatch.setattr("graphc.compile.computed_indices", lambda graph: [])
    x, i = gx.input("x", (None, 2), "float64"), gx.input("i", (3,), "int64")
    rows = gx.take(x, i * 2, axis=0)
    graph = Graph([x, i], {"rows": rows, "d": gx.grad(gx.sum(rows), x)})
    run = build(graph, plain=plain)
    found = run.call([np.zeros((0, 2)), np.array([0, 5, -7])])
    np.testing.assert_array_equal(found["rows"], np.zeros((3, 2)))
    assert found["d"].shape == (0, 2)
    found = run.call([np.ones((1, 2)), np.array([0, 5, -7])])
    np.testing.assert_array_equal(found["d"], [[3.0, 3.0]])


def embedding_model():
    i, y = gx.input("i", (None,), "int64"), gx.input("y", (None,))
    table = gx.parameter(np.arange(5, dtype="float32"), name="table")
    out = gx.take(table, i, axis=0)
    return gx.Model(inputs=i, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                    optimizer=optim.SGD(0.1), seed=0)  # fmt: skip


def test_an_epoch_checks_before_its_first_step():
    model = embedding_model()
    fed, y = np.zeros(10, np.int64), np.zeros(10, "float32")
    model.fit(fed, y, batch_size=3, verbose=0)
    fed[7] = 5
    before = model.parameters["table"].copy()
    with pytest.raises(IndexError, match="index 5 in i"):
        model.fit(fed, y, batch_size=3, verbose=0)
    with pytest.raises(IndexError, match="index 5 in i"):
        model.train_step(fed, y)
    np.testing.assert_array_equal(model.parameters["table"], before)


def test_an_epoch_checks_its_short_last_batch():
    x, y = gx.input("x", (None, 2)), gx.input("y", (None,))
    w = gx.parameter(np.ones(2, "float32"), name="w")
    loss = nn.mse_loss(x @ w, y) + gx.sum(x[2] * w)
    model = gx.Model(inputs=x, outputs=x @ w, targets=y, loss=loss, optimizer=optim.SGD(0.1))
    X = np.ones((10, 2), "float32")
    with pytest.raises(IndexError, match="too small"):
        model.fit(X, X[:, 0], batch_size=4, verbose=0)  # batches of 4, 4 and 2
    np.testing.assert_array_equal(model.parameters["w"], [1, 1])
    model.fit(X[:9], X[:9, 0], batch_size=3, verbose=0)


def test_an_epoch_checks_indices_into_each_batch():
    x, i = gx.input("x", (None, 2)), gx.input("i", (None,), "int64")
    w = gx.parameter(np.ones(2, "float32"), name="w")
    loss = gx.sum(gx.take(x, i, axis=0) * w)
    model = gx.Model(inputs=[x, i], outputs=x @ w, loss=loss, optimizer=optim.SGD(0.1))
    X, places = np.ones((6, 2), "float32"), np.array([3, 0, 0, 0, 0, 0])
    model.fit([X[:4], places[:4]], batch_size=4, verbose=0)
    before = model.parameters["w"].copy()
    with pytest.raises(IndexError, match="index 3 in i"):
        model.fit([X, places[::-1]], batch_size=4, shuffle=False, verbose=0)  # 4 rows, then 2
    np.testing.assert_array_equal(model.parameters["w"], before)
