"""The loops that ops write themselves, run as plain Python against the NumPy references."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

from graphc.ir.op import Loops
from graphc.ops.along import ScatterAddAlongAxis, TakeAlongAxis
from graphc.ops.cumulative import CumulativeProd, CumulativeSum, LinearRecurrence, Shift
from graphc.ops.gather import ScatterAdd, Take
from graphc.types import TensorType


@dataclass
class Text:
    """Collects Python text."""

    lines: list[str] = field(default_factory=list)
    depth: int = 0
    shared: int = 0

    def line(self, text):
        self.lines.append("    " * self.depth + text)

    @contextmanager
    def loop(self, name, extent):
        self.line(f"for {name} in range({extent}):")
        self.depth += 1
        self.line("pass")
        yield
        self.depth -= 1

    @contextmanager
    def parallel(self, name, extent):
        """Run the iterations backwards: their order must not matter."""
        assert (self.depth, self.shared) == (0, 0), "parallel is the outermost loop, once"
        self.shared += 1
        with self.loop(name, f"{extent} - 1, -1, -1"):
            yield

    def lit(self, value, dtype):
        return f"{dtype.name}({value!r})"


@dataclass(frozen=True)
class Element:
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
        return tuple(map(str, self.array.shape))

    def at(self, *index):
        return f"{self.name}[{', '.join(index)}]" if index else f"{self.name}[()]"


def run(op: Loops, *arrays):
    """Return what the loops of ``op`` compute, and the text."""
    out = op.infer(*(TensorType(a.dtype, a.shape) for a in arrays))
    result = np.full(out.shape, 77, out.dtype)
    names = {f"x{n}": a for n, a in enumerate(arrays)}
    text = Text()
    op.loops(text, Element("y", result), *(Element(n, a) for n, a in names.items()))
    space = {t: getattr(np, t) for t in ("int32", "int64", "float32", "float64")}
    exec("\n".join(text.lines), {**space, **names, "y": result})
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
        assert text.shared == (len(shape) > 1)


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
