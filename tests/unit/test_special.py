"""Special functions: errors in units in the last place, and the values of mpmath and SciPy."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import graphc as gx

RNG = np.random.default_rng(0)
POSITIVE = np.concatenate([
    RNG.uniform(0, 1, 300), RNG.uniform(1, 3, 300), RNG.uniform(3, 20, 300),
    10 ** RNG.uniform(-30, 30, 300),
    [0.5, 1.5, 2.5, 9.5, 10.0, 1e-300, 1e300],
])  # fmt: skip
UNIT = np.concatenate(
    [RNG.uniform(-1, 1, 400), 1 - 2.0 ** -np.arange(1, 53), 10.0 ** -np.arange(1, 300, 7)]
)
NEGATIVE = -RNG.uniform(0.01, 30, 300)


def exact(f, x):
    with mpmath.workdps(60):
        return np.array([float(f(mpmath.mpf(float(v)))) for v in x])


def _lgamma(x):
    return mpmath.log(abs(mpmath.gamma(x))) if abs(x) < 100 else mpmath.re(mpmath.loggamma(x))


def values(name, x, *before):
    s = gx.input("x", x.shape, str(x.dtype))
    return gx.function(s, getattr(gx, name)(*before, s))(x)


@pytest.mark.parametrize(
    ("name", "before", "reference", "points", "units"),
    [
        ("erfinv", (), mpmath.erfinv, UNIT, 6),
        ("lgamma", (), _lgamma, POSITIVE, 6),
        ("digamma", (), mpmath.digamma, POSITIVE, 6),
        ("polygamma", (1,), lambda x: mpmath.polygamma(1, x), POSITIVE, 8),
        ("polygamma", (2,), lambda x: mpmath.polygamma(2, x), POSITIVE[POSITIVE < 1e20], 8),
    ],
)  # fmt: skip
def test_errors_are_a_few_units_in_the_last_place(name, before, reference, points, units):
    with np.errstate(over="ignore"):
        single = points.astype("float32")
    for x, most, least in ((points, units, 1e-300), (single, 1, 1e-30)):
        x = x[np.isfinite(x) & (x != 0)]
        with np.errstate(all="ignore"):
            found, wanted = values(name, x, *before), exact(reference, x).astype(x.dtype)
            error = np.abs(found - wanted) / np.spacing(np.abs(wanted))
        error[~np.isfinite(wanted) | (np.abs(wanted) < least)] = 0
        worst = int(np.argmax(error))
        assert error[worst] <= most, (x[worst], error[worst])


@pytest.mark.parametrize(
    ("name", "before", "reference"),
    [
        ("lgamma", (), _lgamma),
        ("digamma", (), mpmath.digamma),
        ("polygamma", (1,), lambda x: mpmath.polygamma(1, x)),
        ("polygamma", (2,), lambda x: mpmath.polygamma(2, x)),
    ],
)
def test_below_zero_reflections_hold(name, before, reference):
    found, wanted = values(name, NEGATIVE, *before), exact(reference, NEGATIVE)
    np.testing.assert_allclose(found, wanted, rtol=2e-12, atol=1e-13)


def test_special_values_are_scipys():
    scipy = pytest.importorskip("scipy.special")
    ends = np.array([0.0, -0.0, -1.0, -2.0, 1.0, 2.0, np.inf, np.nan, -1e-300, 1e-300, 1e308])
    np.testing.assert_allclose(values("lgamma", ends), scipy.gammaln(ends), rtol=1e-14)
    np.testing.assert_allclose(values("digamma", ends), scipy.digamma(ends), rtol=1e-14)
    ends = np.array([-1.0, 1.0, 0.0, -0.0, 1.5, -2.0, np.nan, np.inf])
    np.testing.assert_allclose(values("erfinv", ends), scipy.erfinv(ends), rtol=1e-14)
    x, y = np.meshgrid([0.0, 1.0, -1.0, np.inf, np.nan], [0.0, 2.0, -1.0, np.inf, np.nan])
    s, t = gx.input("x", x.shape, "float64"), gx.input("y", y.shape, "float64")
    np.testing.assert_allclose(gx.function([s, t], gx.xlogy(s, t))(x, y), scipy.xlogy(x, y))


def test_derivatives_are_pytorchs():
    torch = pytest.importorskip("torch")
    points = np.array([0.03, 0.4, 0.9])
    for name, x in (
        ("erfinv", points),
        ("lgamma", points * 9),
        ("digamma", points * 9),
        ("sinc", np.array([0.3, -1.2, 2.6])),
    ):
        s = gx.input("x", x.shape, "float64")
        first = gx.grad(gx.sum(getattr(gx, name)(s)), s)
        found = gx.function(s, [first, gx.grad(gx.sum(first), s)])(x)
        t = torch.tensor(x, requires_grad=True)
        theirs = getattr(torch.special, name.replace("lgamma", "gammaln"))
        (dx,) = torch.autograd.grad(theirs(t).sum(), t, create_graph=True)
        (second,) = torch.autograd.grad(dx.sum(), t)
        for a, b in zip(found, (dx, second), strict=True):
            # PyTorch's own polygamma has ten places
            np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-9, atol=1e-12)


def test_derivatives_at_the_middle_of_sinc_and_the_edge_of_xlogy():
    x = gx.input("x", (), "float64")
    first = gx.grad(gx.sinc(x), x)
    f = gx.function(x, [first, gx.grad(first, x)])
    np.testing.assert_allclose(f(0.0), [0.0, -(np.pi**2) / 3], rtol=1e-14)
    np.testing.assert_allclose(f(1e-8), [-(np.pi**2) / 3 * 1e-8, -(np.pi**2) / 3], rtol=1e-12)
    y = gx.input("y", (), "float64")
    slopes = gx.function([x, y], gx.grad(gx.xlogy(x, y), [x, y]))
    assert [float(v) for v in slopes(0.0, 2.0)] == [np.log(2.0), 0.0]
    assert [float(v) for v in slopes(0.0, 0.0)] == [0.0, 0.0]
