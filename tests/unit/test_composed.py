"""Functions made of others: every option against PyTorch, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import nn
from graphc.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def compare(torch, ours, theirs, *arrays):
    """Compare values, gradients and products of second derivatives with PyTorch's."""
    ins = [gx.input(f"x{k}", a.shape, "float64") for k, a in enumerate(arrays)]
    y = ours(*ins)
    first = gx.grad(gx.sum(gx.sin(y)), ins)
    second = gx.grad(sum(gx.sum(gx.sin(g)) for g in first), ins)
    found = gx.function(ins, [y, *first, *second])(*arrays)
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    ty = theirs(*ts)
    firsts = torch.autograd.grad(ty.sin().sum(), ts, create_graph=True)
    seconds = torch.autograd.grad(sum(g.sin().sum() for g in firsts), ts)
    for value, wanted in zip(found, (ty, *firsts, *seconds), strict=True):
        np.testing.assert_allclose(value, wanted.detach().numpy(), rtol=1e-10, atol=1e-10)


X = RNG.uniform(-2.0, 2.0, (3, 4, 6))
X.flat[:3] = 0.5, -0.5, 0.0  # kinks

ACTIVATIONS = [
    ("glu", {}, {}), ("glu", {"axis": 1}, {"dim": 1}),
    ("hardshrink", {}, {}), ("hardshrink", {"lambd": 1.0}, {"lambd": 1.0}),
    ("softshrink", {}, {}), ("softshrink", {"lambd": 1.0}, {"lambd": 1.0}),
    ("tanhshrink", {}, {}),
    ("threshold", {"threshold": 0.5, "value": -3.0}, {"threshold": 0.5, "value": -3.0}),
    ("normalize", {"axis": 1}, {}), ("normalize", {}, {"dim": -1}),
    ("normalize", {"p": 1.0, "axis": 0}, {"p": 1.0, "dim": 0}),
    ("normalize", {"p": 3.0, "eps": 2.0}, {"p": 3.0, "eps": 2.0, "dim": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "theirs"), ACTIVATIONS, ids=str)
def test_activations_and_normalize_are_pytorchs(torch, name, given, theirs):
    f = getattr(torch.nn.functional, name)
    compare(torch, lambda x: getattr(gx, name)(x, **given), lambda t: f(t, **theirs), X)


def test_prelu_is_pytorchs_with_channels_last(torch):
    for weight in (np.array([0.25]), RNG.standard_normal(6)):
        x = np.where(X == 0, 0.1, X)  # where PyTorch's second derivative is not of its first
        f = torch.prelu
        compare(torch, gx.prelu, lambda t, w: f(t.mT, w).mT, x, weight)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_local_response_norm_is_pytorchs_with_channels_last(torch, size):
    for given in ({}, {"alpha": 0.5, "beta": 0.6, "k": 2.0}):
        f = torch.nn.functional.local_response_norm
        compare(torch, lambda x: gx.local_response_norm(x, size, **given),
                lambda t: f(t.movedim(-1, 1), size, **given).movedim(1, -1), X)  # fmt: skip


def test_products_and_interpolation_are_pytorchs(torch):
    a, b, w = RNG.standard_normal((3, 4, 3))
    compare(torch, gx.cross, torch.linalg.cross, a, b)
    compare(torch, gx.kron, torch.kron, a, b[:2, :2])
    compare(torch, gx.lerp, torch.lerp, a, b, w)
    at = np.cumsum(RNG.uniform(0.1, 1.0, 4))
    compare(torch, lambda y, x: gx.trapezoid(y, x, axis=0),
            lambda y, x: torch.trapezoid(y, x, dim=0), a, at)  # fmt: skip
    compare(torch, lambda y: gx.trapezoid(y, dx=0.3), lambda y: torch.trapezoid(y, dx=0.3), a)


def test_losses_of_images_are_pytorchs(torch):
    labels = RNG.integers(0, 5, (2, 3, 4))
    logits, weight = RNG.standard_normal((2, 3, 4, 5)), RNG.uniform(0.5, 2.0, 5)
    labels[0, 0] = 4
    t = torch.tensor(labels)
    for given in ({}, {"ignore_index": 4}, {"reduction": "sum"}, {"reduction": "none"}):
        compare(torch, lambda x: nn.cross_entropy(x, labels, weight=weight, **given),
                lambda x: torch.nn.functional.cross_entropy(
                    x.movedim(-1, 1), t, torch.tensor(weight), **given), logits)  # fmt: skip
        compare(torch, lambda x: nn.nll_loss(gx.log_softmax(x), labels, **given),
                lambda x: torch.nn.functional.nll_loss(
                    x.movedim(-1, 1).log_softmax(1), t, **given), logits)  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: gx.prelu(x, np.ones(2)), ShapeError, "each of the 3 channels"),
        (lambda x: gx.glu(x), ShapeError, "even length"),
        (lambda x: gx.softshrink(x, -1.0), ArgumentError, "must not be negative"),
        (lambda x: gx.cross(x, x[:, :2]), ShapeError, "needs 3 elements"),
        (lambda x: gx.trapezoid(x, np.ones(2)), ShapeError, "axis"),
        (lambda x: gx.local_response_norm(x, 0), ArgumentError, "positive integer"),
        (lambda x: gx.polygamma(-1, x), ArgumentError, "not negative"),
    ],
)  # fmt: skip
def test_what_cannot_be_says_so_at_the_users_line(call, error, words):
    with pytest.raises(error, match=words) as raised:
        call(gx.input("x", (2, 3)))
    assert "test_composed.py" in str(raised.value)
