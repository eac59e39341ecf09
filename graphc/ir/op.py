"""What an operation is: one class in one place.

An op states its type rule, its NumPy reference, its derivative and how it is computed. How it
is computed is a *trait*, the abstract subclass it derives from, and the planner and the code
generator know ops by their trait only:

=================  =========================================================================
:class:`Source`        holds or makes a value: inputs, parameters, constants
:class:`Elementwise`   one scalar expression per element; operands broadcast
:class:`Reduction`     folds axes with an associative scalar expression
:class:`View`          only reinterprets the strides of its operand
:class:`Assembly`      writes its operands into regions of the result
:class:`Contraction`   a batched matrix product
:class:`Loops`         writes its own loop nest
:class:`Composite`     a name for a formula in other ops, with a derivative of its own
=================  =========================================================================
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar, cast

import numpy as np

from graphc.errors import (
    AllocationError,
    DTypeError,
    GraphcError,
    IndexingError,
    RangeError,
    ShapeError,
)
from graphc.ir.emitter import Access as Access
from graphc.ir.emitter import Emitter as Emitter
from graphc.ir.layout import Axes, Layout
from graphc.ir.record import Record
from graphc.ir.tensor import FUNCTIONS, Tensor, apply, located
from graphc.kernel.value import Literal, Value
from graphc.lazy import Registry
from graphc.tree import tree_leaves
from graphc.types import AnyDim, Dim, Shape, TensorType, broadcast_shapes

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Sample:
    """Operands on which the generated tests try an op or function.

    ``args`` are passed to the public function; arrays in them become symbolic inputs.
    ``differentiable`` tells whether derivatives are checked there by finite differences.
    """

    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...] = ()
    differentiable: bool = True


SUM, PRODUCT, MATRIX_PRODUCT, CLOSED = 1, 2, 3, 4
"""How tightly the parts of a formula bind."""


@dataclass(frozen=True)
class Notation:
    """How a formula writes an op; ``{0}`` and ``{1}`` stand for the operands.

    An operand that binds less tightly than ``operands`` asks for gets parentheses
    (``latex_operands``, where LaTeX needs fewer). With ``strength`` None the whole binds like
    its operand.
    """

    text: str
    latex: str
    strength: int | None
    operands: tuple[int, ...]
    latex_operands: tuple[int, ...] = ()


UNSEEN = Notation("{0}", "{0}", None, (0,))
"""Of ops that a formula leaves out."""

TRANSPOSED = Notation("{0}^T", r"{0}^{{\top}}", CLOSED, (CLOSED,))


class Op(Record):
    """An operation. Annotated attributes are its parameters: equal ones make equal ops."""

    name: ClassVar[str] = ""
    weak: ClassVar[bool] = True
    """Whether the result is a weak number, like a Python float, if all operands are."""
    changes: ClassVar[bool] = False
    """Of a :class:`Loops`: whether the result is the first operand with some elements changed.

    ``loops`` finds it in the place of the result, where it is copied unless it lies there, and
    reads it there only."""

    @abstractmethod
    def infer(self, *types: TensorType) -> TensorType:
        """Return the type of the result, or raise a GraphcError in NumPy's words."""

    @abstractmethod
    def numpy(self, *arrays: Array) -> Array:
        """Compute with NumPy: the reference of every other implementation."""

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        """Return the vector-Jacobian product of cotangent ``g`` for each operand.

        ``None`` says that the result does not depend differentiably on the operand. Prefer
        ``out`` to ``inputs`` where the formula allows: the operands' memory is free sooner.
        """
        return (None,) * len(inputs)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        """Return the Jacobian-vector product for the operands' ``tangents`` (None is zero)."""
        return None

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        """Floating-point operations of one evaluation."""
        return 0

    def index_bounds(self, *types: TensorType) -> tuple[tuple[int, AnyDim, AnyDim], ...]:
        """Return ``(position, low, high)`` of each operand that holds indices into an axis.

        They must lie in ``[low, high)``. Fed ones are checked before a call writes anything,
        those that the graph computes as soon as they are there: a call that meets a wrong one
        raises, and changes no parameter.
        """
        return ()

    def value_bounds(self, *types: TensorType) -> tuple[AnyDim, AnyDim] | None:
        """Return ``(low, high)`` if the results are integers that surely lie in ``[low, high)``."""
        return None

    def nonnegative(self, *types: TensorType) -> tuple[AnyDim, ...]:
        """Return the dimensions that must not be negative: ``batch - 6`` for ``x[5]``.

        The runtime checks them for the batch of a call before anything is written.
        """
        return ()

    def bind(self, batch: int) -> Self:
        """Return the op for a batch of ``batch`` rows: its dimensions made numbers."""
        bound = {n: _bind(getattr(self, n), batch) for n in self.fields}
        changed = {n: v for n, v in bound.items() if v is not getattr(self, n)}
        return self.replaced(**changed) if changed else self

    def notation(self, out: TensorType, *types: TensorType) -> Notation | None:
        """Return how formulas write the op; None for ``name(operands)``."""
        return None

    def parameters(self) -> str:
        """Return the op's parameters as text, for printing: ``axes=(1,)``."""
        return ", ".join(f"{n}={v}" for n, v in zip(self.fields, self.values(), strict=True))


def _bind(value: Any, batch: int) -> Any:
    if isinstance(value, Dim):
        return value.at(batch)
    if isinstance(value, tuple):
        bound = tuple(_bind(v, batch) for v in value)
        return value if all(a is b for a, b in zip(value, bound, strict=True)) else bound
    return value


OpType = TypeVar("OpType", bound=type[Op])

OPS: Registry[type[Op]] = Registry("graphc.ops")
"""Every op class by name."""


def register(cls: OpType) -> OpType:
    """Enter an op class into the registry under its name in snake case."""
    if "name" not in cls.__dict__:
        words = "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__)
        cls.name = words.lstrip("_")
    OPS.enter(cls.name, cls)
    return cls


@dataclass(frozen=True)
class FunctionEntry:
    """A public function: the samples of its tests and the NumPy function it must equal."""

    name: str
    function: Callable[..., Any]
    samples: Callable[[], Iterable[Sample]]
    reference: Callable[..., Any]
    section: str
    ops: tuple[str, ...] = ()


ENTRIES: Registry[FunctionEntry] = Registry("graphc.ops")

F = TypeVar("F", bound=Callable[..., Any])

OURS: dict[type[Exception], type[GraphcError]] = {
    ValueError: ShapeError, TypeError: DTypeError, IndexError: IndexingError,
    OverflowError: RangeError, MemoryError: AllocationError,
}  # fmt: skip
"""What the exceptions of NumPy become."""


def function(
    *, samples: Callable[[], Iterable[Sample]], reference: Callable[..., Any], section: str,
    name: str | None = None,
) -> Callable[[F], F]:  # fmt: skip
    """Register a public symbolic function, its test samples and its NumPy reference.

    ``name`` is what stands behind ``gx.``, if it is not the function's own. Errors that it raises,
    or that NumPy does, get the user's line and the tensors among its arguments.
    """

    def enter(f: F) -> F:
        known = name or f.__name__.rstrip("_")

        @functools.wraps(f)
        def public(*args: Any, **kwargs: Any) -> Any:
            try:
                return f(*args, **kwargs)
            except GraphcError as error:
                raise located(error, known, _given(args, kwargs)) from None
            except tuple(OURS) as error:
                kind = next(ours for k, ours in OURS.items() if isinstance(error, k))
                raise located(kind(str(error)), known, _given(args, kwargs)) from error

        ENTRIES.enter(known, FunctionEntry(known, public, samples, reference, section))
        FUNCTIONS.enter(known, public)
        return cast(F, public)

    return enter


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, ...]:
    return tuple(a for a in tree_leaves([args, kwargs]) if isinstance(a, Tensor))


class Linear(Op):
    """Mixin of an op that is linear in its first operand and constant in the others."""

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        t = tangents[0]
        return None if t is None else apply(self, t, *inputs[1:])


# -- traits ---------------------------------------------------------------------------------


class Source(Op):
    """Holds or makes a value; has no operands."""

    weak = False


class Elementwise(Op):
    """One scalar expression per element; operands of one data type broadcast.

    ``indexed`` says whether the expression needs the element's place: ``"flat"`` for its
    number in row-major order, ``"full"`` for its index along every axis.
    """

    indexed: ClassVar[str] = ""
    cost: ClassVar[float] = 1.0
    """Cost of one element, in multiplications."""

    def result_dtype(self, *dtypes: np.dtype[Any]) -> np.dtype[Any]:
        """Return the data type of the result; operands have been cast to one type before."""
        return dtypes[0]

    def infer(self, *types: TensorType) -> TensorType:
        dtypes = [t.dtype for t in types]
        shape = broadcast_shapes(*[t.shape for t in types])
        return TensorType(self.result_dtype(*dtypes), shape)

    @abstractmethod
    def scalar(self, lit: Literal, *args: Value) -> Value:
        """Return the value of one element.

        ``args`` are those of the operands (with ``indexed``, behind the element's place), and
        ``lit(number)`` is a parameter of the op: kernels that differ in such only may be one.
        """

    def partials(self, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        """Return the derivative of the result by each operand, elementwise, or None."""
        return (None,) * len(inputs)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return [
            None if p is None else unbroadcast(g * p, x.type.shape)
            for p, x in zip(self.partials(out, *inputs), inputs, strict=True)
        ]

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        partials = self.partials(out, *inputs)
        terms = [
            t * p
            for t, p in zip(tangents, partials, strict=True)
            if t is not None and p is not None
        ]
        return broadcast_like(add_all(terms), out)

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return out.size * math.ceil(self.cost) if self.cost else 0


class Reduction(Op):
    """Folds ``axes`` with an associative scalar expression; ``keepdims`` as in NumPy."""

    axes: tuple[int, ...]
    keepdims: bool
    cost: ClassVar[float] = 1.0
    """Cost of folding one element, in multiplications."""

    def result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return dtype

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        shape = reduced_shape(x.shape, self.axes, self.keepdims)
        return TensorType(self.result_dtype(x.dtype), shape)

    @abstractmethod
    def initial(self, lit: Literal, dtype: np.dtype[Any]) -> Value:
        """Return the neutral element in the data type of the fold."""

    @abstractmethod
    def combine(self, acc: Value, x: Value) -> Value:
        """Return the fold of ``acc`` and ``x``, two values of one data type."""

    def wide(self, dtype: np.dtype[Any]) -> np.dtype[Any] | None:
        """Return the data type in which long folds into ``dtype`` add up their parts.

        None if combining does not round: then any number of elements may be folded at once.
        """
        return None

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return types[0].size


class View(Op):
    """Only reinterprets the strides of its one operand."""

    @abstractmethod
    def layout(self, layout: Layout, x: TensorType, out: TensorType) -> Layout | None:
        """Return the result's layout over the buffer of ``x``, or None if it needs a copy."""

    def groups(self, layout: Layout, x: TensorType, out: TensorType) -> tuple[Axes, ...] | None:
        """Return the axes of ``x`` that each axis of the result is made of, from its offset on.

        That is asked where one stride for each axis cannot say it; None if these cannot either.
        """
        return None


class Assembly(Op):
    """Writes its operands into disjoint regions of the result, row-major in memory."""

    @abstractmethod
    def fill(self) -> float | int | None:
        """Return the value of the elements outside all regions, or None if there are none."""

    @abstractmethod
    def regions(self, out: TensorType, *types: TensorType) -> Sequence[Layout]:
        """Return the layout, within the row-major result, of each operand's region."""

    def outside(self, out: TensorType, *types: TensorType) -> Sequence[tuple[Layout, Shape]] | None:
        """Return the boxes that are filled, none of which meets a region.

        None if that is not so simple: then all is filled before the operands are written.
        """
        return None


class Contraction(Op):
    """A batched matrix product of operands ``(..., M, K)`` and ``(..., K, N)``.

    ``transpose_a`` and ``transpose_b`` say that the last two axes of an operand are swapped
    before the product. Leading axes broadcast.
    """

    transpose_a: bool
    transpose_b: bool


class Loops(Op):
    """Writes its own loop nest."""

    @abstractmethod
    def loops(self, e: Emitter, out: Access, *ins: Access) -> None:
        """Write the loops that compute every element of ``out``.

        The body must write each element of the result, with ``changes`` each that does not stay.
        Start with ``e.parallel`` over an axis whose iterations are independent, if there is one.
        """

    def read(self, out: TensorType, *types: TensorType) -> AnyDim:
        """Return the bytes that are read, each once."""
        return sum((t.nbytes for t in types), start=0)

    def written(self, out: TensorType, *types: TensorType) -> AnyDim:
        """Return the bytes that are written, each once."""
        return out.nbytes

    def waits(self, out: TensorType, *types: TensorType) -> AnyDim:
        """Return the number of additions that wait for one before, if they are many."""
        return 0


class Composite(Op):
    """A name for a formula in other ops, kept as one node so that rules can see it whole."""

    @abstractmethod
    def expand(self, *inputs: Tensor) -> Tensor:
        """Return the formula in other ops; the last pass replaces the node by it."""


# -- helpers shared by derivative rules ----------------------------------------------------------


def reduced_shape(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    """Return ``shape`` with ``axes`` dropped, or kept as 1."""
    if keepdims:
        return tuple(1 if a in axes else d for a, d in enumerate(shape))
    return tuple(d for a, d in enumerate(shape) if a not in axes)


def unbroadcast(g: Tensor, shape: Shape) -> Tensor:
    """Sum ``g`` over the axes along which ``shape`` was broadcast: the transpose of that."""
    if g.type.shape == shape:
        return g
    lead = g.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(
        a for a, d in enumerate(shape, lead) if d == 1 and g.type.shape[a] != 1
    )
    if axes:
        g = FUNCTIONS["sum"](g, axis=axes, keepdims=True)
    return reshaped(g, shape)


def reshaped(t: Tensor, shape: Shape) -> Tensor:
    """Return the elements of ``t`` in another shape."""
    if t.type.shape == shape:
        return t
    result: Tensor = FUNCTIONS["reshape"](t, shape)
    return result


def broadcast_like(t: Tensor | None, out: Tensor) -> Tensor | None:
    """Broadcast ``t``, the tangent of some operands, to the shape of the result ``out``."""
    if t is None or t.type.shape == out.type.shape:
        return t
    grown: Tensor = FUNCTIONS["broadcast_to"](t, out.type.shape)
    return grown


def add_all(terms: Sequence[Tensor]) -> Tensor | None:
    """Return the sum of ``terms``, or None if there are none."""
    total: Tensor | None = None
    for term in terms:
        total = term if total is None else total + term
    return total


def require_float(what: str, *types: TensorType) -> None:
    """Raise :class:`DTypeError` unless every type is floating-point."""
    for t in types:
        if t.dtype.kind != "f":
            raise DTypeError(f"{what} needs floating-point operands, got {t}")
