"""Running totals by associative functions, against JAX, loops and NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphc as gx
from graphc.errors import ArgumentError, DTypeError, ShapeError


def linear(one, two):
    """Combine two steps of a linear recurrence."""
    return {"a": two["a"] * one["a"], "b": two["a"] * one["b"] + two["b"]}


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 8, 13])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_linear_recurrence_is_that_of_a_loop(length, reverse):
    rng = np.random.default_rng(length)
    a, b = (gx.input(n, (2, length), dtype="float64") for n in "ab")
    out = gx.associative_scan(linear, {"a": a, "b": b}, reverse=reverse, axis=1)["b"]

    def step(h, ab):
        new = ab[0] * h + ab[1]
        return new, new

    zero = gx.constant(np.zeros(2))
    _, wanted = gx.scan(step, zero, (a, b), axis=1, reverse=reverse)
    outputs = []
    for t in (out, wanted):
        loss = gx.sum(gx.sin(t))
        outputs += [t, *gx.grad(loss, [a, b], unconnected="zero")]
    got = gx.function([a, b], outputs)(*rng.standard_normal((2, 2, length)))
    for mine, other in zip(got[:3], got[3:], strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_as_jax_has_it(axis):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    values = np.random.default_rng(0).standard_normal((6, 7, 2))
    x = gx.input("x", values.shape, dtype="float64")
    for f, g in ((lambda a, b: a + b, jax.numpy.add), (gx.maximum, jax.numpy.maximum),
                 (lambda a, b: a * b, jax.numpy.multiply)):  # fmt: skip
        got = gx.function(x, gx.associative_scan(f, x, axis=axis))(values)
        wanted = jax.lax.associative_scan(g, values, axis=axis)
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_errors_say_what_to_do():
    x = gx.input("x", (5, 2))
    cases = [
        (DTypeError, "must be a function", lambda: gx.associative_scan(x, x)),
        (ArgumentError, "no tensor", lambda: gx.associative_scan(gx.add, None)),
        (ShapeError, "has no axis 2", lambda: gx.associative_scan(gx.add, x, axis=2)),
        (ArgumentError, "is open; it must be fixed",
         lambda: gx.associative_scan(gx.add, gx.input("y", (None,)))),
        (ShapeError, "differ in length", lambda: gx.associative_scan(linear, {"a": x, "b": x[1:]})),
        (ArgumentError, "must have one structure",
         lambda: gx.associative_scan(lambda a, b: (a, b), x)),
        (DTypeError, "the type must stay",
         lambda: gx.associative_scan(lambda a, b: a.astype("float64"), x)),
        (ShapeError, "the shape must stay", lambda: gx.associative_scan(lambda a, b: a[:, :1], x)),
    ]  # fmt: skip
    for kind, words, make in cases:
        with pytest.raises(kind, match=words) as caught:
            make()
        assert Path(__file__).name in str(caught.value), words
