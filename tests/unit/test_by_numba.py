"""Kernels by Numba's public API, the second way: the same values of the same types."""

from __future__ import annotations

import itertools

import numba
import numpy as np
import pytest

from graphc.build import by_numba
from graphc.kernel.code import HI, LO, Writer
from graphc.kernel.value import (
    COMPARISONS,
    UINT8,
    Integer,
    Name,
    Number,
    Pointer,
    least,
    most,
    select,
)
from graphc.print.python import PythonPrinter
from graphc.types import BOOL, FLOAT32, FLOAT64, INT32, INT64
from tests.kernels import Compiled, entry_at, run, written

KINDS = (BOOL, UINT8, INT32, INT64, FLOAT32, FLOAT64)
WIDE = (INT32, INT64, FLOAT32, FLOAT64)


def _operations():
    """Yield a name, data type and function of two values for all that values can be made of."""
    for dtype in KINDS:
        for symbol in sorted(COMPARISONS):
            yield symbol, dtype, lambda x, y, s=symbol: x._with(s, y)
        for symbol in "&|^" if dtype.kind in "bi" else "":
            yield symbol, dtype, lambda x, y, s=symbol: x._with(s, y)
        if dtype.kind in "bi":
            yield "~", dtype, lambda x, y: ~x
        for other in WIDE:
            if other != dtype:
                yield f"to {other}", dtype, lambda x, y, t=other: x.cast(t)
        if dtype.kind in "iu":
            yield "to bool", dtype, lambda x, y: x.cast(BOOL)
            yield "!= 3", dtype, lambda x, y: x.differs(3)
    for dtype in WIDE:
        for symbol in "+-*" + ("/" if dtype.kind == "f" else ""):
            yield symbol, dtype, lambda x, y, s=symbol: x._with(s, y)
        yield "negative", dtype, lambda x, y: -x
        yield "number", dtype, lambda x, y, d=dtype: Number(3, d)
        yield "plus a number", dtype, lambda x, y: x + 3
        yield "times a number twice", dtype, lambda x, y: (x * 7) * 7 - y
        yield "select", dtype, lambda x, y: select(x < y, x, y)
        yield "select a number", dtype, lambda x, y: select(x < y, x, x.lift(0))
        yield "nested", dtype, lambda x, y: -(x - (y - x)) * (x + y)
    for dtype in (INT32, INT64):
        yield "integer", dtype, lambda x, y, d=dtype: Integer(3, d)
        yield "least number", dtype, lambda x, y, d=dtype: Number(np.iinfo(d).min, d)
        yield "//", dtype, lambda x, y: (x & 1023) // ((y & 7) + 1)
        yield "%", dtype, lambda x, y: (x & 1023) % ((y & 7) + 1)
        yield "chosen integer", dtype, lambda x, y, d=dtype: select(x < y, Integer(1, d), y)
    yield "min", INT64, lambda x, y: least(x, y)
    yield "max", INT64, lambda x, y: most(x, 5)
    for dtype in (FLOAT32, FLOAT64):
        for number in (np.inf, -np.inf, np.nan, 0.1):
            yield f"{number}", dtype, lambda x, y, n=number: x + n


OPERATIONS = list(_operations())


def made_of(dtype):
    """Return names and functions of the operations on a data type."""
    return [(name, function) for name, kind, function in OPERATIONS if kind == dtype]


def operands(dtype):
    """Return pairs of the values at which types differ."""
    if dtype == BOOL:
        values = np.array([0, 1], np.uint8)
    elif dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.array([0, 1, 2, 3, 7, 100, limits.max, limits.max - 1, limits.min], dtype)
    else:
        values = np.array([0, -0.0, 1, -2.5, 3, 1e-30, 2.0**24, 127, np.nan, np.inf], dtype)
    pairs = list(itertools.product(values, values))
    return (np.array(column, values.dtype) for column in zip(*pairs, strict=True))


@pytest.mark.parametrize("dtype", KINDS, ids=str)
def test_values_have_numbas_types(dtype):
    """What is printed has, as Numba types it, the type that is said."""
    made, scope = made_of(dtype), dict(by_numba._scope())
    values = [f(Name("x", dtype), Name("y", dtype)) for _, f in made]
    given = numba.from_dtype(dtype)
    exec(f"def f(x, y):\n    return {', '.join(map(PythonPrinter().value, values))}", scope)
    compiled = numba.njit((given, given), error_model="numpy")(scope["f"])
    found = map(numba.types.unliteral, compiled.nopython_signatures[0].return_type)
    for (name, _), kind, value in zip(made, found, values, strict=True):
        assert kind == numba.from_dtype(value.dtype), name


def test_both_ways_compute_the_same():
    """All operations of a data type in one kernel: an array of results for each."""
    for dtype in KINDS:
        made = made_of(dtype)
        writer, memory = Writer(), UINT8 if dtype == BOOL else dtype
        a, b = Pointer("a", memory), Pointer("b", memory)
        outs = []
        with writer.loop("i", HI, LO) as i:
            x, y = writer.let("x", a[i].load(dtype)), writer.let("y", b[i].load(dtype))
            for n, (_, function) in enumerate(made):
                value = function(x, y)
                outs.append(Pointer(f"out{n}", UINT8 if value.dtype == BOOL else value.dtype))
                writer.store(outs[-1][i], value)
        kernel = written(f"all_{dtype}", writer, a, b, *outs)
        left, right = operands(dtype)
        found = []
        for entry in (Compiled(kernel), ByNumba(kernel)):
            found.append([np.zeros(len(left), p.dtype) for p in outs])
            entry(0, len(left), left, right, *found[-1])
        limit = 2.0**31 if dtype.kind == "f" else None
        for (name, _), ours, numbas in zip(made, *found, strict=True):
            with np.errstate(all="ignore"):  # numbers beyond integers: C says nothing
                known = np.ones(len(left), bool) if limit is None else np.abs(left) < limit
            np.testing.assert_array_equal(ours[known], numbas[known], name)


class ByNumba:
    """A kernel by Numba, by itself."""

    def __init__(self, kernel):
        self._owner = by_numba.compiled(kernel)
        self._entry = entry_at(self._owner.address)

    def __call__(self, lo, hi, *arguments):
        run(self._entry, lo, hi, *arguments)
