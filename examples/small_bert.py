"""A small BERT fills in letters that are hidden from it, in sentences of Python's own help.

Devlin et al., *BERT*, NAACL 2019, with letters for words: some are masked, and looked for with both
sides in view. Sentences end early; what lies behind their end is not looked at.

python examples/small_bert.py
"""

import re
from collections import Counter
from pydoc_data.topics import topics

import numpy as np

import graphc as gx
from graphc import nn, optim

LENGTH, WIDTH, HEADS, LAYERS, SHARE = 40, 64, 4, 2, 0.15
PADDING, MASK = 0, 1

rng = np.random.default_rng(0)
text = re.sub(r"[^a-z]+", " ", " ".join(topics.values()).lower())
words = text.split()
split = [" ".join(words[n : n + 6])[:LENGTH] for n in range(0, len(words) - 6, 6)]
letters = sorted(set(text))
number = {letter: n for n, letter in enumerate(letters, 2)}
ids = np.array([[number[a] for a in s] + [PADDING] * (LENGTH - len(s)) for s in split])
ids = ids[rng.permutation(len(ids))]
lengths = (ids != PADDING).sum(1)


def hidden(ids):
    """Return sentences with some letters masked, and these letters; -1 where none is."""
    chosen = (rng.random(ids.shape) < SHARE) & (ids != PADDING)
    return np.where(chosen, MASK, ids), np.where(chosen, ids, -1)


x, y = (gx.input(name, (None, LENGTH), "int64") for name in "xy")
length = gx.input("length", (None,), "int64")
padding = gx.arange(LENGTH) >= gx.expand_dims(length, 1)
h = nn.LearnedPositions(LENGTH, WIDTH)(nn.Embedding(len(letters) + 2, WIDTH)(x))
layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", norm_first=True)
body = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH))
logits = nn.Linear(WIDTH, len(letters) + 2)(body(h, src_key_padding_mask=padding))
model = gx.Model(
    inputs={"x": x, "length": length}, outputs=logits, targets=y,
    loss=nn.cross_entropy(logits, y, ignore_index=-1), optimizer=optim.AdamW(2e-3), seed=0,
)  # fmt: skip
gx.visualize(model, "small_bert.svg")
held = len(ids) // 10
test, wanted = hidden(ids[:held])
for _ in range(16):  # other letters are hidden each time
    masked, target = hidden(ids[held:])
    model.fit({"x": masked, "length": lengths[held:]}, target, epochs=1, batch_size=64)
guess = model.predict({"x": test, "length": lengths[:held]}).argmax(-1)
right = (guess == wanted)[wanted >= 0].mean()
(_, most), *_ = Counter(wanted[wanted >= 0].tolist()).most_common(1)
most /= (wanted >= 0).sum()
print(f"{right:.0%} of hidden letters found; the most common one is {most:.0%} of them")
assert right > 2 * most
