"""A short training in float64 follows PyTorch's from the same initial values."""

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim

torch = pytest.importorskip("torch")

rng = np.random.default_rng(3)
X = rng.standard_normal((50, 6))
T = rng.integers(4, size=50)

PAIRS = {
    "sgd": (lambda: optim.SGD(0.1, momentum=0.9), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
    "adam": (lambda: optim.Adam(0.02), lambda p: torch.optim.Adam(p, 0.02)),
    "adamw": (lambda: optim.AdamW(0.02, weight_decay=0.1),
              lambda p: torch.optim.AdamW(p, 0.02, weight_decay=0.1)),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_training_follows_pytorch(name):
    ours, theirs = PAIRS[name]
    x, y = gx.input("x", (None, 6), "float64"), gx.input("y", (None,), "int64")
    net = nn.Sequential(
        nn.Linear(6, 8, dtype="float64"), nn.Tanh(), nn.Linear(8, 4, dtype="float64")
    )
    logits = net(x)
    model = gx.Model(inputs=x, outputs=logits, targets=y, loss=nn.cross_entropy(logits, y),
                     optimizer=ours())  # fmt: skip
    twin = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4)
    ).double()
    with torch.no_grad():
        for ours_at, theirs_at in ((0, 0), (1, 2)):
            weight = model.parameters[f"linear_{ours_at}.weight"]
            twin[theirs_at].weight.copy_(torch.from_numpy(weight.T.copy()))
            bias = model.parameters[f"linear_{ours_at}.bias"]
            twin[theirs_at].bias.copy_(torch.from_numpy(bias.copy()))
    optimizer = theirs(twin.parameters())
    for _ in range(10):
        for xb, yb in gx.data.batches(X, T, batch_size=16):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(twin(torch.from_numpy(xb)),
                                                     torch.from_numpy(yb))  # fmt: skip
            loss.backward()
            optimizer.step()
            np.testing.assert_allclose(model.train_step(xb, yb), loss.item(), rtol=1e-9)
    theirs_now = twin[0].weight.detach().numpy().T
    np.testing.assert_allclose(
        model.parameters["linear_0.weight"], theirs_now, rtol=1e-8, atol=1e-10
    )
