"""The whole pipeline in a few seconds: run this first after a change."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import graphc as gx
from graphc import nn, optim
from graphc.ir.interpret import interpret

RNG = np.random.default_rng(0)
X = RNG.standard_normal((48, 3)).astype("float32")
Y = np.sin(X[:, :1]) + X[:, 1:2]


def build(rate=0.05):
    x, y = gx.input("x", (None, 3)), gx.input("y", (None, 1))
    out = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))(x)
    return gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                    optimizer=optim.Adam(rate), seed=0)  # fmt: skip


def test_declare_differentiate_compile_call():
    x, w = gx.input("x", (None, 3), "float64"), gx.parameter([1.0, -2.0, 0.5], dtype="float64")
    loss = gx.mean(gx.square(gx.tanh(x @ w)))
    f = gx.function(x, {"loss": loss, "dw": gx.grad(loss, w)})
    for rows in (1, 4, 33):  # one binary
        at = RNG.standard_normal((rows, 3))
        t = np.tanh(at @ [1.0, -2.0, 0.5])
        found = f(at)
        np.testing.assert_allclose(found["loss"], np.mean(t * t), rtol=1e-13)
        np.testing.assert_allclose(
            found["dw"], at.T @ (2 * t * (1 - t * t)) / rows, rtol=1e-12, atol=1e-15
        )
    gx.check_grads(loss, w, {x: at})


def test_every_stage_agrees():
    model = build()
    feeds = dict(zip(model.graph.inputs, (X, Y), strict=True))
    declared, optimized = (interpret(g, feeds) for g in (model.graph, model.optimized_graph))
    computed = model.forward(X, Y)
    np.testing.assert_allclose(optimized["loss"], declared["loss"], rtol=1e-6)
    np.testing.assert_allclose(computed["loss"], declared["loss"], rtol=1e-6)
    assert computed["loss"] == np.float32(model.train_step(X, Y))


def test_train_look_save_load(tmp_path):
    model = build()
    history = model.fit(X, Y, epochs=60, batch_size=16, verbose=0)
    assert history["loss"][-1] < 0.05 * history["loss"][0]
    gx.visualize(model, tmp_path / "model.svg")
    assert "<svg" in (tmp_path / "model.svg").read_text()
    assert "def train_epoch" in model.source
    assert model.report.arena_bytes > 0
    model.save(tmp_path / "m.safetensors")
    other = build()
    other.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(other.predict(X), model.predict(X))


LOSSES = """
import numpy as np
from test_tiny import X, Y, build
model = build()
print([model.train_step(X[:8], Y[:8]) for _ in range(3)])
"""


def test_without_the_compiler():
    """The generated text also runs as plain Python."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    plain = subprocess.run([sys.executable, "-c", LOSSES], env=environment, capture_output=True,
                           cwd=Path(__file__).parent, text=True, check=True)  # fmt: skip
    model = build()
    losses = [model.train_step(X[:8], Y[:8]) for _ in range(3)]
    np.testing.assert_allclose(eval(plain.stdout), losses, rtol=1e-4)
