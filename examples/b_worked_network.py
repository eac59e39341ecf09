"""A two-layer ReLU network by hand: every number is dyadic, so equality is exact."""

import numpy as np

import graphc as gx

# -- 1. a partial derivative is a ratio; the error of its approximation shrinks with the step -----

t = gx.input("t", (), "float64")
f = gx.exp(gx.sin(t))
slope_of = gx.grad(f, t)
both = gx.function(t, (f, slope_of, gx.grad(slope_of, t)))
value, slope, second = both(0.2)
print("1.      h   (f(t + h) - f(t)) / h   remainder / h^2")
for h in (1e-1, 1e-2, 1e-3, 1e-4):
    moved = both(0.2 + h)[0]
    print(f"   {h:6.0e}   {(moved - value) / h:21.9f}   {(moved - value - slope * h) / h**2:.6f}")
np.testing.assert_allclose((moved - value - slope * h) / h**2, second / 2, rtol=1e-3)

# -- 2. chains multiply, branches add -------------------------------------------------------------

u = gx.input("u", (), "float64")
chain = gx.square(gx.sin(u))
branches = gx.exp(u) + gx.sin(u) * u
slopes = gx.function(u, (gx.grad(chain, u), gx.grad(branches, u)))(0.7)
by_hand = (2 * np.sin(0.7) * np.cos(0.7), np.exp(0.7) + np.cos(0.7) * 0.7 + np.sin(0.7))
print(f"2. chain {slopes[0]:.12f}, branches {slopes[1]:.12f}")
np.testing.assert_allclose(slopes, by_hand, rtol=1e-14)

# -- 3. C = A B: dA = dC B^T and dB = A^T dC, and no Jacobian is built ----------------------------

rng = np.random.default_rng(0)
n = 5
a, b = gx.input("A", (2, n), "float64"), gx.input("B", (n, 4), "float64")
dc = gx.input("dC", (2, 4), "float64")
products = gx.function([a, b, dc], gx.vjp(a @ b, [a, b], dc))  # dC is all that upstream gives
A, B, dC = rng.standard_normal((2, n)), rng.standard_normal((n, 4)), rng.standard_normal((2, 4))
dA, dB = products(A, B, dC)
np.testing.assert_allclose(dA, dC @ B.T, rtol=1e-14)
np.testing.assert_allclose(dB, A.T @ dC, rtol=1e-14)
largest = max(int(np.prod(node.shape)) for node in products.graph)
print(f"3. dA {dA.shape}, dB {dB.shape}; largest tensor {largest} elements,", end=" ")
print(f"a Jacobian has {dC.size * dA.size} and {dC.size * dB.size}")
assert largest == max(A.size, B.size)

# -- 4. the network and its numbers ---------------------------------------------------------------

x, y = gx.input("x", (2,), "float64"), gx.input("y", (), "float64")
W1 = gx.parameter([[0.5, 0.25], [-1.0, 0.25], [0.75, -0.25]], name="W1", dtype="float64")
W2 = gx.parameter([1.0, -2.0, 2.0], name="W2", dtype="float64")
z = W1 @ x
h = gx.relu(z)
yhat = W2 @ h
loss = (yhat - y) ** 2
gradients = gx.grad(loss, {"W2": W2, "h": h, "z": z, "W1": W1})
network = gx.function([x, y], {"z": z, "h": h, "yhat": yhat, "loss": loss, "d": gradients})

out = network([1.0, 2.0], 1.0)
print(f"4. z = {out['z']}, h = {out['h']}, yhat = {out['yhat']}, loss = {out['loss']}")
for name, value in out["d"].items():
    print(f"   d{name} =", str(value).replace("\n", "\n" + " " * (7 + len(name))))
assert out["z"].tolist() == [1.0, -0.5, 0.25]
assert out["h"].tolist() == [1.0, 0.0, 0.25]
assert (out["yhat"], out["loss"]) == (1.5, 0.25)
assert out["d"]["W2"].tolist() == [1.0, 0.0, 0.25]
assert out["d"]["h"].tolist() == [1.0, -2.0, 2.0]
assert out["d"]["z"].tolist() == [1.0, 0.0, 2.0]
assert out["d"]["W1"].tolist() == [[1.0, 2.0], [0.0, 0.0], [2.0, 4.0]]
for neuron in np.flatnonzero(out["z"] <= 0):
    print(f"   neuron {neuron} is dead for this x: z = {out['z'][neuron]} <= 0, so relu'(z) = 0,")
    print(
        f"   dz = relu'(z) dh = 0 * {out['d']['h'][neuron]}, and row {neuron} of dW1 = dz x^T is 0"
    )

# -- 5. every parameter raised by eps --------------------------------------------------------------

w1, w2 = gx.input("w1", (3, 2), "float64"), gx.input("w2", (3,), "float64")
loss_at = gx.function([w1, w2], (w2 @ gx.relu(w1 @ np.array([1.0, 2.0])) - 1.0) ** 2)
first = np.array([[0.5, 0.25], [-1.0, 0.25], [0.75, -0.25]])
last = np.array([1.0, -2.0, 2.0])
d1, d2 = out["d"]["W1"], out["d"]["W2"]

print("5.      eps   eps sum(g)      actual")
for eps, expected in ((1e-3, 0.0103612), (1e-2, 0.1137296)):
    predicted = eps * (d1.sum() + d2.sum())
    actual = loss_at(first + eps, last + eps) - 0.25
    print(f"   {eps:8}   {predicted:+.6f}   {actual:+.7f}")
    np.testing.assert_allclose(predicted, 10.25 * eps, rtol=1e-14)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)

# -- 6. one gradient step --------------------------------------------------------------------------

print("6.       lr   -lr |g|^2        actual   relative error")
errors = []
for lr, expected in ((1e-2, -0.19234), (1e-3, -0.0253761), (1e-4, None)):
    predicted = -lr * (np.sum(d1**2) + np.sum(d2**2))
    actual = loss_at(first - lr * d1, last - lr * d2) - 0.25
    errors.append(abs(predicted - actual) / abs(predicted))
    print(f"   {lr:8}   {predicted:+.7f}   {actual:+.8f}   {errors[-1]:.5f}")
    np.testing.assert_allclose(predicted, -26.0625 * lr, rtol=1e-14)
    if expected is not None:
        np.testing.assert_allclose(actual, expected, rtol=1e-4)
np.testing.assert_allclose(errors[1] / errors[2], 10, rtol=0.02)

# -- 7. forward and backward together cost about three forwards ----------------------------------

wide, layers = gx.input("wide", (32, 64), "float64"), []
hidden = wide
for _ in range(6):
    layers.append(gx.parameter(rng.standard_normal((64, 64)) / 8, dtype="float64"))
    hidden = gx.tanh(hidden @ layers[-1])
deep = gx.mean(gx.square(hidden))
once = gx.function(wide, deep).report.flops
backprop = gx.function(wide, (deep, gx.grad(deep, layers))).report.flops
parameters = 6 * 64 * 64
print(f"7. forward {once:,} operations, with backward {backprop:,}: {backprop / once:.2f} forwards")
print(
    f"   finite differences: {parameters:,} + 1 forwards, {parameters + 1} of {once:,} operations"
)
assert 2.5 < backprop / once < 3.2
print("ok")
