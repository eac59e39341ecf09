"""What a recurrence of many steps, unrolled by hand, asks of Python until its first step is taken.

Calls of functions are counted, not seconds: they are the same on every machine, however busy.
"""

import cProfile
import pstats

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim

MOST = 15_500
"""Calls for each step of the recurrence: 17 operations with their gradients, in 8 kernel calls."""


def train(steps):
    """Declare a recurrence and take one step of training."""
    rng = np.random.default_rng(0)
    x, y = gx.input("x", (None, steps, 3)), gx.input("y", (None, 5))
    shapes = {"W": (3, 5), "U": (5, 5), "b": (5,)}
    w, u, b = (
        gx.parameter(rng.normal(size=shape).astype("float32"), name=name)
        for name, shape in shapes.items()
    )
    h = gx.tanh(x[:, 0] @ w + b)
    for t in range(1, steps):
        h = gx.tanh(x[:, t] @ w + h @ u + b)
    model = gx.Model(
        inputs=x, outputs=h, targets=y, loss=nn.mse_loss(h, y), optimizer=optim.SGD(0.1)
    )
    model.train_step(np.ones((2, steps, 3), "float32"), np.zeros((2, 5), "float32"))


def calls(steps):
    profile = cProfile.Profile()
    profile.runcall(train, steps)
    return pstats.Stats(profile).total_calls


@pytest.fixture(scope="module")
def counted():
    lengths = (110, 160, 210)
    with gx.config(check=False):
        for steps in lengths:
            train(steps)  # its kernels are compiled
        return [calls(steps) for steps in lengths]


def test_a_step_of_a_recurrence_costs_few_calls(counted):
    few, _, many = counted
    assert (many - few) / 100 < MOST


def test_steps_cost_the_same_however_many_there_are(counted):
    few, some, many = counted
    assert many - some < 1.1 * (some - few)
