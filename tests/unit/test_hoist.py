"""What leaves a loop: products of all steps at once, and what nothing asks for."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc.ir.interpret import evaluate


def loops(graph):
    """Return the loops of a graph, in order."""
    return [n for n in graph if n.op.name in ("scan", "while_loop", "branch")]


def inside(loop):
    """Return the names of the ops in a loop's body that compute something."""
    return [n.op.name for n in loop.op.body.nodes if n.inputs]


def network(x, u, w, b, h, reverse=False):
    return gx.scan(lambda c, v: (gx.tanh(v @ u + c @ w + b), c * 2.0), h, x, reverse=reverse)


def declared(steps=6, rows=3, dtype="float64"):
    shapes = {"x": (steps, rows, 4), "u": (4, 5), "w": (5, 5), "b": (5,), "h": (rows, 5)}
    return [gx.input(name, shape, dtype=dtype) for name, shape in shapes.items()]


def values_of(inputs, sizes=None, seed=0):
    rng, sizes = np.random.default_rng(seed), sizes or {}
    shapes = [[sizes.get(str(d), d) for d in t.shape] for t in inputs]
    return [0.5 * rng.standard_normal(shape) for shape in shapes]


def agrees(inputs, outputs, feeds, rtol=1e-10):
    """Compile with and without the pass, and interpret what is declared."""
    got = gx.function(inputs, outputs)(*feeds)
    with gx.config(disable_passes="hoist"):
        without = gx.function(inputs, outputs)(*feeds)
    read = evaluate(outputs, dict(zip(inputs, feeds, strict=True)))
    for a, b, tensor in zip(got, without, outputs, strict=True):
        np.testing.assert_allclose(a, read[tensor], rtol=rtol, atol=rtol)
        np.testing.assert_allclose(b, read[tensor], rtol=rtol, atol=rtol)


def test_a_recurrent_network_has_one_product_a_step_in_each_direction():
    inputs = declared()
    last, ys = network(*inputs)
    loss = gx.sum(last * last) + gx.sum(ys)
    f = gx.function(inputs, [loss, *gx.grad(loss, inputs)])
    forward, backward = loops(f.optimized_graph)
    assert inside(forward).count("matmul") == 1
    assert inside(backward).count("matmul") == 1
    assert "sum" not in inside(backward)
    assert [c.type.shape for c in backward.op.body.carries] == [(3, 5)]
    hits = next(p.hits for p in f.report.passes if p.name == "hoist")
    assert hits == {"before": 1, "after": 4}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 6])
def test_derivatives_are_the_same(steps, reverse):
    inputs = declared(steps)
    last, ys = network(*inputs, reverse=reverse)
    loss = gx.sum(gx.sin(last)) + gx.sum(ys * ys)
    first = gx.grad(loss, inputs)
    again = gx.grad(sum((gx.sum(t * t) for t in first), 0.0), inputs)
    agrees(inputs, [loss, *first, *again], values_of(inputs), 1e-9)


def test_sizes_may_be_open():
    inputs = declared("length", "rows")
    x, u, w, b, _ = inputs
    h = gx.sum(x, axis=0) @ (u * 0.0)
    last, ys = network(x, u, w, b, h)
    loss = gx.sum(last * last) + gx.sum(ys)
    outputs = [loss, *gx.grad(loss, inputs[:4])]
    f = gx.function(inputs[:4], outputs)
    with gx.config(disable_passes="hoist"):
        g = gx.function(inputs[:4], outputs)
    for length, rows in ((4, 2), (9, 3), (1, 1), (4, 2)):
        feeds = values_of(inputs[:4], {"length": length, "rows": rows})
        for a, b in zip(f(*feeds), g(*feeds), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_rows_by_themselves_and_groups_of_matrices():
    x = gx.input("x", (5, 4), dtype="float64")
    u, w = gx.input("u", (4, 4), dtype="float64"), gx.input("w", (4, 4), dtype="float64")
    last, ys = gx.scan(lambda c, v: (gx.sin(c @ w + v @ u), c @ u), gx.constant(np.ones(4)), x)
    loss = gx.sum(last) + gx.sum(ys * ys)
    agrees([x, u, w], [loss, *gx.grad(loss, [x, u, w])], values_of([x, u, w]))
    x = gx.input("x", (5, 2, 3, 4), dtype="float64")
    w = gx.input("w", (2, 4, 4), dtype="float64")
    h = gx.constant(np.ones((2, 3, 4)))
    for step in (
        lambda c, v: (gx.tanh(c @ w + v), v @ w),
        lambda c, v: (gx.tanh(c @ w[0] + v @ w[1]) + w[:, :1], c @ w),
        lambda c, v: (c * 0.5 + gx.matrix_transpose(gx.matrix_transpose(v) @ v)[:, :3], c @ w),
    ):
        last, ys = gx.scan(step, h, x)
        loss = gx.sum(gx.sin(last)) + gx.sum(ys * ys)
        agrees([x, w], [loss, *gx.grad(loss, [x, w])], values_of([x, w]))


def test_a_weight_used_twice_and_a_sum_that_another_value_reads():
    x, w, h = (gx.input(n, s, dtype="float64") for n, s in
               (("x", (4, 3, 5)), ("w", (5, 5)), ("h", (3, 5))))  # fmt: skip

    def step(carry, v):
        c, total, seen = carry
        new = gx.tanh(gx.tanh(c @ w) @ w + v)
        return (new, total + gx.permute_dims(new, (1, 0)) @ c, seen + gx.sum(new)), seen * new

    (last, total, seen), ys = gx.scan(step, (h, w * 1.0, 0.0), x)
    loss = gx.sum(last * total[:3]) + gx.sum(ys) + seen
    f = gx.function([x, w, h], [total, seen])
    (loop,) = loops(f.optimized_graph)
    assert [c.type.shape for c in loop.op.body.carries] == [(3, 5)]
    agrees([x, w, h], [loss, total, seen, *gx.grad(loss, [x, w, h])], values_of([x, w, h]))


def test_what_may_not_be_computed_stays_inside():
    """A product in a branch, or in a loop whose end memory tells."""
    p, n = gx.input("p", (), dtype="bool"), gx.input("n", (), dtype="int64")
    a, w = gx.input("a", (3, 3), dtype="float64"), gx.input("w", (3, 3), dtype="float64")
    out = gx.cond(p, lambda: a @ w, lambda: a)
    f = gx.function([p, a, w], [out, *gx.grad(gx.sum(out * out), [a, w])])
    assert all(n.op.name != "matmul" for n in f.optimized_graph)
    last = gx.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, gx.sin(c[1] @ w)), (0, a), 30)[1]
    f = gx.function([n, a, w], [last, gx.grad(gx.sum(last), w)])
    assert all(n.op.name != "matmul" for n in f.optimized_graph)


def test_what_nothing_asks_for_is_not_in_the_loop():
    inputs = declared()
    x = inputs[0]
    last, _ = network(*inputs)
    with gx.config(disable_passes="hoist"):
        f = gx.function(inputs, gx.grad(gx.sum(last), x))
    _, backward = loops(f.optimized_graph)
    assert len(backward.op.body.carries) == 1, "gradients of weights"
    assert len(backward.inputs) == len(backward.op.body.inputs)
    (tangent,) = gx.jvp([last], [inputs[4]], [inputs[4]])
    g = gx.function(inputs, tangent)
    assert len(loops(g.optimized_graph)[-1].op.body.carries) == 1
    two, _ = gx.scan(lambda c, v: ((c[0] + v, c[1] * 2.0), None), (x[0], x[0]), x)
    assert len(loops(gx.function(x, two[1]).optimized_graph)[0].op.body.carries) == 1
