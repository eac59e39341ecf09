"""Modules that load when they are first used, so that ``import graphc`` stays quick."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from collections.abc import Iterator, MutableMapping
from types import ModuleType
from typing import Any, TypeVar

from graphc.forks import whole

IMPORTED = time.time_ns()
"""When the first modules of graphc were imported: nanoseconds since 1970."""


class _Lazy(ModuleType):
    """Stands for a module, and imports it at the first access to an attribute.

    By Python's own import, which lets one thread execute a module while others wait, and
    forgets one that failed: :class:`importlib.util.LazyLoader` does neither. A fork waits.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(loaded(self), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(loaded(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(loaded(self), name)

    def __dir__(self) -> list[str]:
        return dir(loaded(self))


def imported(name: str) -> ModuleType:
    """Return module ``name``, executed whole, by this thread or by another that is at it."""
    with whole(logs=False):
        return importlib.import_module(name)


def loaded(module: ModuleType) -> ModuleType:
    """Return the module that stands behind a lazy one, executed; others as they are."""
    if not isinstance(module, _Lazy):
        return module
    own = vars(module)
    if "_loaded" not in own:
        own["_loaded"] = imported(own["__name__"])
    found: ModuleType = own["_loaded"]
    return found


def lazy_module(name: str) -> ModuleType:
    """Return module ``name``, executed at the first access to one of its attributes.

    Raises ImportError at once if there is none.
    """
    if name in sys.modules:
        return sys.modules[name]
    if importlib.util.find_spec(name) is None:
        raise ImportError(f"no module named {name!r}", name=name)
    return _Lazy(name)


T = TypeVar("T")


class Registry(MutableMapping[str, T]):
    """Values by name, which the modules of a package enter as they are executed.

    Readers find all of them: who asks for a name that is not there yet, or for every name, has the
    package imported. So a tensor that comes out of a file, say, knows its operators.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._entered: dict[str, T] = {}

    def _all(self) -> dict[str, T]:
        imported(self._package)
        return self._entered

    def enter(self, name: str, value: T) -> None:
        """Add a value, or raise ValueError if there is one of that name."""
        if name in self._entered:
            raise ValueError(f"two are named {name!r}")
        self._entered[name] = value

    def __getitem__(self, name: str) -> T:
        try:
            return self._entered[name]
        except KeyError:
            return self._all()[name]

    def __setitem__(self, name: str, value: T) -> None:
        self._entered[name] = value

    def __delitem__(self, name: str) -> None:
        del self._entered[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())
