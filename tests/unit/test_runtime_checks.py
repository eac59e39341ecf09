"""Indices are checked before anything is written, and computed ones never leave their axis."""

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


@pytest.fixture
def table():
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


@pytest.mark.parametrize("plain", PLAIN)
def test_computed_indices_stay_inside_their_axis(plain):
    """Rows around what is indexed hold guard values: none of them is read or written."""
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
def test_computed_indices_into_an_empty_axis(plain):
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
