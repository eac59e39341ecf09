"""Dimensions are polynomials in one normal form: equal ones are equal, and print the same."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

import graphc as gx
from graphc import nn
from graphc.codegen.module import show_expression
from graphc.types import (
    BATCH,
    Dim,
    Sizes,
    as_dim,
    dim_at,
    dim_ceildiv,
    dim_max,
    dim_min,
    divided,
    named_sizes,
    never_below,
)

n, m = as_dim("n"), as_dim("m")
SIZES = [
    Sizes(b, [("n", p), ("m", q)]) for b, p, q in itertools.product(range(1, 4), range(5), (0, 7))
]


def drawn(source, depth=3):
    """Return a random dimension and the function of the sizes that it means."""
    if not depth or source.random() < 0.2:
        name = source.choice(["batch", "n", "m", "number"])
        if name == "number":
            number = source.randrange(-3, 5)
            return number, lambda s: number
        dim = as_dim(name)
        return dim, lambda s: int(s) if name == "batch" else dict(s.named)[name]
    (a, f), (b, g) = drawn(source, depth - 1), drawn(source, depth - 1)
    k = source.randrange(1, 5)
    return source.choice([
        (a + b, lambda s: f(s) + g(s)),
        (a - b, lambda s: f(s) - g(s)),
        (a * b, lambda s: f(s) * g(s)),
        (dim_ceildiv(a, k), lambda s: -(-f(s) // k)),
        (dim_max(a, b), lambda s: max(f(s), g(s))),
        (dim_min(a, b), lambda s: min(f(s), g(s))),
    ])  # fmt: skip


def test_random_dimensions_mean_what_made_them():
    source = random.Random(0)
    for _ in range(300):
        dim, meaning = drawn(source)
        text = show_expression(dim)
        for sizes in SIZES:
            assert dim_at(dim, sizes) == meaning(sizes), dim
            names = {"batch": int(sizes), "size_n": dict(sizes.named)["n"],
                     "size_m": dict(sizes.named)["m"]}  # fmt: skip
            assert eval(text, names) == meaning(sizes), text
        by, _ = drawn(source, 2)
        if by != 0:
            assert divided(dim * by, by) == dim
        if never_below(dim, by):
            assert all(dim_at(dim, s) >= dim_at(by, s) for s in SIZES)


def test_equal_dimensions_are_equal():
    assert (n - 2) * BATCH == BATCH * n - 2 * BATCH
    assert hash((n - 2) * BATCH) == hash(BATCH * n - 2 * BATCH)
    assert (n + m) * (n - m) == n * n - m * m
    assert dim_max(n, m) == dim_max(m, n)
    assert dim_ceildiv(2 * n - 4, 2) == n - 2
    assert dim_ceildiv(n + 3, 2) == dim_ceildiv(n - 1, 2) + 2
    assert n - n == 0
    assert isinstance(n * m - m * n + 3, int)


def test_quotients_are_whole_or_none():
    assert divided((n - 2) * BATCH, BATCH) == n - 2
    assert divided(n * n - m * m, n - m) == n + m
    assert divided(6 * n, 2 * n) == 3
    for a, b in ((n, m), (3 * n, 2), (n + 1, n), (n, 0), (4, n), (2 * n, 4 * n)):
        assert divided(a, b) is None


def test_they_print_as_polynomials():
    assert str((n - 2) * BATCH) == "batch*n - 2*batch"
    assert str(3 - n) == "-n + 3"
    assert str(dim_ceildiv(n - 1, 2) * 2) == "2*ceildiv(n - 1, 2)"
    assert show_expression((n - 2) * BATCH) == "batch * size_n - 2 * batch"
    assert repr(Dim()) == "batch"


def test_bounds_know_what_sizes_are_not():
    assert never_below(n + 2, 1)
    assert never_below(n * m + n, 0)
    assert never_below(5, dim_min(n, 3))
    assert not never_below(n - 1, 0)
    assert named_sizes(dim_max(n * m, 3) + BATCH) == {"n", "m"}


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_of_an_open_length_has_the_gradient_of_its_kernel(stride):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 9, 2))
    given = rng.standard_normal((3, 2, 4))
    found = []
    for length in ("length", 9):
        x = gx.input("x", (None, length, 2), "float64")
        layer = nn.Conv1d(2, 4, 3, stride=stride, dtype="float64")
        w = gx.parameter(given, dtype="float64")
        y = gx.conv(x, w, stride=stride)
        assert layer(x).shape == y.shape
        loss = gx.sum(gx.square(y))
        found.append(gx.function(x, gx.grad(loss, [x, w]))(values))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
