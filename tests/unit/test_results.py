"""Nodes with several results, through every stage: a composite and one with loops of its own."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import graphc as gx
from graphc.ir.formula import formula
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.op import Composite, Loops
from graphc.ir.results import Multiple, packed, results
from graphc.ir.tensor import apply
from graphc.ops.loops import nest, places
from graphc.types import INT64, Several


class Polar(Multiple, Composite):
    """``(r, angle)`` of ``(x, y)``: two results, expanded into other ops."""

    name = "polar"

    def infer(self, *types):
        return Several.of(types)

    def numpy(self, *arrays):
        x, y = arrays
        return np.hypot(x, y), np.arctan2(y, x)

    def expand(self, *inputs):
        x, y = inputs
        return packed(gx.sqrt(x * x + y * y), gx.atan2(y, x))

    def vjps(self, gs, out, *inputs):
        (x, y), (r, _) = inputs, results(out)
        dr, da = gs.get(0), gs.get(1)
        dx, dy = [], []
        if dr is not None:
            dx.append(dr * x / r)
            dy.append(dr * y / r)
        if da is not None:
            dx.append(-da * y / (r * r))
            dy.append(da * x / (r * r))
        return sum(dx[1:], dx[0]), sum(dy[1:], dy[0])

    def jvps(self, tangents, out, *inputs):
        (x, y), (r, _) = inputs, results(out)
        tx, ty = (0.0 * x if t is None else t for t in tangents)
        return {0: (tx * x + ty * y) / r, 1: (x * ty - y * tx) / (r * r)}


class Extremum(Multiple, Loops):
    """The greatest of each row, and where it stands: two results of one loop nest."""

    name = "extremum"

    def infer(self, *types):
        (x,) = types
        return Several.of([x.with_shape(x.shape[:1]), x.with_shape(x.shape[:1]).with_dtype(INT64)])

    def numpy(self, *arrays):
        (x,) = arrays
        return x.max(1), x.argmax(1)

    def loops(self, e, out, *ins):
        most, where = out
        (x,) = ins
        i, j = places(x)
        with nest(e, x, [0], parallel=True):
            best = e.let("best", x.at(i, e.lit(0, INT64)))
            at = e.let("at", e.lit(0, INT64))
            with nest(e, x, [1]), e.when(x.at(i, j) > best):
                e.let(best.name, x.at(i, j))
                e.let(at.name, j)
            e.store(most.at(i), best)
            e.store(where.at(i), at)


def polar(x, y):
    return results(apply(Polar(), x, y))


@pytest.fixture
def xy():
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, 5)) + 3.0


def test_results_are_tensors(xy):
    x, y = (gx.input(n, (None,), dtype="float64") for n in "xy")
    r, angle = polar(x, y)
    assert (r.shape, angle.dtype, r.op.name) == ((None,), np.float64, "result")
    f = gx.function([x, y], {"r": r, "both": r * angle})
    expected = np.hypot(*xy), np.hypot(*xy) * np.arctan2(xy[1], xy[0])
    got = f(*xy)
    np.testing.assert_allclose(got["r"], expected[0], rtol=1e-12)
    np.testing.assert_allclose(got["both"], expected[1], rtol=1e-12)
    found = interpret(Graph([x, y], {"r": r}), {x: xy[0], y: xy[1]})
    np.testing.assert_allclose(found["r"], expected[0])
    assert "polar(x, y)" in str(f.graph)
    assert "result(polar_0) {number=0}" in str(f.graph)
    assert formula(r) == "polar(x, y)[0]"


@pytest.mark.parametrize("which", [(0,), (1,), (0, 1)])
def test_derivatives_of_results(xy, which):
    x, y = (gx.input(n, (5,), dtype="float64") for n in "xy")
    found = polar(x, y)
    loss = gx.sum(gx.sin(sum((found[k] for k in which), 0.0)))
    gx.check_grads(loss, [x, y], {"x": xy[0], "y": xy[1]})
    f = gx.function([x, y], gx.grad(loss, [x, y]))
    gradients = f(*xy)
    expanded = [gx.sqrt(x * x + y * y), gx.atan2(y, x)]
    plain = gx.sum(gx.sin(sum((expanded[k] for k in which), 0.0)))
    for a, b in zip(gradients, gx.function([x, y], gx.grad(plain, [x, y]))(*xy), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("asked", [(0,), (1,), (0, 1), (1, 0)])
def test_one_nest_writes_several_results(asked):
    x = gx.input("x", (None, 7))
    found = results(apply(Extremum(), x))
    f = gx.function(x, [found[k] * 2 for k in asked] + [found[k] for k in asked])
    values = np.random.default_rng(1).standard_normal((6, 7)).astype("float32")
    expected = values.max(1), values.argmax(1)
    got = f(values)
    for k, doubled, own in zip(asked, got[: len(asked)], got[len(asked) :], strict=True):
        np.testing.assert_array_equal(own, expected[k])
        np.testing.assert_array_equal(doubled, 2 * expected[k])
    assert sum("extremum" in k.computes for k in f.report.kernels) == 1


def test_equal_results_share_their_memory_without_passes():
    x = gx.input("x", (4, 7))
    node = apply(Extremum(), x)
    with gx.config(disable_passes="cse"):
        f = gx.function(x, [results(node)[0] * 1, results(node)[0] * 2, results(node)[0]])
    values = np.random.default_rng(1).standard_normal((4, 7)).astype("float32")
    for factor, got in zip((1, 2, 1), f(values), strict=True):
        np.testing.assert_array_equal(got, factor * values.max(1))


def test_a_node_with_several_results_is_copied_and_pickled():
    x, y = (gx.input(n, (3,)) for n in "xy")
    graph = Graph([x, y], {"r": polar(x, y)[0]})
    assert str(copy.deepcopy(graph)) == str(graph)
    dag = graph.dag
    assert dag.nodes["polar_0"]["dtype"].startswith("void")


def test_a_result_that_nobody_asks_for_has_no_node():
    x, y = (gx.input(n, (3,)) for n in "xy")
    r, _ = polar(x, y)
    assert [n.op.name for n in Graph([x, y], {"r": r})] == ["input", "input", "polar", "result"]
    f = gx.function([x, y], r)
    assert "atan2" not in str(f.optimized_graph)
