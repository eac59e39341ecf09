"""The generated text runs as plain Python with the same results: steps, epochs, inference."""

from __future__ import annotations

import sys

import numpy as np
from compiled import plain_python

import graphc as gx
from graphc import nn, optim

RNG = np.random.default_rng(0)
X = RNG.standard_normal((23, 6)).astype("float32")
Y = RNG.integers(0, 3, 23)


def train(plain):
    x, y = gx.input("x", (None, 6)), gx.input("y", (None,), "int64")
    out = nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Dropout(0.5), nn.Linear(9, 3))(x)
    model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.cross_entropy(out, y),
                     metrics={"accuracy": nn.accuracy(out, y)},
                     optimizer=optim.Adam(1e-2), seed=3)  # fmt: skip
    with plain_python(plain):
        steps = [model.train_step(X[:n], Y[:n]) for n in (4, 1, 7)]
        history = model.fit(X, Y, epochs=3, batch_size=5, validation_data=(X, Y), verbose=0)
        found = model.gradients(X, Y)
        predicted = model.predict(X, batch_size=10)
        return model, steps, dict(history), found, predicted


def test_training_as_plain_python_and_as_machine_code():
    plain, *results = train(True)
    compiled, *others = train(False)
    assert plain.source == compiled.source
    assert plain.report.cache_misses == plain.report.cache_hits == 0
    assert compiled.report.loads
    for a, b in zip(results, others, strict=True):
        pairs = [(a[k], b[k]) for k in a] if isinstance(a, dict) else [(a, b)]
        for left, right in pairs:
            np.testing.assert_allclose(left, right, rtol=2e-3, atol=2e-5)
    for name, value in plain.parameters.items():
        np.testing.assert_allclose(value, compiled.parameters[name], rtol=2e-3, atol=2e-5)


def test_a_debugger_finds_the_text_where_it_says():
    x = gx.input("x", (None, 3))
    with plain_python():
        f = gx.function(x, gx.tanh(x) * 2)
        seen = set()

        def trace(frame, event, argument):
            seen.add((frame.f_code.co_filename, frame.f_code.co_name))

        before = sys.getprofile()
        sys.setprofile(trace)
        try:
            f(np.ones((2, 3), "float32"))
        finally:
            sys.setprofile(before)
    names = {name for file, name in seen if file == str(f.source_path)}
    assert "call" in names
    assert any(name.startswith("tanh_multiply_") for name in names)
    assert f.source_path.read_text(encoding="utf-8") == f.source
