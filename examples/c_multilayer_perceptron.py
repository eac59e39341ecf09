"""The multilayer perceptron, formally: its formula, its gradients and the order they come in.

h_0 = x, h_l = phi(W_l^T h_{n-1} + b_l), o = w_o^T h_L + b_o, for any L and elementwise phi.
"""

import itertools

import networkx as nx
import numpy as np

import graphc as gx
from graphc import nn, optim

rng = np.random.default_rng(0)

# -- 1. the chain rule, scalar and vector, and the form J^T g of every op -------------------------

t = gx.input("t", (), "float64")
three = gx.exp(gx.sin(gx.square(t)))
slope = gx.function(t, gx.grad(three, t))(0.7)
by_hand = np.exp(np.sin(0.49)) * np.cos(0.49) * 2 * 0.7
print(f"1. exp(sin(t^2))' at 0.7 = {slope:.12f}, by hand {by_hand:.12f}")
np.testing.assert_allclose(slope, by_hand, rtol=1e-14)

p, g = gx.input("p", (4,), "float64"), gx.input("g", (4,), "float64")
functions = (
    gx.tanh, gx.relu, gx.exp, gx.softmax, gx.cumulative_sum, gx.flip, gx.square, gx.sigmoid,
    gx.log_softmax, gx.softplus, lambda v: v @ np.arange(16.0).reshape(4, 4),
)  # fmt: skip
at, upstream = np.array([0.5, -1.0, 2.0, 0.25]), np.array([1.0, -2.0, 0.5, 3.0])
for r in (f(p) for f in functions):
    product, jacobian = gx.function([p, g], (gx.vjp(r, p, g), gx.jacobian(r, p)))(at, upstream)
    np.testing.assert_allclose(product, jacobian.T @ upstream, rtol=1e-12, atol=1e-14)
print(f"   grad_p = J^T grad_r for {len(functions)} functions; tests/ops has every one")

# -- 2. the recipe: random start, output, loss, gradient, update, until convergence ---------------

X = rng.standard_normal((256, 2)).astype("float32")
Y = (np.sin(2 * X[:, :1]) * X[:, 1:]).astype("float32")
x, y = gx.input("x", (None, 2)), gx.input("y", (None, 1))
out = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))(x)
model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                 optimizer=optim.Adam(1e-2), seed=0)  # fmt: skip
stop = gx.callbacks.EarlyStopping("val_loss", patience=20, restore_best=True)
history = model.fit(X[:192], Y[:192], epochs=1000, batch_size=32, verbose=0, callbacks=[stop],
                    validation_data=(X[192:], Y[192:]))  # fmt: skip
print(f"2. converged after {len(history['loss'])} epochs:", end=" ")
print(f"loss {history['loss'][0]:.4f} -> {history['loss'][-1]:.6f}, best epoch {stop.best_epoch}")
assert len(history["loss"]) < 1000
assert history["loss"][-1] < 0.05 * history["loss"][0]

# -- 3.-7. any number of layers, any phi ----------------------------------------------------------

PHI = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
}


def perceptron(depth, phi, width=4):
    """Declare the network, its loss and its parameters; return also the arrays."""
    sizes = [3] + [width] * depth
    arrays = {}
    for n, shape in enumerate(itertools.pairwise(sizes), 1):
        arrays[f"W{n}"], arrays[f"b{n}"] = rng.standard_normal(shape), rng.standard_normal(width)
    arrays["wo"], arrays["bo"] = rng.standard_normal(width), rng.standard_normal(())
    theta = {name: gx.parameter(array, name=name) for name, array in arrays.items()}
    x, y = gx.input("x", (3,), "float64"), gx.input("y", (), "float64")
    h = [x]
    for n in range(1, depth + 1):
        h.append(getattr(gx, phi)(theta[f"W{n}"].T @ h[-1] + theta[f"b{n}"]))
    o = theta["wo"] @ h[-1] + theta["bo"]
    return x, y, theta, h, o, 0.5 * (o - y) ** 2, arrays


def by_the_book(depth, phi, theta, x, y):
    """The algorithm, line by line: forward 1-4, backward 1-6."""
    f, df = PHI[phi]
    h, z = [x], [None]  # forward 1: h_0 = x
    for n in range(1, depth + 1):  # forward 2: layer by layer
        z.append(theta[f"W{n}"].T @ h[n - 1] + theta[f"b{n}"])
        h.append(f(z[n]))
    o = theta["wo"] @ h[depth] + theta["bo"]  # forward 3: the output
    loss = 0.5 * (o - y) ** 2  # forward 4: the loss
    d = {}
    go = o - y  # backward 1: d loss / d o
    d["wo"], d["bo"] = go * h[depth], go  # backward 2: the head
    gh = go * theta["wo"]  # backward 3: d loss / d h_L
    for n in range(depth, 0, -1):
        d[f"h{n}"] = gh
        gz = gh * df(z[n])  # backward 4: through phi
        d[f"W{n}"], d[f"b{n}"] = np.outer(h[n - 1], gz), gz  # backward 5: the parameters
        gh = theta[f"W{n}"] @ gz  # backward 6: on to h_{n-1}
    return o, loss, d


print("3.-7. depth, phi: largest difference from the algorithm, line by line")
for depth, phi in itertools.product((1, 2, 5), PHI):
    x, y, theta, h, o, loss, arrays = perceptron(depth, phi)
    wanted = theta | {f"h{n}": h[n] for n in range(1, depth + 1)}
    compiled = gx.function([x, y], (o, loss, gx.grad(loss, wanted)))
    point = rng.standard_normal(3), 0.3
    (co, closs, cd), (bo, bloss, bd) = compiled(*point), by_the_book(depth, phi, arrays, *point)
    assert cd.keys() == bd.keys()
    worst = max(float(np.max(np.abs(cd[k] - bd[k]))) for k in bd)
    print(f"   {depth}, {phi:8} {len(bd):2} gradients   {worst:.1e}")
    for name, value in bd.items():
        np.testing.assert_allclose(cd[name], value, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose((co, closs), (bo, bloss), rtol=1e-12)

x, y, theta, h, o, loss, _ = perceptron(2, "relu")
print("4. o =", gx.formula(o))
print("  ", gx.formula(o, "latex"))
assert gx.formula(o) == "wo^T relu(W2^T relu(W1^T x + b1) + b2) + bo"

dag, name = (graph := gx.Graph([x, y], {"loss": loss})).dag, graph.keys
order = [theta["W1"], h[1], h[2], o, loss]
for a, b in itertools.pairwise(order):  # 6. A <= B: B is computed from A
    assert nx.has_path(dag, name[a], name[b])
    assert not nx.has_path(dag, name[b], name[a])
print("6. W1 <= h1 <= h2 <= o <= loss, and not the other way round")

# -- 8. other architectures by the same pass -------------------------------------------------------

x = gx.input("x", (6,), "float64")
shared = gx.parameter(rng.standard_normal((6, 6)) / 3, name="shared", dtype="float64")
skip = gx.tanh(x @ shared) + x  # a residual connection
gate = gx.sigmoid(skip @ shared)  # the same weights again
mixed = gx.softmax(gate * skip) @ skip  # attention over six places
gx.check_grads(mixed, shared, {x: rng.standard_normal(6)})
print("8. residual, gated, attending, with shared weights: first and second derivatives hold")
print("ok")
