"""The elementary functions of kernels: error bounds, special values, vector code, plain Python."""

from __future__ import annotations

import functools
import math
import os
import re
import subprocess
import sys
from dataclasses import replace

import mpmath
import numpy as np
import pytest

from graphc.emit import vmath
from graphc.emit.vmath import exponential, lower, trace
from graphc.machine import known
from graphc.machine.isa import AVX2, BASELINE
from tests.kernels import Compiled, elementwise, optimised

FLOATS = ("float32", "float64")
INF, NAN = math.inf, math.nan


@pytest.fixture(autouse=True)
def _special_values_do_not_warn():
    with np.errstate(all="ignore"):
        yield


class Loop:
    """``out[j] = vmath.name(a[j], ...)``, compiled as kernels are."""

    def __init__(self, name, dtypes, out):
        self.kernel = elementwise(name, *dtypes, out=out)
        self.compiled = Compiled(self.kernel)
        self.dtypes = ["uint8" if d == "bool" else d for d in dtypes]
        self.out = np.dtype(out)

    def __call__(self, *arrays):
        arrays = [np.ascontiguousarray(a, d) for a, d in zip(arrays, self.dtypes, strict=True)]
        out = np.empty(arrays[0].shape, "uint8" if self.out.kind == "b" else self.out)
        self.compiled(0, out.size, *arrays, out)
        return out.view(self.out)

    def vectors(self):
        """The vector types of floats in the optimised code."""
        return set(re.findall(r"<(\d+) x (float|double)>", optimised(self.kernel)))


@functools.cache
def loop(name, *dtypes, out=None):
    return Loop(name, dtypes, out or dtypes[0])


def ulps(got, want):
    """Error of ``got`` in units in the last place of its type at ``want`` (a wider type)."""
    got, want = np.asarray(got), np.asarray(want)
    digits, least = (24, -149) if got.dtype == np.float32 else (53, -1074)
    rounded = want.astype(got.dtype)
    unit = np.ldexp(want.dtype.type(1), np.maximum(np.frexp(want)[1] - digits, least))
    error = np.abs(got.astype(want.dtype) - want) / unit
    special = ~(np.isfinite(got) & np.isfinite(rounded))
    same = (got == rounded) | (np.isnan(got) & np.isnan(want))
    return np.where(special, np.where(same, 0.0, np.inf), error).astype(float)


def _wide(f):
    return lambda *arrays: f(*[np.asarray(a, np.longdouble) for a in arrays])


def _sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def _softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _silu(x):
    x = np.maximum(x, -20000)
    return x * _sigmoid(x)


def _mish(x):
    x = np.maximum(x, -10000)
    e = np.exp(np.minimum(x, 60))
    return x * (e * (e + 2) / (e * (e + 2) + 2))


def _gelu_tanh(x):
    x = np.maximum(x, -200)
    slope = np.longdouble("1.595769121605730711759784239737527869934")  # 2 sqrt(2/pi)
    return x * _sigmoid(slope * (x + np.longdouble("0.044715") * x**3))


# name: (bound in units in the last place, a reference in a wider type)
UNARY = {
    "exp": (1.0, np.exp),
    "exp2": (1.1, np.exp2),
    "expm1": (2.5, np.expm1),
    "log": (1.0, np.log),
    "log1p": (2.0, np.log1p),
    "log2": (2.0, np.log2),
    "log10": (2.0, np.log10),
    "sqrt": (0.501, np.sqrt),
    "rsqrt": (1.6, lambda x: 1 / np.sqrt(x)),
    "sin": (2.0, np.sin),
    "cos": (2.0, np.cos),
    "tan": (3.0, np.tan),
    "asin": (2.5, np.arcsin),
    "acos": (2.5, np.arccos),
    "atan": (2.0, np.arctan),
    "sinh": (3.0, np.sinh),
    "cosh": (2.0, np.cosh),
    "tanh": (2.0, np.tanh),
    "asinh": (3.0, np.arcsinh),
    "acosh": (3.0, np.arccosh),
    "atanh": (3.0, np.arctanh),
    "sigmoid": (2.0, _sigmoid),
    "softplus": (2.5, _softplus),
    "log_sigmoid": (2.5, lambda x: -_softplus(-x)),
    "silu": (4.0, _silu),
    "mish": (4.0, _mish),
    "gelu_tanh": (4.0, _gelu_tanh),
}
MPMATH = {
    "erf": (2.0, mpmath.erf),
    "erfc": (4.0, lambda x: mpmath.erfc(x) if x < 50 else mpmath.mpf(0)),
    "gelu": (4.0, lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2 if x > -60 else mpmath.mpf(0)),
}
BINARY = {
    "pow": (4.0, np.power),
    "hypot": (2.5, np.hypot),
    "atan2": (2.5, np.arctan2),
}
SPECIAL = [0.0, -0.0, INF, -INF, NAN, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, 1e-45, -1e-40, 1e-310]


def bit_patterns(dtype, count):
    """Numbers of every exponent and sign: float32 strided over all, float64 at random."""
    if dtype == "float32":
        return np.arange(0, 2**32, 2**32 // count, dtype=np.uint32).view(np.float32)
    bits = np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64)
    return bits.view(np.float64)


def points(dtype, count):
    rng = np.random.default_rng(1)
    return np.concatenate(
        [
            bit_patterns(dtype, count),
            *[rng.standard_normal(count // 8) * s for s in (0.01, 1, 10)],
            1 + rng.standard_normal(count // 8) * 0.01,
            rng.uniform(-800, 800, count // 8),
            SPECIAL,
        ]
    ).astype(dtype)


def check(got, want, bound, *args):
    error = ulps(got, want)
    worst = int(np.argmax(error))
    assert error[worst] <= bound, (
        f"{error[worst]:.2f} ulp at {[a[worst] for a in args]}: {got[worst]!r}, not {want[worst]!r}"
    )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", UNARY)
def test_error_of_one_operand(name, dtype):
    bound, reference = UNARY[name]
    x = points(dtype, 2**15)
    check(loop(name, dtype)(x), _wide(reference)(x), bound, x)


def dense(dtype, count):
    rng = np.random.default_rng(8)
    t = rng.integers(32, 256, count) / 32 * (1 + rng.normal(0, 3e-5, count))
    near = [t / 2, t / 16, t - 1, (t - 1 / t) / 2, (t + 1 / t) / 2, (t - 1) / (t + 1)]
    return np.concatenate([rng.uniform(-3, 3, 2 * count), *near]).astype(dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", UNARY)
def test_error_on_dense_points(name, dtype):
    """The edges of tables' intervals, met by few of the other points, are near some of these."""
    bound, reference = UNARY[name]
    x = dense(dtype, 2**15)
    check(loop(name, dtype)(x), _wide(reference)(x), bound, x)


@pytest.fixture
def portable(monkeypatch):
    """Formulas as for a processor that has no AVX-512."""
    monkeypatch.setattr(lower, "has_wide", lambda: False)
    monkeypatch.setattr(exponential, "HAS_SCALE", False)


@pytest.fixture(params=["fused", "unfused"])
def other(request, portable, monkeypatch):
    """Formulas as for processors without AVX-512: those with fused multiply-adds and others."""
    another = replace(known(), isa=AVX2 if request.param == "fused" else BASELINE)
    monkeypatch.setattr(trace, "known", lambda: another)


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", UNARY)
def test_error_on_other_processors(name, dtype):
    bound, reference = UNARY[name]
    x = np.concatenate([points(dtype, 2**13), dense(dtype, 2**12)])
    check(Loop(name, [dtype], dtype)(x), _wide(reference)(x), bound, x)


@pytest.mark.parametrize("name", ["sin", "log", "tanh", "erf"])
def test_kernels_take_calls_in_vectors(name):
    text = optimised(elementwise(name, "float32"))
    assert f"<{_width('float32')} x float>" in text
    assert not re.search(r"call <\d+ x float> @\"?graphc", re.sub(r".*\.rare\..*", "", text))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["exp", "log", "log1p", "tanh", "sigmoid", "erf", "gelu", "cosh"])
def test_an_element_has_the_same_bits_in_a_vector_as_alone(name, dtype):
    x = points(dtype, 2**8)
    alone = np.concatenate([loop(name, dtype)(x[i : i + 1]) for i in range(x.size)])
    np.testing.assert_array_equal(loop(name, dtype)(x), alone)


def _mpmath(function, x):
    def wide(value):
        if math.isnan(value):
            return np.longdouble(NAN)
        with mpmath.workprec(160):
            exact = function(mpmath.mpf(value))
            if not mpmath.isfinite(exact):
                return np.longdouble(float(exact))
            high = float(mpmath.ldexp(exact, 1000 if abs(exact) < 1e-200 else 0))
            scaled = exact * (2**1000 if abs(exact) < 1e-200 else 1)
            total = np.longdouble(high) + np.longdouble(float(scaled - high))
            return np.ldexp(total, -1000) if abs(exact) < 1e-200 else total

    return np.array([wide(float(v)) for v in x])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", MPMATH)
def test_error_against_mpmath(name, dtype):
    bound, reference = MPMATH[name]
    rng = np.random.default_rng(2)
    x = np.concatenate([points(dtype, 512), rng.uniform(-40, 30, 1500).astype(dtype)])
    x = x[np.isnan(x) | (np.abs(x) < 1e6)]
    check(loop(name, dtype)(x), _mpmath(reference, x), bound, x)


def pairs(dtype, count):
    rng = np.random.default_rng(3)
    x = points(dtype, count)
    y = rng.permutation(x)
    bases, powers = rng.uniform(0, 5, count), rng.uniform(-80, 80, count)
    x = np.concatenate([x, np.repeat(SPECIAL, len(SPECIAL)), bases]).astype(dtype)
    y = np.concatenate([y, np.tile(SPECIAL, len(SPECIAL)), powers]).astype(dtype)
    return x, y


def powers_near_one(dtype, count):
    """Bases near 1 and exponents whose powers are of every size: where errors are largest."""
    rng = np.random.default_rng(7)
    low, high, least = (-149, 128, -22) if dtype == "float32" else (-1074, 1024, -50)
    x = 1 + rng.choice([-1, 1], count) * 2.0 ** rng.uniform(least, -3, count)
    x[: count // 2] = rng.uniform(0.93, 1.07, count // 2)
    x = x.astype(dtype)
    sizes = np.concatenate(
        [rng.uniform(low, high, count // 2), rng.uniform(0.97, 1, count // 2) * high]
    )
    return x, (rng.permutation(sizes) / np.log2(x.astype(float))).astype(dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", BINARY)
def test_error_of_two_operands(name, dtype):
    bound, reference = BINARY[name]
    x, y = pairs(dtype, 2**14)
    check(loop(name, dtype, dtype)(x, y), _wide(reference)(x, y), bound, x, y)


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", MPMATH)
def test_error_against_mpmath_on_other_processors(name, dtype):
    bound, reference = MPMATH[name]
    x = np.concatenate([points(dtype, 64), np.random.default_rng(2).uniform(-40, 30, 900)])
    x = x[np.isnan(x) | (np.abs(x) < 1e6)].astype(dtype)
    check(Loop(name, [dtype], dtype)(x), _mpmath(reference, x), bound, x)


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize("dtype", FLOATS)
def test_error_of_powers_on_other_processors(dtype):
    power = Loop("pow", [dtype, dtype], dtype)
    for x, y in (pairs(dtype, 2**12), powers_near_one(dtype, 2**12)):
        check(power(x, y), _wide(np.power)(x, y), 4.0, x, y)


@pytest.mark.parametrize("dtype", FLOATS)
def test_error_of_powers_near_one(dtype):
    x, y = powers_near_one(dtype, 2**17)
    x[x == 1] = 2
    check(loop("pow", dtype, dtype)(x, y), _wide(np.power)(x, y), 2.75, x, y)


@pytest.mark.parametrize("dtype", FLOATS)
def test_special_cases_of_powers(dtype):
    limits = np.finfo(dtype)
    digits = limits.nmant + 1
    more = [1.5, 7, 1 + limits.eps, limits.max, limits.tiny, 2.0**digits - 1, 2.0**digits, 2.0**64]
    values = np.array([*SPECIAL, *more, *np.negative(more)], dtype)
    x, y = np.repeat(values, len(values)), np.tile(values, len(values))
    got, want = loop("pow", dtype, dtype)(x, y), _wide(np.power)(x, y)
    check(got, want, 2.0, x, y)
    there = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got[there]), np.signbit(want[there]))


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_power_has_the_same_bits_beside_special_ones_as_alone(dtype):
    x, y = (v[::37] for v in pairs(dtype, 2**12))
    power = loop("pow", dtype, dtype)
    alone = np.concatenate([power(x[i : i + 1], y[i : i + 1]) for i in range(x.size)])
    np.testing.assert_array_equal(power(x, y), alone)


@pytest.mark.parametrize("dtype", FLOATS)
def test_logaddexp(dtype):
    x = points(dtype, 2**12)
    y = np.random.default_rng(4).permutation(x)
    got, want = loop("logaddexp", dtype, dtype)(x, y), _wide(np.logaddexp)(x, y)
    # the sum may cancel: the error is that of its larger term
    near = np.abs(got - want) <= 4 * np.spacing(np.maximum(np.abs(x), np.abs(y)))
    near |= np.abs(got - want) <= 4 * np.finfo(dtype).eps
    same = (got == want.astype(dtype)) | (np.isnan(got) & np.isnan(want))
    assert (near | same).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "name",
    ["sin", "tan", "asin", "atan", "sinh", "tanh", "asinh", "atanh", "expm1", "log1p", "erf"],
)
def test_the_sign_of_zero_is_kept(name, dtype):
    assert np.signbit(loop(name, dtype)(np.array([-0.0, 0.0]))).tolist() == [True, False]


@pytest.mark.parametrize("dtype", FLOATS)
def test_huge_angles_in_a_vector_with_small_ones(dtype):
    rng = np.random.default_rng(5)
    x = (rng.uniform(-1, 1, 999) * 10.0 ** rng.integers(-3, 38, 999)).astype(dtype)
    for name in ("sin", "cos", "tan"):
        check(loop(name, dtype)(x), _mpmath(getattr(mpmath, name), x), 3.0, x)


EXACT_UNARY = {
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.rint,
    "abs": np.abs,
    "sign": np.sign,
    "relu": lambda x: np.maximum(x, 0),
}
EXACT_BINARY = {
    "maximum": np.maximum,
    "minimum": np.minimum,
    "copysign": np.copysign,
    "nextafter": np.nextafter,
    "remainder": np.remainder,
    "floor_divide": np.floor_divide,
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", EXACT_UNARY)
def test_exact_functions_of_one_operand(name, dtype):
    x = np.concatenate([points(dtype, 2**12), np.arange(-5, 5, 0.5, dtype)])
    want = EXACT_UNARY[name](x)
    np.testing.assert_array_equal(loop(name, dtype)(x), want)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", EXACT_BINARY)
def test_exact_functions_of_two_operands(name, dtype):
    rng = np.random.default_rng(6)
    x = np.concatenate([points(dtype, 2**11), np.repeat(SPECIAL, 15), rng.uniform(-9, 9, 999)])
    y = np.concatenate(
        [rng.permutation(points(dtype, 2**11)), np.tile(SPECIAL, 15), x[-999:][::-1]]
    )
    x, y = x.astype(dtype), y.astype(dtype)
    want = EXACT_BINARY[name](x, y)
    np.testing.assert_array_equal(loop(name, dtype, dtype)(x, y), want)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["isfinite", "isinf", "isnan", "signbit"])
def test_predicates(name, dtype):
    x = np.array(SPECIAL, dtype)
    got = loop(name, dtype, out="bool")(x)
    np.testing.assert_array_equal(got, getattr(np, name)(x))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integers(dtype):
    least = np.iinfo(dtype).min
    values = np.array([0, 1, -1, 2, -2, 7, -7, 100, least, least + 1, np.iinfo(dtype).max], dtype)
    x, y = np.repeat(values, len(values)), np.tile(values, len(values))
    for name in ("maximum", "minimum", "remainder", "floor_divide", "left_shift", "right_shift"):
        want = getattr(np, name)(x, y)
        np.testing.assert_array_equal(loop(name, dtype, dtype)(x, y), want, err_msg=name)
    for name in ("abs", "sign", "floor"):
        np.testing.assert_array_equal(loop(name, dtype)(x), getattr(np, name)(x), err_msg=name)
    np.testing.assert_array_equal(loop("relu", dtype)(x), np.maximum(x, 0))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_powers_of_integers(dtype):
    x, y = np.meshgrid(np.arange(-9, 10, dtype=dtype), np.arange(0, 41, dtype=dtype))
    got = loop("pow", dtype, dtype)(x.ravel(), y.ravel())
    np.testing.assert_array_equal(got, np.power(x, y).ravel())
    x = np.array([0, 1, -1, -1, 2, -3], dtype)
    y = np.array([-1, -5, -5, -4, -1, -2], dtype)
    assert loop("pow", dtype, dtype)(x, y).tolist() == [0, 1, -1, 1, 0, 0]


@pytest.mark.parametrize("dtype", [*FLOATS, "int32", "bool"])
def test_where(dtype):
    c, x, y = np.array([True, False]), np.array([1, 0], dtype), np.array([0, 1], dtype)
    got = loop("where", "bool", dtype, dtype, out=dtype)(c, x, y)
    assert got.tolist() == [1, 1]


VECTOR = [
    *("exp", "exp2", "expm1", "log", "log1p", "log2", "sin", "cos", "tanh", "sigmoid", "erf"),
    *("gelu", "gelu_tanh", "silu", "softplus", "sqrt", "rsqrt", "relu", "atan", "cosh", "floor"),
]


def _width(dtype):
    """Elements that a loop which only multiplies handles at a time on this host."""
    vectors = loop("copysign", dtype, dtype).vectors()
    return max(
        int(n) for n, kind in vectors if kind == ("float" if dtype == "float32" else "double")
    )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", VECTOR)
def test_loops_vectorise_at_full_width(name, dtype):
    kind = "float" if dtype == "float32" else "double"
    assert (str(_width(dtype)), kind) in loop(name, dtype).vectors()


@pytest.mark.parametrize("dtype", FLOATS)
def test_pow_vectorises(dtype):
    kind = "float" if dtype == "float32" else "double"
    assert (str(_width(dtype)), kind) in loop("pow", dtype, dtype).vectors()


def test_plain_python_keeps_the_type():
    code = """
from dataclasses import replace

import numpy as np
from graphc.emit import vmath
assert type(vmath.exp(np.float32(1))) is np.float32
for name in "sigmoid gelu gelu_tanh erf softplus silu mish tanh log1p relu round sqrt".split():
    for kind in (np.float32, np.float64):
        value = getattr(vmath, name)(kind(0.5))
        assert type(value) is kind, (name, type(value))
assert vmath.pow(np.int64(-1), np.int64(-3)) == -1
assert vmath.where(True, np.float32(1), np.float32(2)) == 1
assert np.isnan(vmath.relu(np.float32("nan")))
assert vmath.exp(np.float32(1000)) == np.inf
"""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=environment)


@pytest.mark.parametrize("dtype", FLOATS)
def test_plain_python_agrees(dtype):
    x = np.array([-5.0, -2.5, -0.3, 0.0, 0.7, 3.0, 30.0], dtype)
    for name in (*UNARY, *MPMATH):
        got = loop(name, dtype)(x)
        plain = [getattr(vmath, name)(v) for v in x]
        np.testing.assert_allclose(got, plain, rtol=16 * np.finfo(dtype).eps, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", UNARY)
def test_every_float32(name):
    bound, reference = UNARY[name]
    for start in range(0, 2**32, 2**26):
        x = np.arange(start, start + 2**26, 3, dtype=np.uint64).astype(np.uint32).view(np.float32)
        want = reference(x.astype(np.float64))
        check(loop(name, "float32")(x), want, bound + 0.01, x)
