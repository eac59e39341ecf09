"""Parts of a network that derivatives compute again."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim

RNG = np.random.default_rng(0)


def deep(on):
    """Return a model of four parts, each computed again or not."""
    x = gx.input("x", (None, 32))
    h = x
    for _ in range(4):
        part = nn.Sequential(*(f for _ in range(4) for f in (nn.Linear(32, 32), nn.Tanh())))
        h = gx.checkpoint(part, h) if on else part(h)
    return gx.Model(inputs=x, outputs=h, loss=gx.mean(h**2), optimizer=optim.SGD(0.1), seed=0)


@pytest.mark.parametrize("threads", [1, 2])
def test_training_is_the_same_in_less_memory(threads):
    X = RNG.standard_normal((256, 32)).astype("float32")
    with gx.config(threads=threads):
        plain, again = deep(False), deep(True)
        for _ in range(3):
            assert plain.train_step(X) == pytest.approx(again.train_step(X), rel=1e-6)
    for a, b in zip(plain.parameters.values(), again.parameters.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert again.report.arena_bytes < 0.6 * plain.report.arena_bytes


def test_structures_and_second_derivatives():
    a, b = gx.input("a", (3,), "float64"), gx.input("b", (3,), "float64")
    w = gx.parameter(np.array([0.5, -1.0, 2.0]))

    def f(pair, other):
        return {"sum": gx.sin(pair[0] * w) + other, "product": pair[1] * other**2}

    def loss(found):
        return gx.sum(found["sum"] * found["product"])

    results = []
    for found in (f((a, b), b), gx.checkpoint(f, (a, b), b)):
        first = gx.grad(loss(found), [a, b, w])
        second = gx.grad(gx.sum(first[0] * first[1] + first[2]), [a, b, w])
        results.append(gx.function([a, b], [*found.values(), *first, *second]))
    values = RNG.standard_normal((2, 3))
    for x, y in zip(results[0](*values), results[1](*values), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "words"), [((3, 1.0), "3 is not callable"), ((gx.tanh,), "no operands")]
)
def test_what_it_refuses(arguments, words):
    with pytest.raises(ValueError, match=rf"{words}(.|\n)*test_recomputed\.py:\d+"):
        gx.checkpoint(*arguments)


def test_none_goes_in_and_comes_out():
    x = gx.input("x", (None, 4))
    y, nothing = gx.checkpoint(lambda a, b: (gx.sin(a), b), x, None)
    assert nothing is None
    value = RNG.standard_normal((2, 4)).astype("float32")
    np.testing.assert_array_equal(gx.function(x, y)(value), gx.function(x, gx.sin(x))(value))
