"""The loss of a head over many classes, by parts of the rows."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import nn
from graphc.errors import ShapeError
from graphc.nn.losses import vocabulary

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("option", [{}, {"ignore_index": -1}, {"label_smoothing": 0.1},
                                    {"reduction": "sum"}, {"reduction": "none"}])  # fmt: skip
def test_values_and_gradients(option, monkeypatch):
    monkeypatch.setattr(vocabulary, "CHUNK", 20)
    X, W, B = RNG.standard_normal((3, 4, 5)), RNG.standard_normal((5, 7)), RNG.standard_normal(7)
    Y = RNG.integers(0, 7, (3, 4))
    if "ignore_index" in option:
        Y[0, 1:3] = -1
    x, w = gx.input("x", (3, 4, 5), "float64"), gx.input("w", (5, 7), "float64")
    b, y = gx.input("b", (7,), "float64"), gx.input("y", (3, 4), "int64")
    given = [x, w, b]

    def outputs(loss):
        total = gx.sum(gx.sin(loss))
        first = gx.grad(total, given)
        return [loss, *first, *gx.grad(sum(gx.sum(gx.sin(g)) for g in first), given)]

    wanted = gx.function([*given, y], outputs(nn.cross_entropy(x @ w + b, y, **option)))(X, W, B, Y)
    for chunk in (None, 1, 5, 12, 100):
        loss = nn.linear_cross_entropy(x, w, b, y, chunk=chunk, **option)
        found = gx.function([*given, y], outputs(loss))(X, W, B, Y)
        for mine, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-12)


def test_rows_that_are_open():
    for shape in ((None, 4, 5), (None, 5), (5,)):
        x, y = gx.input("x", shape, "float64"), gx.input("y", shape[:-1], "int64")
        W = RNG.standard_normal((5, 7))
        w = gx.parameter(W)
        pair = nn.linear_cross_entropy(x, w, None, y), nn.cross_entropy(x @ w, y)
        f = gx.function([x, y], [[loss, gx.grad(loss, x), gx.grad(loss, w)] for loss in pair])
        sizes = [3 if d is None else d for d in shape]
        one, other = f(RNG.standard_normal(sizes), RNG.integers(0, 7, sizes[:-1]))
        for mine, wanted in zip(one, other, strict=True):
            np.testing.assert_allclose(mine, wanted, rtol=1e-10, atol=1e-12)


def test_the_arena_is_smaller():
    x, y = gx.input("x", (64, 16, 8)), gx.input("y", (64, 16), "int64")
    w = gx.parameter(nn.init.normal(), (8, 1000))
    sizes = []
    for loss in (nn.linear_cross_entropy(x, w, None, y, chunk=64), nn.cross_entropy(x @ w, y)):
        f = gx.function([x, y], [loss, *gx.grad(loss, [x, w])])
        sizes.append(f.report.arena_bytes)
    assert sizes[0] < 0.2 * sizes[1]


def test_what_cannot_be_is_said():
    x, y = gx.input("x", (4, 5)), gx.input("y", (4,), "int64")
    w = gx.parameter(np.zeros((6, 7), "float32"))
    with pytest.raises(ShapeError, match=r"weight \(E, V\)"):
        nn.linear_cross_entropy(x, w, None, y)
    with pytest.raises(ShapeError, match="without its last axis"):
        nn.linear_cross_entropy(x, w[:5], None, x)
    with pytest.raises(ShapeError, match="size of a chunk"):
        nn.linear_cross_entropy(x, w[:5], None, y, chunk=0)
