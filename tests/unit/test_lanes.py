"""Which axis is lanes, and which one threads divide, changes no bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import graphc as gx
from graphc.codegen import columns
from graphc.kernel.code import HI, LO, Writer
from graphc.kernel.value import Pointer
from graphc.machine import known
from graphc.machine.isa import AVX2, AVX512
from graphc.ops import cumulative, gather
from graphc.print import llvm
from tests.kernels import written

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(3, 4, 5), (40, 3, 2), (1, 7, 1), (0, 3, 4), (3, 0, 4)])
def test_cumulative_along_any_axis_by_lines_and_by_lanes(shape, axis, monkeypatch):
    x = RNG.uniform(0.5, 1.5, shape).astype("float32")
    found = []
    for few in (0, 1 << 60):
        monkeypatch.setattr(cumulative, "FEW_LANES", few)
        a = gx.parameter(x)
        outputs = (gx.cumulative_sum(a, axis=axis), gx.cumulative_prod(a, axis=axis))
        gradients = gx.grad(gx.sum(outputs[0] * outputs[1] ** 2), [a])
        found.append(gx.function([], [*outputs, *gradients])())
    for by_lanes, by_lines in zip(*found, strict=True):
        np.testing.assert_array_equal(by_lanes, by_lines)
    np.testing.assert_array_equal(found[0][0], np.cumsum(x, axis))
    np.testing.assert_array_equal(found[0][1], np.cumprod(x, axis))


def test_lines_beside_each_other_go_together():
    """All lines take a step at once: their elements are neighbours, the lanes of a vector."""
    text = gx.function([], gx.cumulative_sum(gx.parameter(np.ones((50, 40))), axis=0)).source
    body = text[text.index("def cumulative_sum") :]
    steps = [line.strip() for line in body.splitlines() if line.strip().startswith("for ")]
    assert steps[-2:] == ["for i0 in range(1, 50):", "for i1 in range(lo, hi):"]


@pytest.mark.parametrize("batch", [1, 90])
def test_lines_of_a_batch_are_as_many_as_come(batch):
    x = gx.input("x", (None, 3))
    f = gx.function(x, gx.cumulative_sum(x, axis=0))
    value = RNG.standard_normal((batch, 3)).astype("float32")
    np.testing.assert_array_equal(f(value), np.cumsum(value, 0))


@pytest.mark.parametrize("least", [0, 1 << 60])
@pytest.mark.parametrize("count", [1, 2])
def test_scatters_add_in_order_whatever_the_threads(count, least, shared, monkeypatch):
    monkeypatch.setattr(gather, "LEAST_BYTES", least)
    table = gx.parameter(RNG.standard_normal((30, 5, 8)).astype("float32"))
    places = RNG.integers(-5, 5, (count, 60, 7))
    places[0] *= 6
    taken = table[tuple(places)]
    weights = RNG.standard_normal(taken.shape).astype("float32")
    gradient = gx.grad(gx.sum(taken * weights), [table])
    f = gx.function([], gradient)
    wanted = np.zeros((30, 5, 8), "float32")
    np.add.at(wanted, tuple(places), weights)
    for threads in (1, 2, 3, 4):
        with gx.config(threads=threads):
            np.testing.assert_array_equal(f()[0], wanted)


def test_a_scatter_of_wide_parts_is_divided():
    """Threads share out the rows of the table, also where no axis of the indices is apart."""
    table = gx.parameter(np.ones((1000, 64), "float32"))
    gradient = gx.grad(gx.sum(gx.take(table, np.arange(50) % 7, axis=0) ** 2), [table])
    kernels = gx.function([], gradient).report.kernels
    assert [k.extent for k in kernels if k.computes == "scatter_add"] == [1000]


@pytest.mark.parametrize("kept", [2, 3, 7, 8, 9, 15, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_narrow_columns_have_the_bits_of_wide_ones(kept, dtype, monkeypatch):
    x = RNG.standard_normal((3, 701, kept)).astype(dtype)
    x[1, 5] = np.nan
    found = []
    for bounds in (range(1, 1), columns.NARROW_BYTES, range(1 << 40, 1 << 41)):
        monkeypatch.setattr(columns, "NARROW_BYTES", bounds)
        a = gx.parameter(x)
        f = gx.function([], [gx.max(a, axis=1), gx.sum(a, axis=1), gx.sum(a, axis=(0, 1))])
        found.append(f())
    for other in found[1:]:
        for value, wanted in zip(other, found[0], strict=True):
            np.testing.assert_array_equal(value, wanted)
    np.testing.assert_array_equal(found[0][0], x.max(1))


def test_llvm_knows_how_many_columns_fill_no_vector():
    text = gx.function([], gx.max(gx.parameter(np.ones((3, 70, 5), "float32")), axis=1)).source
    assert "range(5)" in text


@pytest.mark.parametrize("isa", [AVX512, AVX2])
def test_a_few_channels_are_one_vector_with_a_mask(isa, monkeypatch):
    monkeypatch.setattr(llvm, "known", lambda: replace(known(), isa=isa))

    def marks(channels, dtype="float32"):
        pointers = [Pointer(name, np.dtype(dtype)) for name in ("x", "b", "y")]
        x, b, y = pointers
        writer = Writer()
        with writer.loop("i", HI, LO) as i, writer.loop("j", channels, lanes=True) as j:
            writer.store(y[i * channels + j], x[i * channels + j] + b[j])
        text = written("beside", writer, *pointers).lower("entry")
        return "predicate.enable" in text, "unroll.disable" in text

    masks = isa.masks
    assert marks(5) == (False, False)  # one by one is as fast
    assert marks(6) == (masks, masks)
    assert marks(15) == (masks, True)
    assert marks(16) == (False, True)  # a whole vector, or two
    x, b = RNG.standard_normal((9, 6)).astype("float32"), RNG.standard_normal(6).astype("float32")
    f = gx.function([], gx.constant(x) * 2 + gx.parameter(b))
    np.testing.assert_array_equal(f(), x * 2 + b)
