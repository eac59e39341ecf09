"""Folds along short rows: a row in each lane, whatever the rows beside it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from compiled import build, plain_python, step_like_the_oracle

import graphc as gx
from graphc import nn
from graphc.codegen import short
from graphc.emit import rows
from graphc.ir.graph import Graph
from graphc.kernel.code import HI, LO, Writer
from graphc.kernel.value import Name, Pointer
from graphc.types import dim_at
from tests.kernels import Compiled, written

BATCHES = (1, 2, 7, 8, 15, 16, 17, 33, 100)


@pytest.fixture
def always(monkeypatch):
    """Write every fold so that can be, of any length."""
    monkeypatch.setattr(short.ShortPrinter, "pays", short.ShortPrinter._fits)


def feeds(graph, batch, seed=0):
    """Return an array for each input: labels for integers, else normal numbers."""
    rng = np.random.default_rng(seed)
    result = {}
    for x in graph.inputs:
        shape = tuple(dim_at(d, batch) for d in x.type.shape)
        integers = rng.integers(0, 2, shape)
        result[x] = (rng.standard_normal(shape) if x.dtype.kind == "f" else integers).astype(
            x.dtype
        )
    return result


def check(graph, batches=BATCHES, plain=False):
    run = build(graph, plain=plain)
    for batch in batches:
        with plain_python(plain):
            step_like_the_oracle(run, feeds(graph, batch), batch, f"batch {batch}")
    return run


# -- what is computed ------------------------------------------------------------------------------


def layer_norm(x):
    centred = x - gx.mean(x, -1, keepdims=True)
    return centred * gx.rsqrt(gx.mean(centred * centred, -1, keepdims=True) + 1e-5)


FUNCTIONS = {
    "softmax": gx.softmax,
    "log_softmax": gx.log_softmax,
    "logsumexp": lambda x: gx.logsumexp(x, -1),
    "layer norm": layer_norm,
    "deviation": lambda x: gx.abs(x - gx.max(x, -1, keepdims=True)) / gx.std(x, -1, keepdims=True),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", [2, 3, 5, 10, 16, 33])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_their_gradients(name, length, dtype, always):
    x = gx.input("x", (None, length), dtype)
    value = FUNCTIONS[name](x)
    w = gx.input("w", value.type.shape, dtype)
    graph = Graph([x, w], {"y": value, "g": gx.grad(gx.sum(value * w), x)}, {})
    assert "rows.block(" in check(graph, (1, 16, 20)).source


@pytest.mark.parametrize("length", [2, 3, 10, 33])
def test_cross_entropy_with_its_bias(length):
    x, bias = gx.input("x", (None, length)), gx.parameter(np.arange(length, dtype="float32"))
    y = gx.input("y", (None,), "int64")
    out = x + bias
    loss = nn.cross_entropy(out, y)
    graph = Graph([x, y], {"out": out, "loss": loss, "g": gx.grad(loss, bias)}, {})
    assert "rows.block(" in check(graph).source


def odd_ones():
    """Yield graphs whose operands do not lie as rows do, or are not of the same type."""
    x, t = gx.input("x", (None, 10)), gx.input("t", (10, 24))
    y, z = gx.input("y", (None, 9, 10)), gx.input("z", (9, 10))
    i, p = gx.input("i", (None, 10), "int32"), gx.parameter(np.ones((24, 10), "float32"))
    d = gx.input("d", (None, 10), "float64")
    column = gx.input("column", (None, 3))
    yield "reversed", [x], {"y": gx.softmax(x[:, ::-1])}, {}
    yield "transposed", [t], {"y": gx.softmax(t.T)}, {}
    yield "a part", [x], {"y": gx.softmax(x[:, 2:9]), "z": gx.softmax(x[:, ::3])}, {}
    yield "inner rows", [y, z], {"y": gx.softmax(y * z) + gx.sum(y, -1, keepdims=True)}, {}
    yield "a column", [x, column], {"y": gx.softmax(x * column[:, 1:2] + column[:, 2:])}, {}
    yield "integers", [i], {"y": gx.sum(i, -1), "z": i - gx.max(i, -1, keepdims=True)}, {}
    yield (
        "booleans",
        [x],
        {"y": gx.any(x > 1, -1), "z": (x > 0) & gx.all(x < 2, -1, keepdims=True)},
        {},
    )
    yield "both types", [x, d], {"y": gx.softmax(gx.astype(x, "float64") + d), "z": gx.exp(x)}, {}
    yield "in place", [], {}, {p: gx.softmax(p)}
    yield "places", [x], {"y": gx.softmax(x + gx.arange(10, dtype="float32")) * 2}, {}


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("inputs", "outputs", "updates"), [
    pytest.param(*rest, id=name) for name, *rest in odd_ones()])  # fmt: skip
def test_odd_ones(inputs, outputs, updates, plain, always):
    run = check(Graph(inputs, outputs, updates), (1, 16, 21), plain)
    assert "rows.block(" in run.source


UNARY = (
    gx.tanh, gx.abs, gx.sigmoid, gx.sin, lambda x: gx.exp(gx.tanh(x)), lambda x: -x, gx.square,
    lambda x: gx.where(x > 0.3, x, 0.0), lambda x: gx.log(1.0 + gx.square(x)),
)  # fmt: skip
BINARY = (gx.add, gx.subtract, gx.multiply, gx.maximum, lambda x, y: x / (1.0 + gx.abs(y)))
FOLDS = (
    gx.sum,
    gx.max,
    gx.min,
    gx.mean,
    lambda x, *a, **k: gx.astype(gx.any(x > 1, *a, **k), x.dtype),
)


def random_rows(seed):
    """Draw formulas of rows, some of which fold them."""
    rng = np.random.default_rng(seed)
    dtype = ("float32", "float64")[seed % 2]
    length = int(rng.integers(2, 20))
    shapes = {"x": (None, length), "row": (None, 1), "column": (length,), "z": (None, length)}
    inputs = [gx.input(name, shape, dtype) for name, shape in shapes.items()]
    tensors = list(inputs)

    def drawn():
        return tensors[rng.integers(max(0, len(tensors) - 6), len(tensors))]

    for _ in range(12):
        kind = rng.integers(3)
        if kind == 0:
            tensors.append(UNARY[rng.integers(len(UNARY))](drawn()))
        elif kind == 1:
            tensors.append(BINARY[rng.integers(len(BINARY))](drawn(), drawn()))
        else:
            wide = gx.add(drawn(), inputs[0])
            tensors.append(FOLDS[rng.integers(len(FOLDS))](wide, -1, keepdims=True))
    outputs = {f"y{i}": t for i, t in enumerate(tensors[-3:])} | {"last": tensors[-1] + inputs[0]}
    return Graph(inputs, outputs, {})


@pytest.mark.parametrize("seed", range(30))
def test_random_rows(seed, always):
    graph = random_rows(seed)
    check(graph, (1, 19))
    check(graph, (3, 17), plain=True)


def test_nan_and_infinity_stay_in_their_rows():
    x = gx.input("x", (None, 10))
    function = gx.function(x, (gx.log_softmax(x), gx.softmax(x), gx.max(x, -1)))
    a = np.random.default_rng(0).standard_normal((20, 10)).astype("float32")
    clean = function(a)
    a[3, 4], a[17, 9], a[18, 0] = np.nan, np.inf, -np.inf
    for found, before in zip(function(a), clean, strict=True):
        np.testing.assert_array_equal(
            np.delete(found, [3, 17, 18], 0), np.delete(before, [3, 17, 18], 0)
        )
        assert np.isnan(found[3]).all()
    assert function(a)[1][18, 0] == 0
    assert np.isnan(function(a)[1][17]).all()
    assert function(a)[2][17] == np.inf


# -- where rows start and stop ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", [2, 3, 10, 13])
def test_bits_do_not_depend_on_where_a_share_starts(length, dtype):
    """Nor is anything written outside it."""
    x, y = gx.input("x", (None, length), dtype), gx.input("y", (None,), "int64")
    loss = nn.cross_entropy(x, y)
    run = gx.function([x, y], (loss, gx.grad(loss, x)))._executable
    call = run._calls[0]
    assert "rows.load(" in call.kernel.text
    kernel = Compiled(vars(run._module)[call.name])
    count = 70
    rng = np.random.default_rng(1)

    def computed(pieces):
        arguments, random = [], np.random.default_rng(1)
        for a in call.arguments:
            if not isinstance(a, tuple):
                arguments.append(dim_at(a, count))
                continue
            values = 10 * random.standard_normal(dim_at(a[0].size, count))
            arguments.append((values if a[0].dtype.kind == "f" else values > 0).astype(a[0].dtype))
        before = [a.copy() for a in arguments if isinstance(a, np.ndarray)]
        for lo, hi in pieces:
            kernel(lo, hi, *arguments)
        return before, [a for a in arguments if isinstance(a, np.ndarray)]

    before, whole = computed([(0, count)])
    assert any((a != b).any() for a, b in zip(before, whole, strict=True))
    for _ in range(20):
        cuts = [0, *sorted(rng.integers(0, count + 1, rng.integers(1, 9))), count]
        pieces = list(itertools.pairwise(cuts))
        rng.shuffle(pieces)
        for found, wanted in zip(computed(pieces)[1], whole, strict=True):
            np.testing.assert_array_equal(found, wanted)
    before, part = computed([(5, 26)])
    for old, found, wanted in zip(before, part, whole, strict=True):
        start, stop = (len(found) // count * at for at in (5, 26))
        np.testing.assert_array_equal(found[start:stop], wanted[start:stop])
        np.testing.assert_array_equal(
            np.delete(found, np.s_[start:stop]), np.delete(old, np.s_[start:stop])
        )


# -- blocks ----------------------------------------------------------------------------------------


def test_blocks_are_as_wide_as_the_text_says():
    assert short.LINE is rows.LINE


def turned(dtype):
    """Return a kernel that reads rows, writes what it read, and the block."""
    lanes, kind, w = rows.LINE // np.dtype(dtype).itemsize, np.dtype(dtype), Writer()
    x, y, z = (Pointer(name, kind) for name in "xyz")
    n, count, stride = (Name(name) for name in ("n", "count", "stride"))
    block = w.block("block", kind, "rows", n * lanes)
    with w.loop("_", HI, LO):
        w.do("rows.load", block, x, 3, stride, count, n)
        with w.loop("i", n * lanes) as i:
            w.store(z[i], block[i])
        w.do("rows.store", y, 3, stride, block, count, n)
    return written("turned", w, x, y, z, n, count, stride)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_rows_are_turned_and_turned_back(dtype, plain):
    function = turned(dtype) if plain else Compiled(turned(dtype))
    lanes = rows.LINE // np.dtype(dtype).itemsize
    for length in (1, 2, 3, 4, 5, 7, 10, 16, 33):
        for count in (1, 2, lanes // 2, lanes - 1, lanes):
            for stride in (length, length + 3):
                size = 3 + stride * (count - 1) + length
                x, y, z = np.arange(size), np.full(size, -1), np.zeros(length * lanes)
                x, y, z = (a.astype(dtype) for a in (x, y, z))
                function(0, 1, x, y, z, length, count, stride)
                wanted = np.full(size, -1)
                for r in range(count):
                    row = slice(3 + r * stride, 3 + r * stride + length)
                    wanted[row] = x[row]
                    np.testing.assert_array_equal(z[r::lanes], x[row])
                np.testing.assert_array_equal(y, wanted)
