"""Values from outside as arrays of a data type: one check for all that comes in.

What a function is fed, what a model is trained on, constants, parameters and Python's numbers
pass here: no integer wraps, and no number becomes an integer that cannot hold it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import DTypeError, RangeError, ShapeError
from graphc.types import FLOAT64

_SHOWN = 128
"""Bits of an integer up to which a message writes it out."""

_UNSIGNED = 2.0**63
"""From here on NumPy makes integers without a sign, which do not mix with others."""


def as_array(value: Any) -> np.ndarray[Any, Any]:
    """Return ``value`` as an array of any data type, or raise :class:`ShapeError`.

    Of Python integers that no type of NumPy holds it is an array of objects.
    """
    try:
        array = np.asarray(value)
        mixed = array.dtype == FLOAT64 and isinstance(value, (list, tuple))
        if mixed and np.abs(array).max(initial=0) >= _UNSIGNED:
            objects = np.array(value, object)  # integers of which NumPy makes floats
            return objects if all(isinstance(v, int) for v in objects.flat) else array
        return array
    except ValueError as error:  # rows of unlike lengths, or more dimensions than there can be
        raise ShapeError(str(error)) from None


def converted(value: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return ``value`` in ``dtype``; floats lose their fraction where that is an integer type.

    Raises :class:`RangeError` where a number lies outside of an integer type, and
    :class:`DTypeError` for what is no number.
    """
    array = as_array(value)
    if array.dtype.kind == "O":
        return _large(array, dtype)
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"values of type {array.dtype} are not numbers")
    if dtype.kind == "i":
        check_range(array, dtype)
    return array.astype(dtype, copy=False)


def check_range(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> None:
    """Raise :class:`RangeError` if a number of ``array`` lies outside the integers of ``dtype``."""
    if np.can_cast(array.dtype, dtype) or not array.size:
        return
    limits = np.iinfo(dtype)
    if array.dtype.kind == "f":
        # exact in every type of floats: the limits are not, but powers of 2 are
        whole = np.trunc(array)
        outside = ~((whole >= float(limits.min)) & (whole < -float(limits.min)))
        if outside.any():
            raise RangeError(f"{array[outside].flat[0]} is out of bounds for {dtype.name}")
        return
    for extreme in (int(array.min()), int(array.max())):
        if not limits.min <= extreme <= limits.max:
            raise RangeError(f"integer {extreme} out of bounds for {dtype.name}")


def _large(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return Python's integers, too large for those of NumPy, in ``dtype``."""
    others = [v for v in array.flat if not isinstance(v, (bool, int, float, np.number, np.bool_))]
    if others:
        raise DTypeError(f"values of type object: {type(others[0]).__name__} is not a number")
    if dtype.kind == "i":
        limits = np.iinfo(dtype)
        bad = next(v for v in array.flat if not limits.min <= v <= limits.max)
        shown = bad if bad.bit_length() <= _SHOWN else f"of {bad.bit_length()} bits"
        raise RangeError(f"Python integer {shown} out of bounds for {dtype.name}")
    try:
        return array.astype(bool if dtype.kind == "b" else FLOAT64).astype(dtype)
    except OverflowError as error:
        raise RangeError(str(error)) from None
