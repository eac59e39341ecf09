"""Random programs of loops and branches: values and derivatives against JAX, compiled and read."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import in_table
from random_loops import INPUTS, Graphc, Jax, drawn, program

import graphc as gx
from graphc.ir.interpret import evaluate


def derivatives(loss, inputs, second):
    """Return gradients, a tangent and, if asked for, a gradient of gradients."""
    first = gx.grad(loss, inputs, unconnected="zero")
    (tangent,) = gx.jvp([loss], inputs, [t * 0.0 + 0.5 for t in inputs])
    total = sum((gx.sum(t * t) for t in first), 0.0)
    more = gx.grad(total, inputs, unconnected="zero") if second else []
    return [loss, *first, tangent, *more]


def by_jax(jax, seed, values, second, depth):
    """Return the same of JAX."""
    lib = Jax()

    def loss(*args):
        return program(lib, seed, list(args), depth)

    @jax.jit
    def everything(*args):
        gradient = jax.grad(loss, argnums=tuple(range(len(args))))
        halves = tuple(jax.numpy.full_like(a, 0.5) for a in args)
        found = [loss(*args), *gradient(*args), jax.jvp(loss, args, halves)[1]]
        if second:
            total = lambda *a: sum((t * t).sum() for t in gradient(*a))  # noqa: E731
            found += jax.grad(total, argnums=tuple(range(len(args))))(*args)
        return found

    return everything(*values)


def check(seed, depth=2):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    second = seed % 8 == 0
    inputs = [gx.input(name, shape, dtype="float64") for name, shape in INPUTS.items()]
    outputs = derivatives(program(Graphc(), seed, inputs, depth), inputs, second)
    values = drawn(seed)
    wanted = by_jax(jax, seed, values, second, depth)
    with gx.config(check=False, threads=1 + seed % 2), in_table(seed % 3 == 1):
        f = gx.function(inputs, outputs)
    for _ in range(2):
        got = f(*values)
        for number, (a, b) in enumerate(zip(got, wanted, strict=True)):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9, err_msg=f"{seed}: {number}")
    read = evaluate(outputs[:7], dict(zip(inputs, values, strict=True)))
    for tensor, b in zip(outputs[:7], wanted, strict=False):
        np.testing.assert_allclose(read[tensor], b, rtol=1e-7, atol=1e-9, err_msg=f"{seed}: read")


def check_samples(seed, depth):
    """Compare values and gradients of several samples with those by ``jax.vmap``."""
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(seed)
    has = [bool(rng.integers(2)) for _ in INPUTS]
    has[int(rng.integers(len(has)))] = True
    many = [np.stack(parts) for parts in zip(*map(drawn, range(seed, seed + 3)), strict=True)]
    values = [v if own else v[0] for v, own in zip(many, has, strict=True)]
    axes, places = tuple(0 if own else None for own in has), tuple(range(len(has)))
    lib = Jax()
    of_jax = jax.value_and_grad(lambda *a: program(lib, seed, list(a), depth), places)
    total, slopes = jax.jit(jax.vmap(of_jax, axes))(*values)

    def both(*a):
        loss = lambda *b: program(Graphc(), seed, list(b), depth)  # noqa: E731
        return loss(*a), gx.grad_of(loss, places)(*a)

    inputs = [gx.input(n, v.shape, "float64") for n, v in zip(INPUTS, values, strict=True)]
    loss, each = gx.vmap(both, axes)(*inputs)
    whole = gx.grad(gx.sum(loss), inputs, unconnected="zero")
    with gx.config(check=False):
        got = gx.function(inputs, [loss, *each, *whole])(*values)
    pairs = zip(slopes, has, strict=True)
    summed = [np.asarray(s) if own else np.sum(s, axis=0) for s, own in pairs]
    for number, (a, b) in enumerate(zip(got, [total, *slopes, *summed], strict=True)):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9, err_msg=f"{seed}: {number}")


@pytest.mark.parametrize("seed", range(8))
def test_random_loops_of_samples(seed):
    check_samples(seed, 2 if seed % 4 == 0 else 1)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(2000, 2100, 20))
def test_many_random_loops_of_samples(start):
    for seed in range(start, start + 20):
        check_samples(seed, 2)


@pytest.mark.parametrize("seed", range(24))
def test_random_loops(seed):
    """Every third with loops within loops within the first ones: JAX takes seconds for such."""
    check(seed, 2 if seed % 3 == 0 else 1)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 1400, 20))
def test_many_random_loops(start):
    for seed in range(start, start + 20):
        check(seed)
