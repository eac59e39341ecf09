"""Order: sorts of every size, quantiles, places and distinct values, beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("descending", [False, True])
def test_a_sort_is_stable_at_every_size(descending):
    x = gx.input("x", (None,), "float64")
    f = gx.function(x, (gx.sort(x, descending=descending), gx.argsort(x, descending=descending)))
    fixed = gx.input("x", (100,), "float64")
    g = gx.function(fixed, gx.argsort(fixed, descending=descending))
    for n in [*range(20), 31, 32, 33, 63, 64, 65, 100, 1000]:
        keys = RNG.integers(0, max(1, n // 3), n).astype(float)
        keys[n // 2 : n // 2 + 1] = np.nan
        places = sorted(range(n), key=lambda i: (np.isnan(keys[i]), keys[i]))
        if descending:
            worth = np.where(np.isnan(keys), np.inf, keys)
            places = sorted(range(n), key=lambda i: -worth[i])
        values, found = f(keys)
        assert found.tolist() == places
        np.testing.assert_array_equal(values, keys[found])
        if n == 100:
            assert g(keys).tolist() == places


def test_lines_are_sorted_along_any_axis_whatever_the_threads():
    x = RNG.integers(0, 50, (6, 40, 5)).astype("int32")
    for threads in (1, 2):
        with gx.config(threads=threads):
            t = gx.input("x", x.shape, "int32")
            for axis in range(3):
                order = gx.function(t, gx.argsort(t, axis))(x)
                np.testing.assert_array_equal(order, np.argsort(x, axis, kind="stable"))


def _with_derivatives(f, x):
    t = gx.input("x", x.shape, "float64")
    y = f(t)
    dx = gx.grad(gx.sum(gx.sin(y)), t)
    return gx.function(t, [y, dx, gx.grad(gx.sum(gx.sin(dx)), t)])(x)


def _torchs(torch, f, x):
    t = torch.tensor(x, requires_grad=True)
    y = f(t)
    (dx,) = torch.autograd.grad(y.sin().sum(), t, create_graph=True)
    (second,) = torch.autograd.grad(dx.sin().sum(), t)
    return [v.detach().numpy() for v in (y, dx, second)]


CASES = [
    (lambda x: gx.sort(x, 0), lambda t: t.sort(0).values),
    (lambda x: gx.sort(x, descending=True), lambda t: t.sort(descending=True).values),
    (lambda x: gx.top_k(x, 3)[0], lambda t: t.topk(3).values),
    (lambda x: gx.top_k(x, 2, axis=0, largest=False)[0],
     lambda t: t.topk(2, 0, largest=False).values),
    (lambda x: gx.median(x, axis=1), lambda t: t.median(1).values),
    (lambda x: gx.quantile(x, np.array([0.1, 0.5, 0.77]), axis=1),
     lambda t: t.quantile(t.new_tensor([0.1, 0.5, 0.77]), 1)),
    (lambda x: gx.quantile(x, 0.6, axis=0, method="higher", keepdims=True),
     lambda t: t.quantile(0.6, 0, keepdim=True, interpolation="higher")),
    (lambda x: gx.quantile(x, 0.6, method="midpoint"),
     lambda t: t.quantile(0.6, interpolation="midpoint")),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CASES)))
def test_values_and_derivatives_are_pytorchs(torch, number):
    ours, theirs = CASES[number]
    x = RNG.standard_normal((4, 7))
    for a, b in zip(_with_derivatives(ours, x), _torchs(torch, theirs, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_top_k_takes_the_first_of_equals_and_a_nan_for_the_greatest():
    values, places = gx.function([], gx.top_k(np.array([2.0, 5.0, np.nan, 5.0, 5.0]), 3))()
    np.testing.assert_array_equal(values, [np.nan, 5.0, 5.0])
    assert places.tolist() == [2, 1, 3]


def test_places_among_sorted_lines_are_pytorchs(torch):
    lines = np.sort(RNG.integers(0, 9, (3, 5, 9)), -1)
    values = RNG.integers(-1, 11, (3, 5, 4))
    for side in ("left", "right"):
        found = gx.function([], gx.searchsorted(gx.constant(lines), values, side=side))()
        wanted = torch.searchsorted(torch.tensor(lines), torch.tensor(values), side=side)
        np.testing.assert_array_equal(found, wanted.numpy())


def test_a_quantile_of_a_batch_and_one_that_is_computed():
    x, q = gx.input("x", (None, 3), "float64"), gx.input("q", (2,), "float64")
    f = gx.function([x, q], (gx.quantile(x, q, axis=0), gx.median(x, axis=0)))
    for rows in (1, 2, 5, 8):
        data = RNG.standard_normal((rows, 3))
        found, middle = f(data, [0.2, 0.9])
        np.testing.assert_allclose(found, np.quantile(data, [0.2, 0.9], axis=0), rtol=1e-12)
        np.testing.assert_allclose(middle, np.median(data, axis=0), rtol=1e-12)
    assert np.isnan(f(data, [0.5, 1.5])[0][1]).all()


def test_the_derivative_by_the_part_is_the_slope_between_neighbours():
    x, q = np.array([1.0, 2.0, 4.0, 8.0]), gx.input("q", (), "float64")
    slope = gx.function(q, gx.grad(gx.quantile(x, q), q))
    assert slope(0.5) == pytest.approx(3 * 2.0)
    assert slope(0.8) == pytest.approx(3 * 4.0)


def test_distinct_elements_of_a_batch():
    x = gx.input("x", (None,), "int64")
    f = gx.function(x, gx.unique(x, 4, fill_value=-1, return_inverse=True, return_counts=True))
    values, inverse, counts = f([7, 3, 7, 5])
    assert (values.tolist(), inverse.tolist()) == ([3, 5, 7, -1], [2, 0, 2, 1])
    assert counts.tolist() == [1, 1, 2, 0]
    assert f([9, 8, 7, 6, 5, 5])[0].tolist() == [5, 6, 7, 8]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: gx.top_k(x, 5), ArgumentError, "3 elements, not 5"),
        (lambda x: gx.top_k(x, -1), ArgumentError, "k must be an integer"),
        (lambda x: gx.quantile(x, 1.5), ArgumentError, r"q must lie in \[0, 1\]"),
        (lambda x: gx.quantile(x, 0.5, method="weibull"), ArgumentError, "method must be one of"),
        (lambda x: gx.median(x[:0]), ShapeError, "0 elements"),
        (lambda x: gx.searchsorted(x, x[0]), ShapeError, "leading axes"),
        (lambda x: gx.searchsorted(x, x, side="middle"), ArgumentError, "side must be"),
        (lambda x: gx.unique(x, -2), ArgumentError, "size must be"),
        (lambda x: gx.unique(x[:0], 2), ShapeError, "0 elements"),
    ],
)  # fmt: skip
def test_what_cannot_be_says_so_at_the_users_line(call, error, words):
    with pytest.raises(error, match=words) as raised:
        call(gx.input("x", (2, 3)))
    assert "test_sorting.py" in str(raised.value)
