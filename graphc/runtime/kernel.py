"""Kernels: functions of raw pointers and integers that compute a range of one axis."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import CodeType
from typing import Any

POINTER = "*"


class Kernel:
    """A kernel as a Python function ``f(lo, hi, *arguments)`` and its argument types.

    The function is compiled when it is first needed; called directly it runs as plain Python
    on NumPy arrays.
    """

    def __init__(self, function: Callable[..., None], types: tuple[str, ...]) -> None:
        self.function = function
        self.types = types
        self.name = function.__name__

    def __call__(self, lo: int, hi: int, *arguments: Any) -> None:
        self.function(lo, hi, *arguments)

    def digest(self) -> bytes:
        """Return a hash of the code and the types: equal for equal work."""
        content = repr((self.types, _describe(self.function.__code__)))
        return hashlib.sha256(content.encode()).digest()


def _describe(code: CodeType) -> tuple[Any, ...]:
    constants = tuple(_describe(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.co_code, code.co_names, code.co_varnames, constants


def kernel(signature: str) -> Callable[[Callable[..., None]], Kernel]:
    """Declare a kernel; ``signature`` gives its arguments after ``lo`` and ``hi``.

    For example ``"x0: float32*, y1: float32*, n0: int64"``.
    """
    types = tuple(part.partition(":")[2].strip() for part in signature.split(",") if part.strip())

    def declare(function: Callable[..., None]) -> Kernel:
        return Kernel(function, types)

    return declare
