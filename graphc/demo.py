"""Train a multilayer perceptron on real handwritten digits, and leave its pictures behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from graphc import nn, optim
from graphc.errors import GraphcError
from graphc.ir.source import input as declare_input
from graphc.train.model import Model
from graphc.viz import visualize

try:
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]
except ImportError:  # an extra: graphc[demo]
    load_digits = None

TRAINED_ON = 1400
"""Digits to train on; the other 397 of the 1,797 are the test."""


def build(seed: int = 0) -> Model:
    """Return a model of 8x8 images: 64 pixels, 128 hidden units, 10 digits."""
    x = declare_input("x", (None, 64))
    y = declare_input("y", (None,), dtype="int64")
    logits = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))(x)
    return Model(
        inputs=x,
        outputs=logits,
        targets=y,
        loss=nn.cross_entropy(logits, y),
        metrics={"accuracy": nn.accuracy(logits, y)},
        optimizer=optim.Adam(1e-3),
        seed=seed,
    )


def run(epochs: int, output: Path) -> float:
    """Train, print the test accuracy, write into folder ``output``; return the accuracy."""
    if load_digits is None:
        raise GraphcError('the demo needs scikit-learn for its data: pip install "graphc[demo]"')
    images, digits = load_digits(return_X_y=True)
    output.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, digits = (images[order] / 16).astype("float32"), digits[order]

    model = build()
    model.fit(images[:TRAINED_ON], digits[:TRAINED_ON], epochs=epochs, batch_size=32)
    scores = model.evaluate(images[TRAINED_ON:], digits[TRAINED_ON:])
    tests = len(images) - TRAINED_ON
    print(f"test accuracy {scores['accuracy']:.4f} on {tests} digits it has not seen")

    print(f"picture    {visualize(model, output / 'digits.svg')}")
    print(f"page       {visualize(model, output / 'digits.html')}")
    module = output / "digits.py"
    module.write_text(model.source, encoding="utf-8")
    print(f"generated  {module}")
    return float(scores["accuracy"])
