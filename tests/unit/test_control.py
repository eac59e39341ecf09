"""Branches and loops without a known end, against JAX and against what they choose."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.errors import ArgumentError, DTypeError, RangeError, ShapeError
from graphc.ir.interpret import evaluate

FOLDER = Path(__file__).parent


def agrees(inputs, outputs, wanted, feeds, rtol=1e-9):
    """Compile, and interpret; both must be what is wanted."""
    f = gx.function(inputs, outputs)
    for _ in range(2):
        got = f(*feeds)
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    read = evaluate(outputs, dict(zip(inputs, map(np.asarray, feeds), strict=True)))
    for tensor, b in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(read[tensor], b, rtol=rtol, atol=rtol)
    return f


@pytest.mark.parametrize("value", [2.0, -3.0, 0.0])
def test_a_branch_and_its_derivatives(value):
    z = gx.input("z", (), dtype="float64")
    r = gx.cond(z > 0, lambda u: gx.log(u) * u, lambda u: gx.exp(u), z)
    slope = gx.grad(r, z)
    (tangent,) = gx.jvp([r], [z], [gx.constant(np.float64(2.0))])
    taken = value > 0
    log = np.log(value) if taken else 0.0
    first = log + 1 if taken else np.exp(value)
    second = 1 / value if taken else np.exp(value)
    wanted = [log * value if taken else np.exp(value), first, second, 2 * first]
    agrees([z], [r, slope, gx.grad(slope, z), tangent], wanted, [value])


def test_the_branch_not_taken_is_not_computed():
    """An index out of bounds in it is nobody's, nor is a root of a negative number."""
    table = gx.constant(np.arange(4.0))
    at = gx.input("at", (), dtype="int64")
    r = gx.cond(at < 4, lambda k: table[k] * 2.0, lambda k: gx.constant(-1.0, "float64"), at)
    always = gx.cond(at > -99, lambda k: table[k], lambda k: table[0], at)
    f, g = gx.function(at, r), gx.function(at, always)
    assert f(3) == 6.0
    assert f(7) == -1.0
    with pytest.raises(IndexError, match="out of bounds"):
        g(7)
    x = gx.input("x", (), dtype="float64")
    root = gx.cond(x > 0, gx.sqrt, lambda v: v * 0.0, x)
    assert gx.function(x, gx.grad(root, x))(-1.0) == 0.0


def test_what_stays_out_of_a_branch_takes_no_time():
    """Kernels that run are counted by what they write: a parameter of plain Python's."""
    code = """
import numpy as np, graphc as gx
from graphc.run import frame
calls = []
before = frame.PlainFrame.run
def run(self, kernel, *rest):
    calls.append(kernel.name)
    before(self, kernel, *rest)
frame.PlainFrame.run = run
x = gx.input("x", (3,), dtype="float64")
p = gx.input("p", (), dtype="bool")
f = gx.function([p, x], gx.cond(p, lambda v: gx.tanh(v), lambda v: gx.sin(v), x))
for flag, own, other in ((True, "tanh", "sin"), (False, "sin", "tanh")):
    calls.clear()
    np.testing.assert_allclose(f(flag, np.ones(3)), np.tanh(1.0) if flag else np.sin(1.0))
    assert any(c.startswith(own) for c in calls) and not any(c.startswith(other) for c in calls)
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}
    )


@pytest.mark.parametrize("index", [-2, 0, 1, 2, 9])
def test_one_of_several(index):
    rng = np.random.default_rng(index + 5)
    k = gx.input("k", (), dtype="int64")
    x, w = gx.input("x", (2, 3), dtype="float64"), gx.input("w", (3, 3), dtype="float64")
    branches = [lambda v: {"y": gx.sin(v @ w), "n": 1}, lambda v: {"n": 2, "y": v},
                lambda v: {"y": v * v * 0.5, "n": 3}]  # fmt: skip
    out = gx.switch(k, branches, x)
    slopes = gx.grad(gx.sum(out["y"] * out["y"]), [x, w])
    v, m = rng.standard_normal((2, 3)), rng.standard_normal((3, 3))
    number = min(2, max(0, index))
    y = [np.sin(v @ m), v, v * v * 0.5][number]
    inner = 2 * y * np.cos(v @ m)
    dx = [inner @ m.T, 2 * y, 2 * y * v][number]
    dw = v.T @ inner if number == 0 else np.zeros((3, 3))
    agrees([k, x, w], [out["y"], out["n"], *slopes], [y, number + 1, dx, dw], [index, v, m])


def test_structures_numbers_and_no_operands():
    p = gx.input("p", (), dtype="bool")
    a = gx.input("a", (2,), dtype="float64")
    out = gx.cond(p, lambda: (a * 2, [None, 1.0]), lambda: (a, [None, gx.sum(a)]))
    assert out[1][0] is None
    assert out[1][1].dtype == "float64"
    f = gx.function([p, a], [out[0], out[1][1]])
    got = f(True, [3.0, 4.0])
    np.testing.assert_array_equal(got[0], [6.0, 8.0])
    assert got[1] == 1.0
    assert f(False, [3.0, 4.0])[1] == 7.0
    number = gx.input("number", (), dtype="float64")
    assert gx.function(number, gx.cond(number, lambda: 1, lambda: 2))(0.5) == 1


def jax_of(np_):
    """Return scan, cond and a chain of both by either library."""
    jax = pytest.importorskip("jax")
    return (gx.scan, gx.cond, gx.switch) if np_ is gx else (
        jax.lax.scan, jax.lax.cond, jax.lax.switch,
    )  # fmt: skip


def program(np_, w, x, first):
    """Branches within loops, loops within branches, both of captured tensors."""
    scan, cond, switch = jax_of(np_)

    def inner(c, v):
        return np_.tanh(c * w[0] + v), c * v

    def long(c, row):
        last, ys = scan(inner, c, row)
        return last * w[1], np_.sum(ys)

    def short(c, row):
        return cond(c > 0.2, lambda d: (d * w[2], d), lambda d: (d + row[0], w[0] * d), c)

    def step(c, row):
        new, y = cond(np_.sum(row) > 0, long, short, c, row)
        more = switch(np_.astype(np_.floor(row[1]), "int64") if np_ is gx
                      else np_.floor(row[1]).astype("int64"),
                      [lambda d: d, lambda d: d * d * w[1], lambda d: np_.sin(d)], new)  # fmt: skip
        return more, y + new

    last, ys = scan(step, first, x)
    return last + np_.sum(np_.sin(ys))


@pytest.mark.parametrize("threads", [1, 2])
def test_nested_as_jax_has_it(threads):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    w, x = gx.input("w", (3,), dtype="float64"), gx.input("x", (6, 4), dtype="float64")
    first = gx.input("first", (), dtype="float64")
    symbols = [w, x, first]
    total = program(gx, *symbols)
    slopes = gx.grad(total, symbols)
    again = gx.grad(sum((gx.sum(t * t) for t in slopes), 0.0), symbols)
    pushed = gx.jvp([total], symbols, [t * 0 + 1.0 for t in symbols])

    def theirs(*args):
        return program(jax.numpy, *args)

    @jax.jit
    def all_of(*args):
        gradient = jax.grad(theirs, argnums=(0, 1, 2))
        second = jax.grad(lambda *a: sum((t * t).sum() for t in gradient(*a)), argnums=(0, 1, 2))
        ones = tuple(jax.numpy.ones_like(a) for a in args)
        return [theirs(*args), *gradient(*args), *second(*args), jax.jvp(theirs, args, ones)[1]]

    with gx.config(threads=threads, check=False):  # to interpret each pass takes a minute
        f = gx.function(symbols, [total, *slopes, *again, *pushed])
        for seed in range(4):
            rng = np.random.default_rng(seed)
            values = [rng.standard_normal(3), rng.standard_normal((6, 4)), np.float64(0.4)]
            wanted = all_of(*values)
            for a, b in zip(f(*values), wanted, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    read = evaluate([total, *slopes], dict(zip(symbols, values, strict=True)))
    for tensor, b in zip([total, *slopes], wanted[:4], strict=True):
        np.testing.assert_allclose(read[tensor], b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_model_with_a_branch_learns_as_with_where(threads):
    """Each half of a network of experts sees its own samples, large enough for two threads."""
    x, y = gx.input("x", (None, 64)), gx.input("y", (None, 64))

    def made(choose):
        a = gx.parameter(nn.init.xavier_uniform(), (64, 64), name="a")
        b = gx.parameter(nn.init.xavier_uniform(), (64, 64), name="b")
        held = gx.mean(x) > 0
        out = choose(held, lambda: gx.tanh(x @ a), lambda: gx.sin(x @ b) + x @ a)
        return gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                        optimizer=optim.SGD(0.5), seed=1)  # fmt: skip

    rng = np.random.default_rng(0)
    with gx.config(threads=threads):
        one, two = made(gx.cond), made(lambda held, yes, no: gx.where(held, yes(), no()))
        for name, value in one.parameters.items():
            two.parameters[name][...] = value
        for _ in range(6):
            values, targets = rng.standard_normal((2, 128, 64)).astype("float32")
            losses = [m.train_step(values, targets) for m in (one, two)]
            np.testing.assert_allclose(*losses, rtol=1e-5)
        for name, value in one.parameters.items():
            np.testing.assert_allclose(value, two.parameters[name], rtol=1e-4, atol=1e-5)


def test_while_as_long_as_it_holds():
    n, z = gx.input("n", (), dtype="float64"), gx.input("z", (), dtype="float64")
    count, s = gx.while_loop(lambda c: c[1] < n, lambda c: (c[0] + 1, c[1] * z), (0, 1.0), 100)
    slope = gx.grad(s, z)
    outputs = [count, s, slope, gx.grad(slope, z), *gx.jvp([s], [z], [gx.constant(1.0, "float64")])]
    for limit, factor in ((10.0, 2.0), (0.5, 2.0), (2.0, 1.0), (100.0, 3.0)):
        steps, value = 0, 1.0
        while value < limit and steps < 100:
            steps, value = steps + 1, value * factor
        first = steps * factor ** (steps - 1) if steps else 0.0
        second = steps * (steps - 1) * factor ** (steps - 2) if steps > 1 else 0.0
        agrees([n, z], outputs, [steps, value, first, second, first], [limit, factor])


@pytest.mark.parametrize("most", [0, 1, 2])
def test_while_of_few_steps(most):
    x = gx.input("x", (2,), dtype="float64")
    last = gx.while_loop(lambda c: gx.sum(c) < 9.0, lambda c: c * c, x, max_steps=most)
    for value, steps in ((2.0, min(most, 2)), (5.0, 0)):
        wanted = value ** (2**steps)
        slope = 2**steps * value ** (2**steps - 1)
        agrees([x], [last, gx.grad(gx.sum(last), x)], [[wanted] * 2, [slope] * 2], [[value] * 2])


def test_while_without_bound_has_values_only():
    n = gx.input("n", (), dtype="int64")

    def odd(c):
        return {"n": gx.where(c["n"] % 2 == 0, c["n"] // 2, 3 * c["n"] + 1), "k": c["k"] + 1}

    out = gx.while_loop(lambda c: c["n"] != 1, odd, {"n": n, "k": 0})
    with gx.config(check=False):
        f = gx.function(n, out["k"])
    assert [int(f(k)) for k in (1, 2, 27, 97)] == [0, 1, 111, 118]
    x = gx.input("x", (), dtype="float64")
    last = gx.while_loop(lambda c: c < 10.0, lambda c: c * 2.0, x)
    for differentiate in (lambda: gx.grad(last, x), lambda: gx.jvp([last], [x], [x])):
        with pytest.raises(ArgumentError, match="only with max_steps"):
            differentiate()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("width", [2, 160])
def test_while_within_scan(threads, width):
    """A matrix is applied until its result is small, for each row anew; also by two threads."""
    rng = np.random.default_rng(1)
    x = gx.input("x", (5, width, width), dtype="float64")
    w = gx.input("w", (width, width), dtype="float64")

    def step(total, row):
        k, last = gx.while_loop(
            lambda c: gx.sum(c[1] * c[1]) > 0.01, lambda c: (c[0] + 1, gx.sin(c[1] @ w)), (0, row),
            max_steps=20,
        )  # fmt: skip
        return total + gx.sum(last), (k, gx.sum(last * row))

    total, (counts, ys) = gx.scan(step, 0.0, x)
    outputs = [total, counts, ys, *gx.grad(total + gx.sum(ys * ys), [x, w])]
    values = rng.standard_normal((5, width, width)) * np.array([1, 3, 0.001, 0, 9]).reshape(5, 1, 1)
    weight = 0.4 * np.linalg.qr(rng.standard_normal((width, width)))[0]
    steps, sums = [], []
    for row in values:
        last, k = row, 0
        while (last * last).sum() > 0.01 and k < 20:
            last, k = np.sin(last @ weight), k + 1
        steps.append(k)
        sums.append((last * row).sum())
    assert len(set(steps)) > 2
    read = evaluate(outputs, {x: values, w: weight})
    with gx.config(threads=threads, check=width < 9):
        f = gx.function([x, w], outputs)
        for _ in range(3):
            got = f(values, weight)
            np.testing.assert_array_equal(got[1], steps)
            np.testing.assert_allclose(got[2], sums, rtol=1e-9)
            for a, tensor in zip(got, outputs, strict=True):
                scale = np.abs(read[tensor]).max()
                np.testing.assert_allclose(a, read[tensor], rtol=1e-8, atol=1e-10 * scale)


def test_what_the_user_reads():
    p, x = gx.input("p", (), dtype="bool"), gx.input("x", (3,))
    f = gx.function([p, x], gx.cond(p, gx.sin, lambda v: v, x))
    assert "for step_0 in m.when(0, m.cast_0):" in f.source
    assert "branch(" in str(f.graph)
    assert "    then(otherwise, x):" in str(f.graph)
    last = gx.while_loop(lambda c: gx.sum(c) < 9.0, lambda c: c * 2.0, x, max_steps=7)
    g = gx.function(x, last)
    assert re.search(r"in m.loop\(0, range\(7\), m.where_0, m.less_\d\):", g.source)
    assert "while_loop(" in str(g.graph)


def test_errors_say_what_to_do():
    x = gx.input("x", (3,))
    p = gx.input("p", (), dtype="bool")
    cases = [
        (ShapeError, "gx.where chooses element by element",
         lambda: gx.cond(x > 0, lambda: x, lambda: x)),
        (ArgumentError, "branch 0 returns \\* and branch 1 \\(\\*, \\*\\)",
         lambda: gx.cond(p, lambda: x, lambda: (x, x))),
        (DTypeError, "branch 1 int64", lambda: gx.cond(p, lambda: x, lambda: x.astype("int64"))),
        (ShapeError, "shapes must be equal", lambda: gx.cond(p, lambda: x, lambda: gx.sum(x))),
        (ArgumentError, 'is length="batch"',
         lambda: gx.scan(lambda c, _: (c, c), x, length=gx.input("X", (None, 3)).shape[0])),
        (DTypeError, "branch 1 must be a function", lambda: gx.cond(p, lambda: x, x)),
        (DTypeError, "index must be an integer", lambda: gx.switch(p, [lambda: x])),
        (ArgumentError, "one branch or more", lambda: gx.switch(gx.input("k", (), "int64"), [])),
        (DTypeError, "condition must be a function", lambda: gx.while_loop(True, lambda c: c, x)),
        (DTypeError, "must be a scalar of bool",
         lambda: gx.while_loop(lambda c: c, lambda c: c, x)),
        (ArgumentError, "must have one structure",
         lambda: gx.while_loop(lambda c: p, lambda c: (c, c), x)),
        (ShapeError, "while_loop: the carry", lambda: gx.while_loop(lambda c: p, gx.sum, x)),
        (ArgumentError, "must be 0 or more",
         lambda: gx.while_loop(lambda c: p, lambda c: c, x, max_steps=-1)),
    ]  # fmt: skip
    for kind, words, make in cases:
        with pytest.raises(kind, match=words) as caught:
            make()
        assert Path(__file__).name in str(caught.value), words


def test_numbers_in_branches_take_the_type_they_have_in_where():
    p, i = gx.input("p", (), "bool"), gx.input("i", (), "int64")
    x = gx.input("x", (), "float64")
    pairs = [
        (1.5, 2), (2, 1.5), (2.5, True), (0.1, x), (2, x), (gx.constant(0.1), x), (i, 0.5),
        (i, gx.constant(0.5)),
    ]  # fmt: skip
    for a, b in pairs:
        chosen = gx.cond(p, lambda a=a: a, lambda b=b: b)
        f = gx.function([p, i, x], [chosen, gx.where(p, a, b)])
        for held in (True, False):
            got, wanted = f(held, 3, 7.0)
            assert got == wanted
            assert got.dtype == wanted.dtype
    assert gx.function(i, gx.switch(i, [lambda: 1, lambda: 2.5]))(1) == 2.5
    with pytest.raises(RangeError, match=r"cond: .*out of bounds for int32\n(.|\n)*test_control"):
        gx.cond(p, lambda: 1 << 40, lambda: gx.constant(np.int32(2)))


@pytest.mark.parametrize("unroll", [1, 2, True])
def test_a_float_is_no_integer_that_a_carry_becomes(unroll):
    """The first carry takes the float's type if it is a number, else the types differ."""
    left = gx.scan(lambda c, _: (1.5, c), 0, length=3, unroll=unroll)[1]
    np.testing.assert_array_equal(gx.function([], left)(), [0, 1.5, 1.5])
    end = gx.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, 1.5), (0, 0))
    assert gx.function([], end)() == (3, 1.5)
    zero = gx.constant(np.int32(0))
    with pytest.raises(DTypeError, match=r"int32\(\) becomes float32\(\)(.|\n)*test_control.py"):
        gx.scan(lambda c, _: (1.5, c), zero, length=3, unroll=unroll)
    with pytest.raises(DTypeError, match=r"int32\(\) becomes float32\(\)"):
        gx.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, 1.5), (0, zero))
    exact = gx.scan(lambda c, _: (0.1, c), gx.constant(np.float64(0)), length=2, unroll=unroll)[0]
    assert gx.function([], exact)() == 0.1
