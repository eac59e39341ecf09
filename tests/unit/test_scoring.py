"""Scores of decoded texts: against their definitions, and numbers of the papers."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from graphc import nn
from graphc.errors import ArgumentError, DTypeError


def test_edit_distances():
    rng = np.random.default_rng(0)
    for a, b, wanted in (("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("", "", 0),
                         ("flaw", "lawn", 2), ("intention", "execution", 5)):  # fmt: skip
        assert nn.edit_distance(a, b) == nn.edit_distance(b, a) == wanted
    assert nn.edit_distance(["the", "cat", "sat"], ["the", "cat", "is", "sat"]) == 1
    for _ in range(30):
        a, b = (rng.integers(0, 3, rng.integers(0, 9)) for _ in range(2))
        assert nn.edit_distance(a, b) == by_definition(tuple(a), tuple(b))


@cache
def by_definition(a, b):
    if not a or not b:
        return len(a) + len(b)
    return min(by_definition(a[1:], b) + 1, by_definition(a, b[1:]) + 1,
               by_definition(a[1:], b[1:]) + (a[0] != b[0]))  # fmt: skip


def test_error_rates_are_of_the_whole_corpus():
    hypotheses = [["the", "cat"], ["a", "dog", "runs", "off"]]
    references = [["the", "cat", "sat", "down"], ["a", "dog", "runs"]]
    assert nn.error_rate(hypotheses, references) == 3 / 7
    assert nn.error_rate(["abcd"], ["a"]) == 3.0
    with pytest.raises(ArgumentError, match="the references are empty"):
        nn.error_rate(["a"], [""])
    with pytest.raises(ArgumentError, match=r"2 hypotheses and 1 references(.|\n)*test_scoring.py"):
        nn.error_rate(["a", "b"], ["a"])


def words(text):
    return text.split()


def test_bleu():
    # the worked example of section 2.1 of the paper: "the" counts twice, as in the first reference
    known = [words("the cat is on the mat"), words("there is a cat on the mat")]
    assert nn.bleu([["the"] * 7], [known], order=1) == pytest.approx(2 / 7)
    assert nn.bleu([["the"] * 7], [known]) == 0.0
    # example 1 there: 17 of 18 words and 10 of 17 pairs are found
    candidate = words(
        "it is a guide to action which ensures that the military always obeys the commands of the "
        "party"
    )
    texts = [
        "it is a guide to action that ensures that the military will forever heed party commands",
        "it is the guiding principle which guarantees the military forces always being under the "
        "command of the party",
        "it is the practical guide for the army always to heed the directions of the party",
    ]
    references = [words(text) for text in texts]
    assert nn.bleu([candidate], [references], order=1) == pytest.approx(17 / 18)
    assert nn.bleu([candidate], [references], order=2) == pytest.approx(math.sqrt(170 / 306))
    # short ones are penalised, by the reference next in length
    assert nn.bleu([list("abcd")], [[list("abcdefgh")]]) == pytest.approx(math.exp(1 - 8 / 4))
    assert nn.bleu([list("abcd")], [[list("abcdefgh"), list("abcde")]]) == pytest.approx(
        math.exp(1 - 5 / 4)
    )
    assert nn.bleu([[1, 2, 3, 4], [5, 6, 7, 8]], [[[1, 2, 3, 4]], [[5, 6, 7, 8]]]) == 1.0
    for arguments in (([list("ab")], []), ([list("ab")], [[]]), ([list("ab")], [["a"]], 0)):
        with pytest.raises(ArgumentError, match="bleu: "):
            nn.bleu(*arguments)


def test_what_is_no_text_is_refused():
    words, references = [["a", "b"]], [[["a", "b"], ["a"]]]
    cases = [
        (lambda: nn.bleu(references, words), "bleu: a text must be .*hypotheses come before"),
        (lambda: nn.bleu(words, [3]), "bleu: references of a hypothesis must be a list"),
        (lambda: nn.bleu(3, references), "bleu: hypotheses must be a list of texts, not 3"),
        (lambda: nn.edit_distance("a", 3), "edit_distance: a text must be .*, not 3"),
        (lambda: nn.edit_distance("a", np.array(3)), "edit_distance: a text must be"),
        (lambda: nn.error_rate(["a"], [3]), "error_rate: a text must be a string"),
    ]
    for call, message in cases:
        with pytest.raises(DTypeError, match=rf"{message}(.|\n)*test_scoring.py"):
            call()
