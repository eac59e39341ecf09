"""Convolutions: every option against PyTorch, what they compile to, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc.errors import ArgumentError, ShapeError
from graphc.ir.tensor import apply
from graphc.ops.interleave import Interleave

RNG = np.random.default_rng(0)

CASES = [
    # space, window, channels, out, arguments
    ((9,), (3,), 2, 3, {}),
    ((9,), (4,), 3, 2, {"stride": 3, "padding": 2, "dilation": 2}),
    ((8, 7), (3, 2), 3, 4, {"stride": (2, 1), "padding": (1, 0)}),
    ((8, 7), (3, 3), 4, 6, {"groups": 2, "padding": 1, "stride": 2}),
    ((8, 7), (3, 3), 4, 8, {"groups": 4, "padding": 2, "stride": 2, "dilation": (1, 2)}),
    ((8, 7), (2, 3), 6, 3, {"groups": 3, "stride": 3}),
    ((8, 8), (1, 1), 3, 5, {"stride": 2}),
    ((5, 5), (5, 5), 2, 3, {}),
    ((6, 5), (3, 4), 2, 3, {"padding": "same", "dilation": (2, 1)}),
    ((6, 5), (3, 3), 2, 3, {"padding": 3}),
    ((7, 7), (2, 2), 1, 2, {"stride": 4, "dilation": 3}),
    ((4, 5, 6), (2, 3, 2), 2, 4, {"stride": (1, 2, 3), "padding": (0, 1, 1), "groups": 2}),
]


def _operands(space, window, c, o, given, transposed=False):
    x = RNG.standard_normal((2, *space, c))
    return x, RNG.standard_normal((*window, c // given.get("groups", 1), o))


def _channels_first(torch, x):
    return torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)


def _agree(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)


def _compare(torch, ours, theirs, x, w, kernel_axes):
    """Compare values, gradients and products of second derivatives with PyTorch's."""
    sx, sw = gx.input("x", x.shape, "float64"), gx.input("w", w.shape, "float64")
    y = ours(sx, sw)
    loss = gx.sum(gx.sin(y))
    dx, dw = gx.grad(loss, [sx, sw])
    second = gx.grad(gx.sum(gx.sin(dx)) + gx.sum(gx.cos(dw)), [sx, sw])
    found = gx.function([sx, sw], [y, dx, dw, *second])(x, w)
    tx, tw = _channels_first(torch, x), torch.tensor(w, requires_grad=True)
    ty = theirs(tx, tw.permute(*kernel_axes))
    tdx, tdw = torch.autograd.grad(ty.sin().sum(), [tx, tw], create_graph=True)
    tsecond = torch.autograd.grad(tdx.sin().sum() + tdw.cos().sum(), [tx, tw])
    for value, wanted in zip(found, (ty, tdx, tdw, *tsecond), strict=True):
        wanted = wanted.detach().numpy()
        _agree(value, wanted if wanted.shape == w.shape else np.moveaxis(wanted, 1, -1))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_convolution_is_pytorchs(case):
    torch = pytest.importorskip("torch")
    space, _, _, _, given = case
    x, w = _operands(*case)
    rank = len(space)
    theirs = getattr(torch.nn.functional, f"conv{rank}d")
    axes = (rank + 1, rank, *range(rank))
    _compare(
        torch, lambda x, w: gx.conv(x, w, **given), lambda x, w: theirs(x, w, **given), x, w, axes
    )


TRANSPOSED = [
    ((5,), (3,), 2, 3, {}),
    ((5,), (4,), 3, 2, {"stride": 3, "padding": 2, "dilation": 2, "output_padding": 1}),
    ((4, 3), (3, 2), 3, 4, {"stride": (2, 1), "padding": (1, 0), "output_padding": (1, 0)}),
    ((4, 3), (3, 3), 4, 6, {"groups": 2, "padding": 1, "stride": 2}),
    ((4, 3), (2, 2), 4, 4, {"groups": 4, "stride": 3}),
    ((3, 3), (1, 1), 3, 5, {"stride": 2}),
    ((2, 3, 2), (2, 3, 2), 2, 4, {"stride": (1, 2, 3), "padding": (0, 1, 1), "groups": 2}),
]


@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_a_transposed_convolution_is_pytorchs(case):
    torch = pytest.importorskip("torch")
    space, window, c, o, given = case
    rank, groups = len(space), given.get("groups", 1)
    x, w = _operands(*case)
    theirs = getattr(torch.nn.functional, f"conv_transpose{rank}d")

    def kernel(w):
        """Theirs is (in, out // groups, *window)."""
        parts = w.reshape(groups, o // groups, c // groups, *window)
        return parts.transpose(1, 2).reshape(c, o // groups, *window)

    _compare(
        torch, lambda x, w: gx.conv_transpose(x, w, **given),
        lambda x, w: theirs(x, kernel(w), **given), x, w, (rank + 1, rank, *range(rank)),
    )  # fmt: skip


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_transposed_convolution_is_the_gradient_of_a_convolution(stride):
    x, w = gx.input("x", (2, 9, 8, 3), "float64"), gx.input("w", (3, 2, 3, 4), "float64")
    y = gx.conv(x, w, stride=stride, padding=1)
    g = gx.input("g", y.shape, "float64")
    (dx,) = gx.vjp([y], [x], [g])
    extra = tuple((n + 2 - k) % stride for n, k in zip((9, 8), (3, 2), strict=True))
    turned = gx.permute_dims(w, (0, 1, 3, 2))
    back = gx.conv_transpose(g, turned, stride=stride, padding=1, output_padding=extra)
    G, W = RNG.standard_normal(y.shape), RNG.standard_normal((3, 2, 3, 4))
    _agree(*gx.function([g, w], [dx, back])(G, W))


def test_no_window_is_copied():
    """Memory of a step is that of its results: windows would take nine times the image."""
    x, w = gx.input("x", (None, 32, 32, 16)), gx.parameter(np.ones((3, 3, 16, 16), "float32"))
    loss = gx.sum(gx.conv(x, w, padding=1) ** 2)
    f = gx.function(x, gx.grad(loss, [x, w]))
    f(np.ones((8, 32, 32, 16), "float32"))
    image = 8 * 34 * 34 * 16 * 4
    assert f.report.arena_bytes < 4.5 * image
    assert sum(k.name.startswith("contract") for k in f.report.kernels) == 3


def test_what_needs_no_padding_is_not_copied():
    x, w = gx.input("x", (4, 12, 12, 16)), gx.parameter(np.ones((3, 3, 16, 16), "float32"))
    kernels = gx.function(x, gx.conv(x, w, stride=2)).report.kernels
    assert [k.computes for k in kernels if "matmul" not in k.computes] == []
    pointwise = gx.function(x, gx.conv(x, w[:1, :1])).report.kernels
    assert len(pointwise) <= 2  # and the part of the kernel


def test_zeros_between_elements_are_not_multiplied():
    """Each of the four phases of a stride of 2 meets its own taps: 9 of 36."""
    x, w = gx.input("x", (2, 8, 8, 4)), gx.input("w", (3, 3, 4, 5))
    y = gx.conv_transpose(x, w, stride=2, padding=1, output_padding=1)
    f = gx.function([x, w], y)
    own = sum(n.op.flops(n.type, *(i.type for i in n.inputs)) for n in f.optimized_graph)
    assert own == 2 * 8 * 8 * 9 * 4 * 5 * 2


@pytest.mark.parametrize("places", [((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)), ((1, 1),)])
def test_what_is_interleaved(places):
    """The op that phases come together by, with its derivatives; what no operand fills is zero."""
    shape, steps = (5, 4), (2, 3)
    shapes = [tuple(-(-(n - p) // s) for n, p, s in zip(shape, place, steps, strict=True))
              for place in places]  # fmt: skip
    inputs = [gx.input(f"x{i}", s, "float64") for i, s in enumerate(shapes)]
    out = apply(Interleave(steps, places, shape), *inputs)
    arrays = [RNG.standard_normal(s) for s in shapes]
    wanted = np.zeros(shape)
    for (row, column), array in zip(places, arrays, strict=True):
        wanted[row::2, column::3] = array
    np.testing.assert_array_equal(gx.function(inputs, out)(*arrays), wanted)
    np.testing.assert_array_equal(out.op.numpy(*arrays), wanted)
    feeds = dict(zip(inputs, arrays, strict=True))
    gx.check_grads(gx.sum(gx.sin(out)), inputs, feeds)
    tangent = gx.jvp(gx.sum(gx.sin(out)), inputs[:1], [gx.constant(np.ones(shapes[0]))])
    (row, column), *_ = places
    slope = gx.function(inputs, tangent)(*arrays)
    np.testing.assert_allclose(slope, np.cos(wanted[row::2, column::3]).sum(), rtol=1e-12)


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 1), (1, "same"), (2, 0), (2, 1)])
def test_lengths_may_be_open(stride, padding):
    """One binary serves any height; the gradient has the image's."""
    w = gx.parameter(RNG.standard_normal((3, 3, 2, 3)))
    outputs = []
    for height in ("height", 11):
        x = gx.input("x", (None, height, 6, 2), "float64")
        loss = gx.sum(gx.sin(gx.conv(x, w, stride=stride, padding=padding)))
        dx = gx.grad(loss, x)
        outputs.append(gx.function(x, [loss, dx, gx.grad(gx.sum(dx**2), x)]))
    open_, fixed = outputs
    for height in (11, 7, 11):
        X = RNG.standard_normal((3, height, 6, 2))
        found = open_(X)
        assert found[1].shape == X.shape
        if height == 11:
            for a, b in zip(found, fixed(X), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12)


def test_an_empty_batch():
    x, w = gx.input("x", (None, 5, 5, 2)), gx.parameter(np.ones((3, 3, 2, 4), "float32"))
    y = gx.conv(x, w)
    f = gx.function(x, [y, *gx.grad(gx.sum(y), [x, w])])
    y, dx, dw = f(np.ones((0, 5, 5, 2), "float32"))
    assert y.shape == (0, 3, 3, 4)
    assert dx.shape == (0, 5, 5, 2)
    assert not dw.any()


@pytest.mark.parametrize(
    ("shape", "kernel", "given", "said"),
    [
        ((1, 5, 5, 4), (3, 3, 3, 8), {}, "takes 3 channels.* which has 4"),
        ((1, 5, 5, 4), (3, 3, 2, 3), {"groups": 2}, "3 results do not divide into 2 groups"),
        ((1, 5, 5, 4), (3, 3, 4, 3), {"groups": 0}, "groups must be a positive integer"),
        ((1, 2, 5, 4), (3, 3, 4, 3), {}, "a window over 3 elements does not fit 2"),
        ((1, 5, 5, 4), (3, 4, 3), {}, "of as many axes"),
        ((1, 5, 5, 4), (3, 3, 4, 3), {"stride": 0}, "stride must be at least 1"),
        ((1, 5, 5, 4), (3, 3, 4, 3), {"padding": -1}, "padding must be at least 0"),
        ((1, 5, 5, 4), (3, 3, 4, 3), {"stride": (1, 2, 3)}, "stride has 3 numbers for 2 axes"),
        ((1, 5, 5, 4), (3, 3, 4, 3), {"padding": "full"}, "not 'full'"),
        ((1, 5, 5, 4), (3, 3, 4, 3), {"padding": "same", "stride": 2}, "stride of 1"),
    ],
)  # fmt: skip
def test_what_a_convolution_refuses(shape, kernel, given, said):
    x, w = gx.input("x", shape), gx.input("w", kernel)
    with pytest.raises((ShapeError, ArgumentError), match=said) as error:
        gx.conv(x, w, **given)
    assert "test_convolution.py:" in str(error.value)


def test_what_a_transposed_convolution_refuses():
    x, w = gx.input("x", (1, 5, 5, 4)), gx.input("w", (3, 3, 4, 3))
    with pytest.raises(ArgumentError, match="smaller than either the stride or the dilation"):
        gx.conv_transpose(x, w, stride=2, output_padding=2)
    with pytest.raises(ArgumentError, match="padding must be numbers"):
        gx.conv_transpose(x, w, padding="same")
    with pytest.raises(ShapeError, match="leaves no element"):
        gx.conv_transpose(gx.input("z", (1, 1, 1, 4)), w, padding=2)
