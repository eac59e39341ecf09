"""Initialisers: moments, bounds, fans, orthogonality, reproducibility."""

import math

import numpy as np
import pytest

import graphc as gx
from graphc import nn

SHAPE = (300, 500)  # 150,000 draws: the mean is within 4 sigma of 0.0104 std


def draw(initializer, shape=SHAPE, seed=0):
    values = initializer(shape, np.random.default_rng(seed))
    assert values.shape == shape
    return values


SCHEMES = {
    "uniform": (nn.init.uniform(-1.0, 3.0), 1.0, 2.0 / math.sqrt(3)),
    "normal": (nn.init.normal(2.0, 0.5), 2.0, 0.5),
    "xavier_uniform": (nn.init.xavier_uniform(), 0.0, math.sqrt(2 / 800)),
    "xavier_normal": (nn.init.xavier_normal(gain=3.0), 0.0, 3 * math.sqrt(2 / 800)),
    "he_uniform": (nn.init.he_uniform(), 0.0, math.sqrt(2 / 300)),
    "he_normal": (nn.init.he_normal(slope=0.5), 0.0, math.sqrt(2 / 1.25 / 300)),
    "he_normal_out": (nn.init.he_normal(fan="fan_out"), 0.0, math.sqrt(2 / 500)),
    "lecun_uniform": (nn.init.lecun_uniform(), 0.0, math.sqrt(1 / 300)),
    "lecun_normal": (nn.init.lecun_normal(), 0.0, math.sqrt(1 / 300)),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_mean_and_standard_deviation(name):
    initializer, mean, std = SCHEMES[name]
    values = draw(initializer)
    assert abs(values.mean() - mean) < 5 * std / math.sqrt(values.size)
    assert abs(values.std() / std - 1) < 0.01
    if "uniform" in name:
        reach = math.sqrt(3) * std
        assert mean - reach <= values.min() < mean - 0.999 * reach
        assert mean + 0.999 * reach < values.max() <= mean + reach


def test_same_seed_same_values_other_seed_other_values():
    scheme = nn.init.he_normal()
    assert (draw(scheme, seed=3) == draw(scheme, seed=3)).all()
    assert (draw(scheme, seed=3) != draw(scheme, seed=4)).any()


def test_constants():
    assert (draw(nn.init.zeros, (2, 3)) == 0).all()
    assert (draw(nn.init.ones, (2, 3)) == 1).all()
    assert (draw(nn.init.constant(2.5), (2, 3)) == 2.5).all()
    assert draw(nn.init.constant([1, 2, 3]), (2, 3)).tolist() == [[1, 2, 3], [1, 2, 3]]


def test_truncated_normal():
    values = draw(nn.init.truncated_normal(1.0, 0.5))
    assert np.abs(values - 1.0).max() <= 1.0
    # The standard normal cut at 2 has variance 1 - 4 phi(2) / (2 Phi(2) - 1).
    density = math.exp(-2.0) / math.sqrt(2 * math.pi)
    std = 0.5 * math.sqrt(1 - 4 * density / math.erf(math.sqrt(2)))
    assert abs(values.std() / std - 1) < 0.01
    with pytest.raises(ValueError, match="widen"):
        nn.init.truncated_normal(lower=8.0, upper=9.0)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (3, 3, 2, 8), (0, 3)])
def test_orthogonal(shape):
    matrix = draw(nn.init.orthogonal(gain=2.0), shape).reshape(-1, shape[-1])
    rows, columns = matrix.shape
    gram = matrix.T @ matrix if rows >= columns else matrix @ matrix.T
    np.testing.assert_allclose(gram, 4.0 * np.eye(min(rows, columns)), atol=1e-12)


def test_fans():
    assert nn.init.fans((3, 5)) == (3, 5)
    assert nn.init.fans((3, 3, 16, 32)) == (144, 288)
    with pytest.raises(ValueError, match="bias"):
        nn.init.fans((5,))


def test_empty_weights():
    assert draw(nn.init.he_uniform(), (0, 3)).size == 0


def test_as_parameter():
    w = gx.parameter(nn.init.xavier_normal(), (3, 4), dtype="float64")
    assert w.op.cell.array.shape == (3, 4)
    assert w.op.cell.array.dtype == "float64"
