"""Recurrences over images, and linear ones, beside loops in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import nn
from graphc.errors import ArgumentError, ShapeError
from tests.layers import same

RNG = np.random.default_rng(0)
ENDS = np.array([2, 4, 0])


def torch():
    return pytest.importorskip("torch")


def loss_of(outputs, sin):
    return sum((sin(y) * 0.7 + y * y * (0.3 + k)).sum() for k, y in enumerate(outputs))


def arrays(layer):
    return [p.op.cell.array for p in layer.parameters]


# -- images ----------------------------------------------------------------------------------------


def by_torch(layer, value, state, ends):
    """Return outputs, last state and gradients of a ConvLSTM2d, with PyTorch's convolutions."""
    t = torch()
    conv = t.nn.functional.conv2d
    leaves = [t.tensor(a, requires_grad=True) for a in (value, *state, *arrays(layer))]
    x, h, c, w, u, *bias = leaves
    w, u = (a.permute(3, 2, 0, 1) for a in (w, u))
    h, c = h.permute(0, 3, 1, 2), c.permute(0, 3, 1, 2)
    (top, bottom), (left, right) = layer.padding
    half = [k // 2 for k in layer.kernel_size]
    out = []
    for at in range(x.shape[1]):
        image = t.nn.functional.pad(x[:, at].permute(0, 3, 1, 2), (left, right, top, bottom))
        v = conv(image, w, *(bias or [None]), layer.stride, 0, layer.dilation)
        v = v + conv(h, u, None, 1, half)
        i, f, g, o = v.chunk(4, 1)
        cell = f.sigmoid() * c + i.sigmoid() * g.tanh()
        new = o.sigmoid() * cell.tanh()
        there = t.tensor(at < ends).reshape(-1, 1, 1, 1)
        h, c = t.where(there, new, h), t.where(there, cell, c)
        out.append(t.where(there, new, 0.0))
    outputs = [t.stack(out, 1).permute(0, 1, 3, 4, 2), *(s.permute(0, 2, 3, 1) for s in (h, c))]
    grads = t.autograd.grad(loss_of(outputs, t.sin), leaves)
    return [y.detach().numpy() for y in outputs] + [g.numpy() for g in grads]


@pytest.mark.parametrize("ends", [None, ENDS])
@pytest.mark.parametrize(
    "options",
    [
        (3,),
        ((1, 3), (2, 1), ((0, 1), 1)),
        ((3, 5), 1, "valid", (2, 1), False),
    ],
)
def test_recurrences_of_images_are_loops_of_convolutions(options, ends):
    layer = nn.ConvLSTM2d(2, 3, *options, dtype="float64")
    value = RNG.standard_normal((3, 4, 6, 7, 2))
    x = gx.input("x", (3, 4, 6, 7, 2), "float64")
    space = layer(x)[0].shape[2:4]
    begin = RNG.standard_normal((2, 3, *space, 3))
    h, c = (gx.input(n, begin[0].shape, "float64") for n in "hc")
    y, (last, cell) = layer(x, (h, c), None if ends is None else gx.constant(ends))
    outputs = [y, last, cell]
    grads = gx.grad(loss_of(outputs, gx.sin), [x, h, c, *layer.parameters])
    found = gx.function([x, h, c], [*outputs, *grads])(value, *begin)
    wanted = by_torch(layer, value, begin, np.full(3, 4) if ends is None else ends)
    for number, (a, b) in enumerate(zip(found, wanted, strict=True)):
        same(a, b, f"result {number}")


def test_recurrences_of_images_with_open_sizes_and_without_a_batch():
    layer = nn.ConvLSTM2d(2, 3, 3, dtype="float64")
    value = RNG.standard_normal((2, 4, 6, 7, 2))
    x = gx.input("x", (None, "time", 6, 7, 2), "float64")
    y, state = layer(x)
    assert y.shape == (*x.shape[:-1], 3)
    found = gx.function(x, [y, *state])(value)
    one = gx.input("one", (4, 6, 7, 2), "float64")
    alone, last = layer(one)
    for number in range(2):
        single = gx.function(one, [alone, *last])(value[number])
        for a, b in zip(found, single, strict=True):
            same(a[number], b, "without a batch")
    with pytest.raises(ArgumentError, match="kernel_size must be odd"):
        nn.ConvLSTM2d(2, 3, 4)
    with pytest.raises(
        ShapeError, match=r"ConvLSTM2d\(2, 3\) needs images of axes \(N, T, H, W, 2"
    ):
        layer(gx.input("x", (None, 6, 7, 3)))


# -- linear ones -----------------------------------------------------------------------------------


def linear_by_torch(layer, value, state, ends):
    """Return outputs, last state and gradients of an LRU, with PyTorch's complex numbers."""
    t = torch()
    leaves = [t.tensor(a, requires_grad=True) for a in (value, *state, *arrays(layer))]
    x, real, imaginary, nu, theta, into, out, skip = leaves
    a = t.exp(t.complex(-nu.exp(), theta.exp()))
    scale = (1 - a.abs() ** 2).sqrt()
    b, c = (t.complex(m[: len(m) // 2], m[len(m) // 2 :]) for m in (into.T, out))
    s, ys = t.complex(real, imaginary), []
    for at in range(x.shape[1]):
        there = t.tensor(at < ends).reshape(-1, 1)
        s = t.where(there, a * s + scale * (x[:, at].to(b.dtype) @ b.T), s)
        ys.append(t.where(there, s.real @ c.real + s.imag @ c.imag + skip * x[:, at], 0.0))
    outputs = [t.stack(ys, 1), s.real, s.imag]
    grads = t.autograd.grad(loss_of(outputs, t.sin), leaves)
    return [y.detach().numpy() for y in outputs] + [g.numpy() for g in grads]


@pytest.mark.parametrize("length", [7, "time"])
@pytest.mark.parametrize("ends", [None, ENDS])
def test_linear_recurrences_are_those_of_complex_numbers(ends, length):
    layer = nn.LRU(3, 4, 0.4, 0.9, dtype="float64")
    value, begin = RNG.standard_normal((3, 7, 3)), RNG.standard_normal((2, 3, 4))
    x = gx.input("x", (3, length, 3), "float64")
    states = [gx.input(n, (3, 4), "float64") for n in "ri"]
    y, last = layer(x, tuple(states), None if ends is None else gx.constant(ends))
    grads = gx.grad(loss_of([y, *last], gx.sin), [x, *states, *layer.parameters])
    found = gx.function([x, *states], [y, *last, *grads])(value, *begin)
    wanted = linear_by_torch(layer, value, begin, np.full(3, 7) if ends is None else ends)
    for number, (a, b) in enumerate(zip(found, wanted, strict=True)):
        same(a, b, f"result {number}")


def test_what_ends_behind_the_last_step_has_the_last_state():
    layer = nn.LRU(3, 4)
    x = gx.input("x", (3, 4, 3))
    whole, beyond = (layer(x, lengths=gx.constant(np.array(n))) for n in ([4, 2, 4], [5, 2, 99]))
    found = gx.function(x, [*whole[1], *beyond[1]])(RNG.standard_normal((3, 4, 3)))
    np.testing.assert_array_equal(found[:2], found[2:])


def test_linear_recurrences_start_in_a_ring_and_have_no_end_of_memory():
    layer = nn.LRU(2, 500, 0.9, 0.99, max_phase=0.5)
    nu, theta = arrays(layer)[:2]
    radius = np.exp(-np.exp(nu.astype(float)))
    assert 0.9 <= radius.min() < radius.max() <= 0.99
    assert 0.0 < np.exp(theta).min() < np.exp(theta).max() <= 0.5
    x = gx.input("x", (64, 2))
    y, (real, imaginary) = layer(x)
    found = gx.function(x, [y, real, imaginary])(np.ones((64, 2)))
    assert [a.shape for a in found] == [(64, 2), (500,), (500,)]
    assert all(np.isfinite(a).all() for a in found)
    for arguments in ((2, 3, 0.5, 0.5), (2, 3, -0.1, 1.0), (2, 3, 0.0, 1.1), (2, 3, 0.0, 1.0, 7.0)):
        with pytest.raises(ArgumentError, match=r"LRU: the ring must be 0 <= r_min < r_max <= 1"):
            nn.LRU(*arguments)
    with pytest.raises(ShapeError, match=r"LRU\(2, 500\) needs sequences of axes"):
        layer(gx.input("x", (64, 3)))


def test_linear_recurrences_do_not_look_behind_the_end():
    layer = nn.LRU(3, 4)
    x = gx.input("x", (3, 7, 3))
    y, last = layer(x, lengths=gx.constant(ENDS))
    f = gx.function(x, [y, *last, *gx.grad(loss_of([y, *last], gx.sin), [x, *layer.parameters])])
    value = RNG.standard_normal((3, 7, 3)).astype("float32")
    spoiled = np.where(np.arange(7)[:, None] < ENDS[:, None, None], value, np.nan)
    for a, b in zip(f(value), f(spoiled), strict=True):
        np.testing.assert_array_equal(a, b)
