"""Elementary functions of generated kernels: scalar, branch-free, vectorised by LLVM.

Each is a formula for float32 and float64 that is traced into the LLVM IR of the kernel that
calls it, so that a loop over elements becomes straight vector code. Called from plain Python,
the same names compute with NumPy on scalars.
"""

from graphc.runtime.vmath.activation import (
    gelu_tanh,
    log_sigmoid,
    logaddexp,
    mish,
    relu,
    sigmoid,
    silu,
    softplus,
)
from graphc.runtime.vmath.basic import (
    abs,
    ceil,
    copysign,
    floor,
    floor_divide,
    isfinite,
    isinf,
    isnan,
    maximum,
    minimum,
    nextafter,
    remainder,
    round,
    sign,
    signbit,
    trunc,
    where,
)
from graphc.runtime.vmath.error import erf, erfc, gelu
from graphc.runtime.vmath.exponential import exp, exp2, expm1
from graphc.runtime.vmath.hyperbolic import acosh, asinh, atanh, cosh, sinh, tanh
from graphc.runtime.vmath.logarithm import log, log1p, log2, log10
from graphc.runtime.vmath.power import hypot, pow, rsqrt, sqrt
from graphc.runtime.vmath.trigonometric import acos, asin, atan, atan2, cos, sin, tan
