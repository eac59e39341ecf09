"""What the documents call safe has finite derivatives, and what they call unsafe has not."""

import numpy as np
import pytest

import graphc as gx

SAFE = {
    "hypot": (lambda x: gx.hypot(x, 0.0), [0.0, 1.0]),
    "atan2": (lambda x: gx.atan2(x, x), [0.0, 1.0]),
    "std": (gx.std, [2.0, 2.0]),
    "abs": (gx.abs, [0.0, -1.0]),
    "maximum": (lambda x: gx.maximum(x, 0.0), [0.0, 1.0]),
    "clip": (lambda x: gx.clip(x, 0.0, 1.0), [0.0, 1.0]),
    "pow at 0 ** 0": (lambda x: x**x, [0.0, 1.0]),
    "pow by the exponent": (lambda x: gx.pow(gx.zeros((2,)), x), [1.0, 2.0]),
    "prod": (gx.prod, [0.0, 0.0]),
    "logaddexp": (lambda x: gx.logaddexp(x, x), [np.inf, -np.inf]),
    "logsumexp": (gx.logsumexp, [1e4, -1e4]),
    "softmax": (lambda x: gx.square(gx.softmax(x)), [1e4, -1e4]),
    "log_softmax": (gx.log_softmax, [1e4, -1e4]),
    "double where": (lambda x: gx.where(x > 0, gx.sqrt(gx.where(x > 0, x, 1.0)), 0.0), [0.0, 4.0]),
}
UNSAFE = {
    "where": (lambda x: gx.where(x < 1, x, gx.sqrt(x)), [0.0, 4.0]),
    "sqrt": (gx.sqrt, [0.0, 1.0]),
    "log": (gx.log, [0.0, 1.0]),
    "power below 1": (lambda x: x**0.3, [0.0, 1.0]),
    "asin": (gx.asin, [1.0, -1.0]),
    "acosh": (gx.acosh, [1.0, 2.0]),
    "norm": (lambda x: gx.sqrt(gx.sum(x * x)), [0.0, 0.0]),
}


def gradient(f, at):
    x = gx.input("x", (2,))
    return gx.function(x, gx.grad(gx.sum(f(x)), x))(np.array(at, "float32"))


@pytest.mark.parametrize("name", SAFE)
def test_safe(name):
    assert np.isfinite(gradient(*SAFE[name])).all()


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe(name):
    assert not np.isfinite(gradient(*UNSAFE[name])).all()
