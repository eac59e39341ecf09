"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc import ops
from graphc.errors import ArgumentError, user_location
from graphc.ir.tensor import Tensor
from graphc.optim.optimizer import Optimizer
from graphc.optim.setting import Setting, at_least_zero, number


class SGD(Optimizer):
    """``v <- momentum v + (1 - dampening) g``, ``p <- p - lr v``; PyTorch's form.

    ``v`` starts as the first gradient. With ``nesterov`` the step is along
    ``g + momentum v`` (Sutskever et al., ICML 2013). ``weight_decay`` adds
    ``weight_decay * p`` to the gradient.
    """

    momentum = Setting(at_least_zero)
    dampening = Setting(number)
    weight_decay = Setting(at_least_zero)

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
        self.momentum = momentum
        self.dampening = dampening
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        self._check()

    def _check(self) -> None:
        if self.nesterov and (not self.momentum or self.dampening):
            raise ArgumentError(
                "SGD: nesterov needs a momentum and no dampening, got "
                f"momentum={self.momentum}, dampening={self.dampening}\n  at {user_location()}"
            )

    @property
    def slots(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    def scalars(self, lr: Tensor, step: Tensor, **settings: Tensor) -> Sequence[Tensor]:
        self._check()
        later = ops.astype(step > 1.0, step.dtype)
        fresh = 1.0 - settings["dampening"] * later
        return lr, settings["momentum"], fresh, settings["weight_decay"]

    def rule(
        self, scalars: Sequence[Tensor], p: Tensor, g: Tensor, *slots: Tensor
    ) -> Sequence[Tensor]:
        lr, momentum, fresh, weight_decay = scalars
        if self.weight_decay:
            g = g + weight_decay * p
        if not slots:
            return (p - lr * g,)
        v = momentum * slots[0] + (fresh * g if self.dampening else g)
        along = g + momentum * v if self.nesterov else v
        return p - lr * along, v
