"""Special functions: formulas in float64 whatever the operand, exact to a few last places.

Derivatives close: that of `lgamma` is `digamma`, of which the derivatives are `polygamma` of any
order.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError
from graphc.ir.op import Array, Composite, Sample, function, register
from graphc.ir.tensor import Tensor, apply
from graphc.ops.arithmetic import abs, square
from graphc.ops.batched import grown
from graphc.ops.cast import cast
from graphc.ops.comparison import equal, maximum, where
from graphc.ops.elementwise import unary
from graphc.ops.exponential import exp, log, sqrt
from graphc.ops.operands import common
from graphc.ops.rounding import ceil, isinf, round
from graphc.ops.trigonometric import cos, sin
from graphc.types import FLOAT64, TensorType

SECTION = "Special functions"


@grown()
class Special(Composite):
    """A function of single elements that a formula in float64 computes."""

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def numpy(self, *arrays: Array) -> Array:
        (x,) = arrays
        with np.errstate(all="ignore"):
            return np.asarray(self.wide(np.asarray(x, np.longdouble)), x.dtype)

    @abstractmethod
    def wide(self, x: Any) -> Any:
        """Compute with NumPy's widest numbers."""

    def expand(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return cast(self.formula(cast(x, FLOAT64)), x.dtype)

    @abstractmethod
    def formula(self, x: Tensor) -> Tensor:
        """Return the value for float64."""

    @abstractmethod
    def slope(self, out: Tensor, x: Tensor) -> Tensor:
        """Return the derivative."""

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (g * self.slope(out, *inputs),)

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        (t,) = tangents
        return None if t is None else t * self.slope(out, *inputs)


def polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """Return ``c[0] + c[1] x + c[2] x^2 + ...``."""
    value = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        value = value * x + c
    return value


# -- the inverse error function -------------------------------------------------------------------

# Wichura, Algorithm AS 241: the percentage points of the normal distribution, Appl. Stat. 37, 1988
_CENTRE = (
    (3.3871328727963666080, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125,
     45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727),
    (1.0, 42.313330701600911252, 687.18700749205790830, 5394.1960214247511077,
     21213.794301586595867, 39307.895800092710610, 28729.085735721942674, 5226.4952788528545610),
)  # fmt: skip
_MIDDLE = (
    (1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550,
     3.64784832476320460504, 1.27045825245236838258, 0.241780725177450611770,
     0.0227238449892691845833, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187, 1.67638483018380384940, 0.689767334985100004550,
     0.148103976427480074590, 0.0151986665636164571966, 5.47593808499534494600e-4,
     1.05075007164441684324e-9),
)  # fmt: skip
_END = (
    (6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580,
     0.296560571828504891230, 0.0265321895265761230930, 1.24266094738807843860e-3,
     2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 0.599832206555887937690, 0.136929880922735805310, 0.0148753612908506148525,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
     2.04426310338993978564e-15),
)  # fmt: skip


def _ratio(x: Any, parts: tuple[tuple[float, ...], tuple[float, ...]]) -> Any:
    return polynomial(x, parts[0]) / polynomial(x, parts[1])


@register
class Erfinv(Special):
    """The inverse of ``erf``; derivative ``sqrt(pi) / 2 exp(out^2)``."""

    def wide(self, x: Any) -> Any:
        y = self._quantile(x, np.where, np.log, np.sqrt, np.abs)
        return np.where(np.abs(x) == 1, x * np.inf, np.where(np.abs(x) < 1, y, np.nan))

    def formula(self, x: Tensor) -> Tensor:
        y = self._quantile(x, where, log, sqrt, abs)
        return where(equal(abs(x), 1), x * math.inf, where(abs(x) < 1, y, math.nan))

    @staticmethod
    def _quantile(x: Any, where: Any, log: Any, sqrt: Any, abs: Any) -> Any:
        a = abs(x)
        near = a < 0.85
        q = where(near, x, 0) * 0.5
        low = q * _ratio(0.180625 - q * q, _CENTRE)
        r = sqrt(-log(where(near, 0.5, 1 - a) * 0.5))
        far = r > 5
        high = where(far, _ratio(where(far, r, 5) - 5, _END), _ratio(r - 1.6, _MIDDLE))
        return where(near, low, where(x < 0, -high, high)) * math.sqrt(0.5)

    def slope(self, out: Tensor, x: Tensor) -> Tensor:
        return exp(square(out)) * (math.sqrt(math.pi) / 2)


@function(samples=unary(-0.95, 0.95, 1e-10, -1.0, 1.0, 2.0, 1 - 1e-12, booleans=False),
          reference=lambda x: Erfinv().numpy(x * np.float32(1)), section=SECTION)  # fmt: skip
def erfinv(x: Any) -> Tensor:
    """Return the number whose ``erf`` is ``x``: infinite at -1 and 1, NaN beyond."""
    return apply(Erfinv(), *common("erfinv", x, floating=True))


# -- the gamma function -------------------------------------------------------------------------

_LGAMMA = (  # lgamma(2 + t) / t for |t| <= 1/2, interpolated at Chebyshev's points
    0.42278433509846713, 0.32246703342411326, -0.0673523010531981, 0.02058080842778038,
    -0.0073855510286719986, 0.002890510331034267, -0.0011927539118428156, 0.0005096695154115458,
    -0.00022315475400520507, 9.945767355819498e-05, -4.49263133791557e-05, 2.0505590755833454e-05,
    -9.438715099211532e-06, 4.38470440459836e-06, -2.0439048107029907e-06, 9.200527894968101e-07,
    -4.3252393445604814e-07, 2.78740805211359e-07, -1.3219945666117874e-07,
)  # fmt: skip
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156,
             -3617 / 122400)  # fmt: skip
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
"""The even ones, from the second on."""

FAR = 10
"""From where on asymptotic series are exact."""

_ROOT = (1.4616321449683622, 9.549995429965697e-17)  # of digamma, in two parts
# digamma(x) / (x - root) - _SLOPE for 1 <= x <= 2, in x - 1: Boost's digamma.hpp, John Maddock
_SLOPE = 0.99558162689208984
_DIGAMMA = (
    (0.25479851061131551, -0.32555031186804491, -0.65031853770896507, -0.28919126444774784,
     -0.045251321448739056, -0.0020713321167745952),
    (1.0, 2.0767117023730469, 1.4606242909763515, 0.43593529692665969, 0.054151797245674225,
     0.0021284987017821144, -0.55789841321675513e-6),
)  # fmt: skip


def _reflected(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``1 - x`` for negative ``x``, else ``x``; and how far ``x`` is from an integer."""
    return where(x < 0, 1 - x, x), x - round(x)


@register
class Lgamma(Special):
    """The logarithm of ``|Gamma(x)|``; derivative `digamma`."""

    def wide(self, x: Any) -> Any:
        def one(v: float) -> float:
            try:
                return math.lgamma(v)
            except (ValueError, OverflowError):  # at 0 and -1, -2, ...; beyond the largest number
                return math.inf

        return np.asarray(np.frompyfunc(one, 1, 1)(np.asarray(x, FLOAT64)), FLOAT64)

    def formula(self, x: Tensor) -> Tensor:
        a, rest = _reflected(x)
        far = a >= FAR
        b = where(far, 2, a)
        k = maximum(ceil(b - 2.5), -2)  # the steps to within 1/2 of 2
        t = b - (k + 2)
        up = b * where(k < -1, b + 1, 1)
        down: Any = 1
        for j in range(1, FAR - 1):
            down = where(k < j, 1, b - j) * down
        logarithm = log(where(far, a, where(k < 0, up, down)))
        inverse = 1 / where(far, a, 1)
        series = inverse * polynomial(square(inverse), _STIRLING)
        large = (a - 0.5) * logarithm - a + (0.5 * math.log(2 * math.pi) + series)
        value = where(far, large, t * polynomial(t, _LGAMMA) + where(k < 0, -logarithm, logarithm))
        below = math.log(math.pi) - log(abs(sin(rest * math.pi))) - value
        return where(isinf(x), math.inf, where(x < 0, below, value))

    def slope(self, out: Tensor, x: Tensor) -> Tensor:
        return digamma(x)


_gammas = unary(0.2, 6.0, -1.0, 0.0, 1.0, 2.0, 1e-10, 12.5, 1e3, -0.7, -2.3, booleans=False)


def _negative() -> Iterable[Sample]:
    yield from _gammas()
    yield Sample((np.array([-0.4, -1.3, -2.7, 9.7, 10.3, 40.0]),))


@function(samples=_negative, reference=lambda x: Lgamma().numpy(x * np.float32(1)),
          section=SECTION)  # fmt: skip
def lgamma(x: Any) -> Tensor:
    """Return ``log |Gamma(x)|``: infinite at 0 and negative integers."""
    return apply(Lgamma(), *common("lgamma", x, floating=True))


@register
class Digamma(Special):
    """The derivative of ``log Gamma(x)``; its own is `polygamma` of order 1."""

    def wide(self, x: Any) -> Any:
        a = np.where(x < 0, 1 - x, x)
        k = np.arange(64)
        y = a + 64
        tail = sum(b / (2 * j * y ** (2 * j)) for j, b in enumerate(_BERNOULLI[:6], 1))
        value = np.log(y) - 0.5 / y - tail - (1 / (a[..., None] + k)).sum(-1)
        pi, rest = np.longdouble("3.14159265358979323846264338327950288"), x - np.round(x)
        value = np.where(x < 0, value - pi / np.tan(pi * rest), value)
        value = np.where((x < 0) & (rest == 0), np.nan, value)
        return np.where(x == np.inf, x, np.where(x == 0, np.copysign(np.inf, -x), value))

    def formula(self, x: Tensor) -> Tensor:
        a, rest = _reflected(x)
        far = a >= FAR
        b = where(far, 2, a)
        small = b < 1
        k = maximum(ceil(b) - 2, 0)
        z = where(small, b + 1, b - k)
        value = (z - _ROOT[0] - _ROOT[1]) * (_ratio(z - 1, _DIGAMMA) + _SLOPE)
        for j in range(1, FAR - 1):
            value = value + where(k < j, 0, 1 / where(k < j, 1, b - j))
        value = value - where(small, 1 / b, 0)
        inverse = 1 / where(far, a, 1)
        square_ = square(inverse)
        terms = [b / (2 * j) for j, b in enumerate(_BERNOULLI, 1)]
        large = log(where(far, a, 1)) - inverse * 0.5 - square_ * polynomial(square_, terms)
        value = where(far, large, value)
        turned = rest * math.pi
        below = value - math.pi * cos(turned) / sin(turned)
        return where(x < 0, where(equal(rest, 0), math.nan, below), value)

    def slope(self, out: Tensor, x: Tensor) -> Tensor:
        return polygamma(1, x)


@function(samples=_negative, reference=lambda x: Digamma().numpy(x * np.float32(1)),
          section=SECTION)  # fmt: skip
def digamma(x: Any) -> Tensor:
    """Return the derivative of ``log Gamma(x)``; NaN at negative integers."""
    return apply(Digamma(), *common("digamma", x, floating=True))


@register
class Polygamma(Special):
    """The derivative of order ``n`` of `digamma`: ``(-1)^(n+1) n!`` times Hurwitz' zeta function.

    That by Euler and Maclaurin's formula; for negative operands the reflection formula.
    """

    n: int

    def _zeta(self, a: Any, one: Any) -> Any:
        """Return the sum of ``(a + k)^-s`` over all ``k >= 0``, ``s = n + 1``."""
        s, terms = self.n + 1, FAR + self.n
        total = sum(self._power(one / (a + k), s) for k in range(terms))
        inverse = one / (a + terms)
        factors, factor = [], 1.0
        for j, b in enumerate(_BERNOULLI, 1):
            factor *= (s + 2 * j - 3) * (s + 2 * j - 2) if j > 1 else s
            factors.append(b / math.factorial(2 * j) * factor)
        tail = polynomial(inverse * inverse, factors) * inverse
        end = self._power(inverse, s - 1)
        return total + end * (one / self.n + inverse * 0.5 + inverse * tail)

    @staticmethod
    def _power(x: Any, n: int) -> Any:
        value = x
        for bit in bin(n)[3:]:
            value = value * value * x if bit == "1" else value * value
        return value

    def _cotangent(self) -> list[float]:
        """Return the polynomial in ``cot`` that is its derivative of order ``n``, with signs."""
        c: list[float] = [0.0, 1.0]
        for _ in range(self.n):  # the derivative of cot is -(1 + cot^2)
            slope = [j * v for j, v in enumerate(c)][1:]
            c = [-(a + b) for a, b in zip([*slope, 0, 0], [0, 0, *slope], strict=True)]
        return c

    def _value(self, x: Any, a: Any, cotangent: Any, where: Any, one: Any) -> Any:
        n = self.n
        value = self._zeta(a, one) * float((-1) ** (n + 1) * math.factorial(n))
        turned = polynomial(cotangent, self._cotangent()) * math.pi ** (n + 1)
        return where(x < 0, value * float((-1) ** n) - turned, value)

    def wide(self, x: Any) -> Any:
        rest = np.where(np.isinf(x), np.nan, x - np.round(x)) * np.longdouble(math.pi)
        cotangent = np.cos(rest) / np.sin(rest)
        return self._value(x, np.where(x < 0, 1 - x, x), cotangent, np.where, np.longdouble(1))

    def formula(self, x: Tensor) -> Tensor:
        a, rest = _reflected(x)
        rest = rest * math.pi
        value: Tensor = self._value(x, a, cos(rest) / sin(rest), where, 1.0)
        return value

    def slope(self, out: Tensor, x: Tensor) -> Tensor:
        return polygamma(self.n + 1, x)


def _orders() -> Iterable[Sample]:
    x = np.random.default_rng(0).uniform(0.2, 6.0, (3, 4))
    for n in (1, 2, 3, 0):
        yield Sample((n, x))
    yield Sample((1, np.array([-0.4, -1.3, 12.0, 40.0])))
    yield Sample((2, np.array([-0.4, -1.3, 12.0, 40.0])))
    yield Sample((1, np.array([1, 2, 30])))


def _numpy_polygamma(n: int, x: Any) -> Array:
    x = np.asarray(x * np.float32(1))
    return (Polygamma(n) if n else Digamma()).numpy(x)


@function(samples=_orders, reference=_numpy_polygamma, section=SECTION)
def polygamma(n: int, x: Any) -> Tensor:
    """Return the derivative of order ``n`` of :func:`digamma` at ``x``."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
        raise ArgumentError(f"polygamma: n must be an integer that is not negative, got {n!r}")
    if n == 0:
        return digamma(x)
    return apply(Polygamma(int(n)), *common("polygamma", x, floating=True))
