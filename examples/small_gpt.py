"""A small GPT learns to spell Python's own help, and goes on writing it, a character at a time.

Radford et al., *Language Models are Unsupervised Multitask Learners*, 2019, at a hundredth of the
size. Prints bits per character of text that it has not seen.

python examples/small_gpt.py
"""

import math
from functools import partial
from pydoc_data.topics import topics

import numpy as np

import graphc as gx
from graphc import nn, optim

LENGTH, WIDTH, HEADS, LAYERS, EPOCHS = 64, 128, 4, 4, 6

text = "\n".join(topics.values())
letters = sorted(set(text))
number = {letter: n for n, letter in enumerate(letters)}
numbers = np.array([number[letter] for letter in text])
rows = (len(numbers) - 1) // LENGTH
ids = numbers[: rows * LENGTH].reshape(rows, LENGTH)
following = numbers[1 : rows * LENGTH + 1].reshape(rows, LENGTH)
unseen = np.arange(rows) // 20 % 10 == 9  # some pages in between

tokens, places = nn.Embedding(len(letters), WIDTH), nn.LearnedPositions(LENGTH, WIDTH)
gelu = partial(gx.gelu, approximate="tanh")
block = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, gelu, norm_first=True)
body = nn.TransformerEncoder(block, LAYERS, nn.LayerNorm(WIDTH))
head = nn.Linear(WIDTH, len(letters))

x, y = (gx.input(name, (None, LENGTH), "int64") for name in "xy")
logits = head(body(places(tokens(x)), is_causal=True))
model = gx.Model(
    inputs=x, outputs=logits, targets=y, loss=nn.cross_entropy(logits, y),
    optimizer=optim.AdamW(2e-3), seed=0,
)  # fmt: skip
gx.visualize(model, "small_gpt.svg")
rate = gx.callbacks.LearningRateScheduler(optim.schedules.cosine(2e-3, EPOCHS))
history = model.fit(ids[~unseen], following[~unseen], epochs=EPOCHS, batch_size=32,
                    validation_data=(ids[unseen], following[unseen]), callbacks=[rate])  # fmt: skip
bits = history["val_loss"][-1] / math.log(2)
print(f"{bits:.3f} bits per character of {unseen.sum() * LENGTH} that it has not seen")
assert bits < 2.4

# One character after the other: the keys and values of those before are kept, in their places.
letter = gx.input("letter", (1, 1), "int64")
caches = body.cache(1, LENGTH)
hidden, after = body(places(tokens(letter), start=caches[0].length), cache=caches)
updates = {}
for cache, new in zip(caches, after, strict=True):
    updates |= cache.updates(new)
step = gx.function(letter, nn.Softmax()(head(hidden) / 0.7), updates=updates)
rng = np.random.default_rng(0)
written = "The "
for place in range(LENGTH):
    share = step([[number[written[place]]]])[0, 0].astype("float64")
    if place + 1 == len(written):
        written += letters[rng.choice(len(letters), p=share / share.sum())]
print(written)
