"""A denoising convolutional autoencoder on handwritten digits; before and after in a picture.

Vincent et al., ICML 2008. pip install ".[demo]" && python examples/denoise_digits.py
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import graphc as gx
from graphc import nn, optim

rng = np.random.default_rng(0)
clean = (load_digits().images[..., None] / 16).astype("float32")[rng.permutation(1797)]
noisy = np.clip(clean + rng.normal(0, 0.4, clean.shape), 0, 1).astype("float32")
train, test = slice(None, 1500), slice(1500, None)

x, y = gx.input("x", (None, 8, 8, 1)), gx.input("y", (None, 8, 8, 1))
encoded = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding="same"), nn.ReLU(),
)(x)  # fmt: skip
decoded = nn.Sequential(
    nn.ConvTranspose2d(32, 16, 2, stride=2), nn.ReLU(),
    nn.Conv2d(16, 1, 3, padding="same"), nn.Sigmoid(),
)(encoded)  # fmt: skip
model = gx.Model(
    inputs=x, outputs=decoded, targets=y, loss=nn.mse_loss(decoded, y), optimizer=optim.Adam(2e-3),
    seed=0,
)  # fmt: skip
model.fit(noisy[train], clean[train], epochs=30, batch_size=50)

restored = model.predict(noisy[test])
before, after = (np.mean((a - clean[test]) ** 2) for a in (noisy[test], restored))
print(f"mean squared error {before:.4f} with noise, {after:.4f} without")
assert after < 0.4 * before

rows = [np.concatenate(a[:16, ..., 0], axis=1) for a in (noisy[test], restored, clean[test])]
picture = np.kron(np.concatenate(rows), np.ones((4, 4)))
height, width = picture.shape
header = f"P5 {width} {height} 255\n".encode()
Path("digits.pgm").write_bytes(header + (picture * 255).astype(np.uint8).tobytes())
print("digits.pgm: with noise, restored, as they were")
