"""Large inputs are read and large outputs written where they lie, and nobody can tell."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc.runtime.executable import LARGE

N = 2 * LARGE // 4
RNG = np.random.default_rng(0)


@pytest.fixture(params=["compiled", "plain"])
def square(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    x = gx.input("x", (None,))
    return gx.function(x, x * x)


def values(n=N):
    return RNG.standard_normal(n).astype("float32")


def test_inputs_stay_as_they_are_and_outputs_are_fresh(square):
    first, second = values(), values()
    kept = first.copy()
    a, b = square(first), square(second)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(a, kept * kept)
    np.testing.assert_array_equal(b, second * second)
    a[...] = 0
    np.testing.assert_array_equal(square(first), kept * kept)


def test_an_input_may_lie_anywhere(square):
    wide = values(2 * N)
    odd = np.frombuffer(b"x" + values().tobytes(), np.uint8)[1:].view("float32")
    assert not odd.flags.aligned
    for x in (wide[::2], wide[N:], wide[::-1][:N], odd, wide[:N].astype(">f4"), values(10)):
        np.testing.assert_array_equal(square(x), np.asarray(x, "float32") ** 2)


def test_an_input_may_be_an_output(square):
    x = np.abs(values())
    np.testing.assert_array_equal(square(square(x)), (x * x) * (x * x))


def test_an_input_may_be_a_parameter_that_is_replaced():
    p = gx.parameter(np.ones(N, "float32"))
    x = gx.input("x", (N,))
    f = gx.function(x, gx.cumulative_sum(x * 1.0), {p: p * 0.0})
    found = f(p.op.cell.array)
    np.testing.assert_array_equal(found, np.arange(1, N + 1, dtype="float32"))
    assert not p.op.cell.array.any()


def test_a_view_of_an_output_keeps_its_values(square):
    x = values()
    last = square(x)[-1:]
    for _ in range(3):
        square(values())
    assert last == x[-1] * x[-1]


def test_outputs_that_share_their_memory_are_copies():
    x = gx.input("x", (N // 8, 8))
    y = gx.exp(x)
    f = gx.function(x, (y, y.T, y))
    a, b, c = f(values().reshape(-1, 8))
    a[...] = 0
    assert b.all()
    assert c.all()
