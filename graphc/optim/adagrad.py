"""Adagrad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc import ops
from graphc.ir.tensor import Tensor
from graphc.optim.optimizer import Optimizer
from graphc.optim.setting import Setting, at_least_zero


class Adagrad(Optimizer):
    """``s <- s + g^2``, ``p <- p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)``.

    Duchi et al., JMLR 12, 2011. ``s`` starts at ``initial_accumulator_value``;
    ``weight_decay`` adds ``weight_decay * p`` to the gradient.
    """

    lr_decay = Setting(at_least_zero)
    weight_decay = Setting(at_least_zero)
    eps = Setting(at_least_zero)

    def __init__(
        self,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        **clipping: Any,
    ) -> None:
        super().__init__(lr, **clipping)
        self.lr_decay = lr_decay
        self.weight_decay = weight_decay
        self.initial_state = at_least_zero("initial_accumulator_value", initial_accumulator_value)
        self.eps = eps

    @property
    def slots(self) -> tuple[str, ...]:
        return ("sum",)

    def scalars(self, lr: Tensor, step: Tensor, **settings: Tensor) -> Sequence[Tensor]:
        rate = lr / (1.0 + (step - 1.0) * settings["lr_decay"]) if self.lr_decay else lr
        return rate, settings["weight_decay"], settings["eps"]

    def rule(
        self, scalars: Sequence[Tensor], p: Tensor, g: Tensor, *slots: Tensor
    ) -> Sequence[Tensor]:
        rate, weight_decay, eps = scalars
        if self.weight_decay:
            g = g + weight_decay * p
        total = slots[0] + g * g
        return p - rate * g / (ops.sqrt(total) + eps), total
