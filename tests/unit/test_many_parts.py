"""Thousands of parts in one concatenation, stack or split: few kernels, and near linear time."""

import time

import numpy as np
import pytest

import graphc as gx
from graphc.codegen.kernel import KernelText

FEW, MANY = 150, 600


def concat_of_inputs(n):
    x = [gx.input(f"x{i}", (3,)) for i in range(n)]
    return x, gx.concat(x)


def concat_of_computed(n):
    x = [gx.input(f"x{i}", (3,)) for i in range(n)]
    return x, gx.concat([gx.exp(t) + 1 for t in x])


def stack_of_rows(n):
    x = gx.input("x", (n, 3))
    return [x], gx.stack([gx.exp(x[i]) + 1 for i in range(n)])


def stack_of_inputs(n):
    x = [gx.input(f"x{i}", (3,)) for i in range(n)]
    return x, gx.stack(x, axis=1)


def split_and_join(n):
    x = gx.input("x", (3 * n,))
    return [x], gx.concat([gx.tanh(part) for part in reversed(gx.split(x, n))])


def unstacked(n):
    x = gx.input("x", (n, 3))
    return [x], gx.stack([part * 2 for part in gx.unstack(x)])


def gradient(n):
    x = [gx.input(f"x{i}", (3,)) for i in range(n)]
    return x, gx.concat(gx.grad(gx.sum(gx.square(gx.concat(x))), x))


EXPECTED = {
    concat_of_inputs: np.concatenate,
    concat_of_computed: lambda x: np.concatenate([np.exp(t) + 1 for t in x]),
    stack_of_rows: lambda x: np.exp(x[0]) + 1,
    stack_of_inputs: lambda x: np.stack(x, axis=1),
    split_and_join: lambda x: np.concatenate([np.tanh(t) for t in x[0].reshape(-1, 3)[::-1]]),
    unstacked: lambda x: x[0] * 2,
    gradient: lambda x: 2 * np.concatenate(x),
}


def built(make, n):
    """Return the function over ``n`` parts, its inputs' values, and the seconds of this process."""
    start = time.process_time()
    x, y = make(n)
    f = gx.function(x, y)
    rng = np.random.default_rng(0)
    feeds = [rng.standard_normal(t.shape).astype("float32") for t in x]
    f(*feeds)
    return f, feeds, time.process_time() - start


@pytest.mark.parametrize("make", EXPECTED, ids=lambda f: f.__name__)
def test_time_grows_with_the_number_of_parts(make):
    built(make, FEW)  # the kernels are in the cache from here on
    f, feeds, _ = built(make, MANY)
    np.testing.assert_allclose(f(*feeds), EXPECTED[make](feeds), rtol=1e-6)
    kernels = {c.kernel.name for c in f._executable._calls if isinstance(c.kernel, KernelText)}
    assert len(kernels) <= 4
    few = min(built(make, FEW)[2] for _ in range(2))
    many = min(built(make, MANY)[2] for _ in range(2))
    assert many < 2 * MANY / FEW * few, f"{FEW} parts take {few:.2f} s, {MANY} take {many:.2f} s"
