"""Scatters: equal places, derivatives beside PyTorch's and finite differences, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc.errors import IndexingError, ShapeError

RNG = np.random.default_rng(0)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def test_of_equal_places_the_last_stays_and_has_the_derivative():
    x, u = gx.input("x", (4,), "float64"), gx.input("u", (3,), "float64")
    y = gx.scatter(x, np.array([1, 3, 1]), u)
    dx, du = gx.grad(gx.sum(y * np.arange(1.0, 5.0)), [x, u])
    value, dx, du = gx.function([x, u], (y, dx, du))([1.0, 2.0, 3.0, 4.0], [7.0, 8.0, 9.0])
    assert value.tolist() == [1.0, 9.0, 3.0, 8.0]
    assert dx.tolist() == [1.0, 0.0, 3.0, 0.0]
    assert du.tolist() == [0.0, 4.0, 2.0]


def _torchs(torch, f, *arrays):
    ins = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = f(*ins)
    first = torch.autograd.grad(y.sin().sum(), ins, create_graph=True)
    second = torch.autograd.grad(sum(g.sin().sum() for g in first), ins)
    return [v.detach().numpy() for v in (y, *first, *second)]


def _ours(f, *arrays):
    ins = [gx.input(f"x{k}", a.shape, "float64") for k, a in enumerate(arrays)]
    y = f(*ins)
    first = gx.grad(gx.sum(gx.sin(y)), ins)
    second = gx.grad(sum(gx.sum(gx.sin(g)) for g in first), ins)
    return gx.function(ins, [y, *first, *second])(*arrays)


PLACES = np.array([[2, 0, 2, 1], [0, 0, 1, 2], [2, 1, 1, 1]])
ONCE = np.array([[2, 0, 4, 1], [0, 3, 1, 2], [4, 1, 0, 3]])


def test_values_and_derivatives_are_pytorchs(torch):
    x, u = RNG.standard_normal((3, 5)), RNG.standard_normal((3, 4))
    x[0, 2] = u[0, 0] = u[0, 2] = 5.0  # equal extremes share
    places, once = torch.tensor(PLACES), torch.tensor(ONCE)
    rows, order = RNG.standard_normal((3, 5)), np.array([2, 0, 2])
    for ours, theirs, arrays in (
        (lambda x, u: gx.scatter(x, ONCE, u), lambda x, u: x.scatter(1, once, u), (x, u)),
        (lambda x, u: gx.scatter_add(x, PLACES, u, 1),
         lambda x, u: x.scatter_add(1, places, u), (x, u)),
        (lambda x, u: gx.scatter_max(x, PLACES, u),
         lambda x, u: x.scatter_reduce(1, places, u, "amax"), (x, u)),
        (lambda x, u: gx.scatter_min(x, PLACES, u),
         lambda x, u: x.scatter_reduce(1, places, u, "amin"), (x, u)),
        (lambda x, u: gx.index_add(x, order, u, alpha=-2.5),
         lambda x, u: x.index_add(0, torch.tensor(order), u, alpha=-2.5), (x, rows)),
    ):  # fmt: skip
        for a, b in zip(_ours(ours, *arrays), _torchs(torch, theirs, *arrays), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lines_of_any_axis_whatever_the_threads(axis):
    x = RNG.standard_normal((7, 6, 5)).astype("float32")
    shape = [*x.shape[:axis], 30, *x.shape[axis + 1 :]]
    places = RNG.integers(-x.shape[axis], x.shape[axis], shape)
    updates = RNG.standard_normal(shape).astype("float32")
    wanted = x.copy()
    np.put_along_axis(wanted, places, updates, axis)
    for threads in (1, 2):
        with gx.config(threads=threads):
            ins = gx.input("x", x.shape), gx.input("i", places.shape, "int64")
            f = gx.function(ins, gx.put_along_axis(*ins, updates, axis))
            np.testing.assert_array_equal(f(x, places), wanted)


def test_a_place_that_the_graph_computes_is_checked_before_anything_changes():
    x, i = gx.input("x", (3,)), gx.input("i", (2,), "int64")
    f = gx.function([x, i], gx.scatter(x, i * 2, 1.0))
    assert f([5.0, 6.0, 7.0], [0, 1]).tolist() == [1.0, 6.0, 1.0]
    with pytest.raises(IndexError, match="out of bounds"):
        f([5.0, 6.0, 7.0], [0, 2])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: gx.scatter(x, [0, 1], 1.0), ShapeError, "as many axes"),
        (lambda x: gx.scatter(x, [[0], [1], [1]], 1.0), ShapeError, "must broadcast to"),
        (lambda x: gx.scatter(x, [[0]], np.ones((1, 2))), ShapeError, "must broadcast to"),
        (lambda x: gx.scatter(x, [[3]], 1.0), IndexingError, "out of bounds"),
        (lambda x: gx.index_add(x, [0], x), ShapeError, r"need the shape \(1, 3\)"),
        (lambda x: gx.put(x, [0, 1], np.ones(0)), ShapeError, "number of elements"),
    ],
)  # fmt: skip
def test_what_cannot_be_says_so_at_the_users_line(call, error, words):
    with pytest.raises(error, match=words) as raised:
        call(gx.input("x", (2, 3)))
    assert "test_scatter.py" in str(raised.value)
