"""How windows lie along the axes of an image, as a user says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError, user_location
from graphc.ir.tensor import FUNCTIONS, Tensor
from graphc.ops.creation import extent, iota
from graphc.types import INT64, AnyDim, Shape, dim_ceildiv, dim_min, show_dim

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Window:
    """Windows along axes, one number of each kind for each axis."""

    what: str
    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]

    @property
    def spans(self) -> tuple[int, ...]:
        """How many elements a window goes over."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.window, self.dilation, strict=True))

    def cut(self, place: Sequence[int]) -> tuple[slice, ...]:
        """Return the window at ``place`` as slices of a padded image."""
        each = zip(place, self.stride, self.spans, self.dilation, strict=True)
        return tuple(slice(o * s, o * s + span, d) for o, s, span, d in each)

    def count(
        self, space: Sequence[AnyDim], *, padded: bool = False, partly: bool = False
    ) -> Shape:
        """Return the number of windows in an image of ``space``.

        ``padded`` says that padding is there already, ``partly`` that a last window may go over the
        end, if it begins before that, as PyTorch's ``ceil_mode``.
        """
        result: list[AnyDim] = []
        for n, span, step, (low, high) in zip(
            space, self.spans, self.stride, self.padding, strict=True
        ):
            low, high = (0, 0) if padded else (low, high)
            spare = n + low + high - span
            if isinstance(spare, int) and spare < 0:
                raise ShapeError(
                    f"{self.what}: a window over {span} elements does not fit {show_dim(n)} "
                    f"and padding {(low, high)}"
                )
            number = dim_ceildiv(spare - step + 1, step) + 1
            if partly:
                number = dim_min(dim_ceildiv(spare, step) + 1, dim_ceildiv(n + low, step))
            result.append(number)
        return tuple(result)


def axes_of_space(what: str, x: Tensor) -> int:
    """Return the number of axes of space of images, of which there must be one."""
    if x.ndim < 3:
        raise ShapeError(f"{what} needs images (N, *space, C) with an axis of space, got {x.type}")
    return x.ndim - 2


class _Symbols:
    """Functions of tensors by NumPy's names."""

    def __getattr__(self, name: str) -> Any:
        return FUNCTIONS[name]


def functions(*lengths: AnyDim) -> Any:
    """Return NumPy, if the lengths are numbers; else what has its functions for tensors.

    So one formula serves tables of places whether they are known now or when the function runs.
    """
    return np if all(isinstance(n, int) for n in lengths) else _Symbols()


def counted(length: AnyDim, *others: AnyDim) -> Any:
    """Return the numbers from 0 up to a length: an array, or a tensor if some length is open."""
    if all(isinstance(n, int) for n in (length, *others)):
        return np.arange(length)  # type: ignore[arg-type]
    return iota((length,), 0, INT64)


def number(length: AnyDim, dtype: np.dtype[Any] = INT64) -> Any:
    """Return a length as a number, or as a tensor if it is open."""
    return dtype.type(length) if isinstance(length, int) else extent(length, dtype)


def known_channels(what: str, x: Tensor) -> int:
    """Return the number of channels, which must be a number."""
    channels = x.type.shape[-1]
    if not isinstance(channels, int):
        raise ShapeError(f"{what}: the number of channels must be known, not {x.type}")
    return channels


def per_axis(what: str, name: str, value: Any, rank: int, least: int = 1) -> tuple[int, ...]:
    """Return one integer of at least ``least`` for each of ``rank`` axes."""
    given = value if isinstance(value, (tuple, list)) else (value,) * rank
    if len(given) == 1:
        given = tuple(given) * rank
    if len(given) != rank:
        raise _refused(f"{what}: {name} has {len(given)} numbers for {rank} axes: {value!r}")
    for number in given:
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
            raise _refused(f"{what}: {name} must be integers, not {value!r}")
        if number < least:
            raise _refused(f"{what}: {name} must be at least {least}, not {value!r}")
    return tuple(int(number) for number in given)


def spatial(
    what: str, rank: int, window: Sequence[int], stride: Any, padding: Any, dilation: Any
) -> Window:
    """Return the windows that a user's arguments say.

    ``padding`` is a number, one or a pair for each axis, "valid" or "same".
    """
    steps = per_axis(what, "stride", stride, rank)
    gaps = per_axis(what, "dilation", dilation, rank)
    own = Window(what, tuple(window), steps, ((0, 0),) * rank, gaps)
    if isinstance(padding, str):
        if padding == "valid":
            return own
        if padding != "same":
            raise _refused(f'{what}: padding must be numbers, "same" or "valid", not {padding!r}')
        if any(step != 1 for step in steps):
            raise _refused(f'{what}: padding "same" needs a stride of 1, not {stride!r}')
        pairs = tuple(((span - 1) // 2, span // 2) for span in own.spans)
    elif isinstance(padding, (tuple, list)) and any(isinstance(p, (tuple, list)) for p in padding):
        if len(padding) != rank:
            raise _refused(f"{what}: padding has {len(padding)} pairs for {rank} axes")
        both = [per_axis(what, "padding", p, 2, 0) for p in padding]
        pairs = tuple((low, high) for low, high in both)
    else:
        pairs = tuple((p, p) for p in per_axis(what, "padding", padding, rank, 0))
    return Window(what, own.window, steps, pairs, gaps)


def _refused(text: str) -> ArgumentError:
    """Return the error of an argument, with the user's line."""
    return ArgumentError(f"{text}\n  at {user_location()}")
