"""Attention of several heads, with what it projects to and from, and its cache."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from graphc import ops
from graphc.errors import ArgumentError, ShapeError, user_location
from graphc.ir.source import Initializer, parameter
from graphc.ir.tensor import Tensor, name_scope
from graphc.nn import init
from graphc.nn.attention import AttentionDropout, attended, attention_weights
from graphc.nn.attention_bias import Bias
from graphc.nn.dropout import probability
from graphc.nn.module import Linear, count
from graphc.nn.positions import rotary
from graphc.nn.torch_weights import FromTorch
from graphc.ops.creation import extent, iota
from graphc.ops.operands import as_tensor
from graphc.types import BOOL, FLOAT32, INT64, DTypeLike


class KVCache(NamedTuple):
    """Keys and values of tokens before, (N, heads, room, features), and how many there are."""

    keys: Tensor
    values: Tensor
    length: Tensor

    def updates(self, after: KVCache) -> dict[Tensor, Tensor]:
        """Return what a function that goes on with ``after`` gets as ``updates``."""
        return dict(zip(self, after, strict=True))


class MultiheadAttention(FromTorch):
    """Attention of ``num_heads`` heads: ``(output, weights)`` for queries, keys and values.

    Inputs are (N, L, embed_dim), (N, S, kdim) and (N, S, vdim), or without N; the batch comes first
    (``batch_first`` is always true). Without a key, it is self-attention; without a value, that is
    the key. Arguments, masks and defaults are PyTorch's: in ``key_padding_mask`` (N, S) and
    ``attn_mask`` (L, S) or (N * heads, L, S) True means that a key is *not* looked at, and numbers
    are added to scores; ``is_causal`` needs no mask. Weights are averaged over heads, or (N, heads,
    L, S) with ``average_attn_weights=False``; they are computed if something asks for them, and as
    in inference, without dropout; with ``need_weights=False`` they are None.

    By keyword: ``key_lengths``, ``window`` and ``bias`` of
    :func:`nn.scaled_dot_product_attention`, and ``cache``: see :meth:`cache`; the places of queries
    then count from its beginning. ``rotary`` is the
    base of rotary positions, which turn queries and keys (:func:`nn.rotary`).

    ``in_proj_weight`` (embed_dim, 3 embed_dim) holds the projections of queries, keys and values
    side by side, or ``q_proj_weight``, ``k_proj_weight`` (kdim, embed_dim) and ``v_proj_weight``
    hold one each; :meth:`load_torch` takes PyTorch's, which are transposed.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
        add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
        vdim: int | None = None, batch_first: bool = True, *, rotary: float | None = None,
        weight_init: Initializer | None = None, dtype: DTypeLike = FLOAT32,
        trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, trainable=trainable)
        batch_is_first("MultiheadAttention", batch_first)
        self._width = count("MultiheadAttention: embed_dim", embed_dim, 1)
        self._heads = count("MultiheadAttention: num_heads", num_heads, 1)
        if self._width % self._heads:
            raise ArgumentError(
                f"MultiheadAttention: embed_dim {embed_dim} must be a multiple of num_heads "
                f"{num_heads}\n  at {user_location()}"
            )
        width, self._dtype = self._width, dtype
        self.dropout = probability("MultiheadAttention: dropout", dropout)
        self._zero, self.rotary = bool(add_zero_attn), rotary
        self._dropped = AttentionDropout(name="dropout") if self.dropout else None
        widths = [width if d is None else count("MultiheadAttention: kdim, vdim", d, 1)
                  for d in (kdim, vdim)]  # fmt: skip
        self._widths = (width, *widths)
        start = weight_init or init.xavier_uniform()
        if widths == [width, width]:
            shape = (width, 3 * width)
            self.in_proj_weight = self.parameter("in_proj_weight", start, shape, dtype=dtype)
        else:
            for letter, wide in zip("qkv", self._widths, strict=True):
                label = f"{letter}_proj_weight"
                setattr(self, label, self.parameter(label, start, (wide, width), dtype=dtype))
        self.in_proj_bias: Tensor | None = None
        if bias:
            self.in_proj_bias = self.parameter(
                "in_proj_bias", init.zeros, (3 * width,), dtype=dtype
            )
        self.bias_k: Tensor | None = None
        self.bias_v: Tensor | None = None
        if add_bias_kv:
            self.bias_k, self.bias_v = (
                self.parameter(label, init.xavier_normal(), (1, 1, width), dtype=dtype)
                for label in ("bias_k", "bias_v")
            )
        self.out_proj = Linear(
            width, width, bias, weight_init=weight_init, bias_init=init.zeros, dtype=dtype,
            name="out_proj",
        )  # fmt: skip

    @property
    def embed_dim(self) -> int:
        return self._width

    @property
    def num_heads(self) -> int:
        return self._heads

    def cache(self, batch: int, length: int) -> KVCache:
        """Return an empty cache of ``length`` tokens for ``batch`` samples, as parameters.

        Called with ``cache``, the layer looks at the tokens that are in it and at those of its
        input, in their order, and returns ``(output, weights, after)``. A function that has
        ``cache.updates(after)`` among its updates goes on from there, and writes in place.
        """
        room = count("cache: batch", batch, 1), count("cache: length", length, 1)
        shape = (room[0], self._heads, room[1], self._width // self._heads)
        options: dict[str, Any] = {"dtype": self._dtype, "trainable": False}
        with name_scope(self.scope):
            keys, values = (
                parameter(init.zeros, shape, name=f"cached_{what}", **options)
                for what in ("keys", "values")
            )
            none = np.zeros((), np.int64)
            there = parameter(none, (), name="cached", dtype=INT64, trainable=False)
        return KVCache(keys, values, there)

    def forward(
        self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None,
        key_padding_mask: Any = None, need_weights: bool = True, attn_mask: Any = None,
        average_attn_weights: bool = True, is_causal: bool = False, *,
        cache: KVCache | None = None, key_lengths: Any = None, window: int | None = None,
        bias: Bias | None = None,
    ) -> tuple[Any, ...]:  # fmt: skip
        key = query if key is None else key
        value = key if value is None else value
        single = query.ndim == 2
        inputs = [ops.expand_dims(x, 0) if single else x for x in (query, key, value)]
        for what, x, width in zip(("query", "key", "value"), inputs, self._widths, strict=True):
            if x.ndim != 3 or x.type.shape[-1] != width:
                raise ShapeError(
                    f"MultiheadAttention takes a {what} of axes (N, length, {width}), got "
                    f"{x.describe()}\n  at {user_location()}"
                )
        if query is key and key is value:
            inputs = [inputs[0]] * 3
        q, k, v = self._projected(inputs)
        k, v, added = self._extended(k, v)
        q, k, v = (ops.permute_dims(x, (0, 2, 1, 3)) for x in (q, k, v))
        mask = self._mask(key_padding_mask, attn_mask, q, k, added, single)
        options: dict[str, Any] = {"mask": mask, "key_lengths": key_lengths}
        options |= {"window": window, "bias": bias}
        after = None
        if cache is not None:
            if mask is not None or key_lengths is not None or added:
                raise ArgumentError(
                    "MultiheadAttention: with a cache, masks, key_lengths and added keys are not "
                    f"supported\n  at {user_location()}"
                )
            q, k, v, options, after = self._continued(q, k, v, cache, window, bias)
            is_causal = False
        elif self.rotary is not None:
            q, k = (rotary(x, base=self.rotary) for x in (q, k))
        if is_causal and added:
            causal = _places(q, 2) >= _places(k, 3)
            causal = causal | (_places(k, 3) >= k.type.shape[2] - added)
            options["mask"], is_causal = _both(mask, causal), False
        options["causal"] = is_causal
        out = attended(q, k, v, dropout=self.dropout, dropped=self._dropped, **options)
        weights: Tensor | None = None
        if need_weights:
            weights = attention_weights(q, k, v, **options)
            weights = ops.mean(weights, 1) if average_attn_weights else weights
        out = self.out_proj(self._joined(out))
        if single:
            out = out[0]
            weights = None if weights is None else weights[0]
        return (out, weights) if after is None else (out, weights, after)

    # -- parts ----------------------------------------------------------------------------------

    def _projected(self, inputs: list[Tensor]) -> list[Tensor]:
        """Return queries, keys and values, (N, length, heads, features)."""
        width, bias = self._width, self.in_proj_bias
        if not hasattr(self, "in_proj_weight"):
            weights = [getattr(self, f"{letter}_proj_weight") for letter in "qkv"]
            made = [x @ w for x, w in zip(inputs, weights, strict=True)]
            if bias is not None:
                made = [x + bias[n * width : (n + 1) * width] for n, x in enumerate(made)]
            return [self._split(x) for x in made]
        result: list[Tensor] = []
        while len(result) < 3:  # neighbours that have one input are one product
            start = end = len(result)
            while end < 3 and inputs[end] is inputs[start]:
                end += 1
            columns = slice(start * width, end * width)
            whole = inputs[start] @ self.in_proj_weight[:, columns]
            whole = whole if bias is None else whole + bias[columns]
            shape = (*whole.type.shape[:2], end - start, self._heads, width // self._heads)
            parts = ops.reshape(whole, shape)
            result += [parts[:, :, n] for n in range(end - start)]
        return result

    def _extended(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, int]:
        """Return keys and values with those that are learned or zero, and how many these are."""
        more: list[tuple[Any, Any]] = []
        shape = (k.type.shape[0], 1, *k.type.shape[2:])
        if self.bias_k is not None or self.bias_v is not None:
            own = (self._split(as_tensor(x)) for x in (self.bias_k, self.bias_v))
            more.append(tuple(ops.broadcast_to(x, shape) for x in own))  # type: ignore[arg-type]
        if self._zero:
            more.append((ops.zeros(shape, dtype=k.dtype), ops.zeros(shape, dtype=k.dtype)))
        if more:
            k, v = (ops.concat([x, *(pair[n] for pair in more)], 1) for n, x in enumerate((k, v)))
        return k, v, len(more)

    def _split(self, x: Any) -> Tensor:
        """Return (N, length, heads, features)."""
        size = self._width // self._heads
        return ops.reshape(x, (*x.type.shape[:2], self._heads, size))

    def _joined(self, x: Tensor) -> Tensor:
        n, _, length, _ = x.type.shape
        return ops.reshape(ops.permute_dims(x, (0, 2, 1, 3)), (n, length, self._width))

    def _mask(
        self, padding: Any, mask: Any, q: Tensor, k: Tensor, added: int, single: bool
    ) -> Tensor | None:
        """Return both masks as one, True where a key is looked at, or what is added."""
        found: Tensor | None = None
        for given in (padding, mask):
            if given is None:
                continue
            t = given if isinstance(given, Tensor) else ops.asarray(given)
            t = ops.logical_not(t) if t.dtype == BOOL else t
            if added:
                fill = (*t.type.shape[:-1], added)
                rest = ops.full(fill, True if t.dtype == BOOL else 0.0, dtype=t.dtype)
                t = ops.concat([t, rest], -1)
            if given is padding:
                t = t if not single else ops.expand_dims(t, 0)
                t = ops.expand_dims(t, (1, 2))
            elif t.ndim == 3:
                t = _of_heads(t, q)
            found = _both(found, t)
        return found

    def _continued(
        self, q: Tensor, k: Tensor, v: Tensor, cache: KVCache, window: int | None, bias: Any
    ) -> tuple[Tensor, Tensor, Tensor, dict[str, Any], KVCache]:
        """Return queries, all keys and values, options of attention, and the cache after."""
        length, before = q.type.shape[2], cache.length
        places = before + iota((length,), 0, INT64)
        if self.rotary is not None:
            q, k = (rotary(x, places, base=self.rotary) for x in (q, k))
        keys = ops.index_copy(cache.keys, places, k, axis=2)
        values = ops.index_copy(cache.values, places, v, axis=2)
        mask: Tensor | None = None
        own, other = ops.expand_dims(places, 1), iota((1, keys.type.shape[2]), 1, INT64)
        if length != 1:  # of one, the length says it
            mask = other <= own
        if window is not None:
            near = own - other < count("attention: window", window, 1)
            mask = near if mask is None else ops.logical_and(mask, near)
        after = KVCache(keys, values, before + extent(length, INT64))
        shifted = (lambda i, j: bias(i + before, j)) if callable(bias) else bias
        options = {"mask": mask, "key_lengths": after.length, "bias": shifted}
        return q, keys, values, options, after


def _places(x: Tensor, axis: int) -> Tensor:
    """Return the places along the axis 2 of ``x``, along an axis of scores."""
    shape = tuple(x.type.shape[2] if a == axis else 1 for a in range(4))
    return iota(shape, axis, INT64)


def _of_heads(mask: Tensor, q: Tensor) -> Tensor:
    """Return a mask (N * heads, L, S) of a user with axes of samples and heads."""
    n, heads, length, _ = q.type.shape
    rows, *rest = mask.type.shape
    if isinstance(n, int) and isinstance(rows, int) and rows != n * heads:
        raise ShapeError(
            f"MultiheadAttention: attn_mask {mask.type} must have axes (L, S) or (N * heads, L, S)"
            f", here ({n} * {heads}, {length}, ...)\n  at {user_location()}"
        )
    return ops.reshape(mask, (n, heads, *rest))


def _both(first: Tensor | None, second: Tensor) -> Tensor:
    """Return a mask for two that hold together."""
    if first is None:
        return second
    if first.dtype == second.dtype == BOOL:
        return ops.logical_and(first, second)
    if first.dtype == BOOL:
        first, second = second, first
    return ops.where(second, first, -np.inf) if second.dtype == BOOL else first + second


def batch_is_first(kind: str, given: bool) -> None:
    """Raise if a user asks for PyTorch's other order of axes."""
    if not given:
        raise ArgumentError(
            f"{kind}: batch_first=False is not supported: axes are (N, length, features); use "
            f"gx.swapaxes\n  at {user_location()}"
        )
