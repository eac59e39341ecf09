"""What optimisers share: a learning rate, a step count, state, and clipping.

An optimiser yields symbolic updates ``{parameter: new value}``. The formula of one parameter
is elementwise and the same for all of them, so one kernel can run over all parameters at once;
what depends on the step alone is a float64 scalar computed once a step.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphc import ops
from graphc.errors import DTypeError, ShapeError, user_location
from graphc.ir.graph import ancestors
from graphc.ir.naming import parameter_names
from graphc.ir.op import Array
from graphc.ir.source import Cell, Parameter, parameter
from graphc.ir.tensor import Tensor, building
from graphc.optim.clip import clip_by_global_norm, clip_by_value
from graphc.types import FLOAT64, INT64


class Optimizer(ABC):
    """A rule that turns gradients into new parameter values.

    ``clip_value`` clips every element of the gradients, then ``clip_norm`` their joint norm.
    Assigning ``lr`` takes effect at the next step, without recompiling.
    """

    initial_state: float = 0.0
    """Value of every slot before the first step."""

    def __init__(
        self, lr: float, *, clip_norm: float | None = None, clip_value: float | None = None
    ) -> None:
        self.clip_norm = None if clip_norm is None else positive("clip_norm", clip_norm)
        self.clip_value = None if clip_value is None else positive("clip_value", clip_value)
        self._lr = at_least_zero("lr", lr)
        self._cells: list[Cell] = []  # the learning rates of the graphs made so far

    @property
    def kind(self) -> str:
        """The optimiser's name in its state's names."""
        return re.sub(r"\W", "", type(self).__name__).lower()

    @property
    def lr(self) -> float:
        """The learning rate."""
        made = [cell for cell in self._cells if cell.is_allocated]
        return float(made[-1].array) if made else self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = at_least_zero("lr", value)
        for cell in self._cells:
            if cell.is_allocated:
                cell.array[...] = self._lr

    @property
    @abstractmethod
    def slots(self) -> tuple[str, ...]:
        """Names of the state that every parameter has, each of the parameter's shape."""

    @abstractmethod
    def scalars(self, lr: Tensor, step: Tensor) -> Sequence[Tensor]:
        """Return what the rule needs once a step: float64 scalars; ``step`` counts from 1."""

    @abstractmethod
    def rule(
        self, scalars: Sequence[Tensor], p: Tensor, g: Tensor, *slots: Tensor
    ) -> Sequence[Tensor]:
        """Return the new value of ``p`` and of each slot, for its gradient ``g``.

        ``scalars`` come in the parameter's data type.
        """

    def updates(
        self,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
        names: Sequence[str] | None = None,
    ) -> dict[Tensor, Tensor]:
        """Return ``{parameter: new value}`` for the parameters and for this rule's state.

        The state's names are ``adam.m.<parameter's name>``; ``names`` are by default those of
        :func:`~graphc.ir.naming.parameter_names`. Every call makes new state; the learning
        rate is common to all calls.
        """
        check_gradients(parameters, gradients)
        if names is None:
            known = parameter_names(parameters)
            names = [known[p] for p in parameters]
        with building(phase="update", scope=()):
            if self.clip_value is not None:
                gradients = clip_by_value(gradients, self.clip_value)
            if self.clip_norm is not None:
                gradients = clip_by_global_norm(gradients, self.clip_norm)
            return dict(self._updates(parameters, gradients, names))

    def _updates(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], names: Sequence[str]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        step = self._state("step", (), INT64, 0)
        following = step + 1
        lr = self._state("lr", (), FLOAT64, lambda shape, rng: np.full(shape, self._lr))
        self._cells.append(cell_of(lr))
        exact = self.scalars(lr, ops.astype(following, FLOAT64))
        if any(t is step for t in ancestors(exact)):
            yield step, following
        dtypes = dict.fromkeys(p.dtype for p in parameters)
        rounded = {d: [ops.astype(s, d) for s in exact] for d in dtypes}
        for p, g, name in zip(parameters, gradients, names, strict=True):
            shape = cell_of(p).shape
            slots = [
                self._state(f"{slot}.{name}", shape, p.dtype, self.initial_state)
                for slot in self.slots
            ]
            with building(scope=p.scope):
                new = self.rule(rounded[p.dtype], p, g, *slots)
            yield from zip((p, *slots), new, strict=True)

    def _state(self, label: str, shape: tuple[int, ...], dtype: Any, initial: Any) -> Tensor:
        values = initial if callable(initial) else full(initial)
        return parameter(values, shape, name=f"{self.kind}.{label}", dtype=dtype, trainable=False)


def full(value: float) -> Any:
    """Return an initialiser of one value."""

    def values(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return np.full(shape, value)

    return values


def cell_of(tensor: Tensor) -> Cell:
    """Return the storage of a parameter."""
    assert isinstance(tensor.op, Parameter)
    return tensor.op.cell


def check_gradients(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Raise unless ``gradients`` are those of distinct floating-point ``parameters``."""
    where = f"\n  at {user_location()}"
    if len(parameters) != len(gradients):
        raise ShapeError(
            f"updates: {len(parameters)} parameters but {len(gradients)} gradients{where}"
        )
    seen: set[int] = set()
    for p, g in zip(parameters, gradients, strict=True):
        if not isinstance(p.op, Parameter) or p.dtype.kind != "f":
            raise DTypeError(f"updates: {p.describe()} is not a floating-point parameter{where}")
        if p.type != g.type:
            raise ShapeError(f"updates: the gradient of {p.describe()} is {g.type}{where}")
        if p.id in seen:
            raise ShapeError(f"updates: {p.describe()} stands twice among the parameters{where}")
        seen.add(p.id)


def number(what: str, value: Any) -> float:
    """Return a user's real number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        where = f"\n  at {user_location()}"
        raise DTypeError(f"{what} must be a number, not {value!r}{where}") from None


def at_least_zero(what: str, value: Any) -> float:
    result = number(what, value)
    if not result >= 0.0:
        raise ShapeError(f"{what} must not be negative, got {value}\n  at {user_location()}")
    return result


def positive(what: str, value: Any) -> float:
    result = number(what, value)
    if not result > 0.0:
        raise ShapeError(f"{what} must be positive, got {value}\n  at {user_location()}")
    return result


def fraction(what: str, value: Any) -> float:
    """Return a user's number of ``[0, 1)``."""
    result = number(what, value)
    if not 0.0 <= result < 1.0:
        raise ShapeError(f"{what} must be in [0, 1), got {value}\n  at {user_location()}")
    return result
