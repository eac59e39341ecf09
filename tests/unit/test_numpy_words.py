"""Arguments of creation, shapes and counts: NumPy's results and words, at the user's line."""

import numpy as np
import pytest

import graphc as gx
from graphc.errors import DTypeError, GraphcError, RangeError, ShapeError

X = np.arange(12.0, dtype="float32").reshape(3, 4)


def value(t):
    return gx.function([], t)()


@pytest.mark.parametrize("dtype", ["int32", "int64", "float64"])
def test_ranges_and_lines_are_numpys(dtype):
    for args in ((-2.9, 1, 1), (0, 5, 0.5), (0.5, 9.0, 2.5), (3.0, -3.0, -1.5), (5,), (2, 9, 3)):
        expected = np.arange(*args, dtype=dtype)
        np.testing.assert_array_equal(value(gx.arange(*args, dtype=dtype)), expected)
    for args in ((-3, 50, 50), (2.5, -7, 9), (-1, 1, 7), (0, 1, 0)):
        expected = np.linspace(*args, dtype=dtype)
        np.testing.assert_array_equal(value(gx.linspace(*args, dtype=dtype)), expected)


@pytest.mark.parametrize("make", [
    lambda: gx.arange(np.inf, 2), lambda: gx.arange(0, 1, 0), lambda: gx.arange(5, dtype="bool"),
    lambda: gx.linspace(0, 1, 5.0), lambda: gx.linspace(0, 1, -2), lambda: gx.linspace(0, 1, "a"),
    lambda: gx.eye(2.5), lambda: gx.eye(-1), lambda: gx.tril(X, k=0.5), lambda: gx.exp("a"),
    lambda: gx.one_hot([1], 2.5), lambda: gx.sum(X, axis=1.0), lambda: gx.sum(X, axis="a"),
    lambda: gx.zeros((1,) * 65), lambda: gx.zeros(2.5), lambda: gx.constant([[1.0], [1.0, 2.0]]),
    lambda: gx.roll(X, [1, 2], [0, 1, 2]), lambda: gx.exp(), lambda: gx.exp(X, other=1),
    lambda: gx.constant(eval("[" * 70 + "1" + "]" * 70)), lambda: gx.exp([[1.0], [1.0, 2.0]]),
    lambda: gx.reshape(X, (2.0, 6)), lambda: gx.einsum("a", "b"), lambda: gx.split(X, 1.5),
    lambda: gx.moveaxis(X, 0.5, 1), lambda: gx.clip(X, "a", 2), lambda: gx.tile(X, 1.5),
])  # fmt: skip
def test_every_error_stands_at_the_users_line(make):
    with pytest.raises(GraphcError) as caught:
        make()
    assert f"at {__file__}" in str(caught.value)
    assert isinstance(caught.value, (ValueError, TypeError, IndexError, OverflowError))


def test_a_count_must_be_known():
    x, n = gx.input("x", (3, 4)), gx.input("n", (), "int64")
    for what, make in (
        ("repeats", lambda: gx.repeat(x, n)),
        ("repetitions", lambda: gx.tile(x, (n, 1))),
        ("a dimension", lambda: gx.reshape(x, (n, 4))),
        ("has no values", lambda: gx.roll(x, n, 0)),
        ("needed here", lambda: gx.tril(x, k=n)),
        ("needed here", lambda: gx.one_hot(n, n)),
        ("needed here", lambda: gx.linspace(0, 1, n)),
        ("needed here", lambda: int(n)),
    ):
        with pytest.raises(DTypeError, match=what) as caught:
            make()
        assert f"at {__file__}" in str(caught.value)


def test_reshape_of_nothing_has_no_unknown_dimension():
    for shape, to in (((0, 5), (0, -1)), ((0,), (-1, 0)), ((0, 5), (5, 0, -1))):
        with pytest.raises(ValueError, match="cannot reshape"):
            np.reshape(np.zeros(shape), to)
        with pytest.raises(ShapeError, match="cannot reshape"):
            gx.reshape(gx.input("x", shape), to)
    for shape, to in (((0, 5), (-1, 5)), ((0, 5), (3, -1)), ((0,), (7, -1)), ((0, 5), -1)):
        assert gx.reshape(gx.input("x", shape), to).shape == np.reshape(np.zeros(shape), to).shape
    assert gx.reshape(gx.input("x", (None, 5)), (None, -1)).shape == (None, 5)


@pytest.mark.parametrize("dtype", ["bool", "int32", "int64"])
def test_triangles_and_sums_keep_the_type(dtype):
    a = (X > 3).astype(dtype)
    x = gx.input("x", (3, 4), dtype)
    for name in ("tril", "triu"):
        got = gx.function(x, getattr(gx, name)(x))(a)
        assert got.dtype == a.dtype
        np.testing.assert_array_equal(got, getattr(np, name)(a))
    got = gx.function(x, gx.einsum("ij->i", x))(a)
    assert got.dtype == a.dtype
    np.testing.assert_array_equal(got, np.einsum("ij->i", a))


def test_clip_of_booleans():
    p = np.array([True, False])
    x = gx.input("x", (2,), "bool")
    for bounds in (
        (False, True),
        (True, True),
        (False, False),
        (0, 1),
        (None, False),
        (True, None),
    ):
        got, expected = gx.function(x, gx.clip(x, *bounds))(p), np.clip(p, *bounds)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)


def test_numbers_beyond_all_integers():
    for number in (2**63, 2**64, -(2**70)):
        with pytest.raises(RangeError, match=str(number)):
            gx.constant(number)
    assert value(gx.constant(2**70, "float64")) == 2.0**70


@pytest.mark.parametrize("dtype", ["bool", "int32", "int64", "float32"])
def test_vecdot_keeps_the_type(dtype):
    a, b = (np.array([[1, 0, 1], [0, 1, 0]], dtype) for _ in range(2))
    found, wanted = gx.function([], gx.vecdot(gx.constant(a), gx.constant(b)))(), np.vecdot(a, b)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)
