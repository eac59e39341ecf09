"""Random numbers in kernels: :mod:`graphc.ops.random`, one element at a time.

The words are 32 bits wide but are kept in 64 and masked: a sum or a rotation of two such words
never overflows, so the same text runs as plain Python, and compiled as vector code.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

_LOW = 0xFFFFFFFF
_PARITY = 0x1BD11BDA

_jit: Any = numba.njit(inline="always", error_model="numpy")


@_jit
def _round(x: int, y: int, rotation: int) -> tuple[int, int]:
    x = (x + y) & _LOW
    y = ((y << rotation) | (y >> (32 - rotation))) & _LOW
    return x, y ^ x


@_jit
def _even(x: int, y: int) -> tuple[int, int]:
    x, y = _round(x, y, 13)
    x, y = _round(x, y, 15)
    x, y = _round(x, y, 26)
    return _round(x, y, 6)


@_jit
def _odd(x: int, y: int) -> tuple[int, int]:
    x, y = _round(x, y, 17)
    x, y = _round(x, y, 29)
    x, y = _round(x, y, 16)
    return _round(x, y, 24)


@_jit
def threefry(a: int, b: int, x: int, y: int) -> tuple[int, int]:
    """Return the two words to which the key ``(a, b)`` takes the counter ``(x, y)``."""
    c = a ^ b ^ _PARITY
    x, y = _even((x + a) & _LOW, (y + b) & _LOW)
    x, y = _odd((x + b) & _LOW, (y + c + 1) & _LOW)
    x, y = _even((x + c) & _LOW, (y + a + 2) & _LOW)
    x, y = _odd((x + a) & _LOW, (y + b + 3) & _LOW)
    x, y = _even((x + b) & _LOW, (y + c + 4) & _LOW)
    return (x + c) & _LOW, (y + a + 5) & _LOW


@_jit
def bits(seed: int, stream: int, step: int, index: int) -> tuple[int, int]:
    """Return 64 random bits, as two words."""
    a, b = threefry(seed & _LOW, (seed >> 32) & _LOW, stream & _LOW, step & _LOW)
    return threefry(a, b, index & _LOW, (index >> 32) & _LOW)


@_jit
def uniform32(seed: int, stream: int, step: int, index: int) -> np.float32:
    """Return a float32 in [0, 1)."""
    x, _ = bits(seed, stream, step, index)
    return np.float32(x >> 8) * np.float32(2.0**-24)


@_jit
def uniform64(seed: int, stream: int, step: int, index: int) -> np.float64:
    """Return a float64 in [0, 1)."""
    x, y = bits(seed, stream, step, index)
    return np.float64((x << 21) | (y >> 11)) * np.float64(2.0**-53)
