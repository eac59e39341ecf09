"""Modules that load when they are first used, so that ``import graphc`` stays quick."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from types import ModuleType
from typing import Any

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


def loaded(module: ModuleType) -> ModuleType:
    """Return the module that stands behind a lazy one, executed; others as they are."""
    if not isinstance(module, _Lazy):
        return module
    own = vars(module)
    if "_loaded" not in own:
        with whole(logs=False):
            own["_loaded"] = importlib.import_module(own["__name__"])
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
