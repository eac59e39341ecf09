"""What optimisers share: a learning rate, a step count, state, and clipping.

An optimiser yields symbolic updates ``{parameter: new value}``. The formula of one parameter
is elementwise and the same for all of them, so one kernel can run over all parameters at once;
what depends on the step alone is a float64 scalar computed once a step.
"""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphc import ops
from graphc.errors import ArgumentError, DTypeError, ShapeError, user_location
from graphc.ir.graph import ancestors
from graphc.ir.naming import parameter_names
from graphc.ir.op import Array
from graphc.ir.source import Cell, Parameter, parameter
from graphc.ir.tensor import Tensor, building
from graphc.ops.touched import touched
from graphc.optim.clip import clip_by_global_norm, clip_by_value
from graphc.optim.setting import Setting, at_least_zero, positive
from graphc.sealed import Sealed, close_name
from graphc.types import FLOAT64, INT64


class Optimizer(Sealed, ABC):
    """A rule that turns gradients into new parameter values.

    ``clip_value`` clips every element of the gradients, then ``clip_norm`` their joint norm.
    Where a rule leaves what has no gradient as it is, a step of a table of many rows touches those
    rows only that were looked up: SGD without momentum and Adagrad, both without weight decay.
    Assigning a :class:`Setting`, such as ``lr``, takes effect at the next step, without
    recompiling.
    """

    initial_state: float = 0.0
    """Value of every slot before the first step."""
    lazy: bool = False
    """Whether rows of a table that no lookup touched stay as they are, and their slots, too."""

    lr = Setting(at_least_zero)
    clip_norm = Setting(positive, optional=True)
    clip_value = Setting(positive, optional=True)

    def __init__(
        self,
        lr: float,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise self._unexpected(next(iter(unknown)))
        self._values: dict[str, float | None] = {}  # the settings as assigned
        self._cells: list[dict[str, Cell]] = []  # those that each graph made so far reads
        self.lr = lr
        self.clip_norm = clip_norm
        self.clip_value = clip_value

    def _unexpected(self, name: str) -> DTypeError:
        """Return the error for an argument that the optimiser does not have."""
        kind, own = type(self).__name__, inspect.signature(type(self).__init__).parameters
        known = [n for n in own if n not in ("self", "clipping")] + ["clip_norm", "clip_value"]
        meant = close_name(name, known)
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(known)}"
        return DTypeError(f"{kind} takes no argument {name!r}; {hint}\n  at {user_location()}")

    @property
    def kind(self) -> str:
        """The optimiser's name in its state's names."""
        return re.sub(r"\W", "", type(self).__name__).lower()

    # -- settings ----------------------------------------------------------------------------

    @classmethod
    def settings(cls) -> tuple[str, ...]:
        """Return the names of what can change between steps."""
        names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
        return tuple(name for name in names if isinstance(getattr(cls, name), Setting))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_values": {name: self.read(name) for name in self._values}}

    def fixed(self, name: str) -> str | None:
        declared = getattr(type(self), name, None)
        if isinstance(declared, (Setting, property)) or not self._cells:
            return None
        changing = ", ".join(self.settings())
        return (
            f"it is compiled into the steps that were made of this optimizer; what can change is "
            f"{changing}"
        )

    def read(self, name: str) -> float | None:
        """Return the value of a setting, as steps read it."""
        made = [cells[name] for cells in self._cells if name in cells]
        allocated = [cell for cell in made if cell.is_allocated]
        return float(allocated[-1].array) if allocated else self._values[name]

    def write(self, name: str, value: float | None) -> None:
        """Set a setting for the next step of every graph made so far, or raise."""
        if name in self._values and value == self.read(name):
            return
        absent = any(name not in cells for cells in self._cells)
        if absent or (value is None and self._cells):
            old, kind = self._values[name], type(self).__name__
            how = "without it" if absent else "with it"
            raise ArgumentError(
                f"{kind}.{name} cannot become {value}: it was {old} when a model or updates were "
                f"made of this optimizer, so its steps are compiled {how}; make them anew with "
                f"{kind}({name}={value})\n  at {user_location()}"
            )
        self._values[name] = value
        for cells in self._cells:
            if cells[name].is_allocated:
                cells[name].array[...] = value

    @property
    @abstractmethod
    def slots(self) -> tuple[str, ...]:
        """Names of the state that every parameter has, each of the parameter's shape."""

    @abstractmethod
    def scalars(self, lr: Tensor, step: Tensor, **settings: Tensor) -> Sequence[Tensor]:
        """Return what the rule needs once a step: float64 scalars; ``step`` counts from 1.

        ``settings`` are those of the class beside the learning rate and clipping, by name.
        """

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
        gradients: Sequence[Tensor | None],
        names: Sequence[str] | None = None,
    ) -> dict[Tensor, Tensor]:
        """Return ``{parameter: new value}`` for the parameters and for this rule's state.

        A parameter whose gradient is None is left alone: neither decay nor momentum moves it.
        The state's names are ``adam.m.<parameter's name>``; ``names`` are by default those of
        :func:`~graphc.ir.naming.parameter_names`. Every call makes new state; the learning
        rate is common to all calls.
        """
        check_gradients(parameters, gradients)
        if names is None:
            known = parameter_names(parameters)
            names = [known[p] for p in parameters]
        reached = [i for i, g in enumerate(gradients) if g is not None]
        parameters, names = [parameters[i] for i in reached], [names[i] for i in reached]
        found = [g for g in gradients if g is not None]
        with building(phase="update", scope=()):
            live = {n: self._live(n) for n in self.settings() if self.read(n) is not None}
            clip_norm, clip_value = live.pop("clip_norm", None), live.pop("clip_value", None)
            used = {**live, "clip_norm": clip_norm, "clip_value": clip_value}
            if clip_value is not None:
                found = clip_by_value(found, clip_value)
            if clip_norm is not None:
                found = clip_by_global_norm(found, clip_norm)
            step = self._state("step", (), INT64, 0)
            following = step + 1
            exact = self.scalars(step=ops.astype(following, FLOAT64), **live)
            result = dict(self._rules(parameters, found, names, exact))
        needed = set(ancestors(result.values()))
        self._cells.append({n: cell_of(t) for n, t in used.items() if t in needed})
        return {step: following, **result} if step in needed else result

    def _live(self, name: str) -> Tensor:
        """Return a setting as steps read it: a float64 scalar."""
        return self._state(name, (), FLOAT64, lambda shape, rng: np.full(shape, self._values[name]))

    def _rules(
        self,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
        names: Sequence[str],
        exact: Sequence[Tensor],
    ) -> Iterator[tuple[Tensor, Tensor]]:
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
                mask = touched(g) if self.lazy else None
                if mask is not None:
                    old = (p, *slots)
                    new = [ops.where(mask, n, o) for n, o in zip(new, old, strict=True)]
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


def check_gradients(parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """Raise unless ``gradients``, or None, are those of distinct floating ``parameters``."""
    where = f"\n  at {user_location()}"
    if len(parameters) != len(gradients):
        raise ArgumentError(
            f"updates: {len(parameters)} parameters but {len(gradients)} gradients{where}"
        )
    seen: set[int] = set()
    for p, g in zip(parameters, gradients, strict=True):
        if not isinstance(p.op, Parameter) or p.dtype.kind != "f":
            raise DTypeError(f"updates: {p.describe()} is not a floating-point parameter{where}")
        if g is not None and p.type != g.type:
            raise ShapeError(f"updates: the gradient of {p.describe()} is {g.type}{where}")
        if p.id in seen:
            raise ArgumentError(f"updates: {p.describe()} stands twice among the parameters{where}")
        seen.add(p.id)
