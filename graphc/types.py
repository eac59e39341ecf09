"""Types of tensors: a data type and a shape whose dimensions may depend on the batch.

A dimension is an ``int``, or a :class:`Dim` where it depends on the size of the batch, which
is known only at run time. ``None`` in a user's shape stands for the batch itself.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from graphc.errors import ArgumentError, DTypeError, ShapeError

DTypeLike: TypeAlias = Any  # anything numpy.dtype() takes

DTYPES = tuple(np.dtype(n) for n in ("bool", "int32", "int64", "float32", "float64"))
BOOL, INT32, INT64, FLOAT32, FLOAT64 = DTYPES


def as_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return ``dtype`` as one of :data:`DTYPES`, or raise :class:`DTypeError`."""
    try:
        result = np.dtype(dtype)
    except TypeError as error:
        raise DTypeError(f"{dtype!r} is not a data type") from error
    if result not in DTYPES:
        names = ", ".join(d.name for d in DTYPES)
        raise DTypeError(f"data type {result.name} is not supported; use one of {names}")
    return result


def is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f"


def promote(*dtypes: np.dtype[Any]) -> np.dtype[Any]:
    """Return the data type that holds all of ``dtypes``: bool < int < float, then by width.

    Within a kind this is the array API standard's table; an integer met by a float takes the
    float's type, as in JAX and PyTorch (the standard leaves mixed kinds open).
    """
    return max(dtypes, key=lambda d: ("bif".index(d.kind), d.itemsize))


class Sizes(int):
    """What the sizes left open are in one call: the number of the batch, and named ones.

    It is the batch's number wherever only that matters; a plain number stands for a call in
    which every size is that. Equal if all sizes are.
    """

    named: tuple[tuple[str, int], ...]
    """Names and sizes, by name."""

    def __new__(cls, batch: int, named: Iterable[tuple[str, int]]) -> Sizes:
        self = super().__new__(cls, batch)
        self.named = tuple(sorted(named))
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sizes):
            return False
        return int(self) == int(other) and self.named == other.named

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((int(self), self.named))

    def __reduce__(self) -> tuple[Any, ...]:
        return Sizes, (int(self), self.named)


def with_batch(sizes: int, batch: int) -> int:
    """Return ``sizes`` for a batch of ``batch`` rows."""
    return Sizes(batch, sizes.named) if isinstance(sizes, Sizes) else batch


def show_sizes(sizes: int) -> str:
    """Return the sizes of a call for messages: ``3 rows, length 7``."""
    named = sizes.named if isinstance(sizes, Sizes) else ()
    return ", ".join([f"{int(sizes)} rows", *(f"{name} {size}" for name, size in named)])


@dataclass(frozen=True, slots=True)
class Dim:
    """A dimension ``scale * atom + offset`` known at run time.

    ``atom`` is ``()`` for the batch itself, ``("size", name, 0)`` for a size that has a name,
    ``("step", name, 0)`` for the number of a loop's step (in places, never in shapes), else
    a function of other dimensions:
    ``("max", a, b)``, ``("min", a, b)``, ``("ceildiv", a, k)``, ``("mul", a, b)`` or
    ``("add", a, b)`` (a sum of unlike atoms).
    """

    scale: int = 1
    offset: int = 0
    atom: tuple[Any, ...] = ()

    def at(self, batch: int) -> int:
        """Return the value for a batch of ``batch`` rows."""
        if not self.atom:
            return self.scale * int(batch) + self.offset
        kind, a, b = self.atom
        if kind in ("size", "step"):
            plain = int(batch) if kind == "size" else 0
            own = dict(batch.named).get(a, plain) if isinstance(batch, Sizes) else plain
            return self.scale * own + self.offset
        a, b = dim_at(a, batch), dim_at(b, batch)
        if kind == "max":
            value = max(a, b)
        elif kind == "min":
            value = min(a, b)
        elif kind == "ceildiv":
            value = -(-a // b)
        else:
            value = a * b if kind == "mul" else a + b
        return self.scale * value + self.offset

    def __add__(self, other: AnyDim) -> AnyDim:
        if isinstance(other, int):
            return Dim(self.scale, self.offset + other, self.atom) if other else self
        if other.atom == self.atom:
            scale, offset = self.scale + other.scale, self.offset + other.offset
            return Dim(scale, offset, self.atom) if scale else offset
        return Dim(1, 0, ("add", self, other))

    __radd__ = __add__

    def __mul__(self, other: AnyDim) -> AnyDim:
        if isinstance(other, int):
            if other in (0, 1):
                return self if other else 0
            return Dim(self.scale * other, self.offset * other, self.atom)
        if not (self.offset or other.offset):
            factors = sorted((Dim(1, 0, self.atom), Dim(1, 0, other.atom)), key=str)
            return Dim(self.scale * other.scale, 0, ("mul", *factors))
        return Dim(1, 0, ("mul", *sorted((self, other), key=str)))

    __rmul__ = __mul__

    def __neg__(self) -> AnyDim:
        return self * -1

    def __sub__(self, other: AnyDim) -> AnyDim:
        return self + (-other)

    def __rsub__(self, other: int) -> AnyDim:
        return -self + other

    def __str__(self) -> str:
        if not self.atom:
            base = "batch"
        elif self.atom[0] in ("size", "step"):
            base = self.atom[1]
        elif self.atom[0] in ("mul", "add"):
            sign = "*" if self.atom[0] == "mul" else " + "
            base = f"({self.atom[1]}{sign}{self.atom[2]})"
        else:
            base = f"{self.atom[0]}({self.atom[1]}, {self.atom[2]})"
        text = base if self.scale == 1 else f"{self.scale}*{base}"
        if self.offset:
            text += f" {'+' if self.offset > 0 else '-'} {abs(self.offset)}"
        return text

    __repr__ = __str__


AnyDim: TypeAlias = int | Dim
Shape: TypeAlias = tuple[AnyDim, ...]

BATCH = Dim()

NOMINAL_BATCH = 64
"""The size of the batch, and of what has a name, where a cost must be known before any call."""


def named_sizes(dim: AnyDim) -> set[str]:
    """Return the names of the sizes that ``dim`` is made of."""
    if isinstance(dim, int) or not dim.atom:
        return set()
    kind, a, b = dim.atom
    if kind == "step":
        return set()
    return {a} if kind == "size" else named_sizes(a) | named_sizes(b)


def dim_at(dim: AnyDim, batch: int) -> int:
    """Return ``dim`` as a number, for a batch of ``batch`` rows."""
    return dim if isinstance(dim, int) else dim.at(batch)


def _least(dim: AnyDim) -> float:
    """Return a bound that ``dim`` is not below for any batch."""
    if isinstance(dim, int):
        return dim
    if dim.scale < 0:
        return -math.inf
    if not dim.atom:
        return dim.offset
    kind, a, b = dim.atom
    if kind in ("size", "step"):
        return dim.offset
    low, other = _least(a), _least(b)
    base: float
    if kind == "ceildiv":
        base = low / b
    elif kind == "mul":
        base = low * other if min(low, other) > 0 else 0 if min(low, other) == 0 else -math.inf
    else:
        base = {"max": max(low, other), "min": min(low, other), "add": low + other}[kind]
    return dim.scale * base + dim.offset


def never_below(a: AnyDim, b: AnyDim) -> bool:
    """Tell whether ``a >= b`` is known to hold for every batch."""
    return _least(a - b) >= 0


def dim_max(a: AnyDim, b: AnyDim) -> AnyDim:
    if never_below(a, b):
        return a
    return b if never_below(b, a) else Dim(1, 0, ("max", a, b))


def dim_min(a: AnyDim, b: AnyDim) -> AnyDim:
    if never_below(a, b):
        return b
    return a if never_below(b, a) else Dim(1, 0, ("min", a, b))


def dim_ceildiv(a: AnyDim, k: int) -> AnyDim:
    """Return ``ceil(a / k)`` for ``k > 0``."""
    if isinstance(a, int):
        return -(-a // k)
    if a.scale % k == 0:
        return Dim(a.scale // k, -(-a.offset // k), a.atom)
    return Dim(1, 0, ("ceildiv", a, k))


def size_of(shape: Iterable[AnyDim]) -> AnyDim:
    """Return the number of elements of ``shape``."""
    total: AnyDim = 1
    for dim in shape:
        total = dim * total
    return total


def shape_at(shape: Shape, batch: int) -> tuple[int, ...]:
    return tuple(dim_at(d, batch) for d in shape)


def as_dim(value: Any) -> AnyDim:
    """Return a user's dimension: an integer, a Dim, the name of a size, or None for the batch."""
    if value is None:
        return BATCH
    if isinstance(value, str):
        return _named(value)
    if isinstance(value, Dim):
        return value
    if isinstance(value, (bool, float)):
        raise DTypeError(f"a dimension must be an integer or None, not {value!r}")
    try:
        return operator.index(value)
    except TypeError:
        raise DTypeError(
            f"a dimension must be an integer or None, known before the function runs, not {value!r}"
        ) from None


def _named(name: str) -> Dim:
    """Return the size of this name; ``"batch"`` is that of the batch."""
    if not (name.isidentifier() and name.isascii()):
        raise ArgumentError(
            f"the name of a size must be an identifier, like 'length', not {name!r}"
        )
    return BATCH if name == "batch" else Dim(1, 0, ("size", name, 0))


def as_shape(shape: Any) -> Shape:
    """Return a user's shape: an integer or a sequence of dimensions, none negative."""
    if shape is None or isinstance(shape, (int, np.integer, Dim, str)):
        shape = (shape,)
    try:
        dims = tuple(as_dim(d) for d in shape)
    except TypeError as error:
        raise DTypeError(f"{shape!r} is not a shape: {error}") from None
    if any(isinstance(d, int) and d < 0 for d in dims):
        raise ShapeError(f"negative dimensions are not allowed: {show_shape(dims)}")
    return dims


def show_dim(dim: AnyDim) -> str:
    return "None" if dim == BATCH else str(dim)


def show_shape(shape: Sequence[AnyDim]) -> str:
    """Return the shape as a user writes it: ``(None, 64)``."""
    inner = ", ".join(show_dim(d) for d in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def broadcast_shapes(*shapes: Shape) -> Shape:
    """Return the shape that NumPy's broadcasting gives, or raise :class:`ShapeError`."""
    if shapes and shapes.count(shapes[0]) == len(shapes):
        return shapes[0]
    rank = max((len(s) for s in shapes), default=0)
    result: list[AnyDim] = [1] * rank
    for shape in shapes:
        for axis, dim in enumerate(shape, rank - len(shape)):
            if dim == 1 or dim == result[axis]:
                continue
            if result[axis] != 1:
                shown = " ".join(show_shape(s) for s in shapes)
                raise ShapeError(f"operands could not be broadcast together with shapes {shown}")
            result[axis] = dim
    return tuple(result)


MAX_RANK = 64
"""Dimensions that an array of NumPy can have."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """Data type and shape of a tensor, of at most :data:`MAX_RANK` dimensions."""

    dtype: np.dtype[Any]
    shape: Shape

    def __post_init__(self) -> None:
        if len(self.shape) > MAX_RANK:
            raise ShapeError(
                f"maximum supported dimension for an ndarray is currently {MAX_RANK}, "
                f"found {len(self.shape)}"
            )

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> AnyDim:
        """Number of elements."""
        return size_of(self.shape)

    @property
    def nbytes(self) -> AnyDim:
        return self.size * self.dtype.itemsize

    def with_shape(self, shape: Shape) -> TensorType:
        return TensorType(self.dtype, shape)

    def with_dtype(self, dtype: np.dtype[Any]) -> TensorType:
        return TensorType(dtype, self.shape)

    def __str__(self) -> str:
        return f"{self.dtype.name}{show_shape(self.shape)}"


@dataclass(frozen=True, slots=True)
class Several(TensorType):
    """The type of a node with several results: theirs, and no memory of its own."""

    parts: tuple[TensorType, ...] = ()

    @staticmethod
    def of(parts: Iterable[TensorType]) -> Several:
        return Several(_NOTHING, (), tuple(parts))

    @property
    def size(self) -> AnyDim:
        return 0

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.parts))})"


_NOTHING = np.dtype("V")


def normalize_axis(axis: int, ndim: int) -> int:
    """Return ``axis`` counted from the front, or raise :class:`ShapeError`."""
    index = operator.index(axis)
    if not -ndim <= index < ndim:
        raise ShapeError(f"axis {axis} is out of bounds for an array of dimension {ndim}")
    return index % ndim


def normalize_axes(axis: int | Iterable[int] | None, ndim: int) -> tuple[int, ...]:
    """Return sorted distinct axes; ``None`` means all of them."""
    if axis is None:
        return tuple(range(ndim))
    axes = (axis,) if isinstance(axis, (int, np.integer)) else tuple(axis)
    result = [normalize_axis(a, ndim) for a in axes]
    if len(set(result)) != len(result):
        raise ShapeError(f"duplicate value in axis {tuple(axes)}")
    return tuple(sorted(result))
