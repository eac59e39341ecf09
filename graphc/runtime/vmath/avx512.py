"""What AVX-512 has and scalar code lacks: tables in registers, exponents and mantissas.

The functions take vectors of a whole register (:attr:`.trace.Real.wide`). Formulas that use them
are traced once for the register and called from the loop; see :mod:`.variants`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from graphc.runtime.vmath.trace import Bool, Int, Real, Value, fma

_CURRENT_ROUNDING = ir.Constant(ir.IntType(32), 4)
NOT_FINITE = 0x01 | 0x08 | 0x10 | 0x80
NOT_POSITIVE_NORMAL = 0xFF
"""Classes for :func:`is_any`: of NaN, zeros, infinities, subnormal and negative numbers."""


def _call(x: Real, name: str, *args: Any) -> Real:
    """Call the intrinsic of this name, which gives a vector like ``x``."""
    module = x.builder.module
    full = f"llvm.x86.avx512.{name}.{'ps' if x.single else 'pd'}.512"
    values = [a.ir if isinstance(a, Value) else a for a in args]
    function = module.globals.get(full) or ir.Function(
        module, ir.FunctionType(x.ir.type, [v.type for v in values]), full
    )
    return Real(x.builder, x.builder.call(function, values))


def _all_lanes(x: Real) -> tuple[Any, Any]:
    """Return the operands by which an instruction of AVX-512 computes every lane."""
    return x.lift(0.0), ir.Constant(ir.IntType(x.ir.type.count), -1)


def exponent(x: Real) -> Real:
    """``floor(log2 |x|)``; minus infinity at 0, infinity at infinity."""
    return _call(x, "mask.getexp", x, *_all_lanes(x), _CURRENT_ROUNDING)


def mantissa(x: Real) -> Real:
    """``|x|`` times the power of two that brings it into ``[1, 2)``; NaN where ``x < 0``."""
    nan_if_negative = ir.Constant(ir.IntType(32), 2 << 2)
    return _call(x, "mask.getmant", x, nan_if_negative, *_all_lanes(x), _CURRENT_ROUNDING)


def scaled(x: Real, k: Real) -> Real:
    """``x 2^floor(k)``, rounded once."""
    return _call(x, "mask.scalef", x, k, *_all_lanes(x), _CURRENT_ROUNDING)


def held(x: Real, bound: float) -> Real:
    """``x``, of a magnitude of at most ``bound``; some number of that magnitude for NaN."""
    smaller_magnitude = ir.Constant(ir.IntType(32), 2)
    lanes = _all_lanes(x)
    return _call(x, "mask.range", x, x.lift(bound), smaller_magnitude, *lanes, _CURRENT_ROUNDING)


def is_any(x: Real, classes: int) -> Bool:
    """Whether ``x`` is in one of the classes of VFPCLASS, which are bits to be added."""
    module, lanes = x.builder.module, x.ir.type.count
    full = f"llvm.x86.avx512.fpclass.{'ps' if x.single else 'pd'}.512"
    chosen = ir.Constant(ir.IntType(32), classes)
    kind = ir.FunctionType(ir.VectorType(ir.IntType(1), lanes), [x.ir.type, chosen.type])
    function = module.globals.get(full) or ir.Function(module, kind, full)
    return Bool(x.builder, x.builder.call(function, [x.ir, chosen]))


def lookup(values: Sequence[float], index: Int) -> Real:
    """``values[index mod n]`` for the ``n`` values that one or two registers hold."""
    number = ir.FloatType() if index.width == 32 else ir.DoubleType()
    lanes = index.ir.type.count
    kind = ir.VectorType(number, lanes)
    like = Real(index.builder, ir.Constant(kind, ir.Undefined))
    first, *second = (
        ir.Constant(kind, [ir.Constant(number, float(v)) for v in values[i : i + lanes]])
        for i in range(0, len(values), lanes)
    )
    if second:
        return _call(like, "vpermi2var", first, index, second[0])
    return _permute(like, first, index)


def _permute(like: Real, table: Any, index: Int) -> Real:
    module, kind = index.builder.module, like.ir.type
    full = f"llvm.x86.avx512.permvar.{'sf' if like.single else 'df'}.512"
    function = module.globals.get(full) or ir.Function(
        module, ir.FunctionType(kind, [kind, index.ir.type]), full
    )
    return Real(index.builder, index.builder.call(function, [table, index.ir]))


def piecewise(a: Real, bias: float, table: Sequence[Sequence[float]]) -> Real:
    """A function of ``a >= 0`` in float32, from its :func:`.tables.pieces`."""
    index = (a + bias).bits().shift_down(20)
    node, *c = (lookup(row, index) for row in table)
    d = a - node
    square = d * d
    return fma(square, fma(square, c[4], fma(c[3], d, c[2])), fma(c[1], d, c[0]))
