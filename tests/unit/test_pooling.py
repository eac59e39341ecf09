"""Pooling: every option against PyTorch, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc.errors import ArgumentError, ShapeError
from graphc.ir.interpret import evaluate

RNG = np.random.default_rng(0)

MAX = [
    ((9,), 2, {}),
    ((9,), 3, {"stride": 1, "padding": 1}),
    ((8, 7), (3, 2), {"stride": (1, 2), "padding": (1, 0), "dilation": (2, 3)}),
    ((8, 7), 3, {"stride": 2, "padding": 1, "ceil_mode": True}),
    ((5, 5), 2, {"ceil_mode": True}),
    ((7, 6), 2, {"stride": 3, "ceil_mode": True, "padding": 1}),
    ((5, 4, 6), (2, 3, 2), {"stride": (1, 2, 3), "padding": (0, 1, 1)}),
]
MEAN = [
    ((9,), 2, {}),
    ((9,), 3, {"stride": 1, "padding": 1}),
    ((8, 7), (3, 2), {"stride": (1, 2), "padding": (1, 0)}),
    ((8, 7), 3, {"stride": 2, "padding": 1, "count_include_pad": False}),
    ((8, 7), 3, {"stride": 2, "padding": 1, "ceil_mode": True}),
    ((8, 8), 3, {"stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}),
    ((7, 6), 2, {"stride": 3, "ceil_mode": True, "divisor_override": 3}),
    ((5, 4, 6), (2, 3, 2), {"stride": (1, 2, 3), "padding": (0, 1, 1)}),
]
ADAPTIVE = [((9,), 4), ((9,), 3), ((8, 7), (3, None)), ((8, 6), (4, 3)), ((5, 4, 6), (2, 4, 5)),
            ((3, 3), 5), ((4, 4), 1)]  # fmt: skip


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def _compare(torch, ours, theirs, space, channels=3):
    """Compare values, gradients and products of second derivatives with PyTorch's."""
    x = RNG.standard_normal((2, *space, channels))
    sx = gx.input("x", x.shape, "float64")
    y = ours(sx)
    dx = gx.grad(gx.sum(gx.sin(y)), sx)
    second = gx.grad(gx.sum(gx.sin(dx)), sx)
    found = gx.function(sx, [y, dx, second])(x)
    tx = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    ty = theirs(tx)
    (tdx,) = torch.autograd.grad(ty.sin().sum(), tx, create_graph=True)
    (tsecond,) = torch.autograd.grad(tdx.sin().sum(), tx)
    for value, wanted in zip(found, (ty, tdx, tsecond), strict=True):
        wanted = np.moveaxis(wanted.detach().numpy(), 1, -1)
        np.testing.assert_allclose(value, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("space", "window", "given"), MAX, ids=str)
def test_greatest_of_windows_are_pytorchs(torch, space, window, given):
    theirs = getattr(torch.nn.functional, f"max_pool{len(space)}d")
    _compare(
        torch,
        lambda x: gx.max_pool(x, window, **given),
        lambda x: theirs(x, window, **given),
        space,
    )


@pytest.mark.parametrize(("space", "window", "given"), MEAN, ids=str)
def test_means_of_windows_are_pytorchs(torch, space, window, given):
    if len(space) == 1:
        given = {k: v for k, v in given.items() if k != "divisor_override"}
    theirs = getattr(torch.nn.functional, f"avg_pool{len(space)}d")
    _compare(
        torch,
        lambda x: gx.avg_pool(x, window, **given),
        lambda x: theirs(x, window, **given),
        space,
    )


@pytest.mark.parametrize(("space", "size"), ADAPTIVE, ids=str)
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_adaptive_windows_are_pytorchs(torch, space, size, kind):
    theirs = getattr(torch.nn.functional, f"adaptive_{kind}_pool{len(space)}d")
    ours = getattr(gx, f"adaptive_{kind}_pool")
    size_ = size
    if len(space) > 1 and isinstance(size, tuple):
        size_ = tuple(n if m is None else m for n, m in zip(space, size, strict=True))
    _compare(torch, lambda x: ours(x, size), lambda x: theirs(x, size_), space)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0])
def test_norms_of_windows_are_pytorchs(torch, norm_type):
    def positive(pool):
        return lambda x: pool(x * x + 0.5)

    _compare(
        torch, positive(lambda x: gx.lp_pool(x, norm_type, 3, 2)),
        positive(lambda x: torch.nn.functional.lp_pool2d(x, norm_type, 3, 2)), (7, 8),
    )  # fmt: skip


def test_places_are_pytorchs(torch):
    x = RNG.integers(0, 4, (2, 7, 6, 3)).astype("float64")  # with ties
    best, place = gx.max_pool(gx.constant(x), 3, 2, 1, return_indices=True)
    values, places = gx.function([], [best, place])()
    first = torch.tensor(np.moveaxis(x, -1, 1).copy())
    wanted = torch.nn.functional.max_pool2d(first, 3, 2, 1, return_indices=True)
    for found, other in zip((values, places), wanted, strict=True):
        np.testing.assert_array_equal(found, np.moveaxis(other.numpy(), 1, -1))
    _, adaptive = gx.adaptive_max_pool(gx.constant(x), 2, return_indices=True)
    other = torch.nn.functional.adaptive_max_pool2d(first, 2, return_indices=True)[1]
    np.testing.assert_array_equal(gx.function([], adaptive)(), np.moveaxis(other.numpy(), 1, -1))


@pytest.mark.parametrize("window", [3, 5])  # in registers, and in memory
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_of_several_nan_the_last_has_place_and_gradient(torch, dtype, window):
    x = RNG.integers(0, 4, (2, 11, 10, 3)).astype(dtype)
    x[RNG.random(x.shape) < 0.2] = np.nan
    given = gx.input("x", x.shape, dtype)
    best, place = gx.max_pool(given, window, 2, 1, return_indices=True)
    slope = gx.grad(gx.sum(best * gx.cos(gx.astype(place, dtype))), given)
    outputs = [place, slope, gx.adaptive_max_pool(given, 2, return_indices=True)[1]]
    first = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    pool = torch.nn.functional
    other, at = pool.max_pool2d(first, window, 2, 1, return_indices=True)
    (other * torch.cos(at.to(first.dtype))).sum().backward()
    adaptive = pool.adaptive_max_pool2d(first, 2, return_indices=True)[1]
    wanted = [np.moveaxis(t.numpy(), 1, -1) for t in (at, first.grad, adaptive)]
    read = evaluate(outputs, {given: x})
    for found, tensor, w in zip(gx.function(given, outputs)(x), outputs, wanted, strict=True):
        np.testing.assert_allclose(found, w, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(read[tensor], w, rtol=1e-6, atol=1e-6)


def test_of_equal_elements_the_first_has_the_gradient():
    x = gx.input("x", (1, 4, 4, 1))
    dx = gx.function(x, gx.grad(gx.sum(gx.max_pool(x, 2)), x))(np.ones((1, 4, 4, 1), "float32"))
    wanted = np.zeros((4, 4))
    wanted[::2, ::2] = 1
    np.testing.assert_array_equal(dx[0, :, :, 0], wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_nan_and_least_numbers(dtype):
    x = np.full((1, 4, 6, 2), np.iinfo(dtype).min if dtype[0] == "i" else -np.inf, dtype)
    if dtype[0] == "f":
        x[0, 1, 1, 0] = x[0, 2, 5, 1] = np.nan
    y = gx.function([], gx.max_pool(gx.constant(x), 2, padding=1))()
    wide = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=x[0, 0, 0, 0])
    np.testing.assert_array_equal(y, wide.reshape(1, 3, 2, 4, 2, 2).max((2, 4)))


def test_any_batch_and_none():
    x = gx.input("x", (None, 5, 5, 2))
    y = gx.max_pool(x, 2)
    f = gx.function(x, [y, gx.avg_pool(x, 3, 1), gx.grad(gx.sum(y), x)])
    for batch in (3, 1, 0):
        found = f(np.ones((batch, 5, 5, 2), "float32"))
        assert [v.shape for v in found] == [(batch, 2, 2, 2), (batch, 3, 3, 2), (batch, 5, 5, 2)]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_the_images(threads):
    x = RNG.standard_normal((7, 9, 8, 5))
    sx = gx.input("x", (None, 9, 8, 5), "float64")
    y = gx.max_pool(sx, 3, 2)
    with gx.config(threads=threads):
        found = gx.function(sx, [y, gx.grad(gx.sum(gx.sin(y)), sx)])(x)
    with gx.config(threads=1):
        wanted = gx.function(sx, [y, gx.grad(gx.sum(gx.sin(y)), sx)])(x)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: gx.max_pool(x, 2, padding=2), "at most half of the window"),
        (lambda x: gx.max_pool(x, 7), "a window over 7 elements does not fit 5"),
        (lambda x: gx.max_pool(x, (2, 2, 2)), "window has 3 numbers for 2 axes"),
        (lambda x: gx.avg_pool(x, 2, padding="same"), "padding must be numbers"),
        (lambda x: gx.avg_pool(x, 2, divisor_override=0), "must not be 0"),
        (lambda x: gx.adaptive_avg_pool(x, (1, 2, 3)), "output_size has 3 numbers for 2 axes"),
        (lambda x: gx.max_pool(x[0, 0], 2), "with an axis of space"),
    ],
)
def test_what_pooling_refuses(call, said):
    with pytest.raises((ShapeError, ArgumentError), match=said) as error:
        call(gx.input("x", (1, 5, 5, 4)))
    assert "test_pooling.py:" in str(error.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(2, 4, 4, 0), (0, 4, 4, 3)])
def test_of_nothing_nothing_is_pooled(shape):
    x = gx.input("x", shape)
    outputs = [gx.avg_pool(x, 2), gx.max_pool(x, 2), gx.lp_pool(x, 2.0, 2)]
    outputs.append(gx.grad(gx.sum(outputs[0] + outputs[1]), x))
    found = gx.function(x, outputs)(np.zeros(shape, "float32"))
    assert [y.shape for y in found] == [(shape[0], 2, 2, shape[-1])] * 3 + [shape]
