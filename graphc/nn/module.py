"""Layers: callables that own parameters.

A layer makes its parameters when it is made and may be called many times: each call shares
them. Any function from Tensor to Tensor is a layer too; derive from :class:`Layer` to get a
name, a cluster in pictures and parameter names such as ``linear_0.weight``.
"""

from __future__ import annotations

import math
import re
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from typing import Any, TypeAlias

import numpy as np

from graphc.errors import ArgumentError, DTypeError, ShapeError, user_location
from graphc.ir.naming import layer_scope
from graphc.ir.source import Initializer, parameter
from graphc.ir.tensor import Tensor, enter_scope, name_scope, nested
from graphc.nn import init
from graphc.sealed import Sealed
from graphc.tree import tree_leaves
from graphc.types import FLOAT32, DTypeLike

Callee: TypeAlias = Callable[[Any], Any]


_training: ContextVar[bool] = ContextVar("training", default=True)
"""Whether the layer that is being made, and those around it, are to be trained."""


class _Nesting(ABCMeta):
    """Makes layers, in each of which those that its ``__init__`` makes are nested."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        training = _training.set(_training.get())
        try:
            with nested():
                return super().__call__(*args, **kwargs)
        finally:
            _training.reset(training)


class Owner(Sealed):
    """What has parameters that models train: a layer, or several."""

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        raise NotImplementedError


class Layer(Owner, metaclass=_Nesting):
    """A named callable that owns parameters.

    Make them with :meth:`parameter` in ``__init__``, and say in ``forward`` what the layer
    does. Without a name the layer is called after its class and numbered within its model, or
    within the layer in whose ``__init__`` it is made: ``block_0.linear_1.weight``.
    With ``trainable=False`` no model trains its parameters, nor those of layers that its
    ``__init__`` makes.

    Attributes can be assigned until the first call; graphs keep what they were made with.
    """

    def __init__(self, name: str | None = None, *, trainable: bool = True) -> None:
        if name is not None:
            _check_name(name)
        kind = re.sub(r"(?<=\w)(?=[A-Z][a-z])", "_", type(self).__name__).lower()
        self.scope = name or layer_scope(kind)
        self._made: tuple[Tensor, ...] = ()
        self._trainable = bool(trainable) and _training.get()
        _training.set(self._trainable)
        self._called = False
        enter_scope(self.scope)

    @property
    def trainable(self) -> bool:
        """Whether models train the parameters of this layer."""
        return self._trainable

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The trainable parameters of this layer, and of layers that are its attributes."""
        inner = parameters_of(list(vars(self).values()))
        return tuple(dict.fromkeys([*self._made, *inner]))

    def take_name(self, name: str) -> None:
        """Call the layer so, unless it has a name, or graphs know it by its number already."""
        if self._called or "#" not in self.scope:
            return
        _check_name(name)
        rename(vars(self), self.scope, name)
        object.__setattr__(self, "scope", name)

    def fixed(self, name: str) -> str | None:
        kind = type(self).__name__
        if name == "trainable":
            return (
                f"it is decided when the layer is made, {kind}(..., trainable=False); what one "
                "model trains is decided by gx.Model(..., trainable=[...])"
            )
        if name in ("scope", "parameters") or isinstance(getattr(self, name, None), Tensor):
            return "a layer's parameters are its own; call the layer again to share them"
        if self._called:
            return f"the graphs made with this {kind} keep the value they got; make another {kind}"
        return None

    def parameter(
        self,
        label: str,
        initial: Any,
        shape: tuple[int, ...] | None = None,
        *,
        dtype: DTypeLike = FLOAT32,
        trainable: bool = True,
    ) -> Tensor:
        """Make a parameter of this layer; the arguments are those of :func:`gx.parameter`.

        Those that are ``trainable``, in a layer that is, come into :attr:`parameters`.
        """
        trainable = trainable and self.trainable
        with name_scope(self.scope):
            made = parameter(initial, shape, name=label, dtype=dtype, trainable=trainable)
        if trainable:
            self._made = (*self._made, made)
        return made

    @abstractmethod
    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Return the layer's output for its inputs: symbolic tensors, and what else it takes."""

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if not any(isinstance(x, Tensor) for x in tree_leaves(inputs)):
            given = ", ".join(type(x).__name__ for x in inputs) or "nothing"
            raise DTypeError(
                f"{type(self).__name__} takes a symbolic Tensor, got {given}; declare it with "
                f"gx.input or gx.constant\n  at {user_location()}"
            )
        self._called = True
        with name_scope(self.scope):
            return self.forward(*inputs, **options)


class Linear(Layer):
    """``x @ weight + bias``: the last axis from ``in_features`` to ``out_features``.

    ``weight`` has shape (in, out) and ``bias`` (out,). Both start uniform within
    ``1 / sqrt(in_features)``, as in PyTorch: LeCun et al., *Efficient BackProp*, 1998, section
    4.6, up to the factor ``sqrt(3)``.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        dtype: DTypeLike = FLOAT32,
        trainable: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name, trainable=trainable)
        fan_in = count("Linear: in_features", in_features)
        self._features = shape = (fan_in, count("Linear: out_features", out_features))
        bound = 1.0 / fan_in**0.5 if fan_in else 0.0
        near_zero = init.uniform(-bound, bound)
        self.weight = self.parameter("weight", weight_init or near_zero, shape, dtype=dtype)
        self.bias: Tensor | None = None
        if bias:
            self.bias = self.parameter("bias", bias_init or near_zero, shape[1:], dtype=dtype)

    @property
    def in_features(self) -> int:
        return self._features[0]

    @property
    def out_features(self) -> int:
        return self._features[1]

    def forward(self, x: Tensor) -> Tensor:
        floating("Linear", x)
        if not x.ndim or x.type.shape[-1] != self.in_features:
            raise ShapeError(
                f"Linear({self.in_features}, {self.out_features}) needs {self.in_features} "
                f"features in the last axis of its input, got {x.describe()} for the weight "
                f"{self.weight.type}\n  at {user_location()}"
            )
        product = x @ self.weight
        return product if self.bias is None else product + self.bias


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name or "#" in name:
        raise DTypeError(
            f"a layer's name must be a non-empty string without '#', not {name!r}"
            f"\n  at {user_location()}"
        )


def rename(parts: Mapping[str, Any], before: str, after: str) -> None:
    """Give another name to a scope of all parameters among the attributes of a layer."""
    for leaf in tree_leaves(list(parts.values())):
        if isinstance(leaf, Owner):
            rename(vars(leaf), before, after)
        elif isinstance(leaf, Tensor) and before in leaf.scope:
            scope = tuple(after if part == before else part for part in leaf.scope)
            object.__setattr__(leaf, "scope", scope)  # no graph has it yet


def parameters_of(parts: Any) -> tuple[Tensor, ...]:
    """Return the trainable parameters of all layers in a structure, each once."""
    owners = (part for part in tree_leaves(parts) if isinstance(part, Owner))
    return tuple(dict.fromkeys(p for part in owners for p in part.parameters))


def count(what: str, value: Any, least: int = 0) -> int:
    """Return a user's integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise DTypeError(f"{what} must be an integer, not {value!r}\n  at {user_location()}")
    if value < least:
        bound = f"be at least {least}" if least else "not be negative"
        raise ArgumentError(f"{what} must {bound}, got {value}\n  at {user_location()}")
    return int(value)


def number(
    what: str, value: Any, least: float = -math.inf, most: float = math.inf, *, above: bool = False
) -> float:
    """Return a user's number from ``least`` to ``most``, or greater than ``least`` if ``above``."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise DTypeError(f"{what} must be a number, not {value!r}\n  at {user_location()}")
    if not (least < value <= most if above else least <= value <= most):
        low = f"greater than {least:g}" if above else f"at least {least:g}"
        bound = low if most == math.inf else f"{low} and at most {most:g}"
        raise ArgumentError(f"{what} must be {bound}, got {value}\n  at {user_location()}")
    return float(value)


def counts(what: str, value: Any, least: int = 1) -> None:
    """Raise unless a user's value is an integer of at least ``least``, or several."""
    for one in value if isinstance(value, (tuple, list)) else (value,):
        count(what, one, least)


def floating(kind: str, x: Tensor) -> None:
    """Raise :class:`DTypeError` unless ``x`` is floating-point, as a layer ``kind`` needs it."""
    if x.dtype.kind != "f":
        raise DTypeError(
            f"{kind} needs floating-point numbers, got {x.describe()}; cast it with "
            f'.astype("float32")\n  at {user_location()}'
        )


def one_of(what: str, value: Any, known: Collection[str]) -> Any:
    """Return a user's choice among ``known``."""
    if value not in known:
        listed = ", ".join(map(repr, known))
        raise ArgumentError(
            f"{what} must be one of {listed}, not {value!r}\n  at {user_location()}"
        )
    return value
