"""Vectors of words from how often they stand near each other: a matrix factorised by lookups.

GloVe (Pennington, Socher and Manning, EMNLP 2014) on the text of Python's own help.

python examples/word_vectors.py
"""

import re
from collections import Counter
from pydoc_data.topics import topics

import numpy as np

import graphc as gx
from graphc import nn, optim

WINDOW, WORDS, WIDTH = 5, 1500, 32

text = re.findall(r"[a-z_]{2,}", " ".join(topics.values()).lower())
vocabulary = [word for word, _ in Counter(text).most_common(WORDS)]
number = {word: i for i, word in enumerate(vocabulary)}
numbers = np.array([number.get(word, -1) for word in text])
pairs: Counter[tuple[int, int]] = Counter()
for apart in range(1, WINDOW + 1):
    a, b = numbers[:-apart], numbers[apart:]
    known = (a >= 0) & (b >= 0)
    for pair in zip(a[known].tolist(), b[known].tolist(), strict=True):
        pairs[pair] += 1 / apart
        pairs[pair[::-1]] += 1 / apart
places = np.array(list(pairs))
counts = np.array(list(pairs.values()), "float32")
logs, weights = np.log(counts), np.minimum((counts / 20) ** 0.75, 1).astype("float32")
print(f"{len(text)} words, {len(vocabulary)} different ones kept, {len(pairs)} pairs")

i, j = gx.input("i", (None,), "int64"), gx.input("j", (None,), "int64")
log, weight = gx.input("log", (None,)), gx.input("weight", (None,))
start = nn.init.normal(std=0.1)
left, right = (nn.Embedding(WORDS, WIDTH, weight_init=start) for _ in range(2))
alone, beside = (nn.Embedding(WORDS, 1, weight_init=nn.init.zeros) for _ in range(2))
guess = gx.sum(left(i) * right(j), -1) + alone(i)[:, 0] + beside(j)[:, 0]
loss = gx.mean(weight * (guess - log) ** 2)
model = gx.Model(
    inputs={"i": i, "j": j, "weight": weight}, outputs=guess, targets=log, loss=loss,
    optimizer=optim.Adagrad(0.1), seed=0,
)  # fmt: skip
data = {"i": places[:, 0], "j": places[:, 1], "weight": weights}
history = model.fit(data, logs, epochs=15, batch_size=1024)
assert history["loss"][-1] < 0.3 * history["loss"][0]

vectors = model.parameters["embedding_0.weight"] + model.parameters["embedding_1.weight"]
vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
for word in ("list", "class", "integer", "import"):
    near = np.argsort(-vectors @ vectors[number[word]])[1:7]
    print(f"{word}: {', '.join(vocabulary[n] for n in near)}")
