"""Attention as a function, with what may be done to its scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc import ops
from graphc.errors import ArgumentError, DTypeError, ShapeError, user_location
from graphc.ir.op import Array, register, reshaped
from graphc.ir.results import result
from graphc.ir.tensor import Tensor, apply
from graphc.nn.attention_bias import Bias, formula_of
from graphc.nn.dropout import draw_state, probability
from graphc.nn.module import Layer, count
from graphc.nn.training import TrainingOp
from graphc.ops.attention import Attention, more_samples
from graphc.ops.attention_formula import Formula
from graphc.ops.attention_loops import MOST
from graphc.ops.batched import Case, batching
from graphc.ops.cast import cast
from graphc.ops.operands import as_tensor, common
from graphc.types import (
    BOOL,
    INT64,
    AnyDim,
    Shape,
    TensorType,
    broadcast_shapes,
    show_shape,
    size_of,
)

_TORCH = {"attn_mask": "mask", "dropout_p": "dropout", "is_causal": "causal"}
"""What PyTorch calls arguments, and their names here."""


@register
class DroppedAttention(TrainingOp):
    """Attention some of whose weights are 0 in training, and the others greater."""

    core: Attention

    def infer(self, *types: TensorType) -> TensorType:
        return self.core.infer(*types).parts[0]  # type: ignore[attr-defined,no-any-return]

    def numpy(self, *arrays: Array) -> Array:
        found: Array = self.core.numpy(*arrays)[0]
        return found

    def expand(self, *inputs: Tensor) -> Tensor:
        return result(apply(self.core, *inputs), 0)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return self.core.vjps({0: g}, apply(self.core, *inputs), *inputs)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        return self.core.jvps(tangents, out, *inputs).get(0)

    def inference(self, *inputs: Tensor) -> Tensor:
        seed = self._seed
        rest = (*inputs[:seed], *inputs[seed + 2 :])
        return result(apply(self.core.replaced(p=0.0), *rest), 0)

    def updates(self, *inputs: Tensor) -> Mapping[Tensor, Tensor]:
        step = inputs[self._seed + 1]
        return {step: step + 1}

    @property
    def _seed(self) -> int:
        """The position of the seed among the operands."""
        return 3 + self.core.masked + self.core.counted


@batching(DroppedAttention)
def _batched(case: Case) -> Sequence[Tensor] | None:
    """Each sample drops weights of its own."""
    assert isinstance(case.node.op, DroppedAttention)
    return more_samples(case, case.node.op.core)


class AttentionDropout(Layer):
    """Holds the seed and the step by which weights of attention are dropped."""

    def forward(
        self, operands: Sequence[Tensor], captured: Sequence[Tensor], core: Attention
    ) -> Tensor:
        seed, step = draw_state(self)
        return apply(DroppedAttention(core), *operands, seed, step, *captured)


def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, mask: Any = None, causal: bool = False,
    dropout: float = 0.0, scale: float | None = None, *, enable_gqa: bool = False,
    key_lengths: Any = None, window: int | None = None, bias: Bias | None = None, **unknown: Any,
) -> Tensor:  # fmt: skip
    """Return ``softmax(query key^T * scale + mask) value``, without the scores in memory.

    Queries have shape (..., L, E), keys (..., S, E) and values (..., S, V), such as (N, heads, T,
    E); leading axes broadcast, and the result is (..., L, V). ``scale`` is ``1 / sqrt(E)`` if it is
    None. Memory grows linearly with the lengths, forward and backward: blocks of scores are
    computed, and computed again for the gradient (Dao et al., *FlashAttention*, 2022). Tangents and
    second derivatives, and gradients by a mask or by what a bias is made of, take that of all
    scores.

    ``mask`` broadcasts to (..., L, S): booleans, False where a query must not look at a key, or
    numbers that are added to the scores. With ``causal`` query i looks at keys up to i. Several
    conditions hold together. A query that may look at no key has the result 0, and gradients 0, as
    in PyTorch from 2.5 on (NaN before). ``dropout`` is the probability that a weight is dropped,
    in training only; each call draws its own.

    Heads are the axis before L. ``enable_gqa``: each of those of keys and values serves as many
    neighbouring heads of queries (Ainslie et al., *GQA*, 2023). ``key_lengths``: integers, one for
    each sample (all leading axes but the heads', which stands for samples if it is the only one and
    ``enable_gqa`` is false); keys and values from there on are not looked at.
    ``window``: query i looks at keys j with ``|i - j| < window`` only (Beltagy et al.,
    *Longformer*, 2020), and blocks beyond are not computed. ``bias``: a function ``(i, j)`` of two
    scalars of int64, made of elementwise functions, which is added to the scores: ``nn.alibi(8)``,
    or ``lambda i, j: slopes * (j - i)`` with ``slopes`` a tensor of shape (heads, 1, 1), which has
    derivatives as well. Integers that become floating-point in it have the queries' type.

    As PyTorch's ``scaled_dot_product_attention``; ``attn_mask``, ``dropout_p`` and ``is_causal``
    are ``mask``, ``dropout`` and ``causal`` here.
    """
    for name in unknown:
        hint = f"; use {_TORCH[name]}" if name in _TORCH else ""
        raise DTypeError(
            f"scaled_dot_product_attention takes no argument {name!r}{hint}\n  at {user_location()}"
        )
    options = {"mask": mask, "causal": causal, "scale": scale, "enable_gqa": enable_gqa}
    options |= {"key_lengths": key_lengths, "window": window, "bias": bias}
    return attended(query, key, value, dropout=dropout, **options)


def attended(
    query: Any, key: Any, value: Any, *, dropout: float = 0.0,
    dropped: AttentionDropout | None = None, **options: Any,
) -> Tensor:  # fmt: skip
    """Return attention; ``dropped`` is the layer that holds the seed, if it is a part of one."""
    p = probability("scaled_dot_product_attention: dropout", dropout)
    given = _given(query, key, value, p=p, **options)
    out = given.attended(dropped)
    return reshaped(out, (*given.heads.lead, *out.type.shape[-2:]))


def attention_weights(query: Any, key: Any, value: Any, **options: Any) -> Tensor:
    """Return the weights of attention, of all pairs of queries and keys, without dropout."""
    given = _given(query, key, value, p=0.0, **options)
    weights = given.formula().p
    return reshaped(weights, (*given.heads.lead, *weights.type.shape[-2:]))


def _given(
    query: Any, key: Any, value: Any, *, p: float, mask: Any = None, causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False, key_lengths: Any = None,
    window: int | None = None, bias: Bias | None = None,
) -> _Given:  # fmt: skip
    """Return what a user calls attention with, checked."""
    where = f"\n  at {user_location()}"
    q, k, v = common("scaled_dot_product_attention", query, key, value, floating=True)
    given = _Given(q, k, v, _Heads.of(q, k, v, enable_gqa, where), where)
    if mask is not None:
        given.mask(as_tensor(mask))
    if key_lengths is not None:
        given.operands.append(given.heads.lengths(as_tensor(key_lengths), where))
        given.options["counted"] = True
    if bias is not None:
        given.bias(bias)
    given.options |= {
        "scale": _scale(scale, given.width, where),
        "causal": bool(causal),
        "window": None if window is None else count("attention: window", window, 1),
        "p": p,
    }
    return given


class _Given:
    """What attention is called with, as an op and its operands."""

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, heads: _Heads, where: str) -> None:
        self._q, self._k, self.heads, self._where = q, k, heads, where
        width, depth = q.type.shape[-1], v.type.shape[-1]
        if not isinstance(width, int) or not isinstance(depth, int):
            raise ShapeError(
                f"attention: the last axes of {q.type} and {v.type} must be fixed{where}"
            )
        self.width, self._widest = width, max(width, depth)
        self.operands = [heads.four(q, heads.queries), *(heads.four(x, heads.keys) for x in (k, v))]
        self.options: dict[str, Any] = {}
        self._captured: list[Tensor] = []

    def mask(self, mask: Tensor) -> None:
        given = self.heads.mask(mask, self._q, self._k, self._where)
        self.operands.append(given)
        self.options |= {"masked": True, "mask_is_bool": given.dtype == BOOL}

    def bias(self, bias: Any) -> None:
        body, outside = formula_of(bias, self._q.dtype, self._where)
        self._captured = [self.heads.captured(t, self._where) for t in outside]
        self.options["bias"] = body

    def attended(self, dropped: AttentionDropout | None) -> Tensor:
        """Return the means of values."""
        core = Attention(**self.options)
        wide = self._widest > MOST
        if core.p and wide:
            raise ArgumentError(
                f"attention: dropout of heads wider than {MOST} is not supported, and these have "
                f"{self._widest}; use more heads, or nn.Dropout after the layer{self._where}"
            )
        if core.p:
            layer = dropped or AttentionDropout()
            out: Tensor = layer(self.operands, self._captured, core)
            return out
        if wide:
            formula = self.formula()
            return ops.matmul(formula.p, formula.v)
        return result(apply(core, *self.operands, *self._captured), 0)

    def formula(self) -> Formula:
        """Return the weights of all pairs."""
        q, k, v, *rest = self.operands
        return Formula(Attention(**self.options), q, k, v, [*rest, *self._captured])


class _Heads(NamedTuple):
    """The leading axes of queries, keys and values.

    The last of them is that of heads. If there is no other, then heads that share nothing are as
    good as samples: each may have its own number of keys.
    """

    samples: Shape
    queries: AnyDim
    keys: AnyDim
    rank: int
    apart: bool
    """Whether the axis of heads is none of those of samples."""

    @staticmethod
    def of(q: Tensor, k: Tensor, v: Tensor, grouped: bool, where: str) -> _Heads:
        rank = max(t.ndim for t in (q, k, v))
        if min(t.ndim for t in (q, k, v)) < 2:
            raise ShapeError(
                f"attention needs (..., length, features), got {q.type}, {k.type}, {v.type}{where}"
            )
        if q.type.shape[-1] != k.type.shape[-1] or k.type.shape[-2] != v.type.shape[-2]:
            raise ShapeError(
                f"attention of queries {q.type}, keys {k.type} and values {v.type}: queries and "
                f"keys need one number of features, keys and values one length{where}"
            )
        apart = rank > 3 or (grouped and rank == 3)
        parts = [_split(t, rank, apart) for t in (q, k, v)]
        try:
            samples = broadcast_shapes(*(part[0] for part in parts))
            own, *others = (part[1] for part in parts)
            if not grouped:
                (own,) = (keys,) = broadcast_shapes(*((h,) for h in (own, *others)))
                return _Heads(samples, own, keys, rank, apart)
        except ShapeError as error:
            raise ShapeError(f"attention: leading axes: {error}{where}") from None
        (keys,) = broadcast_shapes(*((h,) for h in others))
        if not isinstance(own, int) or not isinstance(keys, int) or keys < 1 or own % keys:
            raise ShapeError(
                f"attention: {own} heads of queries cannot share {keys} of keys and values: with "
                f"enable_gqa the size of the first axis must be a multiple of the second's{where}"
            )
        return _Heads(samples, own, keys, rank, apart)

    @property
    def lead(self) -> Shape:
        """The leading axes of the result."""
        return (*self.samples, self.queries) if self.apart else self.samples

    def four(self, t: Tensor, heads: AnyDim) -> Tensor:
        """Return a tensor with the axes (samples, heads, length, features)."""
        rest = t.type.shape[-2:]
        own, given = _split(t, self.rank, self.apart)
        aligned = reshaped(t, (*own, given, *rest))
        whole = (*self.samples, heads, *rest)
        if aligned.type.shape != whole:
            aligned = ops.broadcast_to(aligned, whole)
        return reshaped(aligned, (size_of(self.samples), heads, *rest))

    def mask(self, mask: Tensor, q: Tensor, k: Tensor, where: str) -> Tensor:
        """Return a mask that broadcasts to (samples, heads, queries, keys)."""
        if mask.dtype != BOOL:
            if mask.dtype.kind != "f":
                raise DTypeError(
                    f"attention: mask must hold booleans, or numbers that are added to scores, "
                    f"not {mask.dtype.name}{where}"
                )
            mask = cast(mask, q.dtype)
        whole = (*self.lead, q.type.shape[-2], k.type.shape[-2])
        if not _broadcasts(mask, whole):
            raise ShapeError(
                f"attention: mask {mask.type} does not broadcast to {show_shape(whole)}{where}"
            )
        return self._aligned(mask)

    def captured(self, t: Tensor, where: str) -> Tensor:
        """Return what a bias is made of as it broadcasts to (samples, heads, 1, 1)."""
        whole = (*self.lead, 1, 1)
        if not _broadcasts(t, whole):
            raise ShapeError(
                f"attention: bias uses {t.describe()}; tensors in it must be scalars or have axes "
                f"(heads, 1, 1) that broadcast to {show_shape(whole)}: what depends on places is a "
                f"function of i and j{where}"
            )
        return self._aligned(t)

    def _aligned(self, t: Tensor) -> Tensor:
        """Return what broadcasts to (..., heads, L, S) with the axes (samples, heads, L, S)."""
        shape = (1,) * (len(self.lead) + 2 - t.ndim) + t.type.shape
        heads = shape[-3:-2] if self.apart else (1,)
        samples = shape[: len(self.samples)]
        if len(samples) > 1 and set(samples) != {1}:
            t = ops.broadcast_to(t, (*self.samples, *heads, *shape[-2:]))
            samples = self.samples
        return reshaped(t, (size_of(samples), *heads, *shape[-2:]))

    def lengths(self, lengths: Tensor, where: str) -> Tensor:
        """Return the number of keys of each sample."""
        if lengths.dtype.kind != "i":
            raise DTypeError(
                f"attention: key_lengths must be integers, not {lengths.dtype.name}{where}"
            )
        try:
            whole = ops.broadcast_to(lengths, self.samples)
        except ShapeError:
            raise ShapeError(
                f"attention: key_lengths {lengths.type} must be one for each sample, "
                f"{show_shape(self.samples)}{where}"
            ) from None
        return reshaped(cast(whole, INT64), (size_of(self.samples),))


def _split(t: Tensor, rank: int, apart: bool) -> tuple[Shape, AnyDim]:
    """Return the axes of samples of a tensor of at most ``rank`` axes, and its heads."""
    lead = (1,) * (rank - t.ndim) + t.type.shape[:-2]
    return (lead[:-1], lead[-1]) if apart else (lead, 1)


def _broadcasts(t: Tensor, whole: Shape) -> bool:
    """Tell whether a tensor broadcasts to a shape."""
    try:
        return broadcast_shapes(t.type.shape, whole) == whole
    except ShapeError:
        return False


def _scale(scale: Any, width: int, where: str) -> float:
    if scale is None:
        return 1.0 / math.sqrt(max(width, 1))
    if isinstance(scale, bool) or not isinstance(scale, (int, float, np.number)):
        raise DTypeError(
            f"attention: scale must be a number, not {scale!r}; multiply the queries by a tensor"
            f"{where}"
        )
    return float(scale)
