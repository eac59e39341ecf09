"""What a gradient is, what it is for, and what it costs.

python examples/a_concept.py [folder for the picture]
"""

import itertools
import math
import sys
import tempfile
import time
from pathlib import Path

import networkx as nx
import numpy as np

import graphc as gx
from graphc import nn, optim

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
rng = np.random.default_rng(0)

# -- 1. a training step is a forward pass, then a backward pass ----------------------------------

x, y = gx.input("x", (None, 3)), gx.input("y", (None, 1))
prediction = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))(x)
model = gx.Model(inputs=x, outputs=prediction, targets=y, loss=nn.mse_loss(prediction, y),
                 optimizer=optim.SGD(0.1))  # fmt: skip
X = rng.standard_normal((16, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)

forward = model.forward(X, Y)
gradients = model.gradients(X, Y)
print("1. forward:  prediction", forward["outputs"].shape, "and loss", f"{forward['loss']:.4f}")
print("   backward:", {name: g.shape for name, g in gradients.items()})
assert set(gradients) == set(model.parameters)

before = {name: value.copy() for name, value in model.parameters.items()}
assert np.float32(model.train_step(X, Y)) == forward["loss"]
for name, value in model.parameters.items():  # theta <- theta - eta g
    np.testing.assert_allclose(value, before[name] - np.float32(0.1) * gradients[name], rtol=1e-6)

# -- 2. it points where the loss rises fastest ---------------------------------------------------

v = gx.input("v", (6,), "float64")
surface = gx.sum(gx.sin(v) * gx.roll(v, 1)) + gx.logsumexp(v)
gradient = gx.grad(surface, v)
at = rng.standard_normal(6)
g, third = gx.function(v, (gradient, gradient[2]))(at)
slopes = [g @ (d / np.linalg.norm(d)) for d in rng.standard_normal((10_000, 6))]
print(f"2. slope along g/|g| {np.linalg.norm(g):.6f}, best of 10,000 directions {max(slopes):.6f}")
assert max(slopes) <= np.linalg.norm(g)
assert third == g[2]  # each partial derivative has an address

# -- 3. first and second order -------------------------------------------------------------------

A = np.array([[4.0, 1.0], [1.0, 3.0]])
b = np.array([1.0, 2.0])
t = gx.input("t", (2,), "float64")
quadratic = 0.5 * (t @ A @ t) - b @ t
step = gx.function(t, {"g": gx.grad(quadratic, t), "H": gx.hessian(quadratic, t)})
here = step([5.0, -7.0])
newton = np.array([5.0, -7.0]) - np.linalg.solve(here["H"], here["g"])
print(
    f"3. Newton from (5, -7): {newton} after one step, |g| {np.linalg.norm(step(newton)['g']):.1e}"
)
np.testing.assert_allclose(newton, np.linalg.solve(A, b), rtol=1e-14)


def network_loss(n: int) -> tuple[gx.Tensor, gx.Tensor]:
    """Return theta with ``4 n`` elements, and the loss of a network with ``n`` hidden units."""
    theta = gx.input("theta", (4 * n,), "float64")
    w, wo = theta[: 3 * n].reshape((3, n)), theta[3 * n :]
    data, target = gx.constant(X, "float64"), gx.constant(Y[:, 0], "float64")
    return theta, gx.mean(gx.square(gx.tanh(data @ w) @ wo - target))


def fastest(call, *arguments, repeat: int = 7) -> float:
    """Return microseconds of the fastest of some calls."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call(*arguments)
        times.append(time.perf_counter() - start)
    return min(times) * 1e6


print("   parameters      gradient                HVP            Hessian   (microseconds, bytes)")
for units in (4, 16, 64):
    theta, loss = network_loss(units)
    n = 4 * units
    direction = gx.input("u", (n,), "float64")
    point, u = rng.standard_normal(n), rng.standard_normal(n)
    grad = gx.function(theta, gx.grad(loss, theta))
    hvp = gx.function([theta, direction], gx.hvp(loss, theta, direction))
    columns = np.eye(n)
    H = np.stack([hvp(point, e) for e in columns])  # a Hessian is n products with unit vectors
    cost = [fastest(grad, point), fastest(hvp, point, u)]
    cost.append(fastest(lambda f=hvp, p=point, c=columns: [f(p, e) for e in c], repeat=3))
    sizes = (8 * n, 8 * n, 8 * n * n)
    row = "".join(f"{c:9.0f} {s:9,}" for c, s in zip(cost, sizes, strict=True))
    print(f"   {n:10}{row}")
    np.testing.assert_allclose(H @ u, hvp(point, u), rtol=1e-8, atol=1e-10)
    assert cost[2] > 0.5 * n * cost[1]  # time times n, and bytes n^2

# -- 4. the derivative sums over all paths the products along each -------------------------------

w = gx.input("w", (), "float64")
p = w * w  # one operand in two places: two paths
q = gx.sin(p) * w  # a diamond
r = gx.exp(q * 0.5) + p / (1.0 + q * q)
loss = r * q + gx.tanh(w)  # w is shared by all of them
names, dag = (whole := gx.Graph([w], {"loss": loss})).keys, whole.dag

local = {}  # the derivative of each node by each of its operands
for node in whole:
    parts = node.op.vjp(gx.constant(1.0, "float64"), node, *node.inputs) if node.inputs else ()
    local.update({(names[node], i): part for i, part in enumerate(parts)})
value = gx.function(w, {str(k): part for k, part in local.items()})(0.6)

products = []
for path in nx.all_simple_paths(dag, names[w], names[loss]):
    edges = list(itertools.pairwise(path))
    for places in itertools.product(*(dag.edges[e]["operands"] for e in edges)):
        factors = [value[str((u, i))] for (_, u), i in zip(edges, places, strict=True)]
        products.append(math.prod(factors))
adjoint = gx.function(w, gx.grad(loss, w))(0.6)
print(
    f"4. {len(products)} paths, their products sum to {sum(products):.12f}; adjoint {adjoint:.12f}"
)
np.testing.assert_allclose(sum(products), adjoint, rtol=1e-13)

# -- 5. the computation graph of a feed-forward network for regression ---------------------------

print("5. picture:", gx.visualize(model, folder / "regression.svg"))

# -- 6. each adjoint needs those of its successors and local values, nothing else ----------------

graph = model.graph
adjoint_of = {n.adjoint_of: n for n in graph if n.adjoint_of is not None}


def successors(node: gx.Tensor) -> set[gx.Tensor]:
    """Return the users of ``node`` that have an adjoint (a sum passes on that of its result)."""
    found = [{u} if u in adjoint_of else successors(u) for u in graph.users[node]]
    return set().union(*found)


for primal, adjoint in adjoint_of.items():
    todo, used = list(adjoint.inputs), set()
    while todo:
        node = todo.pop()
        if node.adjoint_of is not None:
            used.add(node.adjoint_of)
        elif node.phase == "backward":
            todo.extend(node.inputs)
    assert used <= successors(primal), (primal, used)
print(f"6. {len(adjoint_of)} adjoints: each needs only those of its successors, and local values")
print("ok")
