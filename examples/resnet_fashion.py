"""A small residual network with batch normalisation on Fashion-MNIST: over 0.90 in three epochs.

The network of MLPerf Tiny for images (Banbury et al., NeurIPS 2021), after He et al., CVPR 2016.

python examples/resnet_fashion.py
"""

from fashion import load

import graphc as gx
from graphc import nn, optim

images, classes, test_images, test_classes = load()


def block(channels, out, stride):
    """Return two convolutions, and a shortcut past them."""
    inner = nn.Sequential(
        nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
        nn.Conv2d(out, out, 3, padding=1, bias=False), nn.BatchNorm2d(out),
    )  # fmt: skip
    shortcut = nn.Identity()
    if stride != 1 or channels != out:
        shortcut = nn.Sequential(
            nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
        )
    return nn.Sequential(nn.Add(inner, shortcut), nn.ReLU())


x = gx.input("x", (None, 28, 28, 1))
y = gx.input("y", (None,), dtype="int64")
logits = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
    block(16, 16, 1), block(16, 32, 2), block(32, 64, 2),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
)(x)  # fmt: skip
model = gx.Model(
    inputs=x,
    outputs=logits,
    targets=y,
    loss=nn.cross_entropy(logits, y),
    metrics={"accuracy": nn.accuracy(logits, y)},
    optimizer=optim.Adam(3e-3),
    seed=0,
)
for epoch, rate in enumerate((3e-3, 2e-3, 3e-4), 1):
    model.optimizer.lr = rate
    model.fit(images, classes, epochs=1, batch_size=128)
    scores = model.evaluate(test_images, test_classes)
    print(f"epoch {epoch}: test accuracy {scores['accuracy']:.4f}")
gx.visualize(model, "resnet.svg")
print(f"{len(model.state)} arrays of running statistics, kept with the parameters; resnet.svg")
assert scores["accuracy"] >= 0.90
