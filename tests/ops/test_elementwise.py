"""Promotion, integers, errors and shortcuts of the elementwise functions."""

from __future__ import annotations

import operator

import numpy as np
import pytest

from graphc.autodiff.adjoint import vjp
from graphc.errors import GraphcError
from graphc.ir.graph import ancestors
from graphc.ir.op import ENTRIES
from graphc.ir.source import input as declare
from tests.ops.harness import run


def call(name, *args, **kwargs):
    return ENTRIES[name].function(*args, **kwargs)


def value(name, *arrays):
    ins = [declare(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    (result,) = run([call(name, *ins)], dict(zip(ins, arrays, strict=True)))
    return result


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("name", ["floor_divide", "remainder"])
def test_integers_divide_like_numpys(name, dtype):
    x, y = np.meshgrid(np.array([7, -7, 0, 1], dtype), np.array([2, -2, 3, 0], dtype))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(value(name, x, y), getattr(np, name)(x, y))


@pytest.mark.parametrize("name", ["floor_divide", "remainder"])
def test_floats_divide_like_numpys(name):
    points = np.array([7.5, -7.5, 0.0, -0.0, np.inf, -np.inf, np.nan, 2.0])
    x, y = np.meshgrid(points, points)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(value(name, x, y), getattr(np, name)(x, y))


def test_rounding_is_half_to_even():
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    assert value("round", x).tolist() == [-2, -2, 0, 0, 2, 2]


@pytest.mark.parametrize(
    "name", ["floor", "ceil", "trunc", "round", "abs", "sign", "square", "negative"]
)
def test_integers_stay_integers(name):
    assert call(name, declare("i", (3,), "int32")).dtype == np.int32


@pytest.mark.parametrize("name", ["exp", "sin", "sqrt", "sigmoid", "erf", "gelu", "softplus"])
@pytest.mark.parametrize("dtype", ["int32", "int64", "bool"])
def test_functions_of_analysis_make_float32_of_integers(name, dtype):
    assert call(name, declare("i", (3,), dtype)).dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_python_numbers_are_weak(dtype):
    x = declare("x", (3,), dtype)
    for number in (2, 2.5, True):
        for f in (operator.add, operator.sub, operator.mul, operator.truediv, operator.mod):
            assert f(x, number).dtype == f(number, x).dtype == np.dtype(dtype)
        assert call("maximum", x, number).dtype == call("where", x > 0, x, number).dtype == dtype
        assert (x**number).dtype == np.dtype(dtype)
    i = declare("i", (3,), "int32")
    assert (i + 1).dtype == (i // 2).dtype == (i**2).dtype == np.int32
    assert (i + 0.5).dtype == (i / 2).dtype == (i**0.5).dtype == np.float32


def test_booleans_add_and_multiply_as_in_numpy():
    p, q = np.array([True, True, False]), np.array([True, False, False])
    assert value("add", p, q).tolist() == [True, True, False]
    assert value("multiply", p, q).tolist() == [True, False, False]
    for name in ("subtract", "negative", "sign"):
        with pytest.raises(TypeError, match="boolean"):
            call(name, *[declare("p", (3,), "bool")] * (2 if name == "subtract" else 1))


@pytest.mark.parametrize("name", ["bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift"])
def test_bits_of_floats_are_an_error_at_the_users_line(name):
    x, i = declare("x", (3,), "float32"), declare("i", (3,), "int32")
    with pytest.raises(TypeError, match="not supported for the input types") as caught:
        call(name, x, i)
    message = str(caught.value)
    assert "float32" in message
    assert "test_elementwise.py:" in message
    with pytest.raises(TypeError, match="not supported"):
        _ = ~x


def test_shapes_that_do_not_broadcast_name_both_operands():
    x, y = declare("left", (3, 4), "float32"), declare("right", (5,), "float32")
    for name in ("add", "pow", "atan2", "less", "maximum", "bitwise_and", "hypot"):
        with pytest.raises(ValueError, match="broadcast") as caught:
            call(name, x, y)
        for word in ("left", "right", "(3, 4)", "(5,)", "test_elementwise.py:"):
            assert word in str(caught.value), (name, word)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [("elu", {"alpha": -1.0}), ("celu", {"alpha": 0.0}), ("gelu", {"approximate": "erf"}),
     ("hardtanh", {"min_val": 2.0, "max_val": 1.0})],
)  # fmt: skip
def test_parameters_out_of_range(name, kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        call(name, declare("x", (3,)), **kwargs)


def test_negative_powers_of_integers_are_numpys_error():
    with pytest.raises(ValueError, match="Integers to negative integer powers are not allowed"):
        _ = declare("i", (3,), "int64") ** -1


@pytest.mark.parametrize(
    ("exponent", "ops"),
    [(1, []), (2, ["square"]), (3, ["square", "multiply"]), (0.5, ["sqrt"]), (-1, ["divide"]),
     (2.0, ["square"]), (2.5, ["pow"])],
)  # fmt: skip
def test_constant_powers_take_the_short_way(exponent, ops):
    x = declare("x", (3,))
    made = [t.op.name for t in ancestors([x**exponent]) if t.op.name not in ("input", "constant")]
    assert made == ops


def test_where_stops_what_comes_from_the_side_not_taken():
    x = declare("x", (3,), "float64")
    out = call("where", x > 0, call("sqrt", x), 0.0)
    (g,) = vjp([out], [x], [np.array([1.0, np.inf, np.nan])])
    assert np.isnan(run([g], {x: np.array([-1.0, 0.0, 4.0])})[0][1])  # 0 / 0: sqrt's own
    safe = call("where", x > 0, x, 1.0)
    out = call("where", x > 0, call("sqrt", safe), 0.0)
    (g,) = vjp([out], [x], [np.array([1.0, np.inf, 1.0])])
    assert run([g], {x: np.array([-1.0, 0.0, 4.0])})[0].tolist() == [0.0, 0.0, 0.25]


@pytest.mark.parametrize("name", ["relu", "maximum", "clip"])
def test_a_stopped_infinite_cotangent_is_zero(name):
    x = declare("x", (2,), "float64")
    args = {"relu": (), "maximum": (0.0,), "clip": (0.0, 5.0)}[name]
    (g,) = vjp([call(name, x, *args)], [x], [np.array([np.inf, 1.0])])
    assert run([g], {x: np.array([-1.0, 1.0])})[0].tolist() == [0.0, 1.0]


def test_power_at_zero_has_no_nan_to_second_order():
    x, y = declare("x", (3,), "float64"), declare("y", (3,), "float64")
    first = vjp([x**y], [x, y], [np.ones(3)])
    second = [g for f in first for g in vjp([f], [x, y], [np.ones(3)])]
    feeds = {x: np.zeros(3), y: np.array([2.0, 3.0, 4.0])}
    assert [v.tolist() for v in run(first, feeds)] == [[0.0] * 3, [0.0] * 3]
    assert [v.tolist() for v in run(second, feeds)] == [[2.0, 0.0, 0.0], *[[0.0] * 3] * 3]


def test_the_derivative_of_hypot_at_the_origin_is_zero():
    x, y = declare("x", (1,), "float64"), declare("y", (1,), "float64")
    grads = vjp([call("hypot", x, y)], [x, y], [np.ones(1)])
    assert [v.tolist() for v in run(grads, {x: np.zeros(1), y: np.zeros(1)})] == [[0.0], [0.0]]


def test_unknown_values_raise_typed_errors():
    with pytest.raises(GraphcError):
        call("add", declare("x", (3,)), "text")
