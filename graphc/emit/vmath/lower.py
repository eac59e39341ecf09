"""Make a formula a function that kernels call and that plain Python runs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.emit.emitted import compiled
from graphc.emit.vmath.trace import Bool, Int, Real, Value
from graphc.emit.vmath.variants import call_guarded, call_wide, has_wide
from graphc.jit.llvm import ir

Plain = Callable[..., Any]
Formula = Callable[..., Value]


def _value(builder: Any, value: Any) -> Value:
    kind = value.type
    if isinstance(kind, ir.IntType):
        return (Bool if kind.width == 1 else Int)(builder, value)
    return Real(builder, value)


def _quiet(plain: Plain, formula: Formula) -> Plain:
    """``plain`` under the name and documentation of ``formula``, without warnings."""

    @functools.wraps(formula)
    def function(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return plain(*args)

    return function


def lowered(plain: Plain, wide: tuple[int, ...] = ()) -> Callable[[Formula], Plain]:
    """Compile calls as the decorated formula; compute them in plain Python by ``plain``.

    Operands have one type, for which the formula is traced into the body of the calling kernel.
    On numbers of ``wide`` bits it is traced for whole registers where the processor has AVX-512.
    """

    def wrap(formula: Formula) -> Plain:
        def emit(builder: Any, *operands: Any) -> Any:
            values: list[Any] = [_value(builder, x) for x in operands]
            if isinstance(values[0], Real) and values[0].width in wide and has_wide():
                return call_wide(builder, formula.__name__, formula, values)
            return formula(*values).ir

        return compiled(emit)(_quiet(plain, formula))

    return wrap


def with_fallback(
    plain: Plain, within: Callable[[Real], Bool]
) -> Callable[[Callable[[Real], Real]], Plain]:
    """Like :func:`lowered`, for a formula that holds only where ``within(x)``.

    Elsewhere libm's function of the same name is called. The branch lives in a function of its
    own, of which the vectoriser is told widened versions; see :mod:`.variants`.
    """

    def wrap(formula: Callable[[Real], Real]) -> Plain:
        def emit(builder: Any, x: Any) -> Any:
            return call_guarded(builder, formula.__name__, formula, within, Real(builder, x))

        return compiled(emit)(_quiet(plain, formula))

    return wrap
