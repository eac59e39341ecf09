"""Train a multilayer perceptron on scikit-learn's handwritten digits: declare, fit, look, save.

pip install ".[demo]" && python examples/train_digits.py
"""

import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import graphc as gx
from graphc import nn, optim

images, digits = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(images))
images, digits = (images[order] / 16).astype("float32"), digits[order]
train, test = slice(None, 1400), slice(1400, None)

x = gx.input("x", (None, 64))
y = gx.input("y", (None,), dtype="int64")
logits = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 10))(x)
model = gx.Model(
    inputs=x,
    outputs=logits,
    targets=y,
    loss=nn.cross_entropy(logits, y),
    metrics={"accuracy": nn.accuracy(logits, y)},
    optimizer=optim.Adam(2e-3),
    seed=0,
)
stop = gx.callbacks.EarlyStopping("val_loss", patience=8, restore_best=True)
model.fit(images[train], digits[train], epochs=60, batch_size=64, callbacks=[stop],
          validation_data=(images[test], digits[test]))  # fmt: skip
scores = model.evaluate(images[test], digits[test])
print(f"test accuracy {scores['accuracy']:.4f}, best epoch {stop.best_epoch}")
assert scores["accuracy"] > 0.95

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "digits.safetensors"
    model.save(path)
    before = model.predict(images[test])
    for value in model.parameters.values():
        value[...] = 0
    model.load(path)
    np.testing.assert_array_equal(model.predict(images[test]), before)
print("saved and loaded")
