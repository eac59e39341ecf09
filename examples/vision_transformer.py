"""A vision transformer reads scikit-learn's handwritten digits as 16 patches of 2 x 2 pixels.

Dosovitskiy et al., *An Image is Worth 16x16 Words*, ICLR 2021: a learned token in front of the
patches gathers what the classifier reads.

pip install ".[demo]" && python examples/vision_transformer.py
"""

import numpy as np
from sklearn.datasets import load_digits

import graphc as gx
from graphc import nn, optim

WIDTH, HEADS, LAYERS = 32, 4, 3

images, digits = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(images))
images, digits = (images[order] / 16).astype("float32"), digits[order]
train, test = slice(None, 1400), slice(1400, None)

x, y = gx.input("x", (None, 64)), gx.input("y", (None,), dtype="int64")
grid = gx.reshape(x, (-1, 4, 2, 4, 2))
patches = gx.reshape(gx.permute_dims(grid, (0, 1, 3, 2, 4)), (-1, 16, 4))
words = nn.Linear(4, WIDTH)(patches)
first = gx.parameter(nn.init.normal(std=0.02), (1, 1, WIDTH), name="class_token")
words = gx.concat([gx.broadcast_to(first, (*words.shape[:1], 1, WIDTH)), words], axis=1)
layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, 0.1, "gelu", norm_first=True)
body = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH))
logits = nn.Linear(WIDTH, 10)(body(nn.LearnedPositions(17, WIDTH)(words))[:, 0])
model = gx.Model(
    inputs=x, outputs=logits, targets=y, loss=nn.cross_entropy(logits, y),
    metrics={"accuracy": nn.accuracy(logits, y)}, optimizer=optim.AdamW(2e-3), seed=0,
)  # fmt: skip
gx.visualize(model, "vision_transformer.svg")
model.fit(images[train], digits[train], epochs=40, batch_size=32,
          validation_data=(images[test], digits[test]))  # fmt: skip
scores = model.evaluate(images[test], digits[test])
print(f"accuracy on digits it has not seen: {scores['accuracy']:.3f}")
assert scores["accuracy"] > 0.95
