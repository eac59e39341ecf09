"""Tables that a vector register holds, computed when they are first used.

Exponentials and logarithms come from decimal arithmetic of 50 digits. Coefficients of piecewise
polynomials interpolate at Chebyshev's nodes: in float64 for float32, in decimals for float64.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from typing import NamedTuple

import numpy as np

from graphc.emit.vmath import analytic

DIGITS = 50
ERF_STEP = 25 / 64


def two_parts(values: Sequence[Decimal], width: int) -> tuple[list[float], list[float]]:
    """Return the numbers nearest to ``values``, and what their rounding left."""
    kind = np.float32 if width == 32 else np.float64
    high = [float(kind(v)) for v in values]
    return high, [float(kind(v - Decimal(h))) for v, h in zip(values, high, strict=True)]


@functools.cache
def powers_of_two(width: int) -> tuple[list[float], list[float]]:
    """Return ``2^(j/16)`` for ``j`` from 0 to 15, in two parts."""
    with localcontext(prec=DIGITS):
        return two_parts([Decimal(2) ** (Decimal(j) / 16) for j in range(16)], width)


class Logarithms(NamedTuple):
    """Logarithms to a base of ``c``, 2 and e; high parts times any exponent are exact."""

    high: list[float]
    low: list[float]
    two: float
    two_low: float
    slope: float


@functools.cache
def inverses(width: int) -> list[float]:
    """Return ``1/c`` in 512ths for the intervals of ``[1, 2)`` that start with the same bits.

    ``c`` is about the middle of an interval, but 1 and 2 at the ends. Next to these, where the
    logarithm is small, ``1/c`` is so short that ``m/c - 1`` is exact.
    """
    count = 32 if width == 32 else 16
    whole = [round(512 / (1 + (j + 0.5) / count)) for j in range(count)]
    whole[0], whole[-1] = 512, 256
    whole[1], whole[-2] = (496, 264) if width == 32 else (480, 272)
    return [w / 512 for w in whole]


def _above(i: float, count: int) -> float:
    """The number ``i`` intervals above 3/4, of which an octave has ``count``."""
    return 0.75 + i / (2 * count) if i <= count / 2 else 0.5 + i / count


@functools.cache
def short_inverses(width: int) -> list[float]:
    """Return ``1/c`` for intervals around 3/4 and on to 3/2, of which one is around 1.

    A binary fraction, as long as lets ``m/c - 1`` be exact for all ``m`` of the interval.
    """
    count = 32 if width == 32 else 16
    return [_short_inverse(*(_above(j + i, count) for i in (-0.5, 0.0, 0.5))) for j in range(count)]


def _short_inverse(first: float, middle: float, last: float) -> float:
    fractions = (
        (round(2.0**n / middle) / 2.0**n, 2.0 ** ((middle >= 1) - n)) for n in range(8, 0, -1)
    )
    return next(
        inverse
        for inverse, most in fractions
        if middle == 1 or max(1 - first * inverse, last * inverse - 1) <= most
    )


@functools.cache
def logarithms(width: int, base: int, short: bool = False) -> Logarithms:
    """Return the table for a base, 0 meaning e, and the ``c`` of either kind of inverses."""
    inverses_of_c = (short_inverses if short else inverses)(width)
    places = 2**15 if width == 32 else 2**42
    with localcontext(prec=DIGITS):
        unit = 1 / Decimal(base).ln() if base else Decimal(1)
        values = [-Decimal(inverse).ln() * unit for inverse in inverses_of_c]
        high = [Decimal(math.floor(v * places)) / places for v in (*values, Decimal(2).ln() * unit)]
        low = [v - h for v, h in zip(values, high, strict=False)]
        two_low = Decimal(2).ln() * unit - high[-1]
        (slope,), _ = two_parts([unit], width)
        lows, _ = two_parts([*low, two_low], width)
        return Logarithms(
            [float(h) for h in high[:-1]], lows[:-1], float(high[-1]), lows[-1], slope
        )


def pieces(function: Callable[[float], float], bias: float, top: float) -> list[list[float]]:
    """Return node and five coefficients of ``function`` for each of up to 32 parts of ``[0, top]``.

    A part is where ``a + bias`` has the same exponent and first three digits; its number is the
    last two bits of the exponent and these digits. In the first, ``function`` is zero at 0 or
    not, and the error of the polynomial is relative to it.
    """
    columns = np.zeros((6, 32))
    octave = 2.0 ** math.floor(math.log2(bias))
    while octave < top + bias:
        for digits in range(8):
            low = max(octave * (1 + digits / 8) - bias, 0.0)
            high = octave * (9 + digits) / 8 - bias
            number = (int(math.log2(octave)) + 127 & 3) << 3 | digits
            if low < min(high, top):
                columns[:, number] = _piece(function, low, min(high, top))
        octave *= 2
    return columns.tolist()


def _piece(function: Callable[[float], float], low: float, high: float) -> list[float]:
    odd = low == 0 and function(0.0) == 0
    node = 0.0 if odd else float(np.float32((low + high) / 2))
    count = 4 if odd else 5
    angles = np.cos(np.pi * (np.arange(count) + 0.5) / count)
    d = (low + high) / 2 - node + (high - low) / 2 * angles
    values = np.array([function(node + v) for v in d])
    values = values / d if odd else values
    found = np.linalg.solve(np.vander(d, increasing=True), values)
    return [node, *([0.0] if odd else []), *found]


@functools.cache
def tanh() -> list[list[float]]:
    return pieces(math.tanh, 0.75, 9.5)


@functools.cache
def erf() -> list[list[float]]:
    return pieces(math.erf, 0.5, 4.1)


@functools.cache
def normal() -> list[list[float]]:
    """``e^(a^2/2)`` times the normal distribution function at ``-a``."""
    return pieces(lambda a: 0.5 * math.erfc(a * math.sqrt(0.5)) * math.exp(a * a / 2), 1.0, 14.7)


def uniform(function: analytic.Function, step: float, degree: int) -> list[list[float]]:
    """Return coefficients of ``function`` for float64 around 16 multiples of ``step``, in columns.

    Column ``j`` has those of a polynomial in ``x - j step``. Where the function is 0 at 0, the
    first has no constant, and its error is relative.
    """
    with localcontext(prec=DIGITS):
        width = Decimal(step)
        odd = function(Decimal(0)) == 0
        nodes = [j * width for j in range(16)]
        columns = [_around(function, n, width / 2, degree, odd and not n) for n in nodes]
        return [[float(c) for c in row] for row in zip(*columns, strict=True)]


def _around(
    function: analytic.Function, node: Decimal, half: Decimal, degree: int, odd: bool
) -> list[Decimal]:
    count = degree + (not odd)
    angles = [math.cos(math.pi * (i + 0.5) / count) for i in range(count)]
    d = [half * (Decimal(a) + 1) / 2 if node == 0 else half * Decimal(a) for a in angles]
    if odd:
        return [Decimal(0), *analytic.interpolated(lambda v: function(v) / v, d)]
    return analytic.interpolated(lambda v: function(node + v), d)


@functools.cache
def erf_wide() -> list[list[float]]:
    return uniform(analytic.erf, ERF_STEP, 12)


@functools.cache
def erfcx_wide() -> list[list[float]]:
    """``(a + 3) e^(a^2) erfc(a)`` as a function of ``a / (a + 3)``."""

    def function(w: Decimal) -> Decimal:
        a = 3 * w / (1 - w)
        return (a + 3) * analytic.erfcx(a)

    return uniform(function, 1 / 16, 8)


@functools.cache
def normal_wide() -> list[list[float]]:
    """``(a + 4) e^(a^2/2)`` times the normal distribution at ``-a``, as one of ``a / (a + 4)``."""

    def function(w: Decimal) -> Decimal:
        a = 4 * w / (1 - w)
        return (a + 4) / 2 * analytic.erfcx(a / Decimal(2).sqrt())

    return uniform(function, 1 / 16, 8)
