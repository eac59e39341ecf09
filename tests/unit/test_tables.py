"""Tables of elementary functions: decimal functions beside mpmath, interpolation, coefficients."""

from __future__ import annotations

from decimal import Decimal, localcontext

import mpmath
import numpy as np
import pytest

from graphc.emit.vmath import analytic, tables

POINTS = ["1e-9", "0.1", "0.9", "1.7", "2.99", "3.01", "5", "12", "27"]


@pytest.mark.parametrize("x", POINTS)
def test_decimal_functions_have_25_digits(x):
    with localcontext(prec=tables.DIGITS), mpmath.workdps(60):
        m = mpmath.mpf(x)
        for got, want in (
            (analytic.erf(Decimal(x)), mpmath.erf(m)),
            (analytic.erfcx(Decimal(x)), mpmath.erfc(m) * mpmath.exp(m * m)),
        ):
            assert abs(mpmath.mpf(str(got)) / want - 1) < mpmath.mpf("1e-25")


def test_a_polynomial_is_found_again():
    wanted = [Decimal(c) for c in (3, -1, 0, 2)]
    points = [Decimal(p) for p in (-1, 2, 5, 7)]
    found = analytic.interpolated(lambda x: 3 - x + 2 * x**3, points)
    assert all(abs(f - w) < Decimal("1e-20") for f, w in zip(found, wanted, strict=True))


def scaled_erfc(w: mpmath.mpf) -> mpmath.mpf:
    a = 3 * w / (1 - w)
    return (a + 3) * mpmath.erfc(a) * mpmath.exp(a * a)


@pytest.mark.parametrize(
    ("table", "step", "function"),
    [(tables.erf_wide, tables.ERF_STEP, mpmath.erf), (tables.erfcx_wide, 1 / 16, scaled_erfc)],
)
def test_pieces_are_near_their_function_from_end_to_end(table, step, function):
    rows = np.array(table())
    for j in range(15):
        for d in (-0.5, -0.3, 0.0, 0.3, 0.5):
            if j + d <= 0:
                continue
            with mpmath.workdps(40):
                x, terms = mpmath.mpf(d * step), enumerate(rows[:, j])
                got = sum(mpmath.mpf(c) * x**i for i, c in terms)
                assert abs(got / function(mpmath.mpf((j + d) * step)) - 1) < 2.0**-52
