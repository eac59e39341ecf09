"""Derivatives of small networks equal JAX's, in every mode and nesting."""

import warnings

import numpy as np
import pytest

import graphc as gx
from graphc.ir.interpret import evaluate

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

pytestmark = pytest.mark.filterwarnings("ignore")

RNG = np.random.default_rng(0)
VALUES = {
    "w": RNG.standard_normal((3, 4)), "b": RNG.standard_normal(4), "v": RNG.standard_normal((4, 2))
}  # fmt: skip
TANGENTS = {k: RNG.standard_normal(a.shape) for k, a in VALUES.items()}
X = RNG.standard_normal((5, 3))


def network(np_, softmax, softplus, p, x):
    """Return the output and loss of a small network, in either library."""
    h = np_.tanh(x @ p["w"] + p["b"])
    y = softmax(h @ p["v"])
    loss = (softplus(h) ** 2).mean() - np_.log(y[:, 0]).sum() + np_.exp(p["b"]).max()
    return y, loss


def ours():
    x = gx.constant(X)
    p = {k: gx.parameter(a, name=k) for k, a in VALUES.items()}
    y, loss = network(gx, gx.softmax, gx.softplus, p, x)
    return p, y, loss


def theirs(p):
    return network(jnp, jax.nn.softmax, jax.nn.softplus, p, X)


def loss_of(p):
    return theirs(p)[1]


def same(tree, expected):
    if isinstance(tree, dict):
        assert set(tree) == set(expected)
        for key in tree:
            same(tree[key], expected[key])
        return
    found = evaluate([tree], {})[tree]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-9, atol=1e-10)


def test_grad():
    p, _, loss = ours()
    same(gx.grad(loss, p), jax.grad(loss_of)(VALUES))


def test_jvp():
    p, y, loss = ours()
    _, (dy, dloss) = jax.jvp(theirs, (VALUES,), (TANGENTS,))
    mine = gx.jvp({"y": y, "loss": loss}, p, TANGENTS)
    same(mine, {"y": dy, "loss": dloss})


def test_vjp():
    p, y, loss = ours()
    seeds = (RNG.standard_normal((5, 2)), np.array(2.0))
    _, pull = jax.vjp(theirs, VALUES)
    same(gx.vjp((y, loss), p, seeds), pull(seeds)[0])


def test_hvp():
    p, _, loss = ours()
    _, expected = jax.jvp(jax.grad(loss_of), (VALUES,), (TANGENTS,))
    same(gx.hvp(loss, p, TANGENTS), expected)


def test_jacobian_and_hessian():
    p, y, loss = ours()
    small = {k: p[k] for k in ("b", "v")}
    jac, hess = jax.jacobian(lambda q: theirs({**VALUES, **q})[0]), jax.hessian(
        lambda q: loss_of({**VALUES, **q}))  # fmt: skip
    at = {k: VALUES[k] for k in ("b", "v")}
    same(gx.jacobian(y, small), jac(at))
    same(gx.hessian(loss, small), hess(at))


def test_grad_of_jvp_of_grad():
    p, _, loss = ours()

    def inner(q):
        _, t = jax.jvp(jax.grad(loss_of), (q,), (TANGENTS,))
        return sum((a * a).sum() for a in t.values())

    tangents = gx.jvp(gx.grad(loss, p), p, TANGENTS)
    total = sum((gx.sum(a * a) for a in tangents.values()), gx.constant(np.zeros(())))
    same(gx.grad(total, p), jax.grad(inner)(VALUES))


def test_reverse_over_forward_over_forward():
    p, _, loss = ours()

    def inner(q):
        def once(r):
            return jax.jvp(loss_of, (r,), (TANGENTS,))[1]

        return jax.jvp(once, (q,), (TANGENTS,))[1]

    twice = gx.jvp(gx.jvp(loss, p, TANGENTS), p, TANGENTS)
    same(gx.grad(twice, p), jax.grad(inner)(VALUES))
