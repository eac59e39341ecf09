"""Transformers: layers of encoders and decoders, and a whole one.

Vaswani et al., *Attention Is All You Need*, 2017; with ``norm_first`` as Xiong et al., *On Layer
Normalization in the Transformer Architecture*, 2020. Formulas, names and defaults are PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from graphc import ops
from graphc.errors import DTypeError, ShapeError, user_location
from graphc.ir.source import Initializer
from graphc.ir.tensor import Tensor
from graphc.nn import init
from graphc.nn.dropout import Dropout
from graphc.nn.module import Layer, Linear, count, one_of
from graphc.nn.multihead import KVCache, MultiheadAttention, batch_is_first
from graphc.nn.normalization import LayerNorm
from graphc.nn.torch_weights import FromTorch
from graphc.types import FLOAT32, DTypeLike

Activation = str | Callable[[Any], Tensor]
_ACTIVATIONS: dict[str, Callable[[Any], Tensor]] = {"relu": ops.relu, "gelu": ops.gelu}


class _TransformerLayer(FromTorch):
    """What layers of encoders and of decoders share: feed-forward, norms, residuals."""

    attentions: ClassVar[tuple[str, ...]] = ("self_attn",)
    """The layers of attention: a norm and a dropout for each, and for what follows."""

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = True,
        norm_first: bool = False, bias: bool = True, *, weight_init: Initializer | None = None,
        dtype: DTypeLike = FLOAT32, trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, trainable=trainable)
        kind = type(self).__name__
        batch_is_first(kind, batch_first)
        self._arguments = {
            "d_model": d_model, "nhead": nhead, "dim_feedforward": dim_feedforward,
            "dropout": dropout, "activation": activation, "layer_norm_eps": layer_norm_eps,
            "bias": bias, "weight_init": weight_init, "dtype": dtype, "trainable": trainable,
        }  # fmt: skip
        if isinstance(activation, str):
            activation = _ACTIVATIONS[one_of(f"{kind}: activation", activation, _ACTIVATIONS)]
        if not callable(activation):
            raise DTypeError(
                f"{kind}: activation must be a name or a function, not {activation!r}"
                f"\n  at {user_location()}"
            )
        self._activation, self.norm_first = activation, bool(norm_first)
        linear: dict[str, Any] = {"bias": bias, "weight_init": weight_init, "dtype": dtype}
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout=dropout, name="self_attn", **linear
        )  # fmt: skip
        hidden = count(f"{kind}: dim_feedforward", dim_feedforward, 1)
        self.linear1 = Linear(d_model, hidden, name="linear1", **linear)
        self.dropout = Dropout(dropout, name="dropout")
        self.linear2 = Linear(hidden, d_model, name="linear2", **linear)
        for number in range(1, len(self.attentions) + 2):
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype, name=f"norm{number}")
            setattr(self, f"norm{number}", norm)
            setattr(self, f"dropout{number}", Dropout(dropout, name=f"dropout{number}"))
        for other in self.attentions[1:]:
            made = MultiheadAttention(d_model, nhead, dropout=dropout, name=other, **linear)
            setattr(self, other, made)

    def again(self, name: str) -> _TransformerLayer:
        """Return another layer of the same arguments, with weights of its own."""
        return type(self)(**self._arguments, norm_first=self.norm_first, name=name)

    def _around(self, x: Tensor, number: int, part: Callable[[Tensor], Tensor]) -> Tensor:
        """Return ``x`` after a part with its norm, dropout and residual."""
        norm, dropout = (getattr(self, f"{what}{number}") for what in ("norm", "dropout"))
        y: Tensor = x + dropout(part(norm(x) if self.norm_first else x))
        return y if self.norm_first else norm(y)

    def _feed_forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.linear2(self.dropout(self._activation(self.linear1(x))))
        return hidden


class TransformerEncoderLayer(_TransformerLayer):
    """Self-attention and two linear layers, (N, L, d_model) to the same: PyTorch's.

    ``src_mask``, ``src_key_padding_mask`` and ``is_causal`` are those of
    :class:`nn.MultiheadAttention`. With ``cache``, one of its, the layer returns ``(output,
    after)``: so it is a layer of a decoder without an encoder, such as GPT's, that generates.
    """

    def cache(self, batch: int, length: int) -> KVCache:
        """Return an empty cache: see :meth:`MultiheadAttention.cache`."""
        return self.self_attn.cache(batch, length)

    def forward(
        self, src: Tensor, src_mask: Any = None, src_key_padding_mask: Any = None,
        is_causal: bool = False, *, cache: KVCache | None = None,
    ) -> Any:  # fmt: skip
        after: list[KVCache] = []

        def attention(x: Tensor) -> Tensor:
            out, _, *found = self.self_attn(
                x, key_padding_mask=src_key_padding_mask, need_weights=False, attn_mask=src_mask,
                is_causal=is_causal, cache=cache,
            )  # fmt: skip
            after.extend(found)
            return out  # type: ignore[no-any-return]

        x = self._around(src, 1, attention)
        x = self._around(x, 2, self._feed_forward)
        return x if cache is None else (x, after[0])


class TransformerDecoderLayer(_TransformerLayer):
    """Self-attention, attention to ``memory``, and two linear layers: PyTorch's.

    ``tgt`` is (N, L, d_model) and ``memory`` (N, S, d_model); masks are those of
    :class:`nn.MultiheadAttention`.
    """

    attentions = ("self_attn", "multihead_attn")
    multihead_attn: MultiheadAttention

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Any = None, memory_mask: Any = None,
        tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False, memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        def own(x: Tensor) -> Tensor:
            return self.self_attn(  # type: ignore[no-any-return]
                x, key_padding_mask=tgt_key_padding_mask, need_weights=False, attn_mask=tgt_mask,
                is_causal=tgt_is_causal,
            )[0]  # fmt: skip

        def other(x: Tensor) -> Tensor:
            return self.multihead_attn(  # type: ignore[no-any-return]
                x, memory, memory, key_padding_mask=memory_key_padding_mask, need_weights=False,
                attn_mask=memory_mask, is_causal=memory_is_causal,
            )[0]  # fmt: skip

        for number, part in enumerate((own, other, self._feed_forward), 1):
            tgt = self._around(tgt, number, part)
        return tgt


class _Stack(FromTorch):
    """Layers like a given one, one after the other, and a norm behind."""

    def __init__(
        self, layer: _TransformerLayer, num_layers: int, norm: Layer | None, kind: type[Layer],
        trainable: bool, name: str | None,
    ) -> None:  # fmt: skip
        super().__init__(name, trainable=trainable)
        own = type(self).__name__
        if not isinstance(layer, kind):
            raise DTypeError(
                f"{own} needs a {kind.__name__}, not {layer!r}\n  at {user_location()}"
            )
        if norm is not None and not isinstance(norm, Layer):
            raise DTypeError(
                f"{own}: norm must be a layer, such as nn.LayerNorm(d_model), or None, not {norm!r}"
                f"\n  at {user_location()}"
            )
        repeats = range(count(f"{own}: num_layers", num_layers))
        self.layers = [layer.again(f"layers.{n}") for n in repeats]
        self.norm = norm

    def _normed(self, x: Tensor) -> Tensor:
        normed: Tensor = x if self.norm is None else self.norm(x)
        return normed


class TransformerEncoder(_Stack):
    """``num_layers`` layers like ``encoder_layer``, each with weights of its own, and a norm.

    As PyTorch's, where all layers begin with the same weights. With ``cache``, a list of one for
    each layer (:meth:`cache`), it returns ``(output, caches after)``.
    """

    def __init__(
        self, encoder_layer: TransformerEncoderLayer, num_layers: int, norm: Layer | None = None, *,
        trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(encoder_layer, num_layers, norm, TransformerEncoderLayer, trainable, name)

    def cache(self, batch: int, length: int) -> list[KVCache]:
        """Return an empty cache of each layer: see :meth:`MultiheadAttention.cache`."""
        return [x.self_attn.cache(batch, length) for x in self.layers]

    def forward(
        self, src: Tensor, mask: Any = None, src_key_padding_mask: Any = None,
        is_causal: bool = False, *, cache: list[KVCache] | None = None,
    ) -> Any:  # fmt: skip
        x = src
        after: list[KVCache] = []
        for number, layer in enumerate(self.layers):
            own = None if cache is None else cache[number]
            out = layer(x, mask, src_key_padding_mask, is_causal, cache=own)
            x, *found = out if cache is not None else (out,)
            after += found
        return self._normed(x) if cache is None else (self._normed(x), after)


class TransformerDecoder(_Stack):
    """``num_layers`` layers like ``decoder_layer``, each with weights of its own, and a norm."""

    def __init__(
        self, decoder_layer: TransformerDecoderLayer, num_layers: int, norm: Layer | None = None, *,
        trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(decoder_layer, num_layers, norm, TransformerDecoderLayer, trainable, name)

    def forward(self, tgt: Tensor, memory: Tensor, *args: Any, **options: Any) -> Tensor:
        for layer in self.layers:
            tgt = layer(tgt, memory, *args, **options)
        return self._normed(tgt)


class Transformer(FromTorch):
    """An encoder of ``src`` (N, S, d_model), and a decoder of ``tgt`` (N, L, d_model) beside it.

    Arguments, masks, names and defaults are PyTorch's; matrices begin uniform (Glorot and Bengio,
    2010). ``custom_encoder`` and ``custom_decoder`` are layers that take the same.
    """

    def __init__(
        self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6,
        num_decoder_layers: int = 6, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = "relu", custom_encoder: Layer | None = None,
        custom_decoder: Layer | None = None, layer_norm_eps: float = 1e-5,
        batch_first: bool = True, norm_first: bool = False, bias: bool = True, *,
        dtype: DTypeLike = FLOAT32, trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, trainable=trainable)
        batch_is_first("Transformer", batch_first)
        options: dict[str, Any] = {
            "dim_feedforward": dim_feedforward, "dropout": dropout, "activation": activation,
            "layer_norm_eps": layer_norm_eps, "norm_first": norm_first, "bias": bias,
            "weight_init": init.xavier_uniform(), "dtype": dtype,
        }  # fmt: skip

        def norm(of: str) -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype, name=f"{of}.norm")

        self._width = d_model
        self.encoder: Layer = custom_encoder if custom_encoder is not None else TransformerEncoder(
            TransformerEncoderLayer(d_model, nhead, **options), num_encoder_layers, norm("encoder"),
            name="encoder",
        )  # fmt: skip
        self.decoder: Layer = custom_decoder if custom_decoder is not None else TransformerDecoder(
            TransformerDecoderLayer(d_model, nhead, **options), num_decoder_layers, norm("decoder"),
            name="decoder",
        )  # fmt: skip

    def forward(
        self, src: Tensor, tgt: Tensor, src_mask: Any = None, tgt_mask: Any = None,
        memory_mask: Any = None, src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
        src_is_causal: bool = False, tgt_is_causal: bool = False, memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        for x in (src, tgt):
            if x.type.shape[-1] != self._width:
                raise ShapeError(
                    f"Transformer: {x.describe()} needs {self._width} features in its last axis"
                    f"\n  at {user_location()}"
                )
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        out: Tensor = self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal, memory_is_causal=memory_is_causal,
        )  # fmt: skip
        return out

    @staticmethod
    def generate_square_subsequent_mask(sz: int) -> np.ndarray[Any, Any]:
        """Return (sz, sz) of float32: -inf where a key comes after its query, else 0."""
        size = count("generate_square_subsequent_mask: sz", sz)
        return np.triu(np.full((size, size), -np.inf, "float32"), 1)
