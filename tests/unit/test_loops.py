"""The loops that ops write themselves, run as plain Python against the NumPy references."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest

from graphc.emit.kernel import SCOPE
from graphc.ir.layout import Layout
from graphc.ir.op import Loops
from graphc.kernel.code import Writer
from graphc.kernel.value import Integer, Number, Pointer, summed
from graphc.ops.along import ScatterAddAlongAxis, TakeAlongAxis
from graphc.ops.cumulative import CumulativeProd, CumulativeSum, LinearRecurrence, Shift
from graphc.ops.gather import ScatterAdd, Take
from graphc.print.python import PythonPrinter
from graphc.types import TensorType


class Text(Writer):
    """Collects statements."""

    shared = None
    """Name and extent of the loops that threads share."""
    within = False

    @contextmanager
    def parallel(self, name, extent):
        assert self.shared in (None, (name, extent)), "threads share one axis"
        assert not self.within, "threads share a loop, and not one within it"
        self.shared, self.within = (name, extent), True
        with self.loop(name, extent) as index:
            yield index
        self.within = False

    def lit(self, value, dtype):
        return Number(value, dtype)


@dataclass(frozen=True)
class Place:
    """An array by name."""

    name: str
    array: np.ndarray

    @property
    def dtype(self):
        return self.array.dtype

    @property
    def dims(self):
        return self.array.shape

    @property
    def shape(self):
        return tuple(map(Integer, self.array.shape))

    def at(self, *index):
        strides = Layout.contiguous(self.array.shape).strides
        return Pointer(self.name, self.dtype)[summed(list(zip(index, strides, strict=True)))]


def run(op: Loops, *arrays):
    """Return what the loops of ``op`` compute, and the text; shared loops run backwards."""
    out = op.infer(*(TensorType(a.dtype, a.shape) for a in arrays))
    result = np.full(out.shape, 77, out.dtype)
    names = {f"x{n}": a for n, a in enumerate(arrays)}
    text = Text()
    op.loops(text, Place("y", result), *(Place(n, a) for n, a in names.items()))
    lines = PythonPrinter().lines(text.body)
    shared = "" if text.shared is None else text.shared[0]
    for number, line in enumerate(lines):  # their order must not matter
        if line.lstrip().startswith(f"for {shared} "):
            lines[number] = re.sub(r"range\((\d+)\)", r"range(\1 - 1, -1, -1)", line)
    flat = {n: np.ascontiguousarray(a).reshape(-1) for n, a in names.items()}
    exec("\n".join(lines), {**SCOPE, **flat, "y": result.reshape(-1)})
    return result, text


SHAPES = [(4,), (3, 4), (2, 3, 4), (1, 3, 1), (0, 3), (3, 0)]


CASES = [(shape, axis) for shape in SHAPES for axis in range(len(shape))]


@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_running(shape, axis):
    a, b = np.random.default_rng(0).standard_normal((2, *shape))
    for op, arrays in (
        (CumulativeSum(axis), [a]),
        (CumulativeProd(axis), [a]),
        (Shift(axis), [a]),
        (Shift(axis, 1.0), [a]),
        (LinearRecurrence(axis), [a, b]),
    ):
        result, text = run(op, *arrays)
        np.testing.assert_allclose(result, op.numpy(*arrays), rtol=1e-13, err_msg=op.name)
        assert (text.shared is not None) == (len(shape) > 1)


@pytest.mark.parametrize(("shape", "axis"), CASES)
@pytest.mark.parametrize("count", [(), (5,), (2, 3), (0,)])
def test_take_and_scatter(shape, axis, count):
    rng = np.random.default_rng(1)
    x, n = rng.standard_normal(shape), shape[axis]
    if not n:
        count = (0,)
    indices = rng.integers(-n, max(n, 1), count) if n else np.zeros(count, int)
    result, _ = run(Take(axis), x, indices)
    np.testing.assert_array_equal(result, np.take(x, indices, axis))
    op = ScatterAdd(axis, shape)
    back, _ = run(op, result, indices)
    np.testing.assert_allclose(back, op.numpy(result, indices), rtol=1e-13)
    np.testing.assert_allclose(np.sum(back * x), np.sum(result * result), rtol=1e-12)  # transposed


@pytest.mark.parametrize(("shape", "axis"), CASES)
@pytest.mark.parametrize("count", [0, 1, 5])
def test_take_and_scatter_along_axis(shape, axis, count):
    rng = np.random.default_rng(1)
    x, n = rng.standard_normal(shape), shape[axis]
    some = [*shape[:axis], count if n else 0, *shape[axis + 1 :]]
    indices = rng.integers(-n, n, some, dtype="int32") if n else np.zeros(some, "int32")
    result, _ = run(TakeAlongAxis(axis), x, indices)
    np.testing.assert_array_equal(result, np.take_along_axis(x, indices.astype(int), axis))
    op = ScatterAddAlongAxis(axis, n)
    back, _ = run(op, result, indices)
    np.testing.assert_allclose(back, op.numpy(result, indices), rtol=1e-13)
    np.testing.assert_allclose(np.sum(back * x), np.sum(result * result), rtol=1e-12)
