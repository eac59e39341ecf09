"""What a caller feeds, as arrays of the declared type: for functions and models alike."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from graphc.convert import as_array, check_range, converted
from graphc.errors import DTypeError, ShapeError, user_location
from graphc.ir.op import Array
from graphc.ir.sizes import size_name
from graphc.ir.tensor import Tensor, errors_of
from graphc.types import Dim, show_shape


class Feed:
    """One input of a function or model; ``role`` says in messages what it is.

    An array as declared passes after a look at type and shape: a call takes microseconds, so its
    arguments must not cost more than it does.
    """

    __slots__ = ("batched", "dtype", "named", "ndim", "role", "tail", "tensor")

    def __init__(self, role: str, tensor: Tensor) -> None:
        shape = tensor.type.shape
        self.role = role
        self.tensor = tensor
        self.dtype = tensor.dtype
        self.ndim = len(shape)
        self.batched = bool(shape) and isinstance(shape[0], Dim) and size_name(shape[0]) is None
        self.tail = shape[1:] if self.batched else shape
        self.named = any(isinstance(d, Dim) for d in self.tail)

    @property
    def label(self) -> str:
        return f"{self.role} {self.tensor.name!r}"

    def fits(self, value: Any) -> bool:
        """Tell whether ``value`` can be fed as it is."""
        # NumPy keeps one object per native data type, so `is` costs less than `==` and is enough.
        if type(value) is not np.ndarray or value.dtype is not self.dtype:
            return False
        if self.named:
            return self._has_shape(value)
        shape: tuple[int, ...] = value.shape
        same = shape[1:] == self.tail if self.batched and shape else shape == self.tail
        return same and len(shape) == self.ndim

    def view(self, value: Any) -> Array:
        """Return ``value`` as an array of the declared shape, in a data type that converts.

        Values convert within their kind and to a wider one (:func:`numpy.can_cast`,
        ``"same_kind"``): integers become floats, and floats do not become integers. Raises
        :class:`RangeError` where the declared type does not hold an integer.
        """
        with errors_of(self.label):
            if isinstance(value, Tensor):
                raise DTypeError(f"{value.describe()} is symbolic; it takes arrays")
            array = as_array(value)
            if array.dtype.kind == "O":  # Python's integers, too large for those of NumPy
                array = converted(array, self.dtype)
        if array.dtype.kind not in "biuf":
            self._refuse_dtype(array)
        if not self._has_shape(array):
            self._refuse_shape(array)
        if not np.can_cast(array.dtype, self.dtype, "same_kind"):
            self._refuse_dtype(array)
        if self.dtype.kind == "i":
            with errors_of(self.label):
                check_range(array, self.dtype)
        return array

    def _has_shape(self, array: Array) -> bool:
        return array.ndim == self.ndim and all(
            isinstance(d, Dim) or d == n
            for d, n in zip(self.tensor.type.shape, array.shape, strict=True)
        )

    def _refuse_dtype(self, array: Array) -> NoReturn:
        advice = ""
        if array.dtype.kind in "biuf":
            advice = f'; convert them with .astype("{self.dtype.name}")'
        raise DTypeError(
            f"{self.label} is {self.dtype.name}, got values of type {array.dtype.name}{advice}"
            f"\n  at {user_location()}"
        )

    def _refuse_shape(self, array: Array) -> NoReturn:
        advice = ""
        if self.ndim == array.ndim + 1 and self.tail[-1:] == (1,):
            advice = "; add an axis with a[..., None]"
        elif self.ndim == array.ndim - 1 and array.shape[-1] == 1:
            advice = "; drop the last axis with a[..., 0]"
        raise ShapeError(
            f"{self.label} has shape {show_shape(self.tensor.type.shape)}, got an array of shape "
            f"{show_shape(array.shape)}{advice}\n  at {user_location()}"
        )
