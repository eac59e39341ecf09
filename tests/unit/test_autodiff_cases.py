"""What backpropagation means, case by case, on the interpreter."""

import itertools

import networkx as nx
import numpy as np
import pytest

import graphc as gx
from graphc.ir.graph import Graph, ancestors
from graphc.ir.interpret import evaluate
from graphc.passes.pipeline import optimize


def values(tensors, feeds):
    found = evaluate(tensors, feeds)
    return [found[t] for t in tensors]


# -- a gradient is the direction of steepest ascent ----------------------------------------------


def test_no_direction_rises_faster_than_the_gradient():
    x = gx.input("x", (6,), "float64")
    loss = gx.sum(gx.sin(x) * gx.roll(x, 1)) + gx.logsumexp(x)
    at = np.random.default_rng(0).standard_normal(6)
    (g,) = values([gx.grad(loss, x)], {x: at})
    steepest = np.linalg.norm(g)
    for v in np.random.default_rng(1).standard_normal((200, 6)):
        assert g @ (v / np.linalg.norm(v)) <= steepest
    assert values([gx.grad(loss, x)[2]], {x: at})[0] == g[2]  # a partial derivative has an address


def test_the_error_of_a_linear_step_shrinks_with_its_square():
    t = gx.input("t", (), "float64")
    f = gx.exp(gx.sin(t))
    (v, d) = values([f, gx.grad(f, t)], {t: np.array(0.2)})
    ratios = []
    for h in (1e-2, 1e-3, 1e-4):
        (moved,) = values([f], {t: np.array(0.2 + h)})
        ratios.append((moved - v - d * h) / h**2)
    np.testing.assert_allclose(ratios, ratios[-1], rtol=0.05)


def test_a_product_changes_as_its_partial_says():
    x, y = gx.input("x", (), "float64"), gx.input("y", (), "float64")
    f = x * y
    at = {x: np.array(2.0), y: np.array(-6.0)}
    assert [float(v) for v in values(gx.grad(f, [x, y]), at)] == [-6.0, 2.0]
    (before,), (after,) = values([f], at), values([f], {**at, x: np.array(2.0 + 0.5)})
    assert after - before == -6 * 0.5


# -- paths ---------------------------------------------------------------------------------------


def test_an_adjoint_is_the_sum_over_all_paths():
    """Chains multiply, branches add."""
    w = gx.input("w", (), "float64")
    a = w * w  # one operand in two places
    b = gx.sin(a) * w
    c = gx.exp(b * 0.5) + a / (1.0 + b * b)
    loss = c * b + gx.tanh(w)
    graph = Graph([w], {"loss": loss})
    one = gx.constant(1.0, "float64")
    local = {}
    for node in graph:
        if node.inputs:
            parts = node.op.vjp(one, node, *node.inputs)
            for place, part in enumerate(parts):
                local[node, place] = part
    found = evaluate(local.values(), {w: np.array(0.6)})
    key = graph.keys
    total, count = 0.0, 0
    for path in nx.all_simple_paths(graph.dag, key[w], key[loss]):
        steps = [graph.dag.nodes[k]["tensor"] for k in path]
        edges = list(itertools.pairwise(zip(path, steps, strict=True)))
        places = [graph.dag.edges[u[0], v[0]]["operands"] for u, v in edges]
        for choice in itertools.product(*places):  # an operand in two places is two paths
            product = 1.0
            for (_, (_, node)), place in zip(edges, choice, strict=True):
                product *= float(found[local[node, place]])
            total += product
            count += 1
    assert count > 10
    (adjoint,) = values([gx.grad(loss, w)], {w: np.array(0.6)})
    np.testing.assert_allclose(total, adjoint, rtol=1e-13)


# -- the worked network: every number is dyadic, so equality is exact ----------------------------


@pytest.fixture
def worked():
    x, y = gx.input("x", (2,), "float64"), gx.input("y", (), "float64")
    w1 = gx.parameter(np.array([[0.5, 0.25], [-1.0, 0.25], [0.75, -0.25]]), name="W1")
    w2 = gx.parameter(np.array([1.0, -2.0, 2.0]), name="W2")
    z = w1 @ x
    h = gx.relu(z)
    loss = (w2 @ h - y) ** 2
    return {x: np.array([1.0, 2.0]), y: np.array(1.0)}, (w1, w2, h, z), loss


def test_worked_network(worked):
    feeds, wrt, loss = worked
    dw1, dw2, dh, dz = values(gx.grad(loss, list(wrt)), feeds)
    assert dw2.tolist() == [1.0, 0.0, 0.25]
    assert dh.tolist() == [1.0, -2.0, 2.0]
    assert dz.tolist() == [1.0, 0.0, 2.0]
    assert dw1.tolist() == [[1.0, 2.0], [0.0, 0.0], [2.0, 4.0]]  # the dead neuron's row


@pytest.mark.parametrize(
    ("eps", "predicted", "actual"), [(1e-3, 0.01025, 0.0103612), (1e-2, 0.1025, 0.1137296)]
)
def test_all_parameters_raised(worked, eps, predicted, actual):
    feeds, (w1, w2, _, _), loss = worked
    before, g1, g2 = values([loss, *gx.grad(loss, [w1, w2])], feeds)
    moved = {w1: w1.op.cell.array + eps, w2: w2.op.cell.array + eps}
    (after,) = values([loss], {**feeds, **moved})
    np.testing.assert_allclose(eps * (g1.sum() + g2.sum()), predicted, rtol=1e-12)
    np.testing.assert_allclose(after - before, actual, rtol=1e-5)


@pytest.mark.parametrize(
    ("rate", "predicted", "actual"), [(1e-3, -0.0260625, -0.0253761), (1e-2, -0.260625, -0.19234)]
)
def test_one_gradient_step(worked, rate, predicted, actual):
    feeds, (w1, w2, _, _), loss = worked
    before, g1, g2 = values([loss, *gx.grad(loss, [w1, w2])], feeds)
    moved = {w1: w1.op.cell.array - rate * g1, w2: w2.op.cell.array - rate * g2}
    (after,) = values([loss], {**feeds, **moved})
    np.testing.assert_allclose(-rate * ((g1**2).sum() + (g2**2).sum()), predicted, rtol=1e-12)
    np.testing.assert_allclose(after - before, actual, rtol=1e-4)


def test_matrix_products_need_no_jacobian():
    a, b = gx.input("a", (2, 3), "float64"), gx.input("b", (3, 4), "float64")
    g = gx.input("g", (2, 4), "float64")
    da, db = gx.vjp(a @ b, [a, b], g)
    rng = np.random.default_rng(0)
    feeds = {t: rng.standard_normal(t.shape) for t in (a, b, g)}
    found = values([da, db], feeds)
    np.testing.assert_allclose(found[0], feeds[g] @ feeds[b].T)
    np.testing.assert_allclose(found[1], feeds[a].T @ feeds[g])
    biggest = max(n.size for n in ancestors([da, db]))
    assert biggest == 12  # the Jacobian by a has 48 elements


# -- the multilayer perceptron, formally ---------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("phi", ["tanh", "relu", "softplus", "silu"])
def test_multilayer_perceptron(depth, phi):
    """Values and gradients equal a literal transcription of the algorithm."""
    rng = np.random.default_rng(depth)
    sizes = [3] + [4] * depth
    w = [rng.standard_normal(s) for s in itertools.pairwise(sizes)]
    b = [rng.standard_normal(n) for n in sizes[1:]]
    head, shift = rng.standard_normal(sizes[-1]), rng.standard_normal(())
    at, target = rng.standard_normal(3), 0.3

    f = getattr(gx, phi)
    ws = [gx.parameter(m, name=f"W{i}") for i, m in enumerate(w)]
    bs = [gx.parameter(m, name=f"b{i}") for i, m in enumerate(b)]
    wo, bo = gx.parameter(head, name="wo"), gx.parameter(shift, name="bo")
    x = gx.input("x", (3,), "float64")
    hs = [x]
    for m, c in zip(ws, bs, strict=True):
        hs.append(f(m.T @ hs[-1] + c))
    o = wo @ hs[-1] + bo
    loss = 0.5 * (o - target) ** 2
    wrt = {"W": ws, "b": bs, "h": hs[1:], "wo": wo, "bo": bo, "o": o}
    g = gx.grad(loss, wrt)

    # forward: h_l = phi(W_l^T h_{l-1} + b_l), o, loss; backward: from o down to W_1
    s = gx.input("s", (4,), "float64")
    phi_of, dphi_of = f(s), gx.jvp(f(s), s, np.ones(4))
    h, z = [at], []
    for m, c in zip(w, b, strict=True):
        z.append(m.T @ h[-1] + c)
        h.append(evaluate([phi_of], {s: z[-1]})[phi_of])
    out = head @ h[-1] + shift
    go = out - target
    expected = {"wo": go * h[-1], "bo": go, "o": go, "W": [0] * depth, "b": [0] * depth,
                "h": [0] * depth}  # fmt: skip
    gh = go * head
    for i in reversed(range(depth)):
        expected["h"][i] = gh
        gz = gh * evaluate([dphi_of], {s: z[i]})[dphi_of]
        expected["b"][i], expected["W"][i] = gz, np.outer(h[i], gz)
        gh = w[i] @ gz
    names = [(k, i) for k in ("W", "b", "h") for i in range(depth)]
    found = values([g[k][i] for k, i in names] + [g["wo"], g["bo"], g["o"], o], {x: at})
    for (k, i), value in zip(names, found, strict=False):
        np.testing.assert_allclose(value, expected[k][i], rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(found[-4], expected["wo"], rtol=1e-12)
    np.testing.assert_allclose([found[-3], found[-2], found[-1]], [go, go, out], rtol=1e-12)

    dag = Graph([x], {"loss": loss}).dag
    key = Graph([x], {"loss": loss}).keys
    assert nx.has_path(dag, key[ws[0]], key[loss])
    assert not nx.has_path(dag, key[loss], key[ws[0]])


# -- order and caching ---------------------------------------------------------------------------


def test_a_chain_written_three_ways_is_one_graph():
    def graph(build):
        x = gx.input("x", (4,), "float64")
        w1, w2 = gx.parameter(np.ones((4, 4)), name="W1"), gx.parameter(np.ones((4, 2)), name="W2")
        loss = build(x, w1, w2)
        after, _ = optimize(Graph([x], {"loss": loss, "g": gx.grad(loss, w1)}))
        return [(n.op.name, n.type) for n in after]

    def stepwise(x, w1, w2):
        z1 = x @ w1
        z2 = gx.tanh(z1)
        z3 = z2 @ w2
        return gx.sum(gx.square(z3))

    def nested(x, w1, w2):
        return gx.sum(gx.square(gx.tanh(x @ w1) @ w2))

    def functions(x, w1, w2):
        layers = [lambda t: t @ w1, gx.tanh, lambda t: t @ w2, gx.square, gx.sum]
        for layer in layers:
            x = layer(x)
        return x

    assert graph(stepwise) == graph(nested) == graph(functions)


def test_the_adjoint_of_a_layer_is_computed_once():
    x = gx.input("x", (None, 3))
    w, b = gx.parameter(np.ones((3, 4), "float32"), name="w"), gx.parameter([0.0] * 4, name="b")
    z = x @ w + b
    loss = gx.mean(gx.square(gx.tanh(z)))
    gw, gb, gz = gx.grad(loss, [w, b, z])
    assert gz in set(ancestors([gw]))
    assert gz in set(ancestors([gb]))
    assert gz.adjoint_of is z
    separate = [gx.grad(loss, w), gx.grad(loss, b)]
    together, _ = optimize(Graph([x], {"w": gw, "b": gb}))
    merged, _reports = optimize(Graph([x], {"w": separate[0], "b": separate[1]}))
    assert len(merged) == len(together)  # what two sweeps have in common is computed once


def test_reverse_mode_costs_about_three_forwards():
    x = gx.input("x", (32, 64))
    h, ws = x, []
    for _ in range(6):
        ws.append(gx.parameter(np.ones((64, 64), "float32")))
        h = gx.tanh(h @ ws[-1])
    loss = gx.mean(h * h)

    def flops(*roots):
        graph, _ = optimize(Graph([x], {str(i): t for i, t in enumerate(roots)}))
        return sum(n.op.flops(n.type, *[y.type for y in n.inputs]) for n in graph)

    ratio = flops(loss, *gx.grad(loss, ws)) / flops(loss)
    assert 2.5 < ratio < 3.1


def test_clip_with_crossed_bounds_has_the_derivative_of_the_upper_one():
    """``clip(x, low, x)`` is ``x`` whatever ``low`` is: its derivative is 1, once."""
    x = gx.input("x", (3,), "float64")
    for low in (np.full(3, -9.0), np.full(3, 9.0)):
        g = gx.grad(gx.sum(gx.clip(x, low, x)), x)
        np.testing.assert_array_equal(*values([g], {x: np.array([-1.0, 0.5, 2.0])}), np.ones(3))
