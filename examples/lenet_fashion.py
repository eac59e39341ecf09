"""LeNet-5 (LeCun et al., Proc. IEEE 86, 1998) on Fashion-MNIST: over 0.90 in ten epochs.

python examples/lenet_fashion.py
"""

import time

from fashion import load

import graphc as gx
from graphc import nn, optim

EPOCHS = 10
images, classes, test_images, test_classes = load()

x = gx.input("x", (None, 28, 28, 1))
y = gx.input("y", (None,), dtype="int64")
net = nn.Sequential(
    nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    nn.Linear(400, 120), nn.ReLU(), nn.Dropout(0.1), nn.Linear(120, 84), nn.ReLU(),
    nn.Linear(84, 10),
)  # fmt: skip
logits = net(x)
model = gx.Model(
    inputs=x,
    outputs=logits,
    targets=y,
    loss=nn.cross_entropy(logits, y),
    metrics={"accuracy": nn.accuracy(logits, y)},
    optimizer=optim.Adam(2e-3),
    seed=0,
)


def slower(epoch, logs):
    """Let the rate fall to a tenth in the last epochs."""
    if epoch >= EPOCHS - 4:
        model.optimizer.lr = 2e-3 * 0.5 ** (epoch - EPOCHS + 5)


start = time.process_time()
model.fit(images, classes, epochs=EPOCHS, batch_size=128, callbacks=[slower],
          validation_data=(test_images, test_classes))  # fmt: skip
seconds = time.process_time() - start
gx.visualize(model, "lenet.svg")
accuracy = model.evaluate(test_images, test_classes)["accuracy"]
print(f"test accuracy {accuracy:.4f} after {EPOCHS} epochs, {seconds:.0f} core-seconds; lenet.svg")
assert accuracy >= 0.90
