"""Values that are computed when they are first asked for, and kept.

Python 3.11's own ``functools.cached_property`` holds a lock meanwhile, one for all objects of the
class. Threads wait for others that compute something else, and a process that is forked in such a
moment finds it held for ever (:mod:`graphc.forks`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar("T")


class cached_property(Generic[T]):
    """A property that is computed once. Two threads may both compute it, to equal values."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, owner: None, kind: type | None = None) -> Self: ...

    @overload
    def __get__(self, owner: object, kind: type | None = None) -> T: ...

    def __get__(self, owner: object | None, kind: type | None = None) -> Self | T:
        return self if owner is None else self._kept(owner)

    def _kept(self, owner: Any) -> T:
        value = owner.__dict__[self._name] = self._compute(owner)
        return value


class made_once(cached_property[T]):
    """One that must not be computed twice: others wait, at the lock ``_making`` of the object."""

    def _kept(self, owner: Any) -> T:
        with owner._making:
            kept = owner.__dict__
            return kept[self._name] if self._name in kept else super()._kept(owner)
