"""Indexing, slices and shapes: what the generated tests of the registry cannot see."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import plain_python

import graphc as gx
from graphc.ir.graph import ancestors
from graphc.ir.interpret import evaluate
from graphc.ops.along import Pick, take_along_axis
from graphc.ops.einsum import einsum
from graphc.ops.gather import ScatterAdd, Take, take
from graphc.ops.manipulation import concat, roll, split, unstack
from graphc.ops.reduce import max, prod, sum
from graphc.ops.slices import Slice, flip
from graphc.ops.softmax import log_softmax, logsumexp, softmax
from graphc.ops.statistics import mean, std, var
from graphc.types import show_shape


def value(t, **feeds):
    """Return the value of ``t``, inputs fed by name."""
    named = {n: np.asarray(feeds[n.label], n.dtype) for n in ancestors([t]) if n.op.name == "input"}
    return evaluate([t], named)[t]


def batch_of(size, width=3):
    return np.arange(size * width, dtype="float32").reshape(size, width)


BOUNDS = (None, 0, 1, 3, -1, -2, -5, 9)


@pytest.mark.parametrize("step", [None, 2, 3, -1, -2])
def test_slices_of_the_batch_axis(step):
    x = gx.input("x", (None, 3))
    for start in BOUNDS:
        for stop in BOUNDS:
            y = x[start:stop:step]
            g = gx.grad(sum(y * y), x)
            for size in range(8):
                v = batch_of(size)
                np.testing.assert_array_equal(value(y, x=v), v[start:stop:step])
                wanted = np.zeros_like(v)
                wanted[start:stop:step] = 2 * v[start:stop:step]
                np.testing.assert_array_equal(value(g, x=v), wanted)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        (slice(None), "(None, 3)"),
        (slice(1, None), "(max(batch - 1, 0), 3)"),
        (slice(None, 5), "(min(batch, 5), 3)"),
        (slice(-3, None), "(min(batch, 3), 3)"),
        (slice(None, None, 2), "(ceildiv(batch, 2), 3)"),
        (slice(None, None, -1), "(None, 3)"),
        (0, "(3,)"),
    ],
)
def test_shapes_of_slices_are_simple(key, shape):
    assert show_shape(gx.input("x", (None, 3))[key].type.shape) == shape


def test_an_integer_on_the_batch_axis_needs_a_batch_that_long():
    x = gx.input("x", (None, 3))
    for key, least in ((0, 1), (5, 6), (-1, 1), (-4, 4)):
        y = x[key]
        (node,) = [n for n in (y, *y.inputs) if isinstance(n.op, Slice)]
        assert any(d.at(least - 1) < 0 for d in node.op.nonnegative(x.type))
        assert all(d.at(least) >= 0 for d in node.op.nonnegative(x.type))
        np.testing.assert_array_equal(value(y, x=batch_of(least)), batch_of(least)[key])
        with pytest.raises(IndexError):
            value(y, x=batch_of(least - 1))


@pytest.mark.parametrize(
    ("key", "error", "words"),
    [
        (3, IndexError, "index 3 is out of bounds for axis 0 with size 3"),
        ((0, -5), IndexError, "index -5 is out of bounds for axis 1 with size 4"),
        ((0, 0, 0), IndexError, "too many indices for array: array is 2-dimensional, but 3 were"),
        ((..., ...), IndexError, "an index can only have a single ellipsis"),
        (1.5, IndexError, "only integers, slices"),
        ("a", IndexError, "only integers, slices"),
        (slice(0, 1.5), TypeError, "slice indices must be integers or None"),
        (slice(None, None, 0), ValueError, "slice step cannot be zero"),
        (gx.input("m", (3,), "bool"), TypeError, "use gx.where"),
        ([True, False], IndexError, "boolean index did not match .* axis 0; size of axis is 3 but"),
        ((0, [True] * 3), IndexError, "boolean index did not match .* along axis 1"),
        ([[True] * 5] * 3, IndexError, "axis 1; size of axis is 4 but .* boolean axis is 5"),
        (([0], [[4]]), IndexError, "index 4 is out of bounds for axis 1 with size 4"),
        (([0, 1], [1, 2, 3]), IndexError, r"shape mismatch: .* with shapes \(2,\) \(3,\)"),
        (([0], [0], [0]), IndexError, "too many indices for array"),
        ([0, 3], IndexError, "index 3 is out of bounds for axis 0 with size 3"),
        ([0.5], IndexError, "arrays used as indices must be of integer type"),
    ],
)
def test_wrong_keys_name_the_operand_and_the_line(key, error, words):
    x = gx.input("x", (3, 4))
    with pytest.raises(error, match=words) as caught:
        x[key]
    assert "x: float32(3, 4)" in str(caught.value)
    assert "test_indexing.py" in str(caught.value)


def test_symbolic_indices():
    x, i = gx.input("x", (4, 3)), gx.input("i", (None,), dtype="int32")
    v, k = np.arange(12.0, dtype="float32").reshape(4, 3), np.array([3, -1, 0, 3])
    np.testing.assert_array_equal(value(x[i], x=v, i=k), v[k])
    np.testing.assert_array_equal(value(x[:, i], x=v, i=k[2:3]), v[:, k[2:3]])
    y = take(x, i, axis=0)
    assert y.op.index_bounds(*(t.type for t in y.inputs)) == ((1, -4, 4),)
    with pytest.raises(IndexError, match="index 4 is out of bounds for axis 0 with size 4"):
        value(y, x=v, i=[0, 4])
    g = gx.grad(sum(y * y), x)
    wanted = np.zeros_like(v)
    np.add.at(wanted, k, 2 * v[k])
    np.testing.assert_array_equal(value(g, x=v, i=k), wanted)
    assert isinstance(g.op, ScatterAdd)
    u = gx.input("u", (None, 3))
    back = gx.vjp(gx.vjp(y, x, u), u, x)  # the transpose of the transpose
    assert isinstance(back.op, Take)


def test_picking_one_element_a_row_ignores_the_rest():
    x, i = gx.input("x", (None, 3), dtype="float64"), gx.input("i", (None, 1), dtype="int64")
    y = take_along_axis(x, i, axis=-1)
    assert isinstance(y.op, Pick)
    v = np.array([[np.nan, 1.0, np.inf], [2.0, -np.inf, np.nan]])
    k = np.array([[1], [-3]])
    for t in (y, y.op.expand(*y.inputs)):
        assert t.type == y.type
        np.testing.assert_array_equal(value(t, x=v, i=k), [[1.0], [2.0]])
    g = gx.grad(sum(y * y), x)
    np.testing.assert_array_equal(value(g, x=v, i=k), [[0, 2, 0], [4, 0, 0]])


def test_expansions_equal_their_references():
    rng = np.random.default_rng(0)
    x = gx.input("x", (None, 4), dtype="float64")
    v = rng.standard_normal((5, 4))
    v[1], v[2, 0], v[3, 1], v[4] = -np.inf, np.inf, np.nan, 1000.0
    for t in (softmax(x), log_softmax(x), logsumexp(x, axis=1), logsumexp(x), mean(x, axis=0)):
        expanded = t.op.expand(*t.inputs)
        assert expanded.type == t.type
        np.testing.assert_allclose(value(expanded, x=v), value(t, x=v), rtol=1e-14)
    rows = value(logsumexp(x, axis=1), x=v)
    assert rows[1] == -np.inf
    assert rows[2] == np.inf
    assert np.isnan(rows[3])


@pytest.mark.parametrize("size", [1, 2, 5])
def test_reductions_and_joins_over_the_batch(size):
    x = gx.input("x", (None, 3))
    v = batch_of(size)
    for t, wanted in (
        (mean(x), v.mean()),
        (mean(x, axis=0), v.mean(0)),
        (var(x, axis=0, correction=0.5), v.var(0, ddof=0.5)),
        (concat([x, x[1:], x[:1]]), np.concatenate([v, v[1:], v[:1]])),
        (concat([x, flip(x, axis=0)], axis=1), np.concatenate([v, v[::-1]], 1)),
        (roll(x, 2, axis=0), np.roll(v, 2, 0)),
        (roll(x, -1), np.roll(v, -1)),
        (x.reshape(-1), v.reshape(-1)),
        (einsum("bi,bj->ij", x, x), v.T @ v),
        (einsum("bi,ci->bc", x, x), v @ v.T),
        (einsum("bb->b", x @ x.T), np.diag(v @ v.T)),
    ):
        np.testing.assert_allclose(value(t, x=v), wanted, rtol=1e-6)
    with pytest.raises(ValueError, match="depends on the batch"):
        split(x, 2)
    with pytest.raises(ValueError, match="depends on the batch"):
        unstack(x)


def test_reshape_folds_the_batch_and_back():
    x = gx.input("x", (None, 4, 6))
    y = x.reshape(-1, 6)
    assert show_shape(y.type.shape) == "(4*batch, 6)"
    assert y.reshape(-1, 4, 6).shape == (None, 4, 6)
    assert y.reshape(None, 24).shape == (None, 24)
    with pytest.raises(ValueError, match="cannot reshape"):
        x.reshape(5, -1)


def test_a_product_by_a_matrix_is_one_product_of_all_rows():
    x, w = gx.input("x", (None, 4, 6)), gx.input("w", (6, 2))
    dw = gx.grad(sum(x @ w), w)
    assert (x @ w).shape == (None, 4, 2)
    assert dw.op.name == "matmul"
    assert dw.inputs[0].ndim == 2


def test_derivative_of_a_product_with_zeros():
    x = gx.input("x", (4,), dtype="float64")
    g = gx.grad(prod(x), x)
    for row, wanted in (
        ([2, 3, 4, 5], [60, 40, 30, 24]),
        ([2, 0, 4, 5], [0, 40, 0, 0]),
        ([2, 0, 4, 0], [0, 0, 0, 0]),
    ):
        assert value(g, x=row).tolist() == wanted
    second = gx.grad(g[1], x)
    assert value(second, x=[2, 0, 4, 0]).tolist() == [0, 0, 0, 8]


def test_conventions_at_kinks():
    x = gx.input("x", (3,), dtype="float64")
    assert value(gx.grad(max(x), x), x=[1, 3, 3]).tolist() == [0, 0.5, 0.5]
    assert np.isnan(value(gx.grad(max(x), x), x=[1, np.nan, 3])).all()
    assert value(gx.grad(std(x), x), x=[2, 2, 2]).tolist() == [0, 0, 0]


def test_errors_in_the_words_of_numpy():
    x = gx.input("x", (0, 3))
    with pytest.raises(ValueError, match="zero-size array to reduction operation maximum"):
        max(x, axis=0)
    with pytest.raises(ValueError, match="attempt to get argmax of an empty sequence"):
        x.argmax(0)
    with pytest.raises(ValueError, match="axis 2 is out of bounds for an array of dimension 2"):
        x.sum(2)
    a, b = gx.input("a", (2, 3)), gx.input("b", (4, 5))
    with pytest.raises(ValueError, match=r"mismatch in the core dimension: 3 .* 4") as error:
        a @ b
    assert "a: float32(2, 3)" in str(error.value)
    assert "b: float32(4, 5)" in str(error.value)
    with pytest.raises(ValueError, match="along dimension 1, the array at index 0 has size 3"):
        concat([a, b])
    with pytest.raises(ValueError, match="output subscript 'k' which never appeared"):
        einsum("ij->ik", a)


@pytest.mark.parametrize("plain", [False, True])
def test_computed_indices_that_are_none_stop_nothing(plain):
    """An axis of no elements and no index into it: all else is computed."""
    x, y = gx.input("x", (None, 3)), gx.input("y", ())
    rolled = gx.roll(x, 2, axis=0)
    index = gx.input("i", (4, 0), "int64")
    taken = gx.take(gx.zeros((0,)), index + 1)
    with plain_python(plain):
        f = gx.function([x, y, index], [rolled, taken, gx.exp(y), gx.tanh(gx.exp(y) + 1)])
        for batch in (0, 3, 0):
            found = f(np.ones((batch, 3)), 0.5, np.zeros((4, 0), int))
            assert found[0].shape == (batch, 3)
            assert found[1].shape == (4, 0)
            np.testing.assert_allclose(
                found[2:], [np.exp(0.5), np.tanh(np.exp(0.5) + 1)], rtol=1e-6
            )
