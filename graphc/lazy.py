"""Modules that load when they are first used, so that ``import graphc`` stays quick."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType


def lazy_module(name: str) -> ModuleType:
    """Return module ``name``, executed at the first access to one of its attributes.

    See :class:`importlib.util.LazyLoader`. Raises ImportError at once if there is none.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module named {name!r}", name=name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
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
