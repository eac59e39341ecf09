"""What a user passes for the declared inputs, turned into arrays in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from graphc.errors import ArgumentError, DTypeError, ShapeError, user_location
from graphc.feeds import Feed
from graphc.ir.op import Array
from graphc.ir.sizes import size_name
from graphc.ir.source import Input
from graphc.ir.tensor import Tensor
from graphc.types import BATCH


class Slot(Feed):
    """One declared input or target of a model, whose first axis may be the batch."""

    __slots__ = ()

    def __init__(self, role: str, tensor: Tensor) -> None:
        if not isinstance(tensor, Tensor) or not isinstance(tensor.op, Input):
            shown = tensor.describe() if isinstance(tensor, Tensor) else repr(tensor)
            raise DTypeError(
                f"Model: {shown} is not an input; declare {role}s with gx.input"
                f"\n  at {user_location()}"
            )
        super().__init__(role, tensor)
        if not all(isinstance(d, int) or (a == 0 and d == BATCH) or size_name(d)
                   for a, d in enumerate(tensor.type.shape)):  # fmt: skip
            raise ShapeError(
                f"Model: the {role} {tensor.describe()} has dimensions computed from the batch; "
                "its first one can be None, all others must be numbers or names"
                f"\n  at {user_location()}"
            )

    def fits(self, value: Any) -> bool:
        """Tell whether ``value`` can be fed as it is."""
        return super().fits(value) and value.flags.c_contiguous

    def convert(self, array: Array) -> Array:
        """Return what :meth:`view` gave as it is fed: row-major, in the declared type."""
        return np.asarray(array, self.dtype, order="C")


class Structure:
    """Declared inputs or targets: one Tensor, a list, a tuple, a dict, or None for none."""

    def __init__(self, role: str, declared: Any) -> None:
        self.role = role
        self.keys: tuple[str, ...] | None = None
        self.single = isinstance(declared, Tensor)
        if isinstance(declared, Mapping):
            self.keys = tuple(declared)
            leaves = tuple(declared.values())
        elif isinstance(declared, (list, tuple)):
            leaves = tuple(declared)
        else:
            leaves = () if declared is None else (declared,)
        self.slots = tuple(Slot(role, leaf) for leaf in leaves)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(slot.tensor for slot in self.slots)

    def flatten(self, data: Any) -> Sequence[Any]:
        """Return the user's values in the order of the slots."""
        if self.single:
            if data is None:
                self._refuse(f"no value for the {self.slots[0].label}")
            return (data,)
        if not self.slots:
            if data is not None:
                self._refuse(f"the model has no {self.role}s; leave them out")
            return ()
        if self.keys is not None:
            return self._by_name(data, self.keys)
        if not isinstance(data, (list, tuple)) or len(data) != len(self.slots):
            got = f"{len(data)} values" if isinstance(data, (list, tuple)) else _kind(data)
            names = ", ".join(slot.tensor.name for slot in self.slots)
            self._refuse(f"the model's {self.role}s are a list of {len(self.slots)} ({names}), "
                         f"got {got}")  # fmt: skip
        return data

    def _by_name(self, data: Any, keys: tuple[str, ...]) -> Sequence[Any]:
        if not isinstance(data, Mapping):
            names = ", ".join(map(repr, keys))
            self._refuse(f"the model's {self.role}s are a dict of {names}, got {_kind(data)}")
        missing = [key for key in keys if key not in data]
        extra = [key for key in data if key not in keys]
        if missing or extra:
            said = [f"missing {', '.join(map(repr, missing))}"] if missing else []
            said += [f"unknown {', '.join(map(repr, extra))}"] if extra else []
            self._refuse(f"the {self.role}s do not fit: {'; '.join(said)}")
        return [data[key] for key in keys]

    def _refuse(self, message: str) -> NoReturn:
        raise ArgumentError(f"{message}\n  at {user_location()}")


def _kind(data: Any) -> str:
    return "nothing" if data is None else f"one {type(data).__name__}"


@dataclass(frozen=True)
class Data:
    """Arrays in the order of their slots, and the number of rows that the batched ones share.

    ``rows`` is None where no slot has a batch axis.
    """

    slots: tuple[Slot, ...]
    arrays: tuple[Array, ...]
    rows: int | None

    @staticmethod
    def of(slots: Sequence[Slot], values: Sequence[Any]) -> Data:
        """Check a user's values; none of them is copied or converted yet."""
        arrays = tuple(s.view(v) for s, v in zip(slots, values, strict=True))
        return Data(tuple(slots), arrays, common_rows(slots, arrays))

    def converted(self) -> Data:
        """Return the same data with every array as it is fed."""
        arrays = tuple(s.convert(a) for s, a in zip(self.slots, self.arrays, strict=True))
        return Data(self.slots, arrays, self.rows)

    def between(self, start: int, stop: int) -> Data:
        """Return the rows from ``start`` to ``stop``; arrays without a batch axis stay whole."""
        pairs = zip(self.slots, self.arrays, strict=True)
        arrays = tuple(a[start:stop] if s.batched else a for s, a in pairs)
        return Data(self.slots, arrays, None if self.rows is None else stop - start)

    def bounds(self, batch_size: int) -> list[tuple[int, int]]:
        """Return the bounds of consecutive batches, the last one as short as it comes."""
        rows = 1 if self.rows is None else self.rows
        return [(i, min(i + batch_size, rows)) for i in range(0, rows, batch_size)]


def check_is_data(value: Any) -> None:
    """Raise :class:`DTypeError` for an iterable of batches in the place of arrays."""
    kinds = (list, tuple, Mapping, np.ndarray, str, bytes)
    arrays = isinstance(value, kinds) or hasattr(value, "__array__") or hasattr(value, "shape")
    if (hasattr(value, "__iter__") or hasattr(value, "__getitem__")) and not arrays:
        raise DTypeError(
            f"data are arrays, and {type(value).__name__} is a set of batches; loop over it: "
            "for xb, yb in batches: model.train_step(xb, yb), or pass its arrays"
            f"\n  at {user_location()}"
        )


def common_rows(slots: Sequence[Slot], arrays: Sequence[Array]) -> int | None:
    """Return the number of rows of the batched arrays, or raise if they differ."""
    first: Slot | None = None
    rows: int | None = None
    for slot, array in zip(slots, arrays, strict=True):
        if not slot.batched:
            continue
        if first is None:
            first, rows = slot, array.shape[0]
        elif array.shape[0] != rows:
            raise ShapeError(
                f"{first.label} has {rows} rows but {slot.label} has {array.shape[0]}"
                f"\n  at {user_location()}"
            )
    return rows


def feeds(slots: Sequence[Slot], values: Sequence[Any]) -> list[Array]:
    """Return the values of one batch as they are fed."""
    arrays: list[Array] = []
    rows, agree = -1, True
    for slot, value in zip(slots, values, strict=True):
        array = value if slot.fits(value) else slot.convert(slot.view(value))
        arrays.append(array)
        if slot.batched:
            agree = agree and rows in (-1, len(array))
            rows = len(array)
    if not agree:
        common_rows(slots, arrays)  # raises, naming two of them
    return arrays


def whole_number(what: str, value: Any, least: int) -> int:
    """Return a user's integer that is at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise DTypeError(f"{what} must be an integer, not {value!r}\n  at {user_location()}")
    if value < least:
        raise ArgumentError(f"{what} must be at least {least}, got {value}\n  at {user_location()}")
    return int(value)
