"""What AVX-512 has and scalar code lacks: tables in registers, exponents and mantissas.

The functions take vectors of a whole register (:attr:`.trace.Real.wide`). Formulas that use them
are traced once for the register and called from the loop; see :mod:`.variants`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.emit.vmath.trace import Bool, Int, Real, Value, fma, polynomial
from graphc.jit.llvm import ir

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


def estimate(d: Real) -> Real:
    """``1 / d`` to 14 bits; exact for powers of two."""
    return _call(d, "rcp14", d, *_all_lanes(d))


def inverse(d: Real) -> Real:
    """``1 / d`` to half of the digits: an estimate for float32, a step of Newton's for float64."""
    r = estimate(d)
    return r if d.single else fma(r, fma(-d, r, 1.0), r)


def quotient(a: Real, d: Real) -> Real:
    """``a / d`` to 0.7 units in the last place, where ``d`` and its inverse are normal numbers.

    From half of the digits and an exact residual: a division takes as long, and keeps all pipes
    of the processor from other work.
    """
    if not d.wide:
        return a / d
    r = inverse(d)
    q = a * r
    return fma(fma(-d, q, a), r, q)


def inverse_root(x: Real) -> Real:
    """``1 / sqrt(x)`` to 14 bits."""
    return _call(x, "rsqrt14", x, *_all_lanes(x))


def root(x: Real) -> Real:
    """``sqrt(x)`` to 0.7 units in the last place for positive normal ``x``, like a quotient."""
    if not x.wide:
        return x.intrinsic("sqrt")
    r = inverse_root(x)
    s, half = x * r, r * 0.5
    if not x.single:
        e = fma(-s, half, 0.5)
        s, half = fma(s, e, s), fma(half, e, half)
    return fma(fma(-s, s, x), half, s)


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


def uniform(x: Real, step: float, table: Sequence[Sequence[float]]) -> Real:
    """A function of ``0 <= x <= 15.5 step`` in float64, from its :func:`.tables.uniform`."""
    large = 1.5 * 2.0**52
    shifted = fma(x, 1 / step, large)
    index = shifted.bits()
    d = fma(shifted - large, -step, x)
    return polynomial(d, [lookup(row, index) for row in table])
