"""RMSprop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc import ops
from graphc.ir.tensor import Tensor
from graphc.optim.optimizer import Optimizer
from graphc.optim.setting import Setting, at_least_zero, fraction


class RMSprop(Optimizer):
    """``v <- alpha v + (1 - alpha) g^2``, ``p <- p - lr g / (sqrt(v) + eps)``.

    Tieleman and Hinton, Coursera lecture 6.5, 2012, in PyTorch's form. With ``momentum`` the
    scaled gradients add up in ``b <- momentum b + g / (sqrt(v) + eps)``; ``centered`` subtracts
    the squared mean gradient from ``v`` (Graves, arXiv 1308.0850). ``weight_decay`` adds
    ``weight_decay * p`` to the gradient.
    """

    alpha = Setting(fraction)
    eps = Setting(at_least_zero)
    weight_decay = Setting(at_least_zero)
    momentum = Setting(at_least_zero)

    def __init__(
        self,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        **clipping: Any,
    ) -> None:
        super().__init__(lr, **clipping)
        self.alpha = alpha
        self.eps = eps
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.centered = centered

    @property
    def slots(self) -> tuple[str, ...]:
        used = {"v": True, "mean": self.centered, "momentum": bool(self.momentum)}
        return tuple(name for name, needed in used.items() if needed)

    def scalars(self, lr: Tensor, step: Tensor, **settings: Tensor) -> Sequence[Tensor]:
        alpha, others = settings["alpha"], ("eps", "weight_decay", "momentum")
        return lr, alpha, 1.0 - alpha, *(settings[name] for name in others)

    def rule(
        self, scalars: Sequence[Tensor], p: Tensor, g: Tensor, *slots: Tensor
    ) -> Sequence[Tensor]:
        lr, alpha, rest, eps, weight_decay, momentum = scalars
        if self.weight_decay:
            g = g + weight_decay * p
        state = dict(zip(self.slots, slots, strict=True))
        variance = state["v"] = alpha * state["v"] + rest * (g * g)
        if self.centered:
            mean = state["mean"] = alpha * state["mean"] + rest * g
            variance = variance - mean * mean
        along = g / (ops.sqrt(variance) + eps)
        if self.momentum:
            along = state["momentum"] = momentum * state["momentum"] + along
        return p - lr * along, *state.values()
