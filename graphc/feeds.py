"""What a caller feeds, as arrays of the declared type."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError, user_location
from graphc.ir.op import Array
from graphc.ir.tensor import Tensor
from graphc.types import Dim, show_shape


class Feed:
    """One input of a function. An array as declared passes after a look at type and shape."""

    __slots__ = ("_batched", "_dtype", "_ndim", "_tail", "_tensor")

    def __init__(self, tensor: Tensor) -> None:
        shape = tensor.type.shape
        self._tensor = tensor
        self._dtype = tensor.dtype
        self._ndim = len(shape)
        self._batched = bool(shape) and isinstance(shape[0], Dim)
        self._tail = shape[1:] if self._batched else shape

    def __call__(self, value: Any) -> Array:
        """Return ``value`` as :func:`as_feed` does."""
        # NumPy keeps one object per native data type, and `is` costs less than `==`.
        if type(value) is np.ndarray and value.dtype is self._dtype:
            shape = value.shape
            same = shape[1:] == self._tail if self._batched else shape == self._tail
            if same and len(shape) == self._ndim:
                return value
        return as_feed(self._tensor, value)


def as_feed(tensor: Tensor, value: Any) -> Array:
    """Return ``value`` as an array for the input ``tensor``, or raise an error that names it.

    Values convert within their kind and to a wider one (:func:`numpy.can_cast`, ``"same_kind"``):
    integers become floats, and floats do not become integers.
    """
    if isinstance(value, Tensor):
        raise DTypeError(f"input {tensor.name!r} was fed a symbolic tensor\n  at {user_location()}")
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise DTypeError(
            f"input {tensor.describe()} was fed an array of {array.dtype}\n  at {user_location()}"
        )
    if not np.can_cast(array.dtype, tensor.dtype, "same_kind"):
        raise DTypeError(
            f"input {tensor.describe()} was fed {array.dtype} values, which do not convert to "
            f"{tensor.dtype} without loss; convert them with astype\n  at {user_location()}"
        )
    declared = tensor.type.shape
    fits = array.ndim == len(declared) and all(
        isinstance(d, Dim) or d == n for d, n in zip(declared, array.shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"input {tensor.name!r} has shape {show_shape(declared)} but was fed an array of "
            f"shape {array.shape}\n  at {user_location()}"
        )
    return array
