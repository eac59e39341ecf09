"""In which order to multiply, and what to compute once.

Some texts call the sweep that starts at the loss "forwards"; the field calls it reverse mode, and
so does graphc.
"""

import math

import numpy as np

import graphc as gx
from graphc import nn

rng = np.random.default_rng(0)

# -- 1. layers are subgraphs ----------------------------------------------------------------------

x, y = gx.input("x", (None, 8)), gx.input("y", (None,), "int64")
net = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
graph = gx.Graph([x, y], {"loss": nn.cross_entropy(net(x), y)})
layers: dict[str, list[str]] = {}
for name, data in graph.dag.nodes(data=True):
    if data["scope"]:
        layers.setdefault(data["scope"][-1], []).append(name)
print("1.", {layer: len(nodes) for layer, nodes in layers.items()}, "nodes of each layer")
assert set(layers) == {"linear_0", "relu_0", "linear_1"}

sequence = gx.input("sequence", (5, 3), "float64")  # recurrent: one cell, unrolled over time
U, V = (gx.parameter(rng.standard_normal(s) / 2, dtype="float64") for s in ((3, 4), (4, 4)))
state = gx.constant(np.zeros(4))
for step in range(5):
    state = gx.tanh(sequence[step] @ U + state @ V)
gx.check_grads(gx.sum(gx.square(state)), [U, V], {sequence: rng.standard_normal((5, 3))})

signal = gx.input("signal", (10,), "float64")  # convolutional: one kernel, at every place
kernel = gx.parameter([0.25, 0.5, -1.0], dtype="float64")
convolved = gx.stack([kernel @ signal[i : i + 3] for i in range(8)])
gx.check_grads(gx.sum(gx.square(convolved)), kernel, {signal: rng.standard_normal(10)})
print("   the same pass differentiates a recurrent and a convolutional network")

# -- 2. f(a + h) ~ f(a) + f'(a) h -----------------------------------------------------------------

a, b = gx.input("a", (), "float64"), gx.input("b", (), "float64")
f = gx.function([a, b], (a * b, gx.grad(a * b, a)))
(before, slope), (after, _) = f(2.0, -6.0), f(2.0 + 0.5, -6.0)
print(
    f"2. f(x, y) = x y at (2, -6): df/dx = {slope}; raising x by 0.5 changes f by {after - before}"
)
assert (slope, after - before) == (-6.0, -6.0 * 0.5)

# -- 3. one network written three ways is one graph ---------------------------------------------

W1, b1 = gx.parameter(rng.standard_normal((4, 3)), name="W1"), gx.parameter(np.ones(4), name="b1")
W2, b2 = gx.parameter(rng.standard_normal((2, 4)), name="W2"), gx.parameter(np.ones(2), name="b2")
v = gx.input("v", (3,), "float64")


def f1(x):
    return W1 @ x + b1


def f3(x):
    return W2 @ x + b2


def loss_of(z):
    return gx.sum(gx.square(z))


z1 = f1(v)
z2 = gx.tanh(z1)
z3 = f3(z2)
stepwise = loss_of(z3)
nested = gx.sum(gx.square(W2 @ gx.tanh(W1 @ v + b1) + b2))
composed = v
for layer in (f1, gx.tanh, f3, loss_of):
    composed = layer(composed)
texts = []
for loss in (stepwise, nested, composed):
    optimized = gx.function(v, (loss, gx.grad(loss, [W1, W2]))).optimized_graph
    texts.append([(node.op.name, str(node.type)) for node in optimized])
assert texts[0] == texts[1] == texts[2]
print(f"3. {gx.formula(stepwise)}: three ways, one graph of {len(texts[0])} nodes")

at = rng.standard_normal(3)
values = gx.function(v, {"z1": z1, "z2": z2, "z3": z3, "dW": gx.grad(stepwise, [W1, W2])})(at)
w2 = gx.function(v, W2 * 1.0)(at)
dz3 = 2 * values["z3"]  # the products of local derivatives, by hand
dz1 = (dz3 @ w2) * (1 - values["z2"] ** 2)
np.testing.assert_allclose(values["dW"][1], np.outer(dz3, values["z2"]), rtol=1e-12)
np.testing.assert_allclose(values["dW"][0], np.outer(dz1, at), rtol=1e-12)

chain, s = [gx.input("s", (), "float64")], 0.3  # a chain of n functions
for _ in range(20):
    chain.append(gx.sin(chain[-1]))
product = 1.0
for _ in range(20):
    product, s = product * math.cos(s), math.sin(s)
np.testing.assert_allclose(
    gx.function(chain[0], gx.grad(chain[-1], chain[0]))(0.3), product, rtol=1e-13
)

# -- 4. the cost of the two orders of multiplication ----------------------------------------------

n3, n2, n1, n0 = 10, 128, 128, 784
from_loss = n3 * n2 + n2 * n1 + n1 * n0
from_input = n2 * n1 * n0 + n3 * n2 * n0 + n3 * n0
print(f"4. multiplications from the loss {from_loss:,}, from the input {from_input:,}")
assert (from_loss, from_input) == (118_016, 13_856_416)

g = gx.input("g", (1, n3), "float64")
J3, J2, J1 = (gx.input(n, s, "float64")
              for n, s in (("J3", (n3, n2)), ("J2", (n2, n1)), ("J1", (n1, n0))))  # fmt: skip
written = g @ (J3 @ (J2 @ J1))
with gx.config(disable_passes="matrix_chain"):
    naive = gx.function([g, J3, J2, J1], written).report.flops // 2
optimal = gx.function([g, J3, J2, J1], written).report.flops // 2
print(f"   g (J3 (J2 J1)) as written {naive:,}; as compiled {optimal:,}")
assert (naive, optimal) == (from_input, from_loss)

pixels = gx.input("pixels", (1, n0), "float64")
w1 = gx.parameter(rng.standard_normal((n0, n1)), dtype="float64")
w3 = gx.parameter(rng.standard_normal((n2, n3)), dtype="float64")
hidden = gx.relu(pixels @ w1)
scores = hidden @ w3
backward = gx.function([pixels, g], gx.vjp(scores, [pixels], g)).report
products = sum(
    k.flops for k in backward.kernels if "matmul" in k.computes and k.phase == "backward"
)
print(
    f"   the network: {products // 2:,}, and {n2} for its elementwise layer (a diagonal Jacobian)"
)
assert products // 2 == n3 * n2 + n1 * n0

# -- 5. caching: d loss / d z1 is computed once, for W1 and b1 ------------------------------------


def nodes_for(*wanted):
    """Return how many nodes the compiled gradients take."""
    return len(gx.function(v, gx.grad(stepwise, list(wanted))).optimized_graph)


def flops_for(*wanted):
    return gx.function(v, gx.grad(stepwise, list(wanted))).report.flops


apart = (nodes_for(W1) + nodes_for(b1), flops_for(W1) + flops_for(b1))
together = (nodes_for(W1, b1), flops_for(W1, b1))
print(f"5. dW1 and db1 apart: {apart[0]} nodes, {apart[1]} operations;", end=" ")
print(f"together: {together[0]} nodes, {together[1]} operations")
shared = [n for n in gx.Graph([v], {str(i): t for i, t in enumerate(gx.grad(stepwise, [W1, b1]))})
          if n.adjoint_of is z1]  # fmt: skip
assert len(shared) == 1
assert together[0] < 0.7 * apart[0]
assert together[1] < 0.7 * apart[1]

# -- 6. mini-batches ------------------------------------------------------------------------------

model = gx.Model(inputs=x, outputs=net(x), targets=y, loss=nn.cross_entropy(net(x), y))
X = rng.standard_normal((96, 8)).astype("float32")
Y = rng.integers(0, 3, 96)
whole = model.gradients(X, Y)["linear_0.weight"]
parts = [model.gradients(*batch)["linear_0.weight"]
         for batch in gx.data.batches(X, Y, batch_size=32, shuffle=True, seed=0)]  # fmt: skip
distance = max(np.abs(part - whole).max() for part in parts)
print(
    f"6. gradients of {len(parts)} mini-batches differ from the whole by up to {distance:.3f};",
    end=" ",
)
print(f"their mean by {np.abs(np.mean(parts, axis=0) - whole).max():.1e}")
np.testing.assert_allclose(np.mean(parts, axis=0), whole, atol=1e-6)
print("ok")
