"""Turn what a user passes into tensors of one data type."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphcError, user_location
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor
from graphc.ops.cast import cast
from graphc.types import BOOL, FLOAT32, INT64, promote

_WEAK = (bool, int, float)  # Python scalars take the data type of the tensors they meet


def as_tensor(value: Any) -> Tensor:
    """Return ``value`` as a tensor: itself, or a constant."""
    return value if isinstance(value, Tensor) else constant(value)


def _weak_dtype(dtype: np.dtype[Any], value: bool | int | float) -> np.dtype[Any]:
    """Return the type of Python number ``value`` next to tensors of ``dtype``."""
    if isinstance(value, bool):
        return dtype
    if isinstance(value, int):
        return INT64 if dtype == BOOL else dtype
    return dtype if dtype.kind == "f" else FLOAT32


def common(what: str, *values: Any, floating: bool = False) -> tuple[Tensor, ...]:
    """Return ``values`` as tensors cast to one data type.

    Tensors and arrays promote by the array API's table; Python scalars are weak.
    With ``floating``, integers and bools become float32.
    """
    strong = [as_tensor(v) for v in values if not isinstance(v, _WEAK)]
    weak = [v for v in values if isinstance(v, _WEAK)]
    if not strong:
        strong = [constant(weak[0])]
    dtype = promote(*[t.dtype for t in strong])
    for value in weak:
        dtype = promote(dtype, _weak_dtype(dtype, value))
    if floating and dtype.kind != "f":
        dtype = FLOAT32
    try:
        return tuple(_to(v, dtype) for v in values)
    except (GraphcError, OverflowError) as error:
        raise DTypeError(f"{what}: {error}\n  at {user_location()}") from None


def _to(value: Any, dtype: np.dtype[Any]) -> Tensor:
    if isinstance(value, _WEAK):
        return constant(value, dtype)
    return cast(as_tensor(value), dtype)
