"""Layers that put elements around images, or cut them off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from graphc import ops
from graphc.errors import ArgumentError, DTypeError, ShapeError, user_location
from graphc.ir.tensor import Tensor
from graphc.nn.module import Layer

Widths = int | Sequence[int]


class _Pad(Layer):
    """Pads ``rank`` axes of images ``(N, *space, C)`` or ``(*space, C)``.

    ``padding`` is a number, or two for each axis, before and behind it, of the last axis first: as
    in PyTorch. A negative one cuts elements off.
    """

    rank: ClassVar[int]
    mode: ClassVar[str] = "constant"

    def __init__(self, padding: Widths, *, name: str | None = None) -> None:
        super().__init__(name)
        kind, count = type(self).__name__, 2 * self.rank
        given = tuple(padding) if isinstance(padding, (tuple, list)) else (padding,) * count
        if any(isinstance(w, bool) or not isinstance(w, int) for w in given):
            raise DTypeError(
                f"{kind}: padding must be integers, not {padding!r}\n  at {user_location()}"
            )
        if len(given) != count:
            raise ArgumentError(
                f"{kind}: padding is a number or {count} of them, two for each axis, the last axis "
                f"first; got {padding!r}\n  at {user_location()}"
            )
        pairs = list(zip(given[::2], given[1::2], strict=True))
        self._widths = [*reversed(pairs)]
        self._value = 0.0

    def forward(self, x: Tensor) -> Tensor:
        lead = x.ndim - self.rank - 1
        if lead not in (0, 1):
            raise ShapeError(
                f"{type(self).__name__} needs images of {self.rank} axes, a last one of channels "
                f"and, before, one of the batch or none; got {x.describe()}\n  at {user_location()}"
            )
        for axis, pair in enumerate(self._widths, lead):
            self._check(x, axis, pair)
        outer = [(0, 0)] * lead + [(max(a, 0), max(b, 0)) for a, b in self._widths] + [(0, 0)]
        padded = ops.pad(x, outer, self.mode, constant_values=self._value)
        cut = [slice(max(-a, 0), -b if b < 0 else None) for a, b in self._widths]
        if all(piece == slice(0, None) for piece in cut):
            return padded
        result: Tensor = padded[(slice(None),) * lead + tuple(cut)]
        return result

    def _check(self, x: Tensor, axis: int, pair: tuple[int, int]) -> None:
        size = x.type.shape[axis]
        most = {"wrap": size, "reflect": size - 1}.get(self.mode)
        if isinstance(most, int) and max(pair) > most:
            raise ArgumentError(
                f"{type(self).__name__}: padding {max(pair)} must be at most {most} for an axis of "
                f"{size} elements in {x.describe()}\n  at {user_location()}"
            )
        if isinstance(size, int) and size + sum(pair) < 0:
            raise ShapeError(
                f"{type(self).__name__}: padding {pair} takes more than there is from an axis of "
                f"{size} elements in {x.describe()}\n  at {user_location()}"
            )


class _ConstantPad(_Pad):
    def __init__(self, padding: Widths, value: float, *, name: str | None = None) -> None:
        super().__init__(padding, name=name)
        self._value = value


class ConstantPad1d(_ConstantPad):
    """``value`` around ``(N, L, C)``, as PyTorch's."""

    rank = 1


class ConstantPad2d(_ConstantPad):
    """``value`` around ``(N, H, W, C)``, as PyTorch's."""

    rank = 2


class ConstantPad3d(_ConstantPad):
    """``value`` around ``(N, D, H, W, C)``, as PyTorch's."""

    rank = 3


class ZeroPad1d(_Pad):
    """Zeros around ``(N, L, C)``, as PyTorch's."""

    rank = 1


class ZeroPad2d(_Pad):
    """Zeros around ``(N, H, W, C)``, as PyTorch's."""

    rank = 2


class ZeroPad3d(_Pad):
    """Zeros around ``(N, D, H, W, C)``, as PyTorch's."""

    rank = 3


class ReflectionPad1d(_Pad):
    """Reflections at the first and last elements around ``(N, L, C)``, as PyTorch's."""

    rank = 1
    mode = "reflect"


class ReflectionPad2d(_Pad):
    """Reflections at the first and last elements around ``(N, H, W, C)``, as PyTorch's."""

    rank = 2
    mode = "reflect"


class ReflectionPad3d(_Pad):
    """Reflections at the first and last elements around ``(N, D, H, W, C)``, as PyTorch's."""

    rank = 3
    mode = "reflect"


class ReplicationPad1d(_Pad):
    """The first and last elements again around ``(N, L, C)``, as PyTorch's."""

    rank = 1
    mode = "edge"


class ReplicationPad2d(_Pad):
    """The first and last elements again around ``(N, H, W, C)``, as PyTorch's."""

    rank = 2
    mode = "edge"


class ReplicationPad3d(_Pad):
    """The first and last elements again around ``(N, D, H, W, C)``, as PyTorch's."""

    rank = 3
    mode = "edge"


class CircularPad1d(_Pad):
    """Elements from the other end around ``(N, L, C)``, as PyTorch's."""

    rank = 1
    mode = "wrap"


class CircularPad2d(_Pad):
    """Elements from the other end around ``(N, H, W, C)``, as PyTorch's."""

    rank = 2
    mode = "wrap"


class CircularPad3d(_Pad):
    """Elements from the other end around ``(N, D, H, W, C)``, as PyTorch's."""

    rank = 3
    mode = "wrap"
