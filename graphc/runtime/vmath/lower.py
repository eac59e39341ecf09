"""Make a formula a function that Numba compiles and that plain Python runs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.jit.numba import AbstractTemplate, infer_global, lower_builtin, signature, types
from graphc.runtime.vmath.trace import Bool, Int, Real, Value
from graphc.runtime.vmath.variants import call_guarded, call_wide, has_wide

Plain = Callable[..., Any]
Formula = Callable[..., Value]


def _value(builder: Any, kind: Any, value: Any) -> Value:
    if kind == types.boolean:
        return Bool(builder, value)
    return (Real if isinstance(kind, types.Float) else Int)(builder, value)


def _register(function: Plain, admitted: Any, formula: Formula, emit: Callable[..., Any]) -> None:
    """Teach Numba the type of ``function`` and to compile it by ``emit(builder, values)``."""

    class Template(AbstractTemplate):
        key = function

        def generic(self, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
            args = tuple(types.unliteral(a) for a in args)
            kinds = args[1:] if args[0] == types.boolean and len(args) == 3 else args
            same = len(set(kinds)) == 1 and isinstance(kinds[0], admitted)
            if not same or kws:
                return None
            predicate = formula.__annotations__.get("return") == "Bool"
            return signature(types.boolean if predicate else kinds[0], *args)

    def lower(context: Any, builder: Any, sig: Any, args: tuple[Any, ...]) -> Any:
        return emit(builder, list(map(_value, [builder] * len(args), sig.args, args)))

    infer_global(function, types.Function(Template))
    lower_builtin(function, types.VarArg(types.Any))(lower)


def _quiet(plain: Plain, formula: Formula) -> Plain:
    """``plain`` under the name and documentation of ``formula``, without warnings."""

    @functools.wraps(formula)
    def function(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return plain(*args)

    return function


def lowered(
    plain: Plain, integers: bool = False, wide: tuple[int, ...] = ()
) -> Callable[[Formula], Plain]:
    """Compile calls as the decorated formula; compute them in plain Python by ``plain``.

    Operands have one type, float32 or float64 (with ``integers``: any integer or bool too),
    and the formula is traced for that type into the body of the calling kernel. On numbers of
    ``wide`` bits it is traced for whole registers where the processor has AVX-512.
    """
    admitted = (types.Float, types.Integer, types.Boolean) if integers else (types.Float,)

    def wrap(formula: Formula) -> Plain:
        function = _quiet(plain, formula)

        def emit(builder: Any, values: list[Any]) -> Any:
            if isinstance(values[0], Real) and values[0].width in wide and has_wide():
                return call_wide(builder, formula.__name__, formula, values)
            return formula(*values).ir

        _register(function, admitted, formula, emit)
        return function

    return wrap


def with_fallback(
    plain: Plain, within: Callable[[Real], Bool]
) -> Callable[[Callable[[Real], Real]], Plain]:
    """Like :func:`lowered`, for a formula that holds only where ``within(x)``.

    Elsewhere libm's function of the same name is called. The branch lives in a function of its
    own, of which the vectoriser is told widened versions; see :mod:`.variants`.
    """

    def wrap(formula: Callable[[Real], Real]) -> Plain:
        function = _quiet(plain, formula)
        name = formula.__name__

        def emit(builder: Any, values: list[Real]) -> Any:
            return call_guarded(builder, name, formula, within, values[0])

        _register(function, (types.Float,), formula, emit)
        return function

    return wrap
