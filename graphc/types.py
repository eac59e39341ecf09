"""Types of tensors: a data type and a shape whose dimensions may depend on the batch.

A dimension is an ``int``, or a :class:`Dim` where it depends on the size of the batch, which
is known only at run time. ``None`` in a user's shape stands for the batch itself.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from graphc.dims import BATCH as BATCH
from graphc.dims import AnyDim as AnyDim
from graphc.dims import Atom as Atom
from graphc.dims import Dim as Dim
from graphc.dims import Shape as Shape
from graphc.dims import Sizes as Sizes
from graphc.dims import dim_at as dim_at
from graphc.dims import dim_ceildiv as dim_ceildiv
from graphc.dims import dim_max as dim_max
from graphc.dims import dim_min as dim_min
from graphc.dims import divided as divided
from graphc.dims import named_sizes as named_sizes
from graphc.dims import never_below as never_below
from graphc.dims import shape_at as shape_at
from graphc.dims import show_sizes as show_sizes
from graphc.dims import size_of as size_of
from graphc.dims import with_batch as with_batch
from graphc.dims import written as written
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


NOMINAL_BATCH = 64
"""The size of the batch, and of what has a name, where a cost must be known before any call."""


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
    return BATCH if name == "batch" else Dim.of("size", name)


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
