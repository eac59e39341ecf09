"""Tensors repeated, element by element or side by side: broadcasts seen as longer axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, DTypeError
from graphc.ir.op import Sample, function
from graphc.ir.tensor import Tensor
from graphc.ops.operands import as_tensor
from graphc.ops.shape import SECTION, broadcast_to, expand_dims, ravel, reshape
from graphc.types import normalize_axis


def _repeats() -> Iterable[Sample]:
    x = np.arange(6.0).reshape(2, 3)
    for axis in (0, 1, -1, None):
        yield Sample((x, 3), (("axis", axis),))
    yield Sample((x, 1), (("axis", 0),))
    yield Sample((x, 0), (("axis", 0),))


@function(samples=_repeats, reference=np.repeat, section=SECTION)
def repeat(x: Any, repeats: int, axis: int | None = None) -> Tensor:
    """Return ``x`` with each element repeated along ``axis`` (default: of the flat tensor)."""
    t = as_tensor(x) if axis is not None else ravel(x)
    place = normalize_axis(0 if axis is None else axis, t.ndim)
    count = _count("repeats", repeats)
    head, dim, tail = t.type.shape[:place], t.type.shape[place], t.type.shape[place + 1 :]
    copies = broadcast_to(expand_dims(t, place + 1), (*head, dim, count, *tail))
    return reshape(copies, (*head, dim * count, *tail))


def _count(what: str, value: Any) -> int:
    """Return a number of copies, or raise in NumPy's words."""
    try:
        count = index(value)
    except TypeError:
        raise DTypeError(
            f"{what} must be an integer known before the function runs, not {value!r}"
        ) from None
    if count < 0:
        raise ArgumentError(f"{what} may not contain negative values.")
    return count


def _tilings() -> Iterable[Sample]:
    x = np.arange(6.0).reshape(2, 3)
    yield from (Sample((x, reps)) for reps in (2, (2,), (2, 1), (1, 3), (2, 3, 2), (0, 1)))


@function(samples=_tilings, reference=np.tile, section=SECTION)
def tile(x: Any, repetitions: int | Sequence[int]) -> Tensor:
    """Return ``x`` laid side by side ``repetitions`` times along each axis."""
    t = as_tensor(x)
    many = (repetitions,) if isinstance(repetitions, (int, np.integer)) else tuple(repetitions)
    rank = max(t.ndim, len(many))
    counts = [1] * (rank - len(many)) + [_count("repetitions", r) for r in many]
    dims = (1,) * (rank - t.ndim) + t.type.shape
    apart = reshape(t, [d for dim in dims for d in (1, dim)])
    copies = broadcast_to(apart, [d for c, dim in zip(counts, dims, strict=True) for d in (c, dim)])
    return reshape(copies, [dim * c for c, dim in zip(counts, dims, strict=True)])
