"""Clipping of gradients."""

from __future__ import annotations

from collections.abc import Sequence

from graphc import ops
from graphc.ir.op import add_all
from graphc.ir.tensor import Tensor
from graphc.types import promote


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm of all elements of all ``tensors``: a scalar."""
    dtype = promote(*[t.dtype for t in tensors])
    total = add_all([ops.astype(ops.sum(t * t), dtype) for t in tensors])
    return ops.sqrt(total)


def clip_by_global_norm(gradients: Sequence[Tensor], max_norm: float | Tensor) -> list[Tensor]:
    """Scale all gradients by ``min(1, max_norm / (norm + 1e-6))``, their joint norm.

    ``max_norm`` is a number or a scalar tensor.

    As ``torch.nn.utils.clip_grad_norm_`` (Pascanu et al., ICML 2013, algorithm 1).
    """
    if not gradients:
        return []
    norm = global_norm(gradients)
    factor = ops.minimum(_like(max_norm, norm) / (norm + 1e-6), 1.0)
    return [g * ops.astype(factor, g.dtype) for g in gradients]


def clip_by_value(gradients: Sequence[Tensor], limit: float | Tensor) -> list[Tensor]:
    """Limit every element of every gradient to ``[-limit, limit]``, a number or scalar tensor.

    The formula shows that zeros stay zeros, whatever the limit.
    """
    return [ops.sign(g) * ops.minimum(ops.abs(g), _like(limit, g)) for g in gradients]


def _like(value: float | Tensor, t: Tensor) -> float | Tensor:
    """Return a limit in the data type of ``t``; numbers take it by themselves."""
    return ops.astype(value, t.dtype) if isinstance(value, Tensor) else value
