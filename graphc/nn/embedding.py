"""Tables of vectors, looked up by number."""

from __future__ import annotations

from typing import Any, Literal

from graphc import ops
from graphc.errors import ArgumentError, DTypeError, ShapeError, user_location
from graphc.ir.op import Array
from graphc.ir.source import Initializer
from graphc.ir.tensor import Tensor
from graphc.nn import init
from graphc.nn.module import Layer, count, one_of
from graphc.types import FLOAT32, DTypeLike

Mode = Literal["sum", "mean", "max"]


class _Table(Layer):
    """A table of ``num_embeddings`` vectors, one of which may count for nothing."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        left_out: dict[str, Any],
        weight_init: Initializer | None,
        dtype: DTypeLike,
        trainable: bool,
        name: str | None,
    ) -> None:
        super().__init__(name, trainable=trainable)
        kind = type(self).__name__
        for option, value in left_out.items():
            if value:
                raise ArgumentError(
                    f"{kind}: {option}={value!r} is not supported; scale or clip the vectors that "
                    f"the layer returns\n  at {user_location()}"
                )
        rows = count(f"{kind}: num_embeddings", num_embeddings, 1)
        width = count(f"{kind}: embedding_dim", embedding_dim, 1)
        self._sizes = rows, width
        self._padding: int | None = None
        if padding_idx is not None:
            if not -rows <= count(f"{kind}: padding_idx", padding_idx, -rows) < rows:
                raise ArgumentError(
                    f"{kind}: padding_idx {padding_idx} is not one of {rows} rows"
                    f"\n  at {user_location()}"
                )
            self._padding = padding_idx % rows
        start = weight_init or init.normal()
        self.weight = self.parameter("weight", self._padded(start), (rows, width), dtype=dtype)

    @property
    def num_embeddings(self) -> int:
        return self._sizes[0]

    @property
    def embedding_dim(self) -> int:
        return self._sizes[1]

    @property
    def padding_idx(self) -> int | None:
        return self._padding

    def _padded(self, start: Initializer) -> Initializer:
        """Return an initialiser that leaves the padding zero."""
        row = self._padding
        if row is None:
            return start

        def values(shape: tuple[int, ...], rng: Any) -> Array:
            found: Array = start(shape, rng).copy()
            found[row] = 0.0
            return found

        return values

    def _rows(self, indices: Tensor) -> Tensor:
        """Return the vectors; that of the padding has no gradient."""
        if indices.dtype.kind != "i":
            raise DTypeError(
                f"{type(self).__name__} needs integers, got {indices.describe()}"
                f"\n  at {user_location()}"
            )
        found = ops.take(self.weight, indices, axis=0)
        if self._padding is None:
            return found
        padding = ops.expand_dims(ops.equal(indices, self._padding), -1)
        return ops.where(padding, ops.stop_gradient(found), found)


class Embedding(_Table):
    """Rows of a table: indices ``(...)`` become vectors ``(..., embedding_dim)``.

    ``weight`` is ``(num_embeddings, embedding_dim)``, normal at first; row ``padding_idx`` is zero
    and is not trained. As PyTorch's ``Embedding``, of which ``max_norm``, ``scale_grad_by_freq``
    and ``sparse`` are not supported. A negative index counts from the end, as in NumPy; one out of
    range raises an IndexError.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
        max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
        sparse: bool = False, *, weight_init: Initializer | None = None,
        dtype: DTypeLike = FLOAT32, trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        options = {
            "max_norm": max_norm,
            "scale_grad_by_freq": scale_grad_by_freq,
            "sparse": sparse,
        }
        super().__init__(num_embeddings, embedding_dim, padding_idx, options, weight_init, dtype,
                         trainable, name)  # fmt: skip

    def forward(self, indices: Tensor) -> Tensor:
        return self._rows(indices)


class EmbeddingBag(_Table):
    """The sum, mean or maximum of the rows of each bag: ``(N, length)`` to ``(N, embedding_dim)``.

    Indices equal to ``padding_idx`` count for nothing; a bag of only those is zero. Called with
    ``per_sample_weights`` of the shape of the indices, sums are weighted. As PyTorch's
    ``EmbeddingBag`` for bags of one length, of which ``max_norm``, ``scale_grad_by_freq``,
    ``sparse`` and ``include_last_offset`` are not supported.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: Mode = "mean",
        sparse: bool = False, include_last_offset: bool = False, padding_idx: int | None = None, *,
        weight_init: Initializer | None = None, dtype: DTypeLike = FLOAT32,
        trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        options = {
            "max_norm": max_norm,
            "scale_grad_by_freq": scale_grad_by_freq,
            "sparse": sparse,
            "include_last_offset": include_last_offset,
        }
        self._mode: Mode = one_of("EmbeddingBag: mode", mode, ("sum", "mean", "max"))
        super().__init__(num_embeddings, embedding_dim, padding_idx, options, weight_init, dtype,
                         trainable, name)  # fmt: skip

    @property
    def mode(self) -> Mode:
        return self._mode

    def forward(self, indices: Tensor, per_sample_weights: Tensor | None = None) -> Tensor:
        if indices.ndim != 2:
            raise ShapeError(
                f"EmbeddingBag needs bags of axes (N, length), got {indices.describe()}"
                f"\n  at {user_location()}"
            )
        rows = self._rows(indices)
        if per_sample_weights is not None:
            if self._mode != "sum":
                raise ArgumentError(
                    f"EmbeddingBag: per_sample_weights are for mode 'sum', not {self._mode!r}"
                    f"\n  at {user_location()}"
                )
            rows = rows * ops.expand_dims(per_sample_weights, -1)
        if self._padding is None:
            fold = {"sum": ops.sum, "mean": ops.mean, "max": ops.max}[self._mode]
            return fold(rows, 1)
        there = ops.expand_dims(ops.not_equal(indices, self._padding), -1)
        if self._mode == "max":
            best = ops.max(ops.where(there, rows, -float("inf")), 1)
            return ops.where(ops.any(there, 1), best, 0.0)
        total = ops.sum(ops.where(there, rows, 0.0), 1)
        if self._mode == "sum":
            return total
        return total / ops.maximum(ops.sum(ops.where(there, 1.0, 0.0), 1), 1.0)
