"""The sources of a graph: inputs, parameters and constants."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from graphc.convert import as_array, converted
from graphc.errors import DTypeError, ShapeError, user_location
from graphc.ir.op import Array, Source, register
from graphc.ir.tensor import Tensor, errors_of
from graphc.lazy import lazy_module
from graphc.types import (
    BATCH,
    FLOAT32,
    INT64,
    DTypeLike,
    Shape,
    TensorType,
    as_dtype,
    as_shape,
    show_shape,
)

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = lazy_module("hashlib")

Initializer: TypeAlias = "Callable[[tuple[int, ...], np.random.Generator], Array]"
"""Returns initial values of a shape, drawn with a generator."""

ALIGNMENT = 64
"""Bytes at which every buffer starts: a cache line, and the widest vector."""


def aligned_empty(nbytes: int) -> Array:
    """Return ``nbytes`` uninitialised bytes that start at a cache line, or raise MemoryError."""
    if nbytes >= sys.maxsize - ALIGNMENT:
        raise MemoryError(f"no memory has {nbytes} bytes")
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -address_of(raw) % ALIGNMENT
    return raw[start : start + nbytes]


_numbers = itertools.count()


def address_of(array: Array) -> int:
    """Return where the first element of ``array`` lies.

    ``array.ctypes.data`` is the same, and leaves a cycle of objects to the garbage collector.
    """
    address: int = array.__array_interface__["data"][0]
    return address


class Cell:
    """The storage of one parameter: initial values, then an aligned array of its own.

    Cells are numbered as they are made, and the number seeds their random values where no
    model does.

    ``array`` keeps its address once made, so compiled code may hold it, unless
    :meth:`place` moves it into a flat buffer before that.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], init: Array | Initializer):
        self.shape = shape
        self.dtype = dtype
        self.init = init
        self.number = next(_numbers)
        self._array: Array | None = None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def is_allocated(self) -> bool:
        return self._array is not None

    @property
    def array(self) -> Array:
        """The values; made at the first use."""
        if self._array is None:
            self.initialize(self.default_rng())
        assert self._array is not None
        return self._array

    def default_rng(self) -> np.random.Generator:
        """Return the generator of the values of a cell that no model seeds."""
        return np.random.default_rng([0, self.number])

    def initial_values(self, rng: np.random.Generator) -> Array:
        """Return fresh initial values."""
        values = self.init(self.shape, rng) if callable(self.init) else self.init
        values = np.asarray(values)
        if values.shape != self.shape:
            raise ShapeError(
                f"the initialiser returned shape {values.shape} for a parameter of {self.shape}"
            )
        return converted(values, self.dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the values; where they lie is for whoever compiles the copy to say."""
        return Cell, (self.shape, np.dtype(self.dtype.str), self.array.copy())

    def place(self, memory: Array) -> None:
        """Let the values live in ``memory``, an aligned piece of bytes, from now on."""
        self._array = memory[: self.nbytes].view(self.dtype).reshape(self.shape)

    def initialize(self, rng: np.random.Generator, memory: Array | None = None) -> None:
        """Set the values to fresh initial ones; they live in ``memory`` if they have no place."""
        values = self.initial_values(rng)
        if self._array is None:
            self.place(aligned_empty(self.nbytes) if memory is None else memory)
        assert self._array is not None
        self._array[...] = values


@register
class Input(Source):
    """A value that the caller feeds; ``token`` tells it from others of its name."""

    label: str
    type: TensorType
    token: object

    def parameters(self) -> str:
        return f"label={self.label}"

    def infer(self, *types: TensorType) -> TensorType:
        return self.type

    def numpy(self, *arrays: Array) -> Array:
        raise DTypeError(f"input {self.label!r} has no value of its own")


@register
class Parameter(Source):
    """A value that stays between calls, and that updates may replace."""

    cell: Cell
    trainable: bool

    def parameters(self) -> str:
        return f"trainable={self.trainable}"

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(self.cell.dtype, tuple(self.cell.shape))

    def numpy(self, *arrays: Array) -> Array:
        return self.cell.array


class Frozen:
    """An immutable array, equal to another by its bytes."""

    __slots__ = ("array", "digest", "number")

    def __init__(self, array: Array, number: float | None = None) -> None:
        self.number = number
        """The Python number whose value, as far as the data type goes, the array holds."""
        self.array = np.array(array, order="C", copy=True)
        self.array.setflags(write=False)
        text = f"{self.array.dtype.str}{self.array.shape}".encode()
        self.digest = hashlib.sha256(text + self.array.tobytes()).digest()

    def __reduce__(self) -> tuple[Any, ...]:
        return Frozen, (self.array, self.number)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frozen) or self.digest != other.digest:
            return False
        a, b = self.array, other.array
        return a is b or (a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())

    def __hash__(self) -> int:
        return hash(self.digest)

    def __str__(self) -> str:
        if self.array.size == 1:
            return repr(self.array.item())
        return f"<{self.digest.hex()[:8]}>"


@register
class Constant(Source):
    """A fixed value."""

    value: Frozen

    @property
    def weak(self) -> bool:  # type: ignore[override]
        return self.value.number is not None

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(self.value.array.dtype, tuple(self.value.array.shape))

    def numpy(self, *arrays: Array) -> Array:
        return self.value.array


def input(name: str, shape: Any = (), dtype: DTypeLike = FLOAT32) -> Tensor:
    """Declare a value that is fed at every call.

    ``None`` as the first dimension is the batch: any size, one compiled binary. So is a name,
    like ``"length"``, in the place of any dimension: the sizes of one name are equal in all inputs.
    """
    if not isinstance(name, str) or not name:
        raise DTypeError(
            f"an input's name must be a non-empty string, not {name!r}\n  at {user_location()}"
        )
    with errors_of(f"input {name!r}"):
        dims = as_shape(shape)
        if BATCH in dims[1:]:
            raise ShapeError(
                f"only the first dimension can be None, got {show_shape(dims)}; a size that is "
                'open elsewhere has a name, like "length"'
            )
        op = Input(name, TensorType(as_dtype(dtype), dims), object())
    return Tensor(op, (), op.type, label=name)


def parameter(
    init: Any,
    shape: Any = None,
    *,
    name: str | None = None,
    dtype: DTypeLike = None,
    trainable: bool = True,
) -> Tensor:
    """Declare a value that stays between calls and that training changes.

    ``init`` is an array (its shape is the parameter's), or an initialiser from
    :mod:`graphc.nn.init`, a function ``(shape, rng) -> array``, with ``shape``.
    The data type is ``dtype``, else a floating-point array's own, else float32.
    """
    with errors_of("parameter" if name is None else f"parameter {name!r}"):
        given = None if shape is None else as_shape(shape)
        if given is not None and not all(isinstance(d, int) for d in given):
            raise ShapeError(f"its shape must be fixed, got {show_shape(given)}")
        if callable(init):
            if given is None:
                raise ShapeError("an initialiser needs a shape")
            dims, kind, values = given, as_dtype(dtype or FLOAT32), init
        else:
            array = as_array(init)
            own = isinstance(init, (np.ndarray, np.generic)) and array.dtype.kind == "f"
            kind = as_dtype(dtype or (array.dtype if own else FLOAT32))
            dims = array.shape if given is None else given
            values = np.array(_fitted(converted(array, kind), dims))
        cell = Cell(dims, kind, values)  # type: ignore[arg-type]
        op = Parameter(cell, trainable)
        return Tensor(op, (), op.infer(), label=name)


def _fitted(array: Array, dims: Shape) -> Array:
    """Return the initial values repeated to the shape of their parameter."""
    try:
        return np.broadcast_to(array, dims)  # type: ignore[arg-type]
    except ValueError:
        raise ShapeError(
            f"init of shape {show_shape(array.shape)} does not fit shape {show_shape(dims)}"
        ) from None


def constant(value: Any, dtype: DTypeLike = None) -> Tensor:
    """Return a fixed value as a tensor.

    A NumPy array keeps its data type; Python numbers become bool, int64 or float32. A single
    Python float without ``dtype`` stays weak: next to a float64 tensor it is exact.
    """
    if isinstance(value, Tensor):
        raise DTypeError(f"constant: {value.describe()} is symbolic\n  at {user_location()}")
    with errors_of("constant"):
        return fixed(value, dtype)


def fixed(value: Any, dtype: DTypeLike = None) -> Tensor:
    """Return what :func:`constant` does; its errors name neither it nor the user's line."""
    array = as_array(value)
    kind = as_dtype(dtype) if dtype is not None else _natural(value, array)
    number = value if dtype is None and type(value) is float else None
    op = Constant(Frozen(converted(array, kind), number))
    return Tensor(op, (), op.infer())


def _natural(value: Any, array: Array) -> np.dtype[Any]:
    """Return the data type of a constant that is given none."""
    if isinstance(value, (np.ndarray, np.generic)):
        return as_dtype(array.dtype)
    kind = array.dtype.kind
    return FLOAT32 if kind == "f" else INT64 if kind in "iuO" else as_dtype(array.dtype)
