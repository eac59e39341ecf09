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


def clip_by_global_norm(gradients: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """Scale all gradients by ``min(1, max_norm / (norm + 1e-6))``, their joint norm.

    As ``torch.nn.utils.clip_grad_norm_`` (Pascanu et al., ICML 2013, algorithm 1).
    """
    if not gradients:
        return []
    factor = ops.minimum(max_norm / (global_norm(gradients) + 1e-6), 1.0)
    return [g * ops.astype(factor, g.dtype) for g in gradients]


def clip_by_value(gradients: Sequence[Tensor], limit: float) -> list[Tensor]:
    """Limit every element of every gradient to ``[-limit, limit]``."""
    return [ops.clip(g, -limit, limit) for g in gradients]
