"""Reductions of nothing, and more dimensions than there can be: errors as NumPy has them."""

import itertools

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.errors import ShapeError

EXTREMES = ("max", "min", "argmax", "argmin")
EMPTY = [(0,), (0, 0), (0, 3), (3, 0), (2, 0, 0), (0, 2, 0), (2, 0, 3)]


def outcome(f):
    """Return what ``f`` gives, or the kind of error."""
    try:
        return np.shape(f())
    except ValueError:
        return ValueError


@pytest.mark.parametrize("name", EXTREMES)
def test_an_extreme_of_nothing_raises_where_numpy_does(name):
    raised = 0
    for shape in EMPTY:
        axes = [None, *range(-len(shape), len(shape))]
        if not name.startswith("arg"):
            axes += list(itertools.combinations(range(len(shape)), 2))
        for axis in axes:
            expected = outcome(lambda a=axis, s=shape: getattr(np, name)(np.zeros(s), axis=a))
            for keepdims in (False, True):
                x = gx.input("x", shape)
                kwargs = {"axis": axis, "keepdims": keepdims}
                got = outcome(lambda x=x, k=kwargs: getattr(gx, name)(x, **k).shape)
                assert (got is ValueError) == (expected is ValueError), (shape, axis)
            raised += expected is ValueError
    assert raised > 10


@pytest.mark.parametrize("name", EXTREMES)
def test_an_extreme_of_an_empty_batch_raises_when_called(name):
    x = gx.input("x", (None, 3))
    empty, full = np.zeros((0, 3), "float32"), np.ones((2, 3), "float32")
    for axis in (None, 0):
        f = gx.function(x, getattr(gx, name)(x, axis=axis))
        f(full)
        words = "zero-size array|empty sequence"
        with pytest.raises(ValueError, match=rf"batch of 0 rows is too small(.|\n)*({words})") as e:
            f(empty)
        assert __file__ in str(e.value)
        f(full)
    assert gx.function(x, getattr(gx, name)(x, axis=1))(empty).shape == (0,)


def test_softmax_of_an_empty_batch_is_empty():
    x = gx.input("x", (None, 3))
    for axis in (0, 1):
        f = gx.function(x, gx.softmax(x, axis=axis))
        assert f(np.zeros((0, 3), "float32")).shape == (0, 3)


def test_more_dimensions_than_numpy_has_are_a_matter_of_shape():
    x = gx.input("x", (2, 3))
    for make in (
        lambda: gx.input("y", (1,) * 65),
        lambda: gx.parameter(nn.init.zeros, (1,) * 65),
        lambda: gx.parameter(np.float32(1), (1,) * 65),
        lambda: gx.zeros((1,) * 65),
        lambda: gx.full((1,) * 65, 2.0),
        lambda: gx.reshape(x, (2, 3) + (1,) * 63),
        lambda: gx.expand_dims(x, tuple(range(63))),
        lambda: gx.broadcast_to(x, (2,) * 63 + (2, 3)),
        lambda: x[(None,) * 63],
    ):
        with pytest.raises(ShapeError, match=r"found 65|does not fit") as caught:
            make()
        assert f"at {__file__}" in str(caught.value)


def test_forty_dimensions_work():
    shape = (2, *(1,) * 38, 3)
    x, a = gx.input("x", shape), np.arange(6.0, dtype="float32").reshape(shape)
    along = gx.take_along_axis(x, gx.argmax(x, axis=-1, keepdims=True), axis=-1)
    y = [x.T * 2, gx.take(x, [0, 0, 1], axis=0), along, gx.cumulative_sum(x, axis=-1)]
    f = gx.function(x, [*y, gx.grad(gx.sum(y[1] * y[1]), x)])
    got = f(a)
    wanted = [a.T * 2, np.take(a, [0, 0, 1], axis=0), a.max(-1, keepdims=True), np.cumsum(a, -1)]
    for g, w in zip(got, wanted, strict=False):
        np.testing.assert_array_equal(g, w)
    np.testing.assert_array_equal(got[-1], a * 2 * np.array([2.0, 1]).reshape(2, *(1,) * 39))


def test_a_model_of_forty_dimensions():
    x = gx.input("x", (None, *(1,) * 38, 3))
    y = x * gx.parameter(np.ones((1,) * 38 + (3,), "float32"), name="w")
    model = gx.Model(inputs=x, outputs=y, loss=gx.mean(y), optimizer=optim.SGD(0.1))
    a = np.ones((4, *(1,) * 38, 3), "float32")
    assert model.predict(a).shape == a.shape
    assert model.train_step(a) == 1.0


def test_a_nest_of_loops_too_deep_for_python_says_so():
    x = gx.input("x", (2,) * 23)
    with pytest.raises(ShapeError, match="more than 20 loops") as caught:
        gx.function(x, gx.exp(x) + x.T)
    assert __file__ in str(caught.value)
