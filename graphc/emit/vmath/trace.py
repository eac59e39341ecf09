"""Scalar arithmetic that writes LLVM IR: what the formulas of this package are made of.

A formula is a Python function of :class:`Real` values. Running it emits straight-line code with
no branch, which LLVM's loop vectoriser widens to the full register of the host. Two rules keep
the error bounds when a kernel is compiled with looser floating-point flags:

* every ``+ - *`` carries the flag ``arcp``, which means nothing to them. Numba adds a kernel's
  flags only to instructions that have none, so ``reassoc`` and ``contract`` never reach a formula
  and compensated sums survive;
* products are fused where, and only where, the formula says so: :func:`fma` where it rests on the
  single rounding, which is then computed on any processor; :func:`muladd` where that is a gain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from graphc.jit.llvm import ir
from graphc.machine import known

EXACT = ("arcp",)

Number = float | int


class Value:
    """An LLVM value and the builder that made it."""

    __slots__ = ("builder", "ir")

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder = builder
        self.ir = value

    @property
    def element(self) -> Any:
        """The LLVM type of the scalar."""
        kind = self.ir.type
        return kind.element if isinstance(kind, ir.VectorType) else kind

    @property
    def width(self) -> int:
        """Bits of the scalar."""
        if isinstance(self.element, ir.IntType):
            return int(self.element.width)
        return 32 if isinstance(self.element, ir.FloatType) else 64

    def shaped(self, scalar: Any) -> Any:
        """Return the type with ``scalar`` for elements and as many of them."""
        kind = self.ir.type
        return ir.VectorType(scalar, kind.count) if isinstance(kind, ir.VectorType) else scalar

    def constant(self, number: Number) -> Any:
        """Return a number as an LLVM constant of this type."""
        kind = self.ir.type
        if isinstance(kind, ir.VectorType):
            return ir.Constant(kind, [ir.Constant(kind.element, number)] * kind.count)
        return ir.Constant(kind, number)

    def call(self, name: str, *args: Value) -> Any:
        """Call the LLVM intrinsic ``name`` of this type on values of this type."""
        kind, letter = self.ir.type, "i" if isinstance(self.element, ir.IntType) else "f"
        lanes = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
        full = f"llvm.{name}.{lanes}{letter}{self.width}"
        signature = ir.FunctionType(kind, [kind] * len(args))
        module = self.builder.module
        function = module.globals.get(full) or ir.Function(module, signature, full)
        return self.builder.call(function, [a.ir for a in args])


class Bool(Value):
    """A condition."""

    __slots__ = ()

    def lift(self, other: Bool | bool) -> Bool:
        """Return a truth value as a constant of this type."""
        return other if isinstance(other, Bool) else Bool(self.builder, self.constant(other))

    def __and__(self, other: Bool) -> Bool:
        return Bool(self.builder, self.builder.and_(self.ir, other.ir))

    def __or__(self, other: Bool) -> Bool:
        return Bool(self.builder, self.builder.or_(self.ir, other.ir))

    def __xor__(self, other: Bool) -> Bool:
        return Bool(self.builder, self.builder.xor(self.ir, other.ir))

    def __invert__(self) -> Bool:
        return Bool(self.builder, self.builder.not_(self.ir))


class Int(Value):
    """A signed integer, or the bits of a real; arithmetic wraps."""

    __slots__ = ()

    def lift(self, other: Int | int) -> Int:
        """Return a number as a constant of this type."""
        if isinstance(other, Int):
            return other
        return Int(self.builder, self.constant(other))

    def _binary(self, emit: Callable[..., Any], other: Int | int) -> Int:
        return Int(self.builder, emit(self.ir, self.lift(other).ir))

    def __add__(self, other: Int | int) -> Int:
        return self._binary(self.builder.add, other)

    def __sub__(self, other: Int | int) -> Int:
        return self._binary(self.builder.sub, other)

    def __mul__(self, other: Int | int) -> Int:
        return self._binary(self.builder.mul, other)

    def __and__(self, other: Int | int) -> Int:
        return self._binary(self.builder.and_, other)

    def __or__(self, other: Int | int) -> Int:
        return self._binary(self.builder.or_, other)

    def __xor__(self, other: Int | int) -> Int:
        return self._binary(self.builder.xor, other)

    def __lshift__(self, other: int) -> Int:
        return self._binary(self.builder.shl, other)

    def __rshift__(self, other: int) -> Int:
        """Shift right, filling with the sign."""
        return self._binary(self.builder.ashr, other)

    def _compare(self, how: str, other: Int | int) -> Bool:
        return Bool(self.builder, self.builder.icmp_signed(how, self.ir, self.lift(other).ir))

    def __lt__(self, other: Int | int) -> Bool:
        return self._compare("<", other)

    def __gt__(self, other: Int | int) -> Bool:
        return self._compare(">", other)

    def equals(self, other: Int | int) -> Bool:
        return self._compare("==", other)

    def shift_down(self, places: int) -> Int:
        """Shift right, filling with 0."""
        return self._binary(self.builder.lshr, places)

    def number(self) -> Real:
        """Return the real of this value and width, rounded."""
        kind = self.shaped(ir.FloatType() if self.width == 32 else ir.DoubleType())
        return Real(self.builder, self.builder.sitofp(self.ir, kind))

    def real(self) -> Real:
        """Return the real that has these bits."""
        kind = self.shaped(ir.FloatType() if self.width == 32 else ir.DoubleType())
        return Real(self.builder, self.builder.bitcast(self.ir, kind))


class Real(Value):
    """A float32 or float64. Comparisons are false for NaN, except ``differs``."""

    __slots__ = ()

    @property
    def single(self) -> bool:
        return isinstance(self.element, ir.FloatType)

    @property
    def wide(self) -> bool:
        """Whether the vector fills a register of AVX-512, so that its instructions are there."""
        return isinstance(self.ir.type, ir.VectorType) and self.width * self.ir.type.count == 512

    def lift(self, other: Real | Number) -> Real:
        """Return a number as a constant of this type."""
        if isinstance(other, Real):
            return other
        return Real(self.builder, self.constant(float(other)))

    def _binary(self, emit: Callable[..., Any], other: Real | Number) -> Real:
        return Real(self.builder, emit(self.ir, self.lift(other).ir, flags=EXACT))

    def __add__(self, other: Real | Number) -> Real:
        return self._binary(self.builder.fadd, other)

    __radd__ = __add__

    def __sub__(self, other: Real | Number) -> Real:
        return self._binary(self.builder.fsub, other)

    def __rsub__(self, other: Number) -> Real:
        return self.lift(other) - self

    def __mul__(self, other: Real | Number) -> Real:
        return self._binary(self.builder.fmul, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Real | Number) -> Real:
        # "contract" is the flag that means nothing to a division
        other = self.lift(other)
        return Real(self.builder, self.builder.fdiv(self.ir, other.ir, flags=("contract",)))

    def __rtruediv__(self, other: Number) -> Real:
        return self.lift(other) / self

    def __neg__(self) -> Real:
        return Real(self.builder, self.builder.fneg(self.ir, flags=EXACT))

    def __abs__(self) -> Real:
        return Real(self.builder, self.call("fabs", self))

    def _compare(self, how: str, other: Real | Number) -> Bool:
        return Bool(self.builder, self.builder.fcmp_ordered(how, self.ir, self.lift(other).ir))

    def __lt__(self, other: Real | Number) -> Bool:
        return self._compare("<", other)

    def __le__(self, other: Real | Number) -> Bool:
        return self._compare("<=", other)

    def __gt__(self, other: Real | Number) -> Bool:
        return self._compare(">", other)

    def __ge__(self, other: Real | Number) -> Bool:
        return self._compare(">=", other)

    def equals(self, other: Real | Number) -> Bool:
        return self._compare("==", other)

    def isnan(self) -> Bool:
        return Bool(self.builder, self.builder.fcmp_unordered("uno", self.ir, self.ir))

    def bits(self) -> Int:
        """Return the bit pattern."""
        kind = self.shaped(ir.IntType(self.width))
        return Int(self.builder, self.builder.bitcast(self.ir, kind))

    def intrinsic(self, name: str, *others: Real | Number) -> Real:
        """Return LLVM's ``name`` of this and other values: rint, floor, sqrt, maximum, ..."""
        return Real(self.builder, self.call(name, self, *map(self.lift, others)))

    def double(self) -> Real:
        """Return the same number in double precision."""
        kind = self.shaped(ir.DoubleType())
        return Real(self.builder, self.builder.fpext(self.ir, kind))

    def rounded(self) -> Real:
        """Return a double in single precision, rounded."""
        kind = self.shaped(ir.FloatType())
        return Real(self.builder, self.builder.fptrunc(self.ir, kind))

    def copysign(self, sign: Real) -> Real:
        return self.intrinsic("copysign", sign)


def fused() -> bool:
    """Whether one instruction multiplies and adds with a single rounding."""
    return known().isa.fma


def fma(a: Real | Number, b: Real | Number, c: Real | Number) -> Real:
    """``a b + c``, rounded once; exact where a number is.

    Where the processor cannot: float32 in double precision; float64 from the exact product and sum,
    for ``|a|`` and ``|b|`` below 2^995, with an error of a hair over half a unit.
    """
    real = next(v for v in (a, b, c) if isinstance(v, Real))
    x, y, z = real.lift(a), real.lift(b), real.lift(c)
    if fused():
        return x.intrinsic("fma", y, z)
    if real.single:
        return (x.double() * y.double() + z.double()).rounded()
    product, rest = two_product(x, y)
    total, low = two_sum(product, z)
    return total + (low + rest)


def muladd(a: Real | Number, b: Real | Number, c: Real | Number) -> Real:
    """``a b + c``, rounded once where the processor has an instruction for that, else twice."""
    real = next(v for v in (a, b, c) if isinstance(v, Real))
    return fma(a, b, c) if fused() else real.lift(a) * b + c


V = TypeVar("V", Real, Int, Bool)


def select(condition: Bool, yes: V | Number, no: V | Number) -> V:
    """``yes if condition else no``, without a branch; one of the two may be a number."""
    value: Any = yes if isinstance(yes, Value) else no
    first, second = value.lift(yes), value.lift(no)
    chosen: V = type(value)(value.builder, value.builder.select(condition.ir, first.ir, second.ir))
    return chosen


def clamp(x: Real, low: Number, high: Number) -> Real:
    """``x`` held in ``[low, high]``; NaN stays NaN."""
    x = select(x > high, high, x)
    return select(x < low, low, x)


def estrin(x: Real, coefficients: Sequence[Real | float]) -> Real:
    """``c[0] + c[1] x + c[2] x^2 + ...`` in pairs: a short chain of dependent operations."""
    rest = [x.lift(c) for c in coefficients]
    power = x
    while len(rest) > 1:
        pairs = zip(rest[::2], rest[1::2], strict=False)
        odd_one = rest[-1:] if len(rest) % 2 else []
        rest = [muladd(high, power, low) for low, high in pairs] + odd_one
        power = power * power
    return rest[0]


def polynomial(x: Real, coefficients: Sequence[Real | float]) -> Real:
    """``c[0] + c[1] x + c[2] x^2 + ...``, each step fused if that is possible.

    The first two steps, which decide the rounding error, are Horner's; the rest is Estrin's.
    """
    first, second, *rest = coefficients
    return muladd(muladd(estrin(x, rest), x, second) if rest else x.lift(second), x, first)


def two_sum(a: Real, b: Real) -> tuple[Real, Real]:
    """``a + b`` rounded, and exactly what the rounding left (Knuth)."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


def _halves(x: Real) -> tuple[Real, Real]:
    """Return two doubles of 26 digits whose sum is ``x`` (Veltkamp)."""
    scaled = x * (2.0**27 + 1)
    high = scaled - (scaled - x)
    return high, x - high


def two_product(a: Real, b: Real) -> tuple[Real, Real]:
    """``a b`` of doubles rounded, and exactly what the rounding left (Dekker), without an fma."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    rest = a_high * b_high - product + a_high * b_low + a_low * b_high + a_low * b_low
    return product, rest
