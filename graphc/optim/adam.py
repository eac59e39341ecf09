"""Adam, and Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc import ops
from graphc.ir.tensor import Tensor
from graphc.optim.optimizer import Optimizer, at_least_zero, fraction


class Adam(Optimizer):
    """Steps by the mean gradient over the root of the mean squared gradient.

    ``m <- b1 m + (1 - b1) g``, ``v <- b2 v + (1 - b2) g^2``,
    ``p <- p - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)``
    (Kingma and Ba, ICLR 2015). ``weight_decay`` adds ``weight_decay * p`` to the gradient;
    ``amsgrad`` divides by the largest ``v`` so far (Reddi et al., ICLR 2018).
    """

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        **clipping: Any,
    ) -> None:
        super().__init__(lr, **clipping)
        b1, b2 = betas
        self.betas = fraction("betas[0]", b1), fraction("betas[1]", b2)
        self.eps = at_least_zero("eps", eps)
        self.weight_decay = at_least_zero("weight_decay", weight_decay)
        self.amsgrad = amsgrad

    @property
    def slots(self) -> tuple[str, ...]:
        return ("m", "v", "v_max") if self.amsgrad else ("m", "v")

    def scalars(self, lr: Tensor, step: Tensor) -> Sequence[Tensor]:
        b1, b2 = self.betas
        return lr / (1.0 - b1**step), 1.0 / ops.sqrt(1.0 - b2**step)

    def rule(
        self, scalars: Sequence[Tensor], p: Tensor, g: Tensor, *slots: Tensor
    ) -> Sequence[Tensor]:
        if self.weight_decay:
            g = g + self.weight_decay * p
        return self.step(scalars, p, g, *slots)

    def step(
        self, scalars: Sequence[Tensor], p: Tensor, g: Tensor, *slots: Tensor
    ) -> Sequence[Tensor]:
        """Return the new value of ``p`` and of the slots, without weight decay."""
        rate, correction = scalars[:2]
        m, v, *v_max = slots
        b1, b2 = self.betas
        m = b1 * m + (1.0 - b1) * g
        v = b2 * v + (1.0 - b2) * (g * g)
        largest = [ops.maximum(old, v) for old in v_max]
        scale = ops.sqrt(largest[0] if largest else v) * correction + self.eps
        return p - rate * m / scale, m, v, *largest


class AdamW(Adam):
    """Adam with ``p <- (1 - lr weight_decay) p`` before each step in place of a decayed gradient.

    Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        **clipping: Any,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay, amsgrad, **clipping)

    def scalars(self, lr: Tensor, step: Tensor) -> Sequence[Tensor]:
        return *super().scalars(lr, step), 1.0 - lr * self.weight_decay

    def rule(
        self, scalars: Sequence[Tensor], p: Tensor, g: Tensor, *slots: Tensor
    ) -> Sequence[Tensor]:
        return self.step(scalars, p * scalars[2], g, *slots)
