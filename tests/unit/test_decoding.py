"""Decoding in a loop: against loops in NumPy, and all texts there are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import graphc as gx
from graphc import nn
from graphc.errors import ArgumentError, DTypeError, ShapeError

RNG = np.random.default_rng(0)
CLASSES, HIDDEN = 5, 4
EMBEDDED, INNER, OUTER = (
    RNG.standard_normal(s) for s in ((CLASSES, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, CLASSES))
)


def network(state, token):
    """A recurrence, whose state has two parts."""
    h = gx.tanh(gx.take(gx.constant(EMBEDDED), token, axis=0) + state["h"] @ gx.constant(INNER))
    return 3.0 * h @ gx.constant(OUTER), {"h": h, "count": state["count"] + 1}


def logits_of(tokens):
    """Return the logits after each of ``tokens``, by NumPy."""
    h, found = np.zeros(HIDDEN), []
    for token in tokens:
        h = np.tanh(EMBEDDED[token] + h @ INNER)
        found.append(3.0 * h @ OUTER)
    return found


def log_probs_of(first, text):
    """Return the logarithm of the probability of each token after the first one."""
    rows = logits_of([first, *text[:-1]])
    return [row[t] - np.log(np.exp(row).sum()) for row, t in zip(rows, text, strict=True)]


def begin(rows=None):
    return {"h": gx.zeros((rows, HIDDEN), dtype="float64"),
            "count": gx.zeros((rows,), dtype="int64")}  # fmt: skip


def start():
    return gx.input("start", (None,), "int64")


def ended(text, eos, pad):
    """Return a text with padding behind its end."""
    end = text.index(eos) + 1 if eos in text else len(text)
    return [*text[:end], *[pad] * (len(text) - end)]


# -- greedy ----------------------------------------------------------------------------------------


def test_greedy_search_takes_the_likeliest_token():
    x = start()
    tokens, state = nn.greedy_search(network, begin(), x, 6)
    found, h, count = gx.function(x, [tokens, state["h"], state["count"]])(np.arange(CLASSES))
    assert found.dtype == np.int64
    for first, text in enumerate(found):
        wanted = [first]
        for _ in range(6):
            wanted.append(int(np.argmax(logits_of(wanted)[-1])))
        assert text.tolist() == wanted[1:]
    assert count.tolist() == [6] * CLASSES
    assert h.shape == (CLASSES, HIDDEN)


def test_greedy_search_ends_when_all_texts_have():
    x = start()
    free = gx.function(x, nn.greedy_search(network, begin(), x, 6)[0])(np.arange(CLASSES))
    for eos in range(CLASSES):
        tokens, state = nn.greedy_search(network, begin(), x, 6, eos_token=eos, pad_token=-1)
        found, count = gx.function(x, [tokens, state["count"]])(np.arange(CLASSES))
        wanted = [ended(text.tolist(), eos, -1) for text in free]
        assert found.tolist() == wanted
        assert set(count) == {max(6 - text.count(-1) for text in wanted)}


# -- samples ---------------------------------------------------------------------------------------


def test_samples_are_drawn_by_their_probabilities():
    logits = np.log([0.5, 0.3, 0.15, 0.05])

    def step(state, token):
        return gx.broadcast_to(gx.constant(logits), (*token.shape, 4)), state

    x, seed = gx.constant(np.zeros(2000, int)), gx.input("seed", (), "int64")
    cases = {
        (): [0.5, 0.3, 0.15, 0.05],
        (("temperature", 0.5),): np.array([0.25, 0.09, 0.0225, 0.0025]) / 0.365,
        (("top_k", 2),): [0.625, 0.375, 0, 0],
        (("top_p", 0.81),): [10 / 19, 6 / 19, 3 / 19, 0],
        (("top_k", 3), ("top_p", 0.5)): [1, 0, 0, 0],
    }
    for options, shares in cases.items():
        tokens, _ = nn.sample(step, gx.zeros((2000,)), x, 10, seed=seed, **dict(options))
        f = gx.function(seed, tokens)
        found = f(3)
        counts = np.bincount(found.ravel(), minlength=4)
        spread = np.sqrt(20000 * np.array(shares) * (1 - np.array(shares)))
        assert (np.abs(counts - 20000 * np.array(shares)) <= 4 * spread).all(), options
        np.testing.assert_array_equal(f(3), found)
        assert len(set(shares)) == 2 or (f(4) != found).any()


def test_a_sample_draws_the_same_in_whatever_batch_it_comes():
    x = start()
    tokens, _ = nn.sample(network, begin(), x, 6, seed=7, eos_token=2, pad_token=-1)
    f = gx.function(x, tokens)
    several = f([0, 1, 2, 3])
    np.testing.assert_array_equal(several[:2], f([0, 1]))
    assert [ended(text, 2, -1) for text in several.tolist()] == several.tolist()


def by_definition(logits, temperature, top_k, top_p):
    """Return what Hugging Face's warpers leave of a row."""
    x = logits / temperature
    if top_k is not None:
        x = np.where(x < np.sort(x)[::-1][min(top_k, len(x)) - 1], -np.inf, x)
    if top_p is not None:
        order = np.argsort(x)
        shares = np.exp(x[order]) / np.exp(x).sum()
        gone = np.cumsum(shares) <= 1 - top_p
        gone[-1] = False
        x = x.copy()
        x[order[gone]] = -np.inf
    return x


@pytest.mark.parametrize("top_p", [None, 1e-9, 0.4, 0.9, 1.0])
@pytest.mark.parametrize("top_k", [None, 1, 3, 99])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_logits_are_filtered_as_hugging_face_does(temperature, top_k, top_p):
    logits = RNG.standard_normal((7, 6))
    x = gx.input("x", (None, 6), "float64")
    found = gx.function(x, nn.filter_logits(x, temperature, top_k, top_p))(logits)
    wanted = [by_definition(row, temperature, top_k, top_p) for row in logits]
    np.testing.assert_allclose(found, wanted, rtol=1e-14)


def test_temperature_and_top_p_may_be_inputs():
    x, warm, share = (gx.input(n, s, "float64") for n, s in (("x", (4,)), ("t", ()), ("p", ())))
    f = gx.function([x, warm, share], nn.filter_logits(x, warm, top_p=share))
    logits = RNG.standard_normal(4)
    for options in ((0.5, 0.7), (2.0, 0.9)):
        np.testing.assert_allclose(f(logits, *options),
                                   by_definition(logits, options[0], None, options[1]))  # fmt: skip


# -- beams -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.5])
def test_enough_beams_find_the_best_of_all_texts(penalty):
    """Texts that end early count once, with the length that they have."""
    length, eos, beams = 3, 1, 85
    x = start()
    tokens, scores = nn.beam_search(network, begin(), x, length, num_beams=beams, eos_token=eos,
                                    pad_token=-1, length_penalty=penalty)  # fmt: skip
    found, values = gx.function(x, [tokens, scores])([0, 3])
    for first, texts, row in zip((0, 3), found, values, strict=True):
        known = {}
        for text in itertools.product(range(CLASSES), repeat=length):
            text = ended(list(text), eos, -1)
            own = [t for t in text if t != -1]
            known[tuple(text)] = sum(log_probs_of(first, own)) / len(own) ** penalty
        best = sorted(known, key=known.get, reverse=True)[:beams]
        assert [tuple(t) for t in texts.tolist()] == best
        np.testing.assert_allclose(row, [known[t] for t in best], rtol=1e-12)


def beams_by_numpy(first, length, beams, eos):
    """Return the texts and their sums of log-probabilities, by the definition."""
    live = [((), 0.0)]
    for _ in range(length):
        grown = []
        for text, total in live:
            if eos in text:
                grown.append((text, total))
                continue
            row = logits_of([first, *text])[-1]
            row = row - np.log(np.exp(row).sum())
            grown += [((*text, t), total + row[t]) for t in range(CLASSES)]
        live = sorted(grown, key=lambda g: -g[1])[:beams]
    return live


@pytest.mark.parametrize(("beams", "eos"), [(1, None), (3, None), (3, 2), (6, 4)])
def test_beams_are_those_of_the_definition(beams, eos):
    x, length = start(), 7
    tokens, scores = nn.beam_search(network, begin(), x, length, num_beams=beams, eos_token=eos,
                                    pad_token=-1, length_penalty=0.0)  # fmt: skip
    found, values = gx.function(x, [tokens, scores])(np.arange(CLASSES))
    assert found.shape == (CLASSES, beams, length)
    for first in range(CLASSES):
        wanted = beams_by_numpy(first, length, beams, eos)
        texts = [[t for t in text if t != -1] for text in found[first].tolist()]
        assert texts == [list(text) for text, _ in wanted]
        np.testing.assert_allclose(values[first], [total for _, total in wanted], rtol=1e-12)
    if beams == 1 and eos is None:
        greedy = gx.function(x, nn.greedy_search(network, begin(), x, length)[0])
        np.testing.assert_array_equal(found[:, 0], greedy(np.arange(CLASSES)))


def test_layers_generate():
    """A network of layers, in float32, without a batch of known size."""
    embedding, lstm = nn.Embedding(CLASSES, 3), nn.LSTM(3, HIDDEN, 2)
    head = nn.Linear(HIDDEN, CLASSES)

    def step(state, token):
        y, state = lstm(embedding(token)[:, None], (state[0], state[1]))
        return head(y[:, 0]), state

    x = gx.input("x", (3,), "int64")
    first = tuple(gx.zeros((2, 3, HIDDEN)) for _ in "hc")
    tokens, (h, _) = nn.greedy_search(step, first, x, 4)
    found, last = gx.function(x, [tokens, h])([0, 1, 2])
    text = gx.input("text", (3, 4), "int64")
    y, (wanted, _) = lstm(embedding(text))
    fed = np.concatenate([[[0], [1], [2]], found[:, :3]], axis=1)
    out, again = gx.function(text, [gx.argmax(head(y), axis=-1), wanted])(fed)
    np.testing.assert_array_equal(found, out)
    np.testing.assert_allclose(last, again, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x: nn.greedy_search(network, begin(), x, 0), ArgumentError, "length must be"),
        (lambda x: nn.greedy_search(network, begin(), begin()["h"], 3), DTypeError,
         "start must be"),
        (lambda x: nn.greedy_search(network, begin(), x[:, None], 3), ShapeError, r"shape \(N,\)"),
        (lambda x: nn.greedy_search(lambda s, t: t, begin(), x, 3), DTypeError, "step must return"),
        (lambda x: nn.greedy_search(lambda s, t: (s["h"][:2], s), begin(), x, 3), ShapeError,
         r"logits of shape \(None, classes\)"),
        (lambda x: nn.sample(network, begin(), x, 3, seed=1, temperature=0.0), ArgumentError,
         "temperature must be above 0"),
        (lambda x: nn.sample(network, begin(), x, 3, seed=1, top_k=0), ArgumentError, "top_k must"),
        (lambda x: nn.sample(network, begin(), x, 3, seed=1, top_p=1.5), ArgumentError,
         "top_p must"),
        (lambda x: nn.sample(network, begin(), x, 3, seed=1, temperature=np.float32(-1)),
         ArgumentError, "temperature must be above 0 and at most inf, got -1.0"),
        (lambda x: nn.filter_logits(np.zeros((2, 3)), np.float64("nan")), ArgumentError,
         "temperature must be above 0"),
        (lambda x: nn.filter_logits(np.zeros((2, 3)), top_p=np.float32(1.5)), ArgumentError,
         "top_p must be above 0 and at most 1, got 1.5"),
        (lambda x: nn.filter_logits(np.zeros((2, 3)), top_p=gx.constant(0.0)), ArgumentError,
         "top_p must be above 0"),
        (lambda x: nn.beam_search(network, begin(), x, 3, num_beams=0), ArgumentError, "num_beams"),
        (lambda x: nn.beam_search(network, begin(4), x, 3), ShapeError, "the batch"),
        (lambda x: nn.filter_logits(x), DTypeError, "logits must be floating-point"),
    ],
)  # fmt: skip
def test_what_decoding_refuses(call, kind, message):
    with pytest.raises(kind, match=f"{message}(.|\\n)*test_decoding.py"):
        call(start())


def test_a_cache_is_a_state_of_beams():
    """Beams that carry keys and values write what beams do that look at whole texts again."""
    layer = nn.MultiheadAttention(HIDDEN, 2, dtype="float64")
    first = gx.input("first", (2,), "int64")

    def logits(x, **options):
        out, *_, after = layer(x, need_weights=False, **options)
        return 9.0 * out[:, -1] @ gx.constant(OUTER), after

    def cached(cache, token):
        return logits(gx.take(gx.constant(EMBEDDED), token, axis=0)[:, None], cache=cache)

    def whole(state, token):
        past = gx.concat([state[:, 1:], gx.take(gx.constant(EMBEDDED), token, axis=0)[:, None]], 1)
        seen = gx.any(past != 0.0, -1)
        return logits(past, key_padding_mask=~seen)[0], past

    room = gx.zeros((2, 4, HIDDEN), dtype="float64")
    found = [
        nn.beam_search(step, state, first, 4, num_beams=3)
        for step, state in ((cached, layer.cache(2, 4)), (whole, room))
    ]
    (tokens, scores), (others, same) = gx.function(first, found)(np.array([0, 3]))
    np.testing.assert_array_equal(tokens, others)
    np.testing.assert_allclose(scores, same, rtol=1e-12)
