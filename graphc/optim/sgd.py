"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc import ops
from graphc.errors import ShapeError, user_location
from graphc.ir.tensor import Tensor
from graphc.optim.optimizer import Optimizer, at_least_zero


class SGD(Optimizer):
    """``v <- momentum v + (1 - dampening) g``, ``p <- p - lr v``; PyTorch's form.

    ``v`` starts as the first gradient. With ``nesterov`` the step is along
    ``g + momentum v`` (Sutskever et al., ICML 2013). ``weight_decay`` adds
    ``weight_decay * p`` to the gradient.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        **clipping: Any,
    ) -> None:
        super().__init__(lr, **clipping)
        self.momentum = at_least_zero("momentum", momentum)
        self.dampening = dampening
        self.weight_decay = at_least_zero("weight_decay", weight_decay)
        self.nesterov = nesterov
        if nesterov and (not momentum or dampening):
            raise ShapeError(
                "SGD: nesterov needs a momentum and no dampening, got "
                f"momentum={momentum}, dampening={dampening}\n  at {user_location()}"
            )

    @property
    def slots(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    def scalars(self, lr: Tensor, step: Tensor) -> Sequence[Tensor]:
        if not self.momentum or not self.dampening:
            return (lr,)
        later = ops.astype(step > 1.0, step.dtype)
        return lr, 1.0 - self.dampening * later

    def rule(
        self, scalars: Sequence[Tensor], p: Tensor, g: Tensor, *slots: Tensor
    ) -> Sequence[Tensor]:
        lr, *fresh = scalars
        if self.weight_decay:
            g = g + self.weight_decay * p
        if not slots:
            return (p - lr * g,)
        v = self.momentum * slots[0] + (fresh[0] * g if fresh else g)
        along = g + self.momentum * v if self.nesterov else v
        return p - lr * along, v
