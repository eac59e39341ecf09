"""Functions that kernels call: compiled as LLVM code that we write, run as Python they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def compiled(emit: Function) -> Callable[[Function], Function]:
    """Compile calls of a function as what ``emit(builder, *values)`` writes, and returns."""

    def enter(function: Function) -> Function:
        function.emit = emit  # type: ignore[attr-defined]
        return function

    return enter
