"""Functions that kernels call, which Numba compiles as LLVM code that we write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.core import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin


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
