"""Random numbers follow their distributions, and gradients pass through their parameters."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import graphc as gx
from graphc import optim

stats = pytest.importorskip("scipy.stats")

COUNT = 200_000
LIKELY = 1e-3
"""Probability of a distance as large by chance; the seeds are fixed, so it fails or never does."""

CONTINUOUS = {
    "uniform": ((-1.0, 3.0), stats.uniform(-1.0, 4.0)),
    "normal": ((2.0, 0.5), stats.norm(2.0, 0.5)),
    "truncated_normal": ((1.0, 2.0), stats.truncnorm(-2.0, 2.0, 1.0, 2.0)),
    "exponential": ((3.0,), stats.expon(scale=3.0)),
    "gumbel": ((1.0, 2.0), stats.gumbel_r(1.0, 2.0)),
    "laplace": ((-1.0, 0.5), stats.laplace(-1.0, 0.5)),
}


def sample(tensor):
    return np.asarray(gx.function([], tensor)())


def make(name, shape=(COUNT,), arguments=None, **options):
    given = CONTINUOUS[name][0] if arguments is None else arguments
    return getattr(gx, f"random_{name}")(shape, *given, **{"seed": 11, **options})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_numbers_follow_the_distribution(name, dtype):
    _, law = CONTINUOUS[name]
    x = sample(make(name, dtype=dtype))
    assert x.dtype == dtype
    x = x.astype("float64")
    assert np.isfinite(x).all()
    assert stats.kstest(x, law.cdf).pvalue > LIKELY
    error = law.std() / COUNT**0.5
    assert abs(x.mean() - law.mean()) < 4 * error
    assert abs(x.std() / law.std() - 1) < 0.02
    low, high = law.support()
    assert low - 1e-6 <= x.min()
    assert x.max() <= high + 1e-6
    moments = stats.skew(x), stats.kurtosis(x)
    np.testing.assert_allclose(moments, law.stats("sk"), atol=0.35)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_draws_are_independent_of_their_neighbours_and_of_other_streams(name):
    x, y = gx.function([], [make(name), make(name)])()
    for a, b in ((x, y), (x[:-1], x[1:]), (x[: COUNT // 2], x[COUNT // 2 :])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / len(a) ** 0.5
    assert len(np.unique(x)) > 0.9 * COUNT if name != "uniform" else True


@pytest.mark.parametrize("name", CONTINUOUS)
def test_gradients_pass_through_the_parameters(name):
    """Against finite differences, and for the gradient of the mean by location and scale."""
    given, _ = CONTINUOUS[name]
    ps = [gx.parameter(np.full(3, v), dtype="float64") for v in given]
    x = make(name, (50, 3), ps, dtype="float64")
    gx.check_grads((x * x).sum(), ps, {})
    free = make(name, (50, 3), [], dtype="float64")
    values, z, *gradients = gx.function([], [x, free, *gx.grad(x.sum(), ps)])()
    by_location = [np.full(3, 50.0)] if len(given) == 2 else []
    if name != "uniform":
        for got, want in zip(gradients, [*by_location, None], strict=False):
            if want is not None:
                np.testing.assert_allclose(got, want)
        location = given[0] if by_location else 0.0
        np.testing.assert_allclose(
            gradients[-1], ((values - location) / given[-1]).sum(0), rtol=1e-9
        )
    assert values.shape == z.shape


def test_extremes_are_finite():
    """Of the least and the greatest uniform number, whose logarithms are the longest tails."""
    from graphc.ops import distributions
    from graphc.ops.random import Key

    class Ends(Key):
        def uniform(self, shape, dtype, part=0):
            top = 1 - (2.0**-24 if dtype == "float32" else 2.0**-53)
            return gx.constant(np.array([0.0, top, 0.5]), dtype)

    for dtype in map(np.dtype, ("float32", "float64")):
        for form in (distributions._normal, distributions._exponential,
                     distributions.standard_gumbel):  # fmt: skip
            x = sample(form(Ends(None, None, 0), (3,), dtype))
            assert np.isfinite(x).all(), form


@pytest.mark.parametrize("bounds", [(-2.0, 2.0), (0.0, 4.0), (-6.0, 6.0), (1.0, 2.5), (-3.0, -2.0)])
def test_truncated_normal_keeps_its_bounds(bounds):
    for dtype, tolerance in (("float32", 2e-3), ("float64", 1e-9)):
        x = make("truncated_normal", (5000,), (), lower=bounds[0], upper=bounds[1], dtype=dtype)
        u = make("uniform", (5000,), (), dtype=dtype)
        values, numbers = sample(x), sample(u)
        assert bounds[0] <= values.min()
        assert values.max() <= bounds[1]
        np.testing.assert_allclose(
            values, stats.truncnorm(*bounds).ppf(numbers.astype("float64")), atol=tolerance
        )


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_integers_are_equally_likely(dtype):
    x = sample(gx.random_integers((COUNT,), -3, 7, seed=1, dtype=dtype))
    assert x.dtype == dtype
    values, counts = np.unique(x, return_counts=True)
    assert values.tolist() == list(range(-3, 7))
    assert stats.chisquare(counts).pvalue > LIKELY
    wide = sample(gx.random_integers((1000,), 2**52, seed=2))
    assert wide.max() > 2**51
    assert len(np.unique(wide)) == 1000
    far = sample(gx.random_integers((1000,), 2**62, 2**62 + 3, seed=2))
    assert set(far.tolist()) == {2**62, 2**62 + 1, 2**62 + 2}


def test_integers_within_symbolic_bounds():
    high = gx.input("high", (4,), "int64")
    f = gx.function(high, gx.random_integers((500, 4), 1, high, seed=3))
    x = f(np.array([2, 3, 10, 100]))
    assert x.min() == 1
    assert x.max(0).tolist()[:3] == [1, 2, 9]


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_bernoulli(p):
    x = sample(gx.random_bernoulli(p, (COUNT,), seed=5))
    assert abs(x.mean() - p) <= 4 * math.sqrt(p * (1 - p) / COUNT)


def test_categories_have_the_probabilities_of_softmax():
    logits = np.array([0.0, 1.0, -1.0, -np.inf, 2.0], "float32")
    x = sample(gx.random_categorical(gx.broadcast_to(logits, (COUNT, 5)), seed=8))
    weights = np.exp(logits.astype("float64"))
    p = weights / weights.sum()
    counts = np.bincount(x, minlength=5)
    assert counts[3] == 0
    assert stats.chisquare(counts[p > 0], p[p > 0] * COUNT).pvalue > LIKELY
    along = gx.random_categorical(gx.constant(np.zeros((4, 7), "float32")), axis=0, seed=1)
    assert along.shape == (7,)


def test_orders_are_equally_likely():
    step = gx.input("step", (), "int64")
    f = gx.function(step, gx.random_permutation(3, seed=2, step=step))
    seen = [tuple(f(k)) for k in range(3000)]
    counts = [seen.count(order) for order in itertools.permutations(range(3))]
    assert stats.chisquare(counts).pvalue > LIKELY
    long = sample(gx.random_permutation(1000, seed=1))
    assert sorted(long) == list(range(1000))
    assert abs(np.corrcoef(long, np.arange(1000))[0, 1]) < 0.15


def test_choices_are_those_offered_and_unique_without_replacement():
    x = gx.input("x", (6, 2))
    again = gx.random_choice(x, (400,), seed=3)
    once = gx.random_choice(x, (2, 3), replace=False, seed=3)
    rows = np.arange(12, dtype="float32").reshape(6, 2)
    many, all_six = gx.function(x, [again, once])(rows)
    assert set(many[:, 0]) == set(rows[:, 0])
    assert sorted(all_six[..., 0].ravel()) == rows[:, 0].tolist()
    gradient = gx.function(x, gx.grad(once.sum(), x))(rows)
    assert (gradient == 1).all()
    assert sample(gx.random_choice(4, (), seed=1)) in range(4)


def test_each_step_of_a_model_draws_anew_from_every_distribution():
    x = gx.input("x", (None, 3))
    w = gx.parameter(np.ones(2, "float32"), name="w")
    outs = {name: make(name, (None, 2), []) for name in CONTINUOUS}
    outs["integers"] = gx.random_integers((None, 2), 1000, seed=11)
    outs["bernoulli"] = gx.random_bernoulli(0.5, (None, 2), seed=11)
    outs["categorical"] = gx.random_categorical(x * 0.0, seed=11)
    loss = sum((gx.astype(v, "float32") * 1.0).sum() for v in outs.values()) * w.sum()
    model = gx.Model(inputs=x, outputs=outs, loss=loss, optimizer=optim.SGD(0.0))
    X = np.zeros((64, 3), "float32")
    seen = []
    for batch_size in (64, 7, 64):
        found = model.predict(X, batch_size=batch_size)
        again = model.predict(X, batch_size=13)
        for name in outs:
            np.testing.assert_array_equal(found[name], again[name])
        seen.append(found)
        model.train_step(X)
    for a, b in itertools.pairwise(seen):
        for name in outs:
            assert (a[name] != b[name]).any(), name


def test_bad_arguments():
    for call, kind, hint in [
        (lambda: gx.random_normal((3,), seed=1, dtype="int32"), TypeError, "floating-point"),
        (lambda: gx.random_normal((3,), np.zeros((2, 3)), seed=1), ValueError, "does not fit"),
        (lambda: gx.random_normal((3,), 0.0, -1.0, seed=1), ValueError, "scale must be at least 0"),
        (lambda: gx.random_normal((3,), seed=0.5), TypeError, "seed must be an integer"),
        (lambda: gx.random_truncated_normal((3,), lower=8.0, upper=9.0, seed=1),
         ValueError, "wider"),
        (lambda: gx.random_integers((3,), 5, 5, seed=1), ValueError, "no int64 from 5 up to 5"),
        (lambda: gx.random_integers((3,), 2**54, seed=1), ValueError, "2.53"),
        (lambda: gx.random_integers((3,), 2**40, seed=1, dtype="int32"), ValueError, "no int32"),
        (lambda: gx.random_integers((3,), 1.5, seed=1), TypeError, "must be integers"),
        (lambda: gx.random_categorical(np.array([1, 2]), seed=1), TypeError, "floating-point"),
        (lambda: gx.random_permutation(-1, seed=1), TypeError, "not negative"),
        (lambda: gx.random_choice(3, (4,), replace=False, seed=1), ValueError, "3 options"),
        (lambda: gx.random_choice(0, (4,), seed=1), ValueError, "known length"),
    ]:  # fmt: skip
        with pytest.raises(kind, match=hint) as error:
            call()
        assert "test_distributions.py:" in str(error.value)
