"""Values and derivatives at kinks, ends and special points: those of PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.autodiff.adjoint import vjp
from graphc.ir.op import ENTRIES
from graphc.ir.source import input as declare
from tests.ops.harness import run

torch = pytest.importorskip("torch")
F = torch.nn.functional

NAN, INF = np.nan, np.inf
KINKS = [-7.0, -6.0, -3.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 3.0, 6.0, 7.0]
WIDE = [-1e4, -100.0, -40.0, -20.0, -1.0, -1e-9, 0.0, 1e-9, 1.0, 20.0, 40.0, 100.0, 1e4, NAN]


def ours(name, *points, dtype="float64", order=2, **kwargs):
    """Return the value, and the derivatives by every operand up to ``order``."""
    arrays = [np.asarray(p, dtype) for p in points]
    ins = [declare(f"x{i}", a.shape, dtype) for i, a in enumerate(arrays)]
    out = ENTRIES[name].function(*ins, **kwargs)
    results = [out]
    for _ in range(order):
        total = [np.ones(out.shape, dtype)]
        grads = vjp([out], ins, total, unconnected="zero")
        results += grads
        out = grads[0]
    return run(results, dict(zip(ins, arrays, strict=True)))


def theirs(f, *points, order=2):
    """Return what PyTorch gives."""
    ins = [torch.tensor(np.asarray(p, "float64"), requires_grad=True) for p in points]
    out = f(*ins)
    results = [out]
    for _ in range(order):
        if not out.requires_grad:
            grads = [torch.zeros_like(x) for x in ins]
        else:
            grads = torch.autograd.grad(out, ins, torch.ones_like(out), create_graph=True,
                                        allow_unused=True)  # fmt: skip
            grads = [torch.zeros_like(x) if g is None else g
                     for g, x in zip(grads, ins, strict=True)]  # fmt: skip
        results += grads
        out = grads[0]
    return [r.numpy(force=True) for r in results]


def agree(name, f, *points, order=2, overflows=False, rtol=1e-10, **kwargs):
    """Compare; ``overflows`` says that PyTorch's formula does, where ours must be finite."""
    mine, wanted = ours(name, *points, order=order, **kwargs), theirs(f, *points, order=order)
    parts = ["value"] + [f"derivative {1 + i // len(points)} by {i % len(points)}"
                         for i in range(order * len(points))]  # fmt: skip
    for part, a, b in zip(parts, mine, wanted, strict=True):
        if overflows:
            lost = np.isnan(b) & ~np.isnan(np.sum(points, axis=0))
            assert np.isfinite(a[lost]).all(), f"{name}: {part}"
            b = np.where(lost, a, b)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12, err_msg=f"{name}: {part}")


@pytest.mark.parametrize(
    ("name", "f", "kwargs"),
    [
        ("relu", F.relu, {}),
        ("relu6", F.relu6, {}),
        ("hardtanh", F.hardtanh, {}),
        ("leaky_relu", F.leaky_relu, {}),
        ("leaky_relu", lambda x: F.leaky_relu(x, 0.3), {"negative_slope": 0.3}),
        ("leaky_relu", lambda x: F.leaky_relu(x, -0.3), {"negative_slope": -0.3}),
        ("elu", F.elu, {}),
        ("elu", lambda x: F.elu(x, 0.7), {"alpha": 0.7}),
        ("celu", lambda x: F.celu(x, 0.5), {"alpha": 0.5}),
        ("selu", F.selu, {}),
        ("softsign", F.softsign, {}),
        ("clip", lambda x: torch.clamp(x, -1.0, 3.0), {"min": -1.0, "max": 3.0}),
        ("clip", lambda x: torch.clamp(x, max=0.5), {"max": 0.5}),
        ("clip", lambda x: torch.clamp(x, min=-0.5), {"min": -0.5}),
        ("abs", torch.abs, {}),
        ("sign", torch.sign, {}),
        ("floor", torch.floor, {}),
        ("round", torch.round, {}),
        ("square", torch.square, {}),
    ],
)
def test_kinks(name, f, kwargs):
    # the second derivative of the exponential units at 0 is ours from the left, PyTorch's is 0
    # at a bound of clip, PyTorch's derivative is 1 or 0, by its version
    points = [x for x in KINKS if name != "clip" or x not in kwargs.values()]
    agree(name, f, points, order=1 if name in ("elu", "celu", "selu") else 2, **kwargs)
    assert np.isnan(ours(name, [NAN], order=0, **kwargs)[0]).all()


def test_hard_functions_at_their_kinks():
    points = [-5.0, -3.0, -1.0, 0.0, 1.0, 3.0, 5.0]
    agree("hard_sigmoid", F.hardsigmoid, points, order=1, rtol=1e-7)  # its 1 / 6 is a float32
    agree("hard_swish", F.hardswish, points, order=1, rtol=1e-7)


@pytest.mark.parametrize(
    ("name", "f"),
    [
        ("sigmoid", torch.sigmoid),
        ("softplus", lambda x: torch.logaddexp(x, torch.zeros_like(x))),
        ("log_sigmoid", F.logsigmoid),
        ("silu", F.silu),
        ("gelu", F.gelu),
        ("mish", F.mish),
        ("tanh", torch.tanh),
        ("erf", torch.erf),
        ("atan", torch.atan),
        ("asinh", torch.asinh),
    ],
)
def test_far_out(name, f):
    agree(name, f, WIDE, overflows=name in ("softplus", "mish"))


def test_gelu_in_tanh():
    agree("gelu", lambda x: F.gelu(x, approximate="tanh"), WIDE, approximate="tanh")


@pytest.mark.parametrize(
    ("name", "f", "points"),
    [
        ("sqrt", torch.sqrt, [0.0, 1e-300, 1.0, INF, -1.0, NAN]),
        ("rsqrt", torch.rsqrt, [0.0, 1e-3, 1.0, INF, -1.0, NAN]),
        ("log", torch.log, [0.0, 1e-3, 1.0, INF, NAN]),
        ("log2", torch.log2, [0.0, 1e-3, 1.0, INF, NAN]),
        ("log10", torch.log10, [0.0, 1e-3, 1.0, INF, NAN]),
        ("log1p", torch.log1p, [-1.0, -0.5, 1e-9, INF, NAN]),
        ("exp", torch.exp, [-1e4, -1.0, 0.0, 1e4, INF, -INF, NAN]),
        ("expm1", torch.expm1, [-1e4, -1.0, 1e-9, 1e4, INF, NAN]),
        ("exp2", torch.exp2, [-1e4, -1.0, 0.0, 1e4, NAN]),
        ("asin", torch.asin, [-1.0, 0.0, 1.0, 2.0, NAN]),
        ("acos", torch.acos, [-1.0, 0.0, 1.0, 2.0, NAN]),
        ("acosh", torch.acosh, [1.0, 2.0, 0.5, NAN]),
        ("atanh", torch.atanh, [-1.0, 0.0, 1.0, 2.0, NAN]),
        ("reciprocal", torch.reciprocal, [0.0, 1.0, -2.0, INF, NAN]),
    ],
)
def test_ends(name, f, points):
    agree(name, f, points, order=1)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_ties_are_shared(name):
    x, y = [1.0, 2.0, 3.0, -0.0, 1.0], [2.0, 2.0, 1.0, 0.0, -INF]
    agree(name, getattr(torch, name), x, y)
    both = ours(name, [2.0], [2.0], order=1)
    assert [float(v[0]) for v in both] == [2.0, 0.5, 0.5]


def test_bounds_that_are_tensors():
    agree("clip", torch.clamp, [-2.0, 0.0, 2.0, 1.0], [-1.0, -1.0, -1.0, 3.0],
          [1.0, 1.0, 1.0, 2.0], order=1)  # fmt: skip


def test_powers():
    base = [0.0, 0.0, 0.0, -2.0, -2.0, 3.0, 0.0]
    exponent = [0.0, 1.0, 2.0, 2.0, 3.0, -1.5, 0.5]
    mine, wanted = ours("pow", base, exponent, order=1), theirs(torch.pow, base, exponent, order=1)
    for a, b in zip(mine, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, -1, -2, 2.0])
def test_constant_powers_at_zero(exponent):
    points = [-2.0, -1.0, 0.0, 1.0, 2.0] if exponent >= 0 else [-2.0, 1.0, 2.0]
    agree("pow", lambda x: torch.pow(x, exponent), points, y=exponent)


def test_pairs():
    x, y = [-2.0, 1.0, 0.5, -1e3, 800.0], [1.0, -3.0, 0.5, 0.0, 0.0]
    agree("logaddexp", torch.logaddexp, x, y, overflows=True)
    agree("hypot", torch.hypot, x, y)
    agree("atan2", torch.atan2, x, y)
    agree("remainder", torch.remainder, [5.0, -5.0, 5.5, -0.5], [3.0, 3.0, -2.0, 2.0])
    agree("copysign", torch.copysign, [-2.0, 0.0, 3.0], [1.0, -1.0, -2.0], order=1)


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "log_sigmoid", "silu", "gelu", "mish",
                                  "tanh", "erf", "elu", "selu", "celu"])  # fmt: skip
def test_no_overflow_in_single_precision(name):
    points = [-3e4, -1e3, -104.0, -88.0, -20.0, 0.0, 20.0, 88.0, 104.0, 1e3, 3e4]
    narrow, wide = ours(name, points, dtype="float32"), ours(name, points)
    for a, b in zip(narrow, wide, strict=True):
        assert np.isfinite(a).all(), (name, a)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)
