"""Every function on operands of every data type: NumPy's kind of result, or an error where NumPy
has one."""

import warnings

import numpy as np
import pytest

import graphc as gx
from graphc.errors import GraphcError
from graphc.ir.op import ENTRIES, Sample
from graphc.tree import tree_map
from graphc.types import BOOL, FLOAT32, INT32, INT64
from tests.ops.harness import Trial, arrays_in, equal, run, trials

SMALLER = {np.dtype("int8"): INT64}
"""NumPy divides booleans as integers of one byte, which there are none of here."""


def in_dtype(trial, dtype):
    """Return the trial with its arrays of floats in ``dtype``."""

    def to(value):
        is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        return value.astype(dtype) if is_float else value

    with np.errstate(all="ignore"):
        args, kwargs = tree_map(to, (trial.sample.args, dict(trial.sample.kwargs)))
    return Trial(trial.entry, trial.number, Sample(args, tuple(kwargs.items()), False))


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_result_has_numpys_type(name):
    for trial in trials(name):
        if not any(x.dtype.kind == "f" for x in arrays_in(trial.sample.args)):
            continue
        for dtype in (BOOL, INT32, INT64):
            typed = in_dtype(trial, dtype)
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    expected = typed.expected(own=True)
                except (TypeError, ValueError) as error:
                    if "negative integer powers" not in str(error):  # what the data decides
                        with pytest.raises(GraphcError):
                            _ = typed.outputs
                    continue
            for out, value in zip(typed.outputs, expected, strict=True):
                wanted = SMALLER.get(value.dtype, value.dtype)
                same = out.dtype.kind == "f" if wanted.kind == "f" else out.dtype == wanted
                assert same, f"{typed}: {out.dtype}, NumPy has {value.dtype}"
            if all(x.dtype.kind != "f" for x in expected):
                for got, value in zip(run(typed.outputs, typed.feeds), expected, strict=True):
                    equal(got, value.astype(got.dtype), str(typed))


UNARY = [
    name
    for name, entry in sorted(ENTRIES.items())
    if all(
        len(s.args) == 1 and isinstance(s.args[0], np.ndarray) and not s.kwargs
        for s in entry.samples()
    )
]


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("number", [0.37, 3.7])
def test_a_function_of_a_number_is_as_exact_as_what_it_meets(name, number):
    function = ENTRIES[name].function
    try:
        weak, strong = function(number), function(np.array(number))
    except GraphcError:
        return  # it takes matrices
    if weak.dtype.kind != "f":
        return
    assert weak.dtype == FLOAT32
    x = gx.input("x", (), "float64")
    exact = gx.function(x, x * strong)(1.0)
    found, alone = gx.function(x, (x * weak, weak))(1.0)
    np.testing.assert_allclose(found, exact, rtol=1e-14, equal_nan=True)
    assert alone.dtype == np.float32
    y = gx.input("y", (), "float32")
    assert (y * weak).dtype == FLOAT32
    assert (y * strong).dtype == np.float64


def test_weak_numbers():
    x64, x32, i = gx.input("x", (), "float64"), gx.input("y"), gx.input("i", (), "int64")
    assert gx.function(x64, x64 * gx.log(3.7))(1.0) == np.log(3.7)
    assert gx.function(x64, x64 * gx.constant(0.1))(1.0) == 0.1
    assert gx.function(x64, gx.where(x64 > 0, gx.sqrt(2), x64))(1.0) == np.sqrt(2)
    assert gx.function(x64, x64 * (gx.exp(gx.log(3.7) * 2) + 0.1))(1.0) == pytest.approx(
        np.exp(np.log(3.7) * 2) + 0.1, rel=1e-15
    )
    assert (i * gx.log(3.7)).dtype == FLOAT32
    assert (x32 * gx.log(3.7)).dtype == FLOAT32
    # what was asked for by name, and NumPy's scalars, stay
    for strong in (gx.constant(0.1, "float32"), gx.astype(gx.log(3.7), "float32"), np.float32(0.1)):
        value = gx.function(x64, x64 * strong)(1.0)
        assert value == np.float32(value)
    assert (x32 * np.float64(0.1)).dtype == np.float64
