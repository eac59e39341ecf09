"""A language model of characters by an LSTM, on the text of Python's own help; it writes on.

Graves, *Generating Sequences With Recurrent Neural Networks*, 2013. python examples/char_lstm.py
"""

import math
from pydoc_data.topics import topics

import numpy as np

import graphc as gx
from graphc import nn, optim

STEPS, WIDTH = 64, 128

text = "\n".join(topics[name] for name in sorted(topics))
alphabet = sorted(set(text))
number = {c: k for k, c in enumerate(alphabet)}
codes = np.array([number[c] for c in text])
rows = codes[: len(codes) // (STEPS + 1) * (STEPS + 1)].reshape(-1, STEPS + 1)
train, test = rows[: len(rows) * 9 // 10], rows[len(rows) * 9 // 10 :]
print(f"{len(text)} characters, {len(alphabet)} different ones, {len(train)} pieces to learn")

x, y = gx.input("x", (None, STEPS), "int64"), gx.input("y", (None, STEPS), "int64")
embedding, lstm = nn.Embedding(len(alphabet), WIDTH), nn.LSTM(WIDTH, WIDTH)
head = nn.Linear(WIDTH, len(alphabet))
logits = head(lstm(embedding(x))[0])
model = gx.Model(
    inputs=x, outputs=logits, targets=y, loss=nn.cross_entropy(logits, y),
    optimizer=optim.Adam(4e-3, clip_norm=1.0), seed=0,
)  # fmt: skip
model.fit(train[:, :-1], train[:, 1:], epochs=8, batch_size=32)

bits = model.evaluate(test[:, :-1], test[:, 1:])["loss"] / math.log(2)
shares = np.bincount(train.ravel(), minlength=len(alphabet)) + 1
alone = -np.log2(shares / shares.sum())[test[:, 1:]].mean()
print(f"{bits:.2f} bits per character it has not seen; {alone:.2f} from how often each is there")
assert bits < 0.55 * alone


def step(state, letter):
    """Return the logits of the next letter, and the state behind this one."""
    out, state = lstm(embedding(letter)[:, None], state)
    return head(out[:, 0]), state


prompt, seed = gx.input("prompt", (1, "length"), "int64"), gx.input("seed", (), "int64")
_, state = lstm(embedding(prompt[:, :-1]))
letters, _ = nn.sample(step, state, prompt[:, -1], 300, seed=seed, temperature=0.7, top_p=0.95)
write = gx.function([prompt, seed], letters)
start = "The statement "
(written,) = write([[number[c] for c in start]], 1)
print(start + "".join(alphabet[k] for k in written))
