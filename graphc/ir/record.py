"""Frozen value objects, as ``dataclass(frozen=True)`` makes them.

A dataclass compiles its methods when it is made, about 0.4 ms each; a hundred classes of ops
would take a third of the time that ``import graphc`` may take. These share theirs.
"""

from __future__ import annotations

import inspect
from itertools import chain
from typing import Any, ClassVar, Self, dataclass_transform


@dataclass_transform(eq_default=True, frozen_default=True)
class Record:
    """An immutable object with the annotated attributes as fields, equal by type and values."""

    fields: ClassVar[tuple[str, ...]] = ()
    __abstractmethods__: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = inspect.get_annotations(cls)
        new = [n for n, kind in own.items() if not str(kind).startswith("ClassVar")]
        cls.fields = (*cls.fields, *(n for n in new if n not in cls.fields))
        # As ABCMeta does it, whose isinstance takes three times as long: the compiler asks often.
        inherited = (getattr(base, "__abstractmethods__", ()) for base in cls.__bases__)
        cls.__abstractmethods__ = frozenset(
            n
            for n in chain(vars(cls), *inherited)
            if getattr(getattr(cls, n), "__isabstractmethod__", False)
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names, values = self.fields, self.__dict__
        if len(args) > len(names):
            raise TypeError(f"{type(self).__name__} takes {len(names)} values, got {len(args)}")
        values.update(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name in values or name not in names:
                raise TypeError(f"{type(self).__name__} takes no further {name!r}")
            values[name] = value
        for name in names:
            if not hasattr(self, name):
                raise TypeError(f"{type(self).__name__} needs {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable; cannot set {name!r}")

    def values(self) -> tuple[Any, ...]:
        """Return the values of the fields, in order."""
        return tuple([getattr(self, name) for name in self.fields]) if self.fields else ()

    def replaced(self, **changes: Any) -> Self:
        """Return a copy with some values changed."""
        return type(self)(**{**dict(zip(self.fields, self.values(), strict=True)), **changes})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return type(self) is type(other) and self.values() == other.values()

    def __hash__(self) -> int:
        return hash((type(self), *self.values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{n}={v!r}" for n, v in zip(self.fields, self.values(), strict=True))
        return f"{type(self).__name__}({shown})"
