"""The way back of pooling: greatest elements put where they were."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.ir.op import Array, Sample, function
from graphc.ir.tensor import Tensor, apply
from graphc.ops.creation import filled
from graphc.ops.gather import as_indices
from graphc.ops.geometry import axes_of_space, known_channels, per_axis
from graphc.ops.operands import as_tensor
from graphc.ops.scatter import PutAlongAxis
from graphc.ops.shape import reshape
from graphc.types import Shape, dim_at, shape_at, size_of

SECTION = "Pooling"


def _places() -> Iterable[Sample]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 2, 3, 2))
    yield Sample((x, _of_windows(rng, 2, (2, 3), (2, 2), 2), 2))
    yield Sample((x, _of_windows(rng, 2, (2, 3), (2, 2), 2), 2), (("output_size", (5, 7)),))
    yield Sample((x[:, 0], _of_windows(rng, 2, (3,), (3,), 2), 3))


def _of_windows(rng: Any, n: int, counts: Any, window: Any, channels: int) -> Array:
    """Return a place in each of windows that lie side by side."""
    own = np.indices(counts).reshape(len(counts), 1, *counts, 1)
    within = rng.integers(0, window[0], (len(counts), n, *counts, channels))
    place = own * np.reshape(window, (-1, *(1,) * (len(counts) + 2))) + within
    space = np.multiply(counts, window)
    return np.asarray(np.ravel_multi_index(tuple(place), tuple(space)))


def _space(
    what: str, space: Shape, window: Any, stride: Any, padding: Any, output_size: Any
) -> Shape:
    rank = len(space)
    sizes = per_axis(what, "window", window, rank)
    steps = sizes if stride is None else per_axis(what, "stride", stride, rank)
    around = per_axis(what, "padding", padding, rank, 0)
    usual = tuple(
        (n - 1) * s - 2 * p + k for n, s, p, k in zip(space, steps, around, sizes, strict=True)
    )
    if output_size is None:
        return usual
    given = per_axis(what, "output_size", tuple(output_size)[-rank:], rank)
    for n, m, s in zip(given, usual, steps, strict=True):
        if isinstance(m, int) and not m - s < n < m + s:
            raise ArgumentError(
                f"{what}: output_size {tuple(given)} must be less than a stride, "
                f"{tuple(steps)}, from {usual}"
            )
    return given


def _numpy_max_unpool(
    x: Array, indices: Array, window: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Array:  # fmt: skip
    space = _space("max_unpool", x.shape[1:-1], window, stride, padding, output_size)
    result = np.zeros((len(x), dim_at(size_of(space), 0), x.shape[-1]), x.dtype)
    lines = (len(x), -1, x.shape[-1])
    np.put_along_axis(result, indices.reshape(lines), x.reshape(lines), 1)
    return result.reshape(shape_at((len(x), *space, x.shape[-1]), 0))


@function(samples=_places, reference=_numpy_max_unpool, section=SECTION)
def max_unpool(
    x: Any, indices: Any, window: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """Return zeros with the elements of ``x`` where :func:`max_pool` found them.

    ``x`` and ``indices`` are what ``max_pool(..., return_indices=True)`` returns, ``(N, *space,
    C)``, the other arguments are those it had. ``output_size`` tells apart lengths that pool to the
    same. Of elements for one place the last stays. As PyTorch's ``max_unpool2d``, channels last.
    """
    t, i = as_tensor(x), as_indices(indices)
    axes_of_space("max_unpool", t)
    if t.type.shape != i.type.shape:
        raise ShapeError(f"max_unpool: {t.describe()} and {i.describe()} need one shape")
    own = t.type.shape[1:-1]
    space = _space("max_unpool", own, window, stride, padding, output_size)
    batch, channels = t.type.shape[0], known_channels("max_unpool", t)
    count = size_of(own)
    flat, places = (reshape(v, (batch, count, channels)) for v in (t, i))
    empty = filled((batch, size_of(space), channels), 0, t.dtype)
    whole = apply(PutAlongAxis(1), empty, places, flat)
    return reshape(whole, (batch, *space, channels))
