"""Kernels: functions of raw pointers and integers that compute a range of one axis."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from types import CodeType
from typing import Any

POINTER = "*"

DIGITS = 32
"""Of a digest, in the name of an entry point and of its file."""

Body = Callable[..., None]


class Kernel:
    """A kernel: a Python function ``f(lo, hi, *arguments)`` and its argument types.

    The function is compiled when it is first needed; called directly it runs as plain Python
    on NumPy arrays. ``make`` returns it; for kernels that only the compiler can make, ``code``
    is None and their identity is their name. With ``scratch``, a type of pointer, the function has
    one more argument of that type: memory of the thread that runs it, which no call passes.
    """

    def __init__(
        self,
        name: str,
        types: tuple[str, ...],
        make: Callable[[], Body],
        code: CodeType | None,
        *,
        reassociate: bool = False,
        scratch: str = "",
    ) -> None:
        self.scratch = scratch
        self.name = name
        self.types = types
        self.reassociate = reassociate
        self._make = make
        self._code = code

    @cached_property
    def function(self) -> Body:
        return self._make()

    def __call__(self, lo: int, hi: int, *arguments: Any) -> None:
        self.function(lo, hi, *arguments)

    @property
    def by_hand(self) -> bool:
        """Whether it is written in LLVM's language, with vectors and loops as they shall be."""
        return self._code is None

    def identity(self) -> str:
        """Return what the kernel computes: types, code, and the numbers that the code names.

        Equal for equal work. What graphc's own modules contribute, the loader adds.
        """
        content: Any = self.name
        if self._code is not None:
            content = _describe(self._code), _numbers(self._code, self.function.__globals__)
        return repr((self.types, content, self.reassociate, self.scratch))

    def digest(self) -> str:
        """Return a hash of the identity, which is none: other kernels may have the same."""
        return hashlib.sha256(self.identity().encode()).hexdigest()[:DIGITS]


def _describe(code: CodeType) -> tuple[Any, ...]:
    constants = tuple(_describe(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.co_code, code.co_names, code.co_varnames, constants


def _numbers(code: CodeType, names: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the constants of a module that code names, which are compiled into it."""
    found = [(name, names[name]) for name in code.co_names if name in names]
    return [(n, v) for n, v in found if type(v) in (bool, int, float, str, bytes, tuple)]


def argument_types(signature: str) -> tuple[str, ...]:
    """Return the types in ``"x: float32*, n: int64"``."""
    return tuple(part.partition(":")[2].strip() for part in signature.split(",") if part.strip())


def kernel(signature: str, *, reassociate: bool = False) -> Callable[[Body], Kernel]:
    """Declare a kernel; ``signature`` gives its arguments after ``lo`` and ``hi``.

    For example ``"x0: float32*, y1: float32*, n0: int64"``. With ``reassociate`` the compiler may
    add up a fold (``total = total + x``) in any order, as it must to fold a row with vectors.
    """

    def declare(function: Body) -> Kernel:
        types = argument_types(signature)
        code = function.__code__
        return Kernel(function.__name__, types, lambda: function, code, reassociate=reassociate)

    return declare
