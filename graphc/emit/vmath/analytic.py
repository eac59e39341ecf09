"""Functions of decimal numbers, for tables of float64: 25 digits or more of 50."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

Function = Callable[[Decimal], Decimal]

ROOT_PI = Decimal("1.7724538509055160272981674833411451827975494561224")


def erf(x: Decimal) -> Decimal:
    """``2 x e^(-x^2) / sqrt(pi)`` times the sum of ``(2 x^2)^n / (1 3 5 ... (2n + 1))``."""
    term = total = 2 * x * (-x * x).exp() / ROOT_PI
    n = 1
    while term > total * Decimal("1e-40"):
        n += 2
        term *= 2 * x * x / n
        total += term
    return total


def erfcx(x: Decimal) -> Decimal:
    """``e^(x^2) erfc(x)`` for ``x >= 0``; from 3 on by Laplace's continued fraction."""
    if x < 3:
        return (x * x).exp() * (1 - erf(x))
    tail = x
    for n in range(90, 0, -1):
        tail = x + Decimal(n) / 2 / tail
    return 1 / (ROOT_PI * tail)


def interpolated(function: Function, points: Sequence[Decimal]) -> list[Decimal]:
    """Coefficients of the polynomial that is ``function`` at ``points``, by Newton's formula."""
    differences = [function(p) for p in points]
    for order in range(1, len(points)):
        for i in range(len(points) - 1, order - 1, -1):
            rise = differences[i] - differences[i - 1]
            differences[i] = rise / (points[i] - points[i - order])
    found = [Decimal(0)]
    for point, difference in zip(reversed(points), reversed(differences), strict=True):
        shifted = [Decimal(0), *found]
        found = [s - point * c for s, c in zip(shifted, [*found, Decimal(0)], strict=True)]
        found[0] += difference
    return found[: len(points)]
