"""The node of the graph: an immutable symbolic tensor."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np

from graphc.errors import DTypeError, GraphcError, SettingError, user_location
from graphc.lazy import Registry
from graphc.synonyms import NUMPY, advice
from graphc.types import BATCH, AnyDim, Several, TensorType, show_shape

if TYPE_CHECKING:
    from graphc.ir.op import Op

PHASES = ("forward", "backward", "update")

_ids = itertools.count()
_phase: ContextVar[str] = ContextVar("phase", default="forward")
_loc: ContextVar[str | None] = ContextVar("loc", default=None)
_scope: ContextVar[tuple[str, ...]] = ContextVar("scope", default=())


class Tensor:
    """A symbolic tensor: what an operation yields, or an input, parameter or constant.

    Attributes
    ----------
    op, inputs
        The operation and its ordered operands.
    type
        Data type and shape.
    label
        The user's name, or None.
    loc
        ``"file:line"`` of the user's code that made it, or None.
    phase
        ``"forward"``, ``"backward"`` or ``"update"``.
    scope
        Names of the enclosing layers, outermost first.
    adjoint_of
        The tensor of which this is the adjoint, or None.
    weak
        Whether it is a number known now, made of Python floats alone: it takes the data type
        of the tensors that it meets.
    id
        A number that grows with creation: ordering by it is a topological order.
    """

    __slots__ = ("__weakref__", "adjoint_of", "id", "inputs", "label", "loc", "op", "phase",
                 "scope", "type", "weak")  # fmt: skip
    op: Op
    inputs: tuple[Tensor, ...]
    type: TensorType
    label: str | None
    loc: str | None
    phase: str
    scope: tuple[str, ...]
    adjoint_of: Tensor | None
    id: int
    weak: bool

    def __init__(
        self,
        op: Op,
        inputs: tuple[Tensor, ...],
        type: TensorType,
        *,
        label: str | None = None,
        like: Tensor | None = None,
    ) -> None:
        """Make a node; ``like`` gives its place (loc, phase, scope), else the context does."""
        put = object.__setattr__
        weak = op.weak and not type.shape
        put(self, "op", op)
        put(self, "inputs", inputs)
        put(self, "type", type)
        put(self, "label", label)
        put(self, "adjoint_of", None)
        put(self, "id", next(_ids))
        put(self, "weak", weak and all(x.weak for x in inputs))
        if like is None:
            put(self, "loc", _loc.get() or user_location())
            put(self, "phase", _phase.get())
            put(self, "scope", _scope.get())
        else:
            put(self, "loc", like.loc)
            put(self, "phase", like.phase)
            put(self, "scope", like.scope)

    def __setattr__(self, name: str, value: Any) -> None:
        advice = ""
        if name in ("trainable", "requires_grad"):
            advice = (
                "; declare it with gx.parameter(..., trainable=False), or say what a model trains "
                "with gx.Model(..., trainable=[...])"
            )
        raise SettingError(
            f"a Tensor is immutable; cannot set {name!r}{advice}\n  at {user_location()}"
        )

    def mark_adjoint(self, primal: Tensor) -> None:
        """Record, once, that this tensor is the adjoint of ``primal``."""
        if self.adjoint_of is None:
            object.__setattr__(self, "adjoint_of", primal)

    # -- what a user reads ----------------------------------------------------------------

    @property
    def shape(self) -> tuple[AnyDim | None, ...]:
        """The shape, with ``None`` for the batch."""
        return tuple(None if d == BATCH else d for d in self.type.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.type.dtype

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    @property
    def size(self) -> AnyDim:
        """Number of elements."""
        return self.type.size

    @property
    def name(self) -> str:
        """The user's name, else the operation's."""
        return self.label or self.op.name

    def describe(self) -> str:
        """Return ``name: dtype(shape)`` for messages."""
        return f"{self.name}: {self.type}"

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, shape={show_shape(self.type.shape)}, dtype={self.dtype})"

    def __bool__(self) -> bool:
        raise DTypeError(
            f"the truth value of the symbolic tensor {self.describe()} is not known before it "
            f"runs; use gx.where, or gx.logical_and and friends\n  at {user_location()}"
        )

    def __len__(self) -> int:
        if not self.type.shape:
            raise DTypeError("len() of a symbolic scalar")
        first = self.type.shape[0]
        if not isinstance(first, int):
            raise DTypeError(f"the length of {self.describe()} is not known before it runs")
        return first

    def __iter__(self) -> Iterator[Tensor]:
        for index in range(len(self)):
            yield self[index]

    def __index__(self) -> int:
        raise DTypeError(
            f"{self.describe()} is symbolic, and a number is needed here that is known before "
            "it runs; compile it with gx.function, or stay symbolic: gx.exp for math.exp, "
            f"gx.astype for int() and float()\n  at {user_location()}"
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Do what an array on the left of an operator asks for; to others, say what to use."""
        name = NUMPY.get(ufunc.__name__, ufunc.__name__)
        operator = method == "__call__" and len(inputs) == 2 and not kwargs
        if operator and not isinstance(inputs[0], Tensor) and name in FUNCTIONS:
            return call(name, *inputs)
        return self._refuse_numpy(ufunc.__name__)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self._refuse_numpy(function.__name__)

    def _refuse_numpy(self, name: str) -> NoReturn:
        own = NUMPY.get(name, name)
        use = f"use gx.{own}" if own in FUNCTIONS else "graphc has no function of that name"
        raise DTypeError(
            f"np.{name} computes with numbers, and {self.describe()} is symbolic; {use}"
            f"\n  at {user_location()}"
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"'Tensor' object has no attribute {name!r}")
        own = [f"x.{n}" for n in dir(Tensor) if not n.startswith("_")]
        known = [*own, *(f"gx.{n}" for n in FUNCTIONS)]
        raise SettingError(
            f"a Tensor has no attribute {name!r}{advice(name, known)}\n  at {user_location()}"
        )

    def __round__(self, digits: int | None = None) -> Tensor:
        if digits:
            raise DTypeError(
                f"round() of a symbolic tensor takes no digits\n  at {user_location()}"
            )
        return call("round", self)

    def __contains__(self, value: Any) -> bool:
        raise DTypeError(
            f"whether {self.describe()} holds a value is not known before it runs; use "
            f"gx.any(x == value)\n  at {user_location()}"
        )

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise DTypeError(
            f"{self.describe()} is symbolic and has no values; compile it with gx.function"
            f"\n  at {user_location()}"
        )

    __hash__ = object.__hash__  # equality makes a node: a tensor is found as the object it is

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by what it is made of; the copy gets a number of its own."""
        return _remade, (self.op, self.inputs, _kind(self.type), self.label, self.loc, self.phase,
                         self.scope, self.adjoint_of)  # fmt: skip

    # -- operators: the registered function of that name ----------------------------------

    def __add__(self, other: Any) -> Tensor:
        return call("add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return call("add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return call("subtract", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return call("subtract", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return call("multiply", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return call("multiply", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return call("divide", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return call("divide", other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return call("floor_divide", self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return call("floor_divide", other, self)

    def __mod__(self, other: Any) -> Tensor:
        return call("remainder", self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return call("remainder", other, self)

    def __pow__(self, other: Any) -> Tensor:
        return call("pow", self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return call("pow", other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return call("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return call("matmul", other, self)

    def __neg__(self) -> Tensor:
        return call("negative", self)

    def __pos__(self) -> Tensor:
        return call("positive", self)

    def __abs__(self) -> Tensor:
        return call("abs", self)

    def __invert__(self) -> Tensor:
        return call("bitwise_invert", self)

    def __and__(self, other: Any) -> Tensor:
        return call("bitwise_and", self, other)

    def __rand__(self, other: Any) -> Tensor:
        return call("bitwise_and", other, self)

    def __or__(self, other: Any) -> Tensor:
        return call("bitwise_or", self, other)

    def __ror__(self, other: Any) -> Tensor:
        return call("bitwise_or", other, self)

    def __xor__(self, other: Any) -> Tensor:
        return call("bitwise_xor", self, other)

    def __rxor__(self, other: Any) -> Tensor:
        return call("bitwise_xor", other, self)

    def __lshift__(self, other: Any) -> Tensor:
        return call("bitwise_left_shift", self, other)

    def __rlshift__(self, other: Any) -> Tensor:
        return call("bitwise_left_shift", other, self)

    def __rshift__(self, other: Any) -> Tensor:
        return call("bitwise_right_shift", self, other)

    def __rrshift__(self, other: Any) -> Tensor:
        return call("bitwise_right_shift", other, self)

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return call("equal", self, other)

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return call("not_equal", self, other)

    def __lt__(self, other: Any) -> Tensor:
        return call("less", self, other)

    def __le__(self, other: Any) -> Tensor:
        return call("less_equal", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return call("greater", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return call("greater_equal", self, other)

    def __getitem__(self, key: Any) -> Tensor:
        return call("getitem", self, key)

    # -- methods ---------------------------------------------------------------------------

    @property
    def T(self) -> Tensor:
        """The transpose: all axes reversed."""
        return call("permute_dims", self, tuple(reversed(range(self.ndim))))

    def sum(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        return call("sum", self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        return call("mean", self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        return call("max", self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        return call("min", self, axis=axis, keepdims=keepdims)

    def prod(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        return call("prod", self, axis=axis, keepdims=keepdims)

    def var(self, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Tensor:
        return call("var", self, axis=axis, correction=correction, keepdims=keepdims)

    def std(self, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Tensor:
        return call("std", self, axis=axis, correction=correction, keepdims=keepdims)

    def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
        return call("argmax", self, axis=axis, keepdims=keepdims)

    def argmin(self, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
        return call("argmin", self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> Tensor:
        """Return the same elements in another shape: ``x.reshape(2, -1)`` or ``((2, -1))``."""
        one = len(shape) == 1 and isinstance(shape[0], (tuple, list))
        return call("reshape", self, shape[0] if one else shape)

    def astype(self, dtype: Any) -> Tensor:
        return call("astype", self, dtype)


Kind: TypeAlias = "tuple[str, tuple[AnyDim, ...], tuple[Kind, ...] | None]"


def _kind(type: TensorType) -> Kind:
    """Return what a pickle holds of a type."""
    parts = tuple(map(_kind, type.parts)) if isinstance(type, Several) else None
    return type.dtype.str, type.shape, parts


def _type(kind: Kind) -> TensorType:
    dtype, shape, parts = kind
    return TensorType(np.dtype(dtype), shape) if parts is None else Several.of(map(_type, parts))


def _remade(
    op: Op,
    inputs: tuple[Tensor, ...],
    kind: Kind,
    label: str | None,
    loc: str | None,
    phase: str,
    scope: tuple[str, ...],
    adjoint_of: Tensor | None,
) -> Tensor:
    """Return the copy of a tensor; its data type is NumPy's own object, which feeds compare."""
    tensor = Tensor(op, inputs, _type(kind), label=label)
    for name, value in (("loc", loc), ("phase", phase), ("scope", scope)):
        object.__setattr__(tensor, name, value)
    if adjoint_of is not None:
        tensor.mark_adjoint(adjoint_of)
    return tensor


# -- the functions that operators call -----------------------------------------------------

FUNCTIONS: Registry[Callable[..., Any]] = Registry("graphc.ops")
"""Public symbolic functions by name, filled by :func:`function`."""


def call(name: str, *args: Any, **kwargs: Any) -> Tensor:
    """Call the registered function ``name``."""
    result: Tensor = FUNCTIONS[name](*args, **kwargs)
    return result


# -- where a node stands -------------------------------------------------------------------


class building:
    """A block, as in ``with``, whose new nodes get a phase, a place or a scope.

    A class: it is entered for each node of a graph, and a generator takes three times as long.
    """

    __slots__ = ("_given", "_tokens")

    def __init__(
        self,
        *,
        phase: str | None = None,
        loc: str | None = None,
        scope: tuple[str, ...] | None = None,
    ) -> None:
        self._given: tuple[tuple[ContextVar[Any], Any], ...] = (
            (_phase, phase),
            (_loc, loc),
            (_scope, scope),
        )

    def __enter__(self) -> None:
        self._tokens = [
            (variable, variable.set(value)) for variable, value in self._given if value is not None
        ]

    def __exit__(self, *_: object) -> None:
        for variable, token in self._tokens:
            variable.reset(token)


@contextmanager
def name_scope(name: str) -> Iterator[None]:
    """Put the nodes made inside this block into the cluster ``name``, below the current one.

    Entering the current one again changes nothing.
    """
    scope = _scope.get()
    with building(scope=scope if scope[-1:] == (name,) else (*scope, name)):
        yield


def nested() -> building:
    """Return a block at whose end the cluster is again what it is at its start."""
    return building(scope=_scope.get())


def enter_scope(name: str) -> None:
    """Put what is made from now on, until the end of the block, into the cluster ``name``."""
    _scope.set((*_scope.get(), name))


def apply(op: Op, *inputs: Tensor) -> Tensor:
    """Return the node ``op(*inputs)``; a type error names the operands and the user's line."""
    try:
        type = op.infer(*[t.type for t in inputs])
    except GraphcError as error:
        raise located(error, op.name, inputs) from None
    return Tensor(op, inputs, type)


def located(error: GraphcError, what: str, operands: tuple[Tensor, ...]) -> GraphcError:
    """Return ``error`` with the operation, its operands and the user's line in its message."""
    text = str(error)
    if "\n  at " in text:
        return error
    if not text.startswith((f"{what}: ", f"{what} ")):
        text = f"{what}: {text}"
    for operand in operands:
        text += f"\n    {operand.describe()}"
        if operand.loc:
            text += f"  (made at {operand.loc})"
    return type(error)(f"{text}\n  at {_loc.get() or user_location()}")


class errors_of:
    """A block whose errors say of ``what`` they are, and at which of the user's lines.

    A class: the frames of a generator would stand between the error and that line.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, GraphcError):
            raise located(error, self._what, ()) from None
