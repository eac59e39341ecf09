"""Functions that kernels call, which Numba compiles as LLVM code that we write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.jit.numba import AbstractTemplate, infer_global, lower_builtin, signature, types


def register(
    function: Callable[..., Any], typed: Callable[[tuple[Any, ...]], Any], lower: Callable[..., Any]
) -> None:
    """Let Numba compile calls of ``function``, whose result is ``typed(types of operands)``.

    ``lower(context, builder, signature, operands)`` writes the code and returns the result.
    """

    class Template(AbstractTemplate):
        key = function

        def generic(self, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
            args = tuple(map(types.unliteral, args))
            return signature(typed(args), *args)

    infer_global(function, types.Function(Template))
    lower_builtin(function, types.VarArg(types.Any))(lower)
