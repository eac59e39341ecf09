"""Modules that load when they are first used, so that ``import graphc`` stays quick."""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Whole(Loader):
    """Executes a module whole or not at all: what failed once fails again, in the same words."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        names = vars(module)
        before = dict(names)
        try:
            self._loader.exec_module(module)
        except Exception as error:
            said = error
            names.clear()
            names.update(before)

            def fail(name: str) -> object:
                raise type(said)(*said.args) from said

            names["__getattr__"] = fail
            raise

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)


def lazy_module(name: str) -> ModuleType:
    """Return module ``name``, executed at the first access to one of its attributes.

    See :class:`importlib.util.LazyLoader`. Raises ImportError at once if there is none.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module named {name!r}", name=name)
    spec.loader = importlib.util.LazyLoader(_Whole(spec.loader))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    spec.loader.exec_module(module)
    parent, _, own = name.rpartition(".")
    if parent:  # as an import statement does, on which others rely
        setattr(sys.modules[parent], own, module)
    return module
