"""Linear algebra of matrices: NumPy's values, and PyTorch's derivatives of both orders."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc.errors import ArgumentError, ShapeError
from graphc.ops.jacobi import SWEEPS

RNG = np.random.default_rng(0)
A = RNG.standard_normal((2, 4, 4)) + 2 * np.eye(4)
P = A @ A.swapaxes(1, 2) + np.eye(4)
B = RNG.standard_normal((2, 4, 3))
TALL = RNG.standard_normal((2, 5, 3))


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def call(f, *arrays):
    ins = [gx.input(f"x{k}", np.shape(a), str(np.asarray(a).dtype)) for k, a in enumerate(arrays)]
    return gx.function(ins, f(*ins))(*arrays)


CASES = {
    "solve": (gx.linalg.solve, lambda t, a, b: t.linalg.solve(a, b), (A, B)),
    "solve of a vector": (gx.linalg.solve, lambda t, a, b: t.linalg.solve(a, b),
                          (A[0], B[0, :, 0])),
    "inv": (gx.linalg.inv, lambda t, a: t.linalg.inv(a), (A,)),
    "det": (gx.linalg.det, lambda t, a: t.linalg.det(a), (A,)),
    "slogdet": (lambda a: gx.linalg.slogdet(a)[1], lambda t, a: t.linalg.slogdet(a)[1], (A,)),
    "logdet": (gx.linalg.logdet, lambda t, a: t.logdet(a), (P,)),
    "matrix_power": (lambda a: gx.linalg.matrix_power(a, 5),
                     lambda t, a: t.linalg.matrix_power(a, 5), (A / 4,)),
    "matrix_power below zero": (lambda a: gx.linalg.matrix_power(a, -3),
                                lambda t, a: t.linalg.matrix_power(a, -3), (A,)),
    "matrix_exp": (gx.linalg.matrix_exp, lambda t, a: t.linalg.matrix_exp(a), (A,)),
    "cholesky": (gx.linalg.cholesky, lambda t, a: t.linalg.cholesky((a + a.mT) / 2), (P,)),
    "cholesky upper": (lambda a: gx.linalg.cholesky(a, upper=True),
                       lambda t, a: t.linalg.cholesky((a + a.mT) / 2, upper=True), (P,)),
    "qr": (lambda a: gx.linalg.qr(a), lambda t, a: t.linalg.qr(a), (TALL,)),
    "qr of wide": (lambda a: gx.linalg.qr(a), lambda t, a: t.linalg.qr(a),
                   (TALL.swapaxes(1, 2),)),
    "lstsq": (gx.linalg.lstsq, lambda t, a, b: t.linalg.lstsq(a, b).solution,
              (TALL, RNG.standard_normal((2, 5, 2)))),
    "eigvalsh": (gx.linalg.eigvalsh, lambda t, a: t.linalg.eigvalsh((a + a.mT) / 2), (P,)),
    "svdvals": (gx.linalg.svdvals, lambda t, a: t.linalg.svdvals(a), (TALL,)),
    "norm nuc": (lambda a: gx.linalg.norm(a, "nuc", (1, 2)),
                 lambda t, a: t.linalg.norm(a, "nuc", (1, 2)), (TALL,)),
    "norm 2": (lambda a: gx.linalg.norm(a, 2, (1, 2)),
               lambda t, a: t.linalg.norm(a, 2, (1, 2)), (TALL,)),
    "norm inf": (lambda a: gx.linalg.norm(a, np.inf, (-2, -1)),
                 lambda t, a: t.linalg.norm(a, np.inf, (-2, -1)), (TALL,)),
    "norm fro": (gx.linalg.norm, lambda t, a: t.linalg.norm(a), (TALL,)),
}  # fmt: skip
for _lower in (False, True):
    for _trans in (False, True):
        CASES[f"solve_triangular lower={_lower} trans={_trans}"] = (
            lambda a, b, lower=_lower, trans=_trans: gx.linalg.solve_triangular(
                a, b, lower=lower, trans=trans),
            lambda t, a, b, lower=_lower, trans=_trans: t.linalg.solve_triangular(
                (a.tril() if lower else a.triu()).mT if trans else
                (a.tril() if lower else a.triu()), b, upper=lower is trans),
            (A, B))  # fmt: skip
CASES["solve_triangular unit"] = (
    lambda a, b: gx.linalg.solve_triangular(a, b, unit_diagonal=True),
    lambda t, a, b: t.linalg.solve_triangular(a, b, upper=True, unitriangular=True), (A / 4, B),
)  # fmt: skip


def leaves(value):
    return list(value) if isinstance(value, (tuple, list)) else [value]


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives_are_pytorchs(torch, name):
    ours, theirs, arrays = CASES[name]
    ins = [gx.input(f"x{k}", a.shape, "float64") for k, a in enumerate(arrays)]
    ys = leaves(ours(*ins))
    first = gx.grad(sum(gx.sum(gx.sin(y)) for y in ys), ins)
    second = gx.grad(sum(gx.sum(gx.sin(g)) for g in first), ins)
    found = gx.function(ins, [*ys, *first, *second])(*arrays)
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    ty = leaves(theirs(torch, *ts))
    firsts = torch.autograd.grad(sum(y.sin().sum() for y in ty), ts, create_graph=True)
    seconds = torch.autograd.grad(sum(g.sin().sum() for g in firsts), ts)
    for value, wanted in zip(found, (*ty, *firsts, *seconds), strict=True):
        wanted = wanted.detach().numpy()
        scale = max(1.0, np.abs(wanted).max())
        np.testing.assert_allclose(value, wanted, rtol=1e-10, atol=1e-10 * scale)


def projectors(vectors):
    """Return what does not depend on the signs of columns."""
    return vectors[:, :, None, :] * vectors[:, None, :, :]


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
def test_singular_vectors_and_their_derivatives_are_pytorchs_but_for_signs(torch, shape):
    x, w = RNG.standard_normal((2, *shape)), RNG.standard_normal((2, max(shape), max(shape), 9))

    def scalar(u, s, v, lib, w):
        left = u[:, :, None, :] * u[:, None, :, :]
        right = v[:, :, :, None] * v[:, :, None, :]
        k = min(shape)
        total = (left * w[:, : shape[0], : shape[0], :k]).sum()
        weights = lib.permute(w[:, : shape[1], : shape[1], :k], (0, 3, 1, 2))
        return total + (right * weights).sum() + lib.sin(s).sum()

    class Ours:
        permute, sin = staticmethod(gx.permute_dims), staticmethod(gx.sin)

    t = gx.input("x", x.shape, "float64")
    first = gx.grad(scalar(*gx.linalg.svd(t), Ours, gx.constant(w)), t)
    found = gx.function(t, [first, gx.grad(gx.sum(gx.sin(first)), t)])(x)
    tt = torch.tensor(x, requires_grad=True)
    loss = scalar(*torch.linalg.svd(tt, full_matrices=False), torch, torch.tensor(w))
    (tfirst,) = torch.autograd.grad(loss, tt, create_graph=True)
    (tsecond,) = torch.autograd.grad(tfirst.sin().sum(), tt)
    for a, b in zip(found, (tfirst, tsecond), strict=True):
        b = b.detach().numpy()
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10 * np.abs(b).max())


def test_eigenvectors_and_their_derivatives_are_pytorchs_but_for_signs(torch):
    w = RNG.standard_normal((2, 4, 4, 4))
    t = gx.input("x", P.shape, "float64")
    _, v = gx.linalg.eigh(t)
    first = gx.grad(gx.sum(v[:, :, None, :] * v[:, None, :, :] * w), t)
    found = gx.function(t, [first, gx.grad(gx.sum(gx.sin(first)), t)])(P)
    tt = torch.tensor(P, requires_grad=True)
    _, tv = torch.linalg.eigh((tt + tt.mT) / 2)
    loss = (tv[:, :, None, :] * tv[:, None, :, :] * torch.tensor(w)).sum()
    (tfirst,) = torch.autograd.grad(loss, tt, create_graph=True)
    (tsecond,) = torch.autograd.grad(tfirst.sin().sum(), tt)
    for a, b in zip(found, (tfirst, tsecond), strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 33, 70])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_size_is_as_exact_as_numpy(size, dtype):
    eps = np.finfo(dtype).eps * size * 8
    a = RNG.standard_normal((3, size, size)).astype(dtype)
    one = np.eye(size)
    f = gx.linalg
    b = RNG.standard_normal((3, size, 2)).astype(dtype)
    p = a @ a.swapaxes(1, 2) + size * np.eye(size, dtype=dtype)
    x, low, q, r, w, v, u, s, vh = call(
        lambda a, b, p: [f.solve(a, b), f.cholesky(p), *f.qr(a), *f.eigh(p), *f.svd(a)], a, b, p
    )
    wide = a.astype(float)
    condition = np.linalg.cond(wide)[:, None, None]
    assert (np.abs(x - np.linalg.solve(wide, b)) <= eps * condition * (1 + np.abs(x).max())).all()
    np.testing.assert_allclose(low @ low.swapaxes(1, 2), p, atol=eps * np.abs(p).max())
    np.testing.assert_allclose(q @ r, a, atol=eps * 4)
    np.testing.assert_allclose(q.swapaxes(1, 2) @ q, one[None].repeat(3, 0), atol=eps)
    np.testing.assert_allclose(w, np.linalg.eigvalsh(p.astype(float)), rtol=eps)
    np.testing.assert_allclose(p @ v, v * w[:, None], atol=eps * np.abs(p).max())
    np.testing.assert_allclose(v.swapaxes(1, 2) @ v, one[None].repeat(3, 0), atol=eps)
    np.testing.assert_allclose(s, np.linalg.svd(wide)[1], atol=eps * s.max())
    np.testing.assert_allclose((u * s[:, None]) @ vh, a, atol=eps * 4)
    np.testing.assert_allclose(u.swapaxes(1, 2) @ u, one[None].repeat(3, 0), atol=eps)
    np.testing.assert_allclose(vh @ vh.swapaxes(1, 2), one[None].repeat(3, 0), atol=eps)


def test_bases_are_whole_where_singular_values_are_zero():
    x = np.zeros((4, 5, 3))
    x[1] = np.outer(np.arange(5.0), [1.0, 2.0, 3.0])
    x[2, 0, 0] = 1e-200
    x[3] = RNG.standard_normal((5, 1)) * [1e-8, 1.0, 1e8]
    u, s, vh = call(gx.linalg.svd, x)
    np.testing.assert_allclose((u * s[:, None]) @ vh, x, atol=1e-6)
    np.testing.assert_allclose(u.swapaxes(1, 2) @ u, np.eye(3)[None].repeat(4, 0), atol=1e-13)
    np.testing.assert_allclose(s, np.linalg.svd(x)[1], atol=1e-7)


def test_sweeps_end_before_they_are_stopped():
    """Also for what converges slowly: equal values, and graded ones of both orders."""
    n = 60
    graded = np.diag(10.0 ** -np.linspace(0, 14, n)) + 1e-9 * np.ones((n, n))
    stack = np.stack([np.ones((n, n)), graded, graded[::-1, ::-1], np.eye(n)])
    w = call(gx.linalg.eigvalsh, stack)
    np.testing.assert_allclose(w, np.linalg.eigvalsh(stack), atol=1e-13 * n)
    assert SWEEPS >= 40


def test_what_has_no_solution_is_nan_and_what_numpy_defines_is_its():
    singular = np.stack([np.zeros((2, 2)), [[1.0, 2.0], [2.0, 4.0]], [[np.nan, 1.0], [0.0, 1.0]]])
    b = np.ones((3, 2, 1))
    f = gx.linalg
    x, inverse, det, sign, size, log, low = call(
        lambda a, b: [f.solve(a, b), f.inv(a), f.det(a), *f.slogdet(a), f.logdet(a), f.cholesky(a)],
        singular, b,
    )  # fmt: skip
    for value in (x, inverse, low):
        assert np.isnan(value).all()
    np.testing.assert_array_equal(det, [0.0, 0.0, np.nan])
    np.testing.assert_array_equal(sign, [0.0, 0.0, np.nan])
    np.testing.assert_array_equal(size, [-np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(log, [-np.inf, -np.inf, np.nan])


def test_stacks_broadcast_and_may_be_a_batch():
    a, b = gx.input("a", (None, 1, 3, 3), "float64"), gx.input("b", (4, 3, 2), "float64")
    f = gx.function([a, b], (gx.linalg.solve(a, b), gx.linalg.eigvalsh(a)))
    y = RNG.standard_normal((4, 3, 2))
    for rows in (1, 3):
        x = RNG.standard_normal((rows, 1, 3, 3)) + 2 * np.eye(3)
        solved, _ = f(x, y)
        np.testing.assert_allclose(solved, np.linalg.solve(x, y), rtol=1e-10)


def test_solves_of_values_and_gradients_share_the_factors():
    a, b = gx.input("a", (5, 5)), gx.input("b", (5, 2))
    loss = gx.sum(gx.square(gx.linalg.solve(a, b))) + gx.linalg.logdet(a)
    f = gx.function([a, b], [loss, *gx.grad(loss, [a, b])])
    assert sum("lu_factor" in k.computes for k in f.report.kernels) == 1


def test_threads_do_not_change_a_bit():
    x = RNG.standard_normal((64, 6, 6)).astype("float32")
    results = []
    for threads in (1, 2):
        with gx.config(threads=threads):
            results.append(call(lambda a: [gx.linalg.inv(a), *gx.linalg.svd(a)], x))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_large_exponentials_are_pytorchs(torch):
    x = RNG.standard_normal((3, 6, 6)) * np.array([1e-3, 5.0, 40.0])[:, None, None]
    wanted = torch.linalg.matrix_exp(torch.tensor(x)).numpy()
    found = call(gx.linalg.matrix_exp, x)
    scale = np.abs(wanted).max((1, 2), keepdims=True)
    np.testing.assert_allclose(found / scale, wanted / scale, atol=1e-12)


@pytest.mark.parametrize(
    ("f", "error", "words"),
    [
        (lambda x: gx.linalg.inv(x), ShapeError, "must be square"),
        (lambda x: gx.linalg.det(x[0]), ShapeError, "fewer than the 2 axes"),
        (lambda x: gx.linalg.solve(x[:, :2], x[0]), ShapeError, "number of rows"),
        (lambda x: gx.linalg.solve_triangular(x[:, :2], x.T), ShapeError, "number of rows"),
        (lambda x: gx.linalg.lstsq(x, x.T), ShapeError, "number of rows"),
        (lambda x: gx.linalg.qr(x, mode="complete"), ArgumentError, "complete"),
        (lambda x: gx.linalg.svd(x, full_matrices=True), ArgumentError, "full_matrices"),
        (lambda x: gx.linalg.matrix_power(x[:, :2], 0.5), ArgumentError, "integer"),
        (lambda x: gx.linalg.norm(x, "fro", 1), ArgumentError, "must be a number"),
        (lambda x: gx.linalg.norm(x, 3), ArgumentError, "no norm of matrices"),
    ],
)  # fmt: skip
def test_what_cannot_be_says_so_at_the_users_line(f, error, words):
    with pytest.raises(error, match=words) as raised:
        f(gx.input("x", (2, 3)))
    assert "test_linalg.py" in str(raised.value)
