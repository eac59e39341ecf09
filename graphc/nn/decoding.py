"""Texts from a network, a token at a time, in a compiled loop: greedy, sampled, by beams.

What is decoded is a function ``step(state, token) -> (logits, state)`` of symbols: ``token`` is
``(N,)`` of int64, ``logits`` ``(N, classes)``, and the state a tensor or tuples, lists and dicts
of tensors. These have the batch as their first axis, such as the state of an LSTM or the keys and
values of an attention, or are scalars, which are one for all samples, such as how many keys there
are: a cache of :class:`nn.MultiheadAttention` is a state. The function is traced once. A prompt
goes through the network beforehand: what it leaves is the first state, its last token the first
one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc import ops
from graphc.errors import ArgumentError, DTypeError, ShapeError, user_location
from graphc.ir.tensor import Tensor
from graphc.ops.carries import filled, leaves, tensor
from graphc.ops.control import scan, while_loop
from graphc.ops.creation import iota
from graphc.ops.operands import value_of
from graphc.tree import tree_map
from graphc.types import FLOAT64, INT64, AnyDim, Shape, show_shape

Step = Callable[[Any, Tensor], tuple[Tensor, Any]]
"""From a state and a token of each sample to logits and the next state."""


def greedy_search(
    step: Step, state: Any, start: Any, length: int, *, eos_token: int | None = None,
    pad_token: int = 0,
) -> tuple[Tensor, Any]:  # fmt: skip
    """Return ``(tokens, state)``: of each step the most likely token, int64 ``(N, length)``.

    ``start`` ``(N,)`` is fed first and not returned. With ``eos_token``, what follows one is
    ``pad_token``, any integer, and the loop ends when all samples have; ``step`` sees
    ``eos_token`` in its place. See :mod:`graphc.nn.decoding` for
    ``step``.
    """
    return _generated("greedy_search", step, state, start, length, eos_token, pad_token)


def sample(
    step: Step, state: Any, start: Any, length: int, *, seed: Any, temperature: Any = 1.0,
    top_k: int | None = None, top_p: Any = None, eos_token: int | None = None, pad_token: int = 0,
) -> tuple[Tensor, Any]:  # fmt: skip
    """Return ``(tokens, state)``: of each step a token drawn by its probability.

    That is the softmax of :func:`filter_logits` of the logits, with the same ``temperature``,
    ``top_k`` and ``top_p``. ``seed`` is that of :func:`gx.random_uniform`: a number, or an input to
    draw anew at each call; a sample draws the same in whatever batch it comes. Other arguments
    are those of :func:`greedy_search`.
    """
    where = f"\n  at {user_location()}"
    filter_logits(ops.zeros((1, max(1, top_k or 1))), temperature, top_k, top_p)
    count = _length("sample", length, where)
    first = _tokens("sample", start, where)
    draws = ops.random_uniform((first.type.shape[0], count), seed=seed)

    def drawn(logits: Tensor, number: Tensor) -> Tensor:
        """Return the first token up to which the probabilities make up a number's share."""
        kept = ops.softmax(filter_logits(logits, temperature, top_k, top_p), axis=-1)
        upto = ops.cumulative_sum(kept, axis=-1)
        total = upto[:, -1:]
        below = ops.sum(ops.astype(upto <= total * ops.expand_dims(number, 1), INT64), axis=1)
        likely = ops.sum(ops.astype(upto < total, INT64), axis=1)  # the last one that can be
        return ops.minimum(below, likely)

    return _generated("sample", step, state, start, length, eos_token, pad_token, drawn, draws)


def filter_logits(
    logits: Any, temperature: Any = 1.0, top_k: int | None = None, top_p: Any = None
) -> Tensor:
    """Return ``logits / temperature``, and minus infinity for tokens that are not to be drawn.

    Of the last axis the ``top_k`` greatest stay, then of those the most likely whose
    probabilities together reach ``top_p`` (Holtzman et al., 2020, arXiv:1904.09751), at least one.
    Ties stay together. Temperature and ``top_p`` are numbers or scalar tensors. As the "logits
    warpers" of Hugging Face's ``generate``, in their order.
    """
    what, where = "filter_logits", f"\n  at {user_location()}"
    x = tensor(what, logits, where)
    if x.dtype.kind != "f" or not x.ndim:
        raise DTypeError(f"{what}: logits must be floating-point, got {x.describe()}{where}")
    _between(what, "temperature", temperature, 0.0, float("inf"), where)
    _between(what, "top_p", top_p, 0.0, 1.0, where)
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer))
                              or top_k < 1):  # fmt: skip
        raise ArgumentError(f"{what}: top_k must be an integer from 1 on, not {top_k!r}{where}")
    x = x / temperature
    if top_k is not None:
        classes = x.type.shape[-1]
        count = min(int(top_k), classes) if isinstance(classes, int) else int(top_k)
        least = ops.top_k(x, count)[0][..., -1:]
        x = ops.where(x >= least, x, -float("inf"))
    if top_p is not None:
        shares = ops.softmax(x, axis=-1)
        ordered = ops.sort(shares, axis=-1, descending=True)
        before = ops.cumulative_sum(ordered, axis=-1) - ordered
        least = ops.min(ops.where(before < top_p, ordered, float("inf")), axis=-1, keepdims=True)
        x = ops.where(ops.logical_or(shares >= least, shares == ordered[..., :1]), x, -float("inf"))
    return x


def beam_search(
    step: Step, state: Any, start: Any, length: int, *, num_beams: int = 4,
    eos_token: int | None = None, pad_token: int = 0, length_penalty: float = 1.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return ``(tokens, scores)`` of the likeliest texts found: ``(N, num_beams, length)`` and
    ``(N, num_beams)``, the best first.

    After each step the ``num_beams`` beginnings with the greatest sums of log-probabilities stay;
    one that ended with ``eos_token`` stays as it is, filled up with ``pad_token``, as long as it is
    among them. The score is that sum by ``length ** length_penalty``, the length up to and with
    ``eos_token``, as Hugging Face's ``generate`` has it. ``step`` is called for ``N * num_beams``
    samples, those of one text side by side. Other arguments are those of :func:`greedy_search`.
    """
    what, where = "beam_search", f"\n  at {user_location()}"
    count, first = _length(what, length, where), _tokens(what, start, where)
    if isinstance(num_beams, bool) or not isinstance(num_beams, (int, np.integer)) or num_beams < 1:
        raise ArgumentError(f"{what}: num_beams must be 1 or more, not {num_beams!r}{where}")
    search = _Beams(step, first.type.shape[0], int(num_beams), count, where)
    lead = ops.where(iota((search.batch, search.beams), 1, INT64) == 0, 0.0, -float("inf"))
    inner = filled(state, [search.tiled(t) for t in leaves(state)])
    begin = (
        ops.zeros((), dtype=INT64), ops.full(search.shape, pad_token, dtype=INT64),
        ops.astype(lead, FLOAT64), ops.zeros(search.shape[:2], dtype="bool"),
        search.tiled(first), inner,
    )  # fmt: skip
    _, tokens, scores, done, _, _ = _repeated(
        lambda carry: search.grown(carry, eos_token, pad_token), begin, count, eos_token is not None
    )
    ended = ops.full(search.shape[:2], count, dtype=INT64)
    if eos_token is not None:
        ends = ops.where(tokens == eos_token, iota((1, 1, count), 2, INT64) + 1, count)
        ended = ops.where(done, ops.min(ends, axis=2), ended)
    scores = scores / ops.astype(ended, scores.dtype) ** length_penalty
    order = ops.argsort(scores, axis=1, descending=True)
    full = ops.broadcast_to(ops.expand_dims(order, 2), search.shape)
    return ops.take_along_axis(tokens, full, axis=1), ops.take_along_axis(scores, order, axis=1)


@dataclass(frozen=True)
class _Beams:
    """Beginnings of texts, ``beams`` of each sample side by side."""

    step: Step
    batch: AnyDim
    beams: int
    length: int
    where: str

    @property
    def shape(self) -> Shape:
        """That of all texts."""
        return self.batch, self.beams, self.length

    def tiled(self, value: Any) -> Tensor:
        """Return a part of the state, of each beam the same."""
        own = tensor("beam_search", value, self.where)
        if not own.ndim:  # one for all samples
            return own
        if own.type.shape[0] != self.batch:
            raise ShapeError(
                f"beam_search: the state {own.describe()} must have the batch "
                f"{show_shape((self.batch,))} as its first axis, or be a scalar{self.where}"
            )
        rest = own.type.shape[1:]
        wide = ops.broadcast_to(ops.expand_dims(own, 1), (self.batch, self.beams, *rest))
        return self.together(wide)

    def together(self, t: Tensor) -> Tensor:
        """Return the beams of all samples as one axis."""
        return ops.reshape(t, (self.batch * self.beams, *t.type.shape[2:]))

    def grown(self, carry: Any, eos_token: int | None, pad_token: int) -> Any:
        """Return the carry after a step: the best of all texts that are a token longer."""
        at, tokens, scores, done, last, inner = carry
        logits, inner = _checked("beam_search", self.step, inner, last, self.where)
        classes = logits.type.shape[-1]
        assert isinstance(classes, int)
        more = ops.reshape(ops.log_softmax(logits, axis=-1), (*self.shape[:2], classes))
        once = ops.where(iota((1, 1, classes), 2, INT64) == 0, 0.0, -float("inf"))
        more = ops.where(ops.expand_dims(done, 2), once, ops.astype(more, FLOAT64))
        sums = ops.reshape(ops.expand_dims(scores, 2) + more, (self.batch, self.beams * classes))
        scores, best = ops.top_k(sums, self.beams)
        origin, token = best // classes, best % classes
        rows = self.together(origin + iota((self.batch, 1), 0, INT64) * self.beams)

        def chosen(t: Tensor) -> Tensor:
            return ops.take(t, rows, axis=0) if t.ndim else t

        def kept(t: Tensor) -> Tensor:
            return ops.reshape(chosen(self.together(t)), t.type.shape)

        done = kept(done)
        shown = ops.expand_dims(ops.where(done, pad_token, token), 2)
        here = iota((1, 1, self.length), 2, INT64) == at
        tokens = ops.where(here, shown, kept(tokens))
        if eos_token is not None:
            token = ops.where(done, eos_token, token)
            done = token == eos_token
        return at + 1, tokens, scores, done, self.together(token), tree_map(chosen, inner)


def _generated(
    what: str, step: Step, state: Any, start: Any, length: int, eos_token: int | None,
    pad_token: int, drawn: Callable[[Tensor, Tensor], Tensor] | None = None,
    draws: Tensor | None = None,
) -> tuple[Tensor, Any]:  # fmt: skip
    """Return tokens one after the other, and the last state; ``draws`` has a number for each."""
    where = f"\n  at {user_location()}"
    count, first = _length(what, length, where), _tokens(what, start, where)
    batch = first.type.shape[0]
    numbers = ops.zeros((batch, count)) if draws is None else draws

    def following(inner: Any, last: Tensor, number: Tensor) -> tuple[Tensor, Any]:
        logits, inner = _checked(what, step, inner, last, where)
        token = drawn(logits, number) if drawn else ops.argmax(logits, axis=-1)
        return ops.astype(token, INT64), inner

    if eos_token is None:

        def plain(carry: Any, number: Tensor) -> tuple[Any, Tensor]:
            token, inner = following(carry[1], carry[0], number)
            return (token, inner), token

        (_, inner), tokens = scan(plain, (first, state), numbers, axis=1)
        return tokens, inner
    places = iota((1, count), 1, INT64)

    def body(carry: Any) -> Any:
        at, tokens, done, last, inner = carry
        number = ops.sum(ops.where(places == at, numbers, 0.0), axis=1)
        token, inner = following(inner, last, number)
        shown = ops.expand_dims(ops.where(done, pad_token, token), 1)
        token = ops.where(done, eos_token, token)
        return at + 1, ops.where(places == at, shown, tokens), token == eos_token, token, inner

    begin = (
        ops.zeros((), dtype=INT64), ops.full((batch, count), pad_token, dtype=INT64),
        ops.zeros((batch,), dtype="bool"), first, state,
    )  # fmt: skip
    _, tokens, _, _, inner = _repeated(body, begin, count, True)
    return tokens, inner


def _repeated(body: Callable[[Any], Any], begin: Any, count: int, early: bool) -> Any:
    """Return the carry after ``count`` steps, or ``early``, when all that is ``done``."""
    if not early:
        return scan(lambda carry, _: (body(carry), None), begin, length=count)[0]
    done = next(k for k, t in enumerate(begin) if isinstance(t, Tensor) and t.dtype.kind == "b")
    return while_loop(
        lambda carry: ops.logical_and(carry[0] < count, ~ops.all(carry[done])),
        body, begin, max_steps=count,
    )  # fmt: skip


def _checked(what: str, step: Step, state: Any, token: Tensor, where: str) -> tuple[Tensor, Any]:
    """Call the user's function."""
    made = step(state, token)
    if not isinstance(made, (tuple, list)) or len(made) != 2:
        raise DTypeError(f"{what}: step must return (logits, state), not {made!r}{where}")
    logits = tensor(what, made[0], where)
    fits = logits.ndim == 2 and logits.type.shape[0] == token.type.shape[0]
    if not fits or not isinstance(logits.type.shape[-1], int):
        raise ShapeError(
            f"{what}: step must return logits of shape ({show_shape(token.type.shape)[1:-2]}, "
            f"classes), got {logits.describe()}{where}"
        )
    return logits, made[1]


def _tokens(what: str, start: Any, where: str) -> Tensor:
    t = tensor(what, start, where)
    if t.dtype.kind != "i":
        raise DTypeError(f"{what}: start must be integers, got {t.describe()}{where}")
    if t.ndim != 1:
        raise ShapeError(f"{what}: start must have shape (N,), got {t.describe()}{where}")
    return ops.astype(t, INT64)


def _length(what: str, length: Any, where: str) -> int:
    if isinstance(length, bool) or not isinstance(length, (int, np.integer)) or length < 1:
        raise ArgumentError(f"{what}: length must be an integer from 1 on, not {length!r}{where}")
    return int(length)


def _between(what: str, name: str, value: Any, low: float, high: float, where: str) -> None:
    """Raise if a number, which may also be a tensor or None, is not above low and at most high."""
    number = None if value is None else value_of(value)
    if number is not None and not np.all((low < number) & (number <= high)):
        raise ArgumentError(
            f"{what}: {name} must be above {low:g} and at most {high:g}, got {number}{where}"
        )
