"""Adam, and Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc import ops
from graphc.errors import DTypeError, user_location
from graphc.ir.tensor import Tensor
from graphc.optim.optimizer import Optimizer
from graphc.optim.setting import Setting, at_least_zero, fraction


class Adam(Optimizer):
    """Steps by the mean gradient over the root of the mean squared gradient.

    ``m <- b1 m + (1 - b1) g``, ``v <- b2 v + (1 - b2) g^2``,
    ``p <- p - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)``
    (Kingma and Ba, ICLR 2015). ``weight_decay`` adds ``weight_decay * p`` to the gradient;
    ``amsgrad`` divides by the largest ``v`` so far (Reddi et al., ICLR 2018).

    With ``lazy``, a step changes only those rows of a table, and of its ``m`` and ``v``, that a
    lookup (:func:`graphc.take`, ``nn.Embedding``) of this step has read, as PyTorch's
    ``SparseAdam`` does (where ``eps`` is scaled with the bias of ``v``): its cost does not grow
    with the table. It is another rule: else rows that
    are not looked up move on, too, for ``m`` decays slowly. A table that is also used whole, such
    as one tied to a linear layer, is not lazy.
    """

    beta1 = Setting(fraction)
    beta2 = Setting(fraction)
    eps = Setting(at_least_zero)
    weight_decay = Setting(at_least_zero)

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        lazy: bool = False,
        **clipping: Any,
    ) -> None:
        super().__init__(lr, **clipping)
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self.amsgrad = amsgrad
        self.lazy = lazy

    @property
    def betas(self) -> tuple[float, float]:
        """``(beta1, beta2)``; both can be assigned."""
        return self.beta1, self.beta2

    @betas.setter
    def betas(self, values: tuple[float, float]) -> None:
        if not isinstance(values, (tuple, list)) or len(values) != 2:
            raise DTypeError(f"betas must be two numbers, not {values!r}\n  at {user_location()}")
        checked = [fraction(f"betas[{i}]", value) for i, value in enumerate(values)]
        self.beta1, self.beta2 = checked

    @property
    def slots(self) -> tuple[str, ...]:
        return ("m", "v", "v_max") if self.amsgrad else ("m", "v")

    def scalars(self, lr: Tensor, step: Tensor, **settings: Tensor) -> Sequence[Tensor]:
        b1, b2 = settings["beta1"], settings["beta2"]
        correction = 1.0 / ops.sqrt(1.0 - b2**step)
        moments = (b1, 1.0 - b1, b2, 1.0 - b2)
        return (
            lr / (1.0 - b1**step),
            correction,
            *moments,
            settings["eps"],
            self.decay(lr, **settings),
        )

    def decay(self, lr: Tensor, **settings: Tensor) -> Tensor:
        """Return what the rule takes for the weight decay."""
        return settings["weight_decay"]

    def rule(
        self, scalars: Sequence[Tensor], p: Tensor, g: Tensor, *slots: Tensor
    ) -> Sequence[Tensor]:
        if self.weight_decay:
            g = g + scalars[-1] * p
        return self.step(scalars, p, g, *slots)

    def step(
        self, scalars: Sequence[Tensor], p: Tensor, g: Tensor, *slots: Tensor
    ) -> Sequence[Tensor]:
        """Return the new value of ``p`` and of the slots, without weight decay."""
        rate, correction, b1, rest1, b2, rest2, eps, _ = scalars
        m, v, *v_max = slots
        m = b1 * m + rest1 * g
        v = b2 * v + rest2 * (g * g)
        largest = [ops.maximum(old, v) for old in v_max]
        scale = ops.sqrt(largest[0] if largest else v) * correction + eps
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
        *,
        lazy: bool = False,
        **clipping: Any,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay, amsgrad, lazy=lazy, **clipping)

    def decay(self, lr: Tensor, **settings: Tensor) -> Tensor:
        return 1.0 - lr * settings["weight_decay"]

    def rule(
        self, scalars: Sequence[Tensor], p: Tensor, g: Tensor, *slots: Tensor
    ) -> Sequence[Tensor]:
        return self.step(scalars, p * scalars[-1], g, *slots)
