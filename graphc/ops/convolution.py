"""Convolutions: windows of an image, which are a view, contracted with a kernel.

Images are ``(N, *space, C)``, kernels ``(*window, C // groups, out)``. Two ops are closed under
derivatives: the convolution of an image whose elements zeros *spread* apart, its own transpose,
and the sum over an image that is the gradient of the kernel (Dumoulin and Visin, *A guide to
convolution arithmetic for deep learning*, 2016, arXiv:1603.07285). Both are contractions of a view:
no window is copied, and zeros between elements are not multiplied.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import Array, Composite, add_all, register
from graphc.ir.tensor import Tensor, apply
from graphc.ops.batched import merged
from graphc.ops.creation import filled
from graphc.ops.einsum import einsum
from graphc.ops.interleave import Interleave
from graphc.ops.reduce import sum
from graphc.ops.shape import permute_dims, reshape
from graphc.ops.slices import Embed, Slice, flip
from graphc.ops.windows import sliding_window_view
from graphc.types import (
    AnyDim,
    Dim,
    Shape,
    TensorType,
    dim_at,
    dim_ceildiv,
    dim_max,
    dim_min,
    shape_at,
    show_dim,
)

Place = tuple[int, ...]
"""A number for each axis of space."""

SPACE, WINDOW = "xyzuvw", "ijklpq"
"""Labels of the axes of an image and of a kernel."""


class _Windowed(Composite):
    """What convolutions have in common: how windows lie along the axes of space.

    Element k of window o is element ``o * step + k * gap - start`` of the image, whose own lie
    ``spread`` apart; everything else, beyond its ends too, is zero.
    """

    steps: tuple[int, ...]
    starts: tuple[int, ...]
    """How far before the image the first window begins: what padding is there."""
    gaps: tuple[int, ...]
    spread: tuple[int, ...]
    lengths: Shape
    """The number of windows along each axis."""
    groups: int

    def nonnegative(self, *types: TensorType) -> tuple[AnyDim, ...]:
        return tuple(d - 1 for d in self.lengths if isinstance(d, Dim))

    def reach(self, window: Shape) -> Shape:
        """Return how many elements all windows together go over."""
        return tuple(
            (m - 1) * step + (k - 1) * gap + 1
            for m, step, k, gap in zip(self.lengths, self.steps, window, self.gaps, strict=True)
        )

    def transposed(self, space: Shape, window: Shape) -> Convolution:
        """Return the convolution that takes a cotangent to that of an image of ``space``."""
        starts = tuple(
            (dim_at(k, 0) - 1) * gap - start
            for k, gap, start in zip(window, self.gaps, self.starts, strict=True)
        )
        return Convolution(self.spread, starts, self.gaps, self.steps, space, self.groups)

    def bordered(self, x: Tensor, window: Shape) -> Tensor:
        """Return what all windows together go over."""
        lead, *space, channels = x.type.shape
        first, count, place = [], [], []
        reach = self.reach(window)
        for n, start, apart, long in zip(space, self.starts, self.spread, reach, strict=True):
            first.append(max(0, -(start // apart)))
            place.append(start + first[-1] * apart)
            seen = dim_ceildiv(long - place[-1], apart)
            count.append(dim_max(dim_min(n - first[-1], seen), 0))
        if count != space:
            cut = Slice((0, *first, 0), (1,) * x.ndim, (lead, *count, channels))
            x = apply(cut, x)
        if list(reach) == count and set(self.spread) == {1}:
            return x
        shape = (lead, *reach, channels)
        return apply(Embed((0, *place, 0), (1, *self.spread, 1), shape), x)

    def windows(self, x: Tensor, window: Shape) -> Tensor:
        """Return a view of the windows: ``(N, *lengths, *window, groups, C // groups)``."""
        rank, channels = len(window), dim_at(x.type.shape[-1], 0)
        axes = tuple(range(1, rank + 1))
        seen = sliding_window_view(
            self.bordered(x, window), _known(window), axes, stride=self.steps, dilation=self.gaps
        )
        order = (0, *axes, *range(rank + 2, 2 * rank + 2), rank + 1)
        shape = (x.type.shape[0], *self.lengths, *window, self.groups, channels // self.groups)
        return reshape(permute_dims(seen, order), shape)

    def taps(self, x: Array, window: Place) -> Iterator[tuple[Place, Array, Array]]:
        """Yield each place in a window, what is there, and the windows in which something is.

        The second is ``(N, *lengths, groups, C // groups)``; padding counts as something.
        """
        lengths = shape_at(self.lengths, 0)
        for tap in np.ndindex(*window):
            seen, found = x, np.ones((*lengths, 1, 1), bool)
            for axis in range(len(window)):
                at = np.arange(lengths[axis]) * self.steps[axis]
                at += tap[axis] * self.gaps[axis] - self.starts[axis]
                number, rest = np.divmod(at, self.spread[axis])
                inside = (number >= 0) & (number < x.shape[axis + 1])
                behind = (1,) * (x.ndim - axis - 2)
                seen = np.take(seen, np.where(inside, number, 0), axis + 1)
                seen = np.where(inside.reshape(-1, *behind), seen, x.dtype.type(0))
                found &= (rest == 0).reshape(-1, *behind, 1)
            yield tap, self._in_groups(seen), found

    def _in_groups(self, x: Array) -> Array:
        """Return ``x`` with an axis for each group's part of its last."""
        return x.reshape(*x.shape[:-1], self.groups, x.shape[-1] // self.groups)


@merged(0)
@register
class Convolution(_Windowed):
    """Sum over a window and over the channels of a group: ``(N, *lengths, out)``."""

    def infer(self, *types: TensorType) -> TensorType:
        x, w = types
        if x.ndim != w.ndim or w.ndim != len(self.steps) + 2:
            raise ShapeError(f"a convolution over {len(self.steps)} axes does not take {x} and {w}")
        channels, out = x.shape[-1], w.shape[-1]
        if w.shape[-2] * self.groups != channels or dim_at(out, 0) % self.groups:
            raise ShapeError(
                f"{self.groups} groups of {show_dim(channels)} channels do not fit the kernel {w}"
            )
        return x.with_shape((x.shape[0], *self.lengths, out))

    def numpy(self, *arrays: Array) -> Array:
        x, w = arrays
        *window, _, out = w.shape
        total = np.zeros(
            (len(x), *shape_at(self.lengths, 0), self.groups, out // self.groups), x.dtype
        )
        parts = self._in_groups(w)
        for tap, seen, found in self.taps(x, tuple(window)):
            each = np.einsum("...gc,cgo->...go", seen, parts[tap])
            total += np.where(found, each, x.dtype.type(0))
        return total.reshape(*total.shape[:-2], out)

    def expand(self, *inputs: Tensor) -> Tensor:
        x, w = inputs
        if x.size == 0 or w.size == 0:
            return filled(self.infer(x.type, w.type).shape, 0, x.dtype)
        if set(self.spread) == {1}:
            return self._contracted(x, w)
        if all(step == 1 for step, apart in zip(self.steps, self.spread, strict=True) if apart > 1):
            return self._by_phases(x, w)
        return self._contracted(x, w)

    def _contracted(self, x: Tensor, w: Tensor) -> Tensor:
        *window, depth, out = w.type.shape
        per = dim_at(out, 0) // self.groups
        seen = self.windows(x, tuple(window))
        parts = reshape(w, (*window, depth, self.groups, per))
        if self.groups > 1 and 1 in (depth, per):
            result = _by_lanes(seen, parts, len(window))
        else:
            s, k = SPACE[: len(window)], WINDOW[: len(window)]
            result = einsum(f"n{s}{k}gc,{k}cgo->n{s}go", seen, parts)
        return reshape(result, (x.type.shape[0], *self.lengths, out))

    def _by_phases(self, x: Tensor, w: Tensor) -> Tensor:
        """Return the convolutions of which each gives every ``spread``-th element of the result.

        Between the elements of the image stand zeros; each phase meets no other taps than those
        that meet an element.
        """
        axes = [
            [self._phase(axis, r, dim_at(w.type.shape[axis], 0)) for r in range(apart)]
            for axis, apart in enumerate(self.spread)
        ]
        found, places = [], []
        for phases in itertools.product(*axes):
            taps, starts, gaps, lengths = zip(*(p[1:] for p in phases), strict=True)
            if any(t is None for t in taps) or 0 in lengths:
                continue
            steps = tuple(
                1 if s > 1 else step for s, step in zip(self.spread, self.steps, strict=True)
            )
            part = Convolution(steps, starts, gaps, (1,) * len(gaps), lengths, self.groups)
            found.append(part._contracted(x, w[taps]))
            places.append((0, *(p[0] for p in phases), 0))
        shape = (x.type.shape[0], *self.lengths, w.type.shape[-1])
        if not found:
            return filled(shape, 0, x.dtype)
        return apply(Interleave((1, *self.spread, 1), tuple(places), shape), *found)

    def _phase(
        self, axis: int, number: int, window: int
    ) -> tuple[int, slice | None, int, int, AnyDim]:
        """Return the convolution that gives element ``number`` of an axis and every so many on.

        That is: their number, the taps, where the first window begins, the gaps and the lengths.
        """
        apart, gap, start = self.spread[axis], self.gaps[axis], self.starts[axis]
        if apart == 1:
            return 0, slice(None), start, gap, self.lengths[axis]
        first = next((k for k in range(window) if (number + k * gap - start) % apart == 0), None)
        length = dim_ceildiv(self.lengths[axis] - number, apart)
        if first is None:
            return number, None, 0, 1, length
        every = apart // math.gcd(gap, apart)
        begin = -((number + first * gap - start) // apart)
        return number, slice(first, None, every), begin, every * gap // apart, length

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        x, w = inputs
        window = w.type.shape[:-2]
        return self.by_image(g, x, w), apply(self._weights(window), x, g)

    def by_image(self, g: Tensor, x: Tensor, w: Tensor) -> Tensor:
        """Return the cotangent of the image ``x`` for that of the result."""
        *window, depth, out = w.type.shape
        rank = len(window)
        parts = reshape(w, (*window, depth, self.groups, dim_at(out, 0) // self.groups))
        turned = permute_dims(parts, (*range(rank), rank + 2, rank + 1, rank))
        turned = reshape(turned, (*window, turned.type.shape[rank], depth * self.groups))
        flipped = flip(turned, tuple(range(rank)))
        return apply(self.transposed(x.type.shape[1:-1], tuple(window)), g, flipped)

    def _weights(self, window: Shape) -> ConvolutionOfWeights:
        own = (self.steps, self.starts, self.gaps, self.spread, self.lengths, self.groups)
        return ConvolutionOfWeights(*own, _known(window))

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        return _bilinear(self, tangents, inputs)

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        *window, depth, _ = types[1].shape
        return out.size * math.prod(dim_at(k, 0) for k in (*window, depth)) * 2


@register
class ConvolutionOfWeights(_Windowed):
    """The cotangent of a convolution's kernel: sums over images, ``(*window, C // groups, out)``.

    Operands are the images, and the cotangent of the result that they gave.
    """

    window: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        x, g = types
        return x.with_shape((*self.window, dim_at(x.shape[-1], 0) // self.groups, g.shape[-1]))

    def numpy(self, *arrays: Array) -> Array:
        x, g = arrays
        parts = self._in_groups(g)
        result = np.zeros((*self.window, x.shape[-1] // self.groups, g.shape[-1]), x.dtype)
        for tap, seen, found in self.taps(x, self.window):
            each = np.einsum("...gc,...go->...cgo", seen, np.where(found, parts, x.dtype.type(0)))
            result[tap] = each.sum(tuple(range(seen.ndim - 2))).reshape(result[tap].shape)
        return result

    def expand(self, *inputs: Tensor) -> Tensor:
        x, g = inputs
        shape = self.infer(x.type, g.type).shape
        if x.size == 0 or g.size == 0:
            return filled(shape, 0, x.dtype)
        seen = self.windows(x, self.window)
        rank, per = len(self.window), dim_at(shape[-1], 0) // self.groups
        parts = reshape(g, (*g.type.shape[:-1], self.groups, per))
        s, k = SPACE[:rank], WINDOW[:rank]
        if self.groups > 1 and 1 in (shape[-2], per):
            ones = parts.type.shape
            parts = reshape(parts, (*ones[: rank + 1], *(1,) * rank, self.groups, 1, per))
            seen = reshape(seen, (*seen.type.shape, 1))
            result = sum(seen * parts, tuple(range(rank + 1)))
            order = (*range(rank), rank + 1, rank, rank + 2)
            return reshape(permute_dims(result, order), shape)
        return reshape(einsum(f"n{s}{k}gc,n{s}go->{k}cgo", seen, parts), shape)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        x, result = inputs
        own = (self.steps, self.starts, self.gaps, self.spread, self.lengths, self.groups)
        forward = Convolution(*own)
        return forward.by_image(result, x, g), apply(forward, x, g)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        return _bilinear(self, tangents, inputs)

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        depth = types[0].shape[-1]
        per = dim_at(depth, 0) // self.groups
        return types[1].size * math.prod(self.window) * per * 2


def _known(window: Shape) -> Place:
    return tuple(dim_at(k, 0) for k in window)


def _by_lanes(seen: Tensor, parts: Tensor, rank: int) -> Tensor:
    """Sum products of windows and a kernel of one channel a group, or one result, by channels.

    ``seen`` is ``(N, *lengths, *window, groups, c)`` and ``parts`` ``(*window, c, groups, o)``.
    """
    order = (*range(rank), rank + 1, rank, rank + 2)
    seen = reshape(seen, (*seen.type.shape, 1))
    return sum(seen * permute_dims(parts, order), (*range(rank + 1, 2 * rank + 1), 2 * rank + 2))


def _bilinear(
    op: Composite, tangents: Sequence[Tensor | None], inputs: Sequence[Tensor]
) -> Tensor | None:
    (a, b), (ta, tb) = inputs, tangents
    left = [] if ta is None else [apply(op, ta, b)]
    return add_all([*left, *([] if tb is None else [apply(op, a, tb)])])
