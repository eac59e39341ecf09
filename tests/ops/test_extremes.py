"""Derivatives at extreme magnitudes: they leave the range of numbers only where their values do.

The reference of a derivative in float32 is the same in float64, where squares and cubes of what
float32 holds neither overflow nor vanish.
"""

import numpy as np
import pytest

import graphc as gx
from graphc.autodiff.adjoint import vjp
from graphc.errors import GraphcError
from graphc.ir.interpret import evaluate
from graphc.ir.op import ENTRIES
from graphc.ir.tensor import Tensor

SIZES = np.array([1e-30, 1e-24, 5e-24, 1e-20, 3e-10, 1e-4, 0.1, 0.5, 1 - 2**-24, 1.0, 1 + 2**-23,
                  2.0, 10.0, 50.0, 100.0, 1e4, 1e10, 1e19, 3e19, 4e20, 1e24, 1e30])  # fmt: skip
POINTS = np.concatenate([-SIZES, [0.0], SIZES]).astype("float32")
LARGEST, LEAST = 1e37, 1e-37

SATURATED = {"sigmoid", "tanh", "softplus", "log_sigmoid", "silu", "mish", "elu", "celu", "selu",
             "expm1", "gelu", "logaddexp", "hypot", "tanhshrink"}  # fmt: skip
"""Derivatives of theirs are differences from limits, exact to the rounding of those."""

OF_SEVERAL = {"normalize", "local_response_norm"}

UNDEFINED = {"pow": "of a negative base, and where a power of it overflows"}
"""What has no finite derivative in places where the value is finite."""


def elementwise():
    """Yield name, number of arrays and other arguments of each function to be tried."""
    for name, entry in sorted(ENTRIES.items()):
        if name.startswith("cumulative") or name in OF_SEVERAL:
            continue  # of all elements, not of one
        seen = set()
        for sample in entry.samples():
            arrays = [isinstance(a, np.ndarray) for a in sample.args]
            count = sum(arrays)
            others = (sample.args[count:], sample.kwargs)
            plain = count in (1, 2) and all(arrays[:count]) and sample.differentiable
            if not plain or repr(others) in seen or "axis" in dict(sample.kwargs):
                continue
            seen.add(repr(others))
            x = [gx.input(f"x{i}", (None,)) for i in range(count)]
            try:
                out = entry.function(*x, *others[0], **dict(others[1]))
            except GraphcError:
                continue  # it takes matrices
            if isinstance(out, Tensor) and out.shape == (None,) and out.dtype.kind == "f":
                yield pytest.param(name, count, others, id=f"{name}-{count}-{len(seen)}")


def derivatives(name, count, others, dtype):
    """Return inputs, value, first and second derivatives, element by element."""
    x = [gx.input(f"x{i}", (None,), dtype) for i in range(count)]
    out = ENTRIES[name].function(*x, *others[0], **dict(others[1]))
    one = gx.broadcast_to(gx.constant(1, dtype), out.type.shape)
    first = vjp([out], x, [one], unconnected="zero")
    second = [h for g in first for h in vjp([g], x, [one], unconnected="zero")]
    return x, out, first, second


def off(found, exact, scale, absolute):
    """Tell where ``found`` differs from what float32 holds of ``exact``."""
    near = np.abs(found - exact) <= 1e-3 * scale + absolute + LEAST
    return ~(near | (found == exact) | (scale > LARGEST))


@pytest.mark.parametrize(("name", "count", "others"), list(elementwise()))
def test_derivatives_hold_at_extreme_magnitudes(name, count, others):
    feeds = [a.ravel() for a in np.meshgrid(*[POINTS] * count)]
    x, out, first, second = derivatives(name, count, others, "float32")
    function = gx.function(x, [out, *first, *second])
    got = [np.broadcast_to(v, feeds[0].shape).astype("float64") for v in function(*feeds)]
    y, out, first, second = derivatives(name, count, others, "float64")
    roots = [out, *first, *second]
    values = evaluate(roots, dict(zip(y, [f.astype("float64") for f in feeds], strict=True)))
    exact = [np.broadcast_to(values[r], feeds[0].shape) for r in roots]
    absolute = 2e-6 if name in SATURATED else 0.0
    here = np.isfinite(got[0]) & np.isfinite(exact[0])
    if name in UNDEFINED:
        here &= feeds[0] > 0
        here &= np.all([np.isfinite(e) & (np.abs(e) < 1e30) for e in exact], axis=0)
        here &= np.all([np.isfinite(e) for e in got], axis=0) | (np.abs(feeds[0]) > 1e-4)
        here &= np.abs(feeds[-1]) < 1e4
    with np.errstate(all="ignore"):
        for part in (slice(1, 1 + count), slice(1 + count, None)):
            scale = np.max(np.abs(exact[part]), axis=0)
            for number, (g, e) in enumerate(zip(got[part], exact[part], strict=True)):
                bad = here & off(g, e, np.where(np.isnan(scale), 0, scale), absolute)
                at = [(*(float(f[i]) for f in feeds), g[i], e[i]) for i in np.flatnonzero(bad)[:5]]
                order = "second" if part.stop is None else "first"
                assert not at, f"{order} derivative {number} of {bad.sum()} points: {at}"


def gradients(f, dtype, *points):
    """Return first and (diagonal) second derivatives of ``f`` at ``points``."""
    x = [gx.input(f"x{i}", (), dtype) for i in range(len(points))]
    first = gx.grad(f(*x), x)
    second = [gx.grad(g, [v], unconnected="zero")[0] for g, v in zip(first, x, strict=True)]
    found = gx.function(x, [*first, *second])(*[np.array(p, dtype) for p in points])
    return found[: len(points)], found[len(points) :]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ends_of_inverse_functions(dtype):
    inf = np.inf
    for f, point, first, second in (
        (gx.asin, 1.0, inf, inf), (gx.asin, -1.0, inf, -inf), (gx.acos, 1.0, -inf, -inf),
        (gx.acos, -1.0, -inf, inf), (gx.acosh, 1.0, inf, -inf), (gx.atanh, 1.0, inf, inf),
        (gx.atanh, -1.0, inf, -inf), (gx.sqrt, 0.0, inf, -inf), (gx.log, 0.0, inf, -inf),
        (gx.log1p, -1.0, inf, -inf),
    ):  # fmt: skip
        assert gradients(f, dtype, point) == ([first], [second]), (f.__name__, point)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_points_of_two_operands(dtype):
    for point in ((0.0, 0.0), (-0.0, 0.0)):
        assert gradients(gx.atan2, dtype, *point)[0] == [0, 0]
        assert gradients(gx.hypot, dtype, *point)[0] == [0, 0]
    for y, x in ((5e-24, 1e-24), (3e20, 4e20), (-3e20, 4e20), (1e-30, 1e-30), (1e30, -1e30)):
        expected = [x / (x * x + y * y), -y / (x * x + y * y)]
        np.testing.assert_allclose(gradients(gx.atan2, dtype, y, x)[0], expected, rtol=1e-6)
    for infinite in (np.inf, -np.inf):
        assert gradients(gx.logaddexp, dtype, infinite, infinite)[0] == [0.5, 0.5]
    assert gradients(gx.logaddexp, dtype, np.inf, 1.0)[0] == [1, 0]
    assert gradients(gx.logaddexp, dtype, 2.0, 2.0) == ([0.5, 0.5], [0.25, 0.25])


def test_float64_has_the_same_room():
    y, x = 3e200, 4e200
    np.testing.assert_allclose(gradients(gx.atan2, "float64", y, x)[0], [1.6e-201, -1.2e-201])
    y, x = 5e-200, 1e-200
    np.testing.assert_allclose(gradients(gx.atan2, "float64", y, x)[0], [1 / 26e-200, -5 / 26e-200])
    np.testing.assert_allclose(gradients(gx.asinh, "float64", 1e200)[0], [1e-200])
    np.testing.assert_allclose(gradients(gx.acosh, "float64", 1e200)[0], [1e-200])
    _, by_y = gradients(gx.divide, "float64", 1e-180, 1e-170)[1]
    np.testing.assert_allclose(by_y, 2 * (1e-180 / 1e-170) / 1e-170 / 1e-170)


def test_the_gradient_of_logsumexp_is_the_softmax():
    """However large the numbers are: in the sum itself they swallow the small ones."""
    for top in (1e5, 1e7, 3e38):
        x = gx.parameter(np.full(3, top, "float32"))
        gradient = gx.grad(gx.logsumexp(x), x)
        second = gx.grad(gradient[0], x)
        found = gx.function([], (gradient, second))()
        np.testing.assert_allclose(found[0], np.full(3, 1 / 3), rtol=1e-6)
        np.testing.assert_allclose(found[1], [2 / 9, -1 / 9, -1 / 9], rtol=1e-5)


def test_the_power_zero_has_no_slope():
    x = gx.parameter(np.array([0.0, 1e-40, -1e-40, 1e-30, 2.0], "float32"))
    y = gx.parameter(np.zeros(5, "float32"))
    np.testing.assert_array_equal(gx.function([], gx.grad(gx.sum(gx.pow(x, y)), x))(), np.zeros(5))


def test_the_interpreter_keeps_the_places_of_gelu_s_tail():
    """``1 + tanh(u)`` is 0 in double precision from u = -19 on; the compiled formula is not."""
    x = gx.input("x", (3,), "float64")
    values = np.array([-6.0, -7.0, -9.0])
    out = gx.gelu(x, approximate="tanh")
    u = np.sqrt(2 / np.pi) * (values + 0.044715 * values**3)
    wanted = values * np.exp(2 * u) / (1 + np.exp(2 * u))
    found = evaluate([out], {x: values}, 1)[out]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    np.testing.assert_allclose(gx.function(x, out)(values), wanted, rtol=1e-12)
