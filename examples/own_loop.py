"""A training loop of one's own, a learning rate that changes, a layer that is a function."""

import numpy as np

import graphc as gx
from graphc import nn, optim

rng = np.random.default_rng(0)
X = rng.uniform(-2, 2, (2000, 2)).astype("float32")
Y = (np.hypot(X[:, :1], X[:, 1:]) < 1).astype("float32")  # inside the circle, or not


def residual(h, linear):
    """A layer of one's own is a plain function."""
    return h + gx.tanh(linear(h))


x, y = gx.input("x", (None, 2)), gx.input("y", (None, 1))
h = nn.Linear(2, 16)(x)
for _ in range(2):
    h = residual(h, nn.Linear(16, 16))
logit = nn.Linear(16, 1)(h)
right = gx.mean(gx.astype(gx.equal(logit > 0, y > 0.5), "float32"))
model = gx.Model(
    inputs=x,
    outputs=gx.sigmoid(logit),
    targets=y,
    loss=nn.binary_cross_entropy_with_logits(logit, y),
    metrics={"accuracy": right},
    optimizer=optim.AdamW(1e-2),
    seed=0,
)

for epoch in range(20):
    model.optimizer.lr = 1e-2 * 0.9**epoch  # no recompilation
    losses = [
        model.train_step(xb, yb)
        for xb, yb in gx.data.batches(X, Y, batch_size=64, shuffle=True, seed=epoch)
    ]
    if epoch % 5 == 4:
        print(f"epoch {epoch + 1:2}: loss {np.mean(losses):.4f}")
scores = model.evaluate(X, Y)
print(f"accuracy {scores['accuracy']:.4f}, kernels compiled {model.report.cache_misses}")
assert scores["accuracy"] > 0.97
