"""Reductions: accurate for any length, along any axes, and the same bits on any threads."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import plain_python

import graphc as gx
from graphc import nn
from graphc.codegen.loops import BLOCK
from graphc.plan.division import CHUNK, EXACT_ROWS

RNG = np.random.default_rng(0)


def computed(make, *arrays, **declared):
    """Return what ``make`` gives for ``arrays``; a shape starting with None takes any rows."""
    names = [f"x{i}" for i in range(len(arrays))]
    shapes = [declared.get(n, a.shape) for n, a in zip(names, arrays, strict=True)]
    inputs = [gx.input(n, s, a.dtype.name) for n, s, a in zip(names, shapes, arrays, strict=True)]
    function = gx.function(inputs, make(*inputs))
    return np.asarray(function(*arrays)), function


def relative_error(found, wanted):
    return float(np.max(np.abs(found - wanted) / np.abs(wanted)))


# -- accuracy --------------------------------------------------------------------------------------


def test_a_sum_of_ten_million_ones_is_exact():
    ones = np.ones(10_000_000, "float32")
    assert computed(gx.sum, ones)[0] == 10_000_000
    assert computed(gx.sum, ones, x0=(None,))[0] == 10_000_000
    columns = ones.reshape(-1, 4)
    for shape in (columns.shape, (None, 4)):
        np.testing.assert_array_equal(
            computed(lambda x: gx.sum(x, 0), columns, x0=shape)[0], 2_500_000
        )


REDUCTIONS = {
    "sum": (gx.sum, np.sum),
    "mean": (gx.mean, np.mean),
    "var": (gx.var, np.var),
    "std": (gx.std, np.std),
    "norm": (lambda x, axis: gx.sqrt(gx.sum(x * x, axis)),
             lambda x, axis: np.sqrt(np.sum(x * x, axis))),
}  # fmt: skip
SHAPES = [((1_000_003,), None), ((250_001, 4), 0), ((4, 250_001), 1), ((31, 5_001, 7), 1),
          ((1_001, 999), (0, 1)), ((2_100, 3, 50), (0, 2)), ((2_100, 3, 50), (0, 1))]  # fmt: skip


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_random_data(name, shape, axis):
    ours, reference = REDUCTIONS[name]
    x = RNG.random(shape, np.float32)
    wanted = reference(x.astype(np.float64), axis=axis)
    for declared in (shape, (None, *shape[1:])):
        found, _ = computed(lambda x: ours(x, axis=axis), x, x0=declared)
        assert relative_error(found, wanted) < 1e-6


def test_one_float32_total_would_not_do():
    """What the limit of 1e-6 tells apart: adding one by one."""
    x = RNG.random(1_000_003, np.float32)
    assert relative_error(np.cumsum(x, dtype=np.float32)[-1], x.sum(dtype=np.float64)) > 2e-6


def test_a_dot_product_and_a_float64_sum():
    a, b = RNG.random((2, 3_000_001), np.float32)
    found, _ = computed(lambda a, b: gx.sum(a * b), a, b)
    assert relative_error(found, np.dot(a.astype(np.float64), b)) < 1e-6
    x = RNG.random(3_000_001)
    assert relative_error(computed(gx.sum, x)[0], float(np.sum(x.astype(np.longdouble)))) < 1e-14


# -- lengths at which the loops change -------------------------------------------------------------

EDGES = sorted({0, 1, 7, 8, 9, *(n + d for n in (BLOCK, CHUNK, 2 * CHUNK, 3 * CHUNK)
                                 for d in (-1, 0, 1))})  # fmt: skip


@pytest.mark.parametrize("count", EDGES)
def test_every_element_counts_once(count):
    x = RNG.integers(0, 100, count).astype("float32")
    for shape in ((count,), (None,)):
        assert computed(gx.sum, x, x0=shape)[0] == x.sum(dtype=np.int64)
        assert computed(lambda x: gx.sum(gx.astype(x, "int64")), x, x0=shape)[0] == x.sum()
    if count:
        assert computed(gx.max, x)[0] == x.max()
        assert computed(gx.any, x == 5)[0] == (x == 5).any()


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 15, EXACT_ROWS, EXACT_ROWS + 1, 16_385, 40_003])
@pytest.mark.parametrize("columns", [3, 300])
def test_every_row_counts_once(rows, columns):
    x = RNG.integers(-100, 100, (rows, columns)).astype("float32")
    for shape in (x.shape, (None, columns)):
        for function, reference in ((gx.sum, np.sum), (gx.max, np.max))[: 2 if rows else 1]:
            found, _ = computed(lambda x, f=function: f(x, 0), x, x0=shape)
            np.testing.assert_array_equal(found, reference(x, 0))


def test_nan_and_infinity_stay():
    for axis, shape in ((None, (3 * CHUNK,)), (0, (3 * CHUNK, 2)), (1, (2, 3 * CHUNK))):
        x = np.zeros(shape, "float32")
        x.flat[-1] = np.inf
        assert np.max(computed(lambda x, a=axis: gx.sum(x, a), x)[0]) == np.inf
        x.flat[CHUNK] = np.nan
        for function in (gx.sum, gx.max, gx.min):
            assert np.isnan(computed(lambda x, a=axis, f=function: f(x, a), x)[0]).any()


def test_the_same_as_plain_python():
    x = RNG.random((4_200, 8), np.float32)

    def make(x):
        return gx.stack([gx.mean(x), gx.std(x), gx.max(x), gx.sum(gx.sum(x, 0))])

    with plain_python():
        plain, _ = computed(make, x)
    np.testing.assert_allclose(computed(make, x)[0], plain, rtol=1e-6)


# -- threads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_bits_do_not_depend_on_threads(shape, axis):
    x = RNG.standard_normal(shape).astype("float32")
    results = []
    for threads in (1, 2, 3):
        with gx.config(threads=threads):
            found, function = computed(lambda x: gx.sum(gx.exp(x), axis), x)
            results += [found, *(np.asarray(function(x)) for _ in range(6))]
    for result in results:
        np.testing.assert_array_equal(result, results[0])


def extents(function):
    """Return the extent of every call of a function without batch."""
    return [c.extent for c in function._executable._calls]


def test_large_folds_are_divided():
    x = np.ones((100 * CHUNK,), "float32")
    for make in (gx.sum, gx.max, gx.mean, lambda x: gx.sum(gx.exp(x))):
        assert extents(computed(make, x)[1]) == [100, 1]
    for make in (lambda x: x - gx.mean(x), lambda x: gx.softmax(x)):
        assert min(extents(computed(make, x)[1])[::2]) > 1
    tall = np.ones((10 * CHUNK, 10), "float32")
    assert extents(computed(lambda x: gx.sum(x, 0), tall)[1]) == [101, 10]


def test_small_folds_are_one_call():
    for shape, axis in (((64, 64), None), ((None,), 0), ((None, 16), 0), ((None, 512), 1)):
        x = gx.input("x", shape)
        assert gx.function(x, gx.sum(x, axis)).source.count("run(") == 1


# -- passes ----------------------------------------------------------------------------------------


def layer_norm(x):
    centred = x - gx.mean(x, -1, keepdims=True)
    return centred * gx.rsqrt(gx.mean(centred * centred, -1, keepdims=True) + 1e-5)


def rms_norm(x):
    return x * gx.rsqrt(gx.mean(x * x, -1, keepdims=True) + 1e-5)


def softmax_by_hand(x):
    e = gx.exp(x - gx.max(x, -1, keepdims=True))
    return e / gx.sum(e, -1, keepdims=True)


ROWS = {
    "softmax": (gx.softmax, 3, 4),
    "softmax by hand": (softmax_by_hand, 3, 4),
    "log-softmax": (gx.log_softmax, 3, 3),
    "layer norm": (layer_norm, 3, 4),
    "RMS norm": (rms_norm, 2, 2),
}


def structure(source):
    """Return the number of kernel calls, inner loops and exponentials of a module."""
    return source.count("run("), source.count("for i1 in"), source.count("vmath.exp(")


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_read_from_memory_once(name):
    """One kernel walks each row a few times, while it lies in the cache; so does its gradient."""
    function, forward, backward = ROWS[name]
    x, g = gx.input("x", (None, 512)), gx.input("g", (None, 512))
    exponentials = int("softmax" in name)
    assert structure(gx.function(x, function(x)).source) == (1, forward, exponentials)
    gradient = gx.grad(gx.sum(function(x) * g), x)
    assert structure(gx.function([x, g], gradient).source) == (1, backward, exponentials)


def test_cross_entropy_and_its_gradient_are_one_kernel_and_a_sum():
    x, y = gx.input("x", (None, 100)), gx.input("y", (None,), "int64")
    loss = nn.cross_entropy(x, y)
    source = gx.function([x, y], (loss, gx.grad(loss, x))).source
    assert structure(source) == (2, 3, 1)


def test_what_waits_in_a_results_memory_is_not_lost():
    x = RNG.standard_normal((50, 333)).astype("float32")
    e = np.exp(x.astype(np.float64))
    wanted = e / e.sum(1, keepdims=True) * x + e

    def make(x):
        e = gx.exp(x)
        return e / gx.sum(e, 1, keepdims=True) * x + e

    np.testing.assert_allclose(computed(make, x)[0], wanted, rtol=1e-5)


@pytest.mark.parametrize("length", [10, 33, 300])
def test_the_greatest_element_is_found_again(length):
    """What is folded and compared has one rounding, whatever its loops compute beside it."""
    a, b, c = (gx.input(n, (None, length)) for n in "abc")
    product = a * b
    values = product + c
    greatest = gx.max(values, -1)
    outputs = {
        "sums": gx.sum(product, -1) + gx.sum(product * product, -1),
        "gradient": gx.grad(gx.sum(greatest), a),
        "place": gx.argmax(values, -1),
        "found": gx.any(values >= gx.max(values, -1, keepdims=True), -1),
    }
    function = gx.function([a, b, c], outputs)
    for _ in range(20):
        x, y, z = RNG.standard_normal((3, 50, length)).astype("float32")
        found = function(x, y, z)
        np.testing.assert_array_equal(np.count_nonzero(found["gradient"], axis=1), 1)
        np.testing.assert_array_equal(found["place"], np.abs(found["gradient"]).argmax(1))
        assert np.all(found["found"])


@pytest.mark.parametrize("columns", [3, 8, 100, 1000])
def test_only_folds_are_reassociated(columns):
    """``(x - greatest) - log(total)`` keeps the last places that ``greatest`` would swallow."""
    x = gx.input("x", (None, columns))
    values = np.full((4, columns), -80.0, "float32")
    values[:, 1], values[:, 2] = 19.0855, 6.389
    (found,) = gx.function(x, [gx.log_softmax(x, axis=-1)])(values)
    wide = values.astype("float64")
    shifted = wide - wide.max(axis=-1, keepdims=True)
    wanted = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1.2e-7)
