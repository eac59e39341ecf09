"""Large results that are written past the caches."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import plain_python

import graphc as gx
from graphc.codegen import loops


@pytest.fixture
def streaming(monkeypatch):
    """Treat every result as a large one."""
    monkeypatch.setattr(loops, "STREAM_BYTES", 0)


def make(x, y):
    return gx.exp(x) * 2 - x, gx.astype(x * 100, "int32"), x > 0, y + 1


@pytest.mark.parametrize("count", [2, 15, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("plain", [False, True])
def test_every_element_is_written(streaming, count, dtype, plain):
    x, y = gx.input("x", (count,), dtype), gx.input("y", (count,), "int64")
    a = np.random.default_rng(0).standard_normal(count).astype(dtype)
    with plain_python(plain):
        function = gx.function([x, y], make(x, y))
        found = function(a, np.arange(count))
    assert "stream.write(" in function.source
    wanted = np.exp(a) * 2 - a, (a * 100).astype("int32"), a > 0, np.arange(1, count + 1)
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fold", [gx.sum, gx.prod, gx.max, gx.mean, gx.all])
def test_folds_over_axes_of_length_one_stream_too(streaming, fold):
    x = gx.input("x", (3000, 1), "float32")
    a = np.random.default_rng(1).standard_normal((3000, 1)).astype("float32")
    function = gx.function(x, gx.astype(fold(x * 3 - 1, axis=1), "float32") * 2)
    assert "stream.write(" in function.source
    wanted = getattr(np, fold.__name__)(a * 3 - 1, axis=1).astype("float32") * 2
    np.testing.assert_allclose(function(a), wanted, rtol=1e-6)


def test_threads_and_places_do_not_change_a_bit(streaming):
    """Parts that start within a cache line are written with ordinary stores."""
    x = gx.input("x", (40_001,))
    a = np.random.default_rng(0).standard_normal(40_001).astype("float32")
    results = []
    for threads in (1, 2, 3):
        with gx.config(threads=threads):
            function = gx.function(x, gx.tanh(x) + 1)
            results += [function(a) for _ in range(5)]
    for result in results:
        np.testing.assert_array_equal(result, results[0])
    kernel = next(k for n, k in vars(function._executable._module).items() if n.startswith("tanh"))
    out = np.zeros(40_001, "float32")
    kernel.function(3, 2_900, out, a)
    np.testing.assert_allclose(out[3:2_900], np.tanh(a[3:2_900]) + 1, rtol=1e-6)
    assert not out[:3].any()
    assert not out[2_900:].any()


def test_only_large_results_stream():
    def source(rows, update=False):
        p = gx.parameter(np.zeros((rows, 1024), "float32"))
        q = p if update else gx.parameter(np.zeros((rows, 1024), "float32"))
        return gx.function([], [], updates={q: p * 2 + 1}).source

    large = loops.STREAM_BYTES // 4096
    assert "stream.write(" in source(large)
    assert "stream.write(" not in source(large - 1)
    assert "stream.write(" not in source(large, update=True), "what is read is in the cache"
