"""Training of a multilayer perceptron: what every library is given, and what it costs at least."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

RATE = 0.01
"""Learning rate of SGD."""

ADAM_RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8

Array = np.ndarray


@dataclass(frozen=True)
class Problem:
    """A network, its data, and what a step does with them.

    A step is ``forward`` (outputs), ``gradients`` (loss, and gradients of all parameters),
    ``sgd`` or ``adam`` (a whole training step). Step i of an epoch takes its i-th batch.
    """

    sizes: tuple[int, ...]
    batch: int
    step: Literal["forward", "gradients", "sgd", "adam"] = "sgd"
    steps: int = 3
    """Batches in the data: the steps of an epoch."""
    activation: Literal["relu", "tanh"] = "relu"
    loss: Literal["cross_entropy", "squared"] = "cross_entropy"

    @property
    def name(self) -> str:
        first, *rest = map(str, self.sizes)
        shown = [first, "...", rest[-1]] if len(rest) > 5 else [first, *rest]
        return f"{'-'.join(shown)}, batch {self.batch}"

    def having(self, **changes: object) -> Problem:
        return dataclasses.replace(self, **changes)

    def weights(self) -> list[Array]:
        """Return the initial weights, ``(in, out)`` each; biases begin at 0."""
        rng = np.random.default_rng(0)
        return [
            (rng.standard_normal((a, b), np.float32) / np.float32(a**0.5))
            for a, b in itertools.pairwise(self.sizes)
        ]

    def data(self) -> tuple[Array, Array]:
        """Return inputs ``(steps * batch, in)``, and targets: classes, or values ``(.., out)``."""
        rng = np.random.default_rng(1)
        rows, out = self.steps * self.batch, self.sizes[-1]
        x = rng.standard_normal((rows, self.sizes[0]), np.float32)
        if self.loss == "cross_entropy":
            return x, rng.integers(0, out, rows)
        return x, rng.standard_normal((rows, out), np.float32)

    def batches(self) -> list[tuple[Array, Array]]:
        """Return the data of each step of an epoch: views."""
        x, y = self.data()
        ends = range(0, len(x), self.batch)
        return [(x[i : i + self.batch], y[i : i + self.batch]) for i in ends]

    def flops(self) -> int:
        """Return the operations in the products of a step.

        ``2 batch in out`` each: one of a layer forward; backward one for its weights, and one
        for its inputs in all layers but the first.
        """
        layers = [2 * self.batch * a * b for a, b in itertools.pairwise(self.sizes)]
        backward = 2 * sum(layers) - layers[0]
        return sum(layers) + (0 if self.step == "forward" else backward)


@dataclass(frozen=True)
class Runner:
    """A library set up for a problem, with its initial parameters."""

    run: Callable[[int], object]
    """Take so many steps, at most an epoch, from the first batch on; return when they are done."""
    results: Callable[[], list[Array]]
    """What the last step computed: outputs; loss and gradients; or parameters. Those of a layer
    are a weight ``(in, out)`` and a bias."""
