"""Scores of texts that were decoded: functions of Python lists, which compile nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, DTypeError, user_location

Text = Sequence[Hashable]
"""Words, characters or numbers of classes."""


def edit_distance(a: Text, b: Text) -> int:
    """Return the least number of insertions, deletions and substitutions from ``a`` to ``b``.

    Both are strings, lists or arrays of anything that can be compared (Levenshtein, 1966).
    """
    number: dict[Hashable, int] = {}
    first, second = (
        np.array([number.setdefault(x, len(number)) for x in text], np.int64)
        for text in (_listed("edit_distance", a), _listed("edit_distance", b))
    )
    places = np.arange(len(second) + 1)
    row = places
    for x in first:
        least = row + 1  # x is left out, or, below, becomes an element of b
        least[1:] = np.minimum(least[1:], row[:-1] + (second != x))
        row = np.minimum.accumulate(least - places) + places  # or elements of b are put in
    return int(row[-1])


def error_rate(hypotheses: Sequence[Text], references: Sequence[Text]) -> float:
    """Return the edit distances of all pairs by the length of all references.

    Of lists of words it is the word error rate, of strings the character error rate; it can be
    above 1. Raises :class:`ArgumentError` unless there are as many of either, and some elements.
    """
    _paired("error_rate", hypotheses, references)
    total = sum(len(_listed("error_rate", r)) for r in references)
    if not total:
        raise ArgumentError(f"error_rate: the references are empty\n  at {user_location()}")
    pairs = zip(hypotheses, references, strict=True)
    return sum(edit_distance(h, r) for h, r in pairs) / total


def bleu(hypotheses: Sequence[Text], references: Sequence[Sequence[Text]], order: int = 4) -> float:
    """Return BLEU, in [0, 1], of a corpus (Papineni, Roukos, Ward and Zhu, ACL 2002).

    The geometric mean, for n from 1 to ``order``, of the share of runs of n elements that a
    reference has, too, each counted as often as one reference has it, times ``exp(1 - r / c)`` if
    the c elements of all hypotheses are fewer than the r of the references next in length. Each
    hypothesis, a list of words, has a list of references. Without smoothing, as NLTK's
    ``corpus_bleu`` and sacreBLEU's with ``smooth_method="none"``: 0 if no run of a length is found.
    """
    _paired("bleu", hypotheses, references)
    if order < 1:
        raise ArgumentError(f"bleu: order must be 1 or more, got {order}\n  at {user_location()}")
    found, counted = [0] * order, [0] * order
    own = others = 0
    for given, alike in zip(hypotheses, references, strict=True):
        text = _listed("bleu", given)
        known = [_listed("bleu", r) for r in _several("bleu", "references of a hypothesis", alike)]
        if not known:
            raise ArgumentError(f"bleu: a hypothesis has no reference\n  at {user_location()}")
        own += len(text)
        others += min((abs(len(r) - len(text)), len(r)) for r in known)[1]
        for n in range(1, order + 1):
            runs, most = _runs(text, n), Counter[Text]()
            for r in known:
                most |= _runs(r, n)
            found[n - 1] += (runs & most).total()
            counted[n - 1] += runs.total()
    if not all(found):
        return 0.0
    precision = sum(math.log(f / c) for f, c in zip(found, counted, strict=True)) / order
    return math.exp(precision + min(0.0, 1.0 - others / own))


def _listed(what: str, text: Text) -> list[Hashable]:
    try:
        found = text.tolist() if isinstance(text, np.ndarray) else list(text)
        hash(tuple(found))
    except TypeError:
        order = "; hypotheses come before lists of references" if what == "bleu" else ""
        raise DTypeError(
            f"{what}: a text must be a string, or a list or array of words or numbers, not "
            f"{text!r}{order}\n  at {user_location()}"
        ) from None
    return found


def _several(what: str, name: str, given: Sequence[Text]) -> Sequence[Text]:
    """Return several texts; raise unless there is a list of them."""
    if not isinstance(given, (Sequence, np.ndarray)):
        raise DTypeError(
            f"{what}: {name} must be a list of texts, not {given!r}\n  at {user_location()}"
        )
    return given


def _runs(text: list[Hashable], n: int) -> Counter[Text]:
    return Counter(tuple(text[k : k + n]) for k in range(len(text) - n + 1))


def _paired(what: str, a: Sequence[Any], b: Sequence[Any]) -> None:
    _several(what, "hypotheses", a)
    _several(what, "references", b)
    if len(a) != len(b):
        raise ArgumentError(
            f"{what}: {len(a)} hypotheses and {len(b)} references\n  at {user_location()}"
        )
