"""Loops whose length a tensor says when the function runs, or the batch of an input."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import plain_python

import graphc as gx
from graphc.errors import ArgumentError, DTypeError, ShapeError

X = np.random.default_rng(0).standard_normal((6, 3))


def step(c, x):
    c = gx.tanh(c * 0.7 + x)
    return c, c * c


def outputs(x, c, ys):
    loss = gx.sum(gx.sin(c)) + gx.sum(ys)
    g = gx.grad(loss, x)
    return [c, ys, g, gx.grad(gx.sum(g * g), x), *gx.jvp([c], [x], [gx.cos(x)])]


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "compiled"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
def test_a_tensor_says_how_many_steps_there_are(plain, reverse):
    x, n = gx.input("x", X.shape, "float64"), gx.input("n", (), "int32")
    first = gx.zeros((3,), dtype="float64")
    with plain_python(plain):
        f = gx.function([x, n], outputs(x, *gx.scan(step, first, x, n, reverse=reverse)))
        for count in (6, 0, 1, 4, 9, -2):
            got = f(X, count)
            own = min(max(count, 0), 6)
            a = gx.input("a", (own, 3), "float64")
            fixed = gx.function(a, outputs(a, *gx.scan(step, first, a, reverse=reverse)))
            for number, (part, wanted) in enumerate(zip(got, fixed(X[:own]), strict=True)):
                if number in (1, 2, 3):
                    assert (part[own:] == 0).all()
                    part = part[:own]
                np.testing.assert_allclose(part, wanted, rtol=1e-10, atol=1e-12)


def test_without_slices_there_must_be_a_most():
    n, c = gx.input("n", (), "int64"), gx.input("c", ())
    last, ys = gx.scan(lambda c, _: (c * 2.0, c), c, None, n, max_length=5)
    f = gx.function([c, n], [last, ys, gx.grad(last, c)])
    for count in (-1, 0, 3, 5, 8):
        own = min(max(count, 0), 5)
        last, ys, slope = f(1.0, count)
        assert last == slope == 2.0**own
        np.testing.assert_array_equal(ys, [*(2.0 ** np.arange(own)), *[0.0] * (5 - own)])


def test_samples_may_differ_in_length():
    lengths = np.array([6, 0, 3])
    x, n = gx.input("x", X.shape, "float64"), gx.input("n", (3,), "int64")
    first = gx.zeros((3,), dtype="float64")
    c, ys = gx.vmap(lambda n: gx.scan(step, first, x, n))(n)
    g = gx.grad(gx.sum(c) + gx.sum(ys), x)
    many, left, slope = gx.function([x, n], [c, ys, g])(X, lengths)
    k = gx.input("k", (), "int64")
    c, ys = gx.scan(step, first, x, k)
    one = gx.function([x, k], [c, ys, gx.grad(gx.sum(c) + gx.sum(ys), x)])
    parts = [one(X, length) for length in lengths]
    np.testing.assert_allclose(many, [p[0] for p in parts], rtol=1e-12)
    np.testing.assert_allclose(left, [p[1] for p in parts], rtol=1e-12)
    np.testing.assert_allclose(slope, sum(p[2] for p in parts), rtol=1e-12)


def test_the_batch_is_a_length():
    x = gx.input("x", (None,), "float64")
    c, ys = gx.scan(lambda c, _: (c + gx.mean(x), c), gx.constant(0.0, "float64"), None, "batch")
    f = gx.function(x, [c, ys, gx.grad(c, x)])
    for n in (1, 4):
        c, ys, slope = f(np.arange(n) + 1.0)
        np.testing.assert_allclose(c, (np.arange(n) + 1.0).sum())
        assert ys.shape == (n,)
        np.testing.assert_allclose(slope, np.ones(n))


def test_what_a_length_cannot_be():
    x, n = gx.input("x", (3,)), gx.input("n", (), "int64")
    f = lambda c, v: (c, v)  # noqa: E731
    cases = [
        (DTypeError, "must be a scalar integer", lambda: gx.scan(f, x, None, x)),
        (ArgumentError, "pass max_length", lambda: gx.scan(f, x, None, n)),
        (ArgumentError, "must be 0 or more", lambda: gx.scan(f, x, None, n, max_length=-1)),
        (ArgumentError, "for a length that is a tensor",
         lambda: gx.scan(f, x, None, 3, max_length=4)),
        (ArgumentError, "checkpoint needs a fixed length",
         lambda: gx.scan(f, x, x, n, checkpoint=2)),
        (ShapeError, "xs must have one length", lambda: gx.scan(f, x, x, n, max_length=4)),
    ]  # fmt: skip
    for kind, words, make in cases:
        with pytest.raises(kind, match=words) as caught:
            make()
        assert f"\n  at {__file__}:" in str(caught.value)
