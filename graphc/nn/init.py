"""Initialisers: functions ``(shape, rng) -> array`` of a parameter's first values.

``zeros`` and ``ones`` are initialisers; the other functions return one. A weight's shape is
``(in, out)`` or ``(*window, in, out)``: its fan-in is the product of all but the last axis, the
inputs that one output sums over.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from graphc.errors import ArgumentError, ShapeError, user_location
from graphc.ir.op import Array
from graphc.ir.source import Initializer

Shape = tuple[int, ...]
Fan = Literal["fan_in", "fan_out", "fan_avg"]


def zeros(shape: Shape, rng: np.random.Generator) -> Array:
    return np.zeros(shape)


def ones(shape: Shape, rng: np.random.Generator) -> Array:
    return np.ones(shape)


def constant(value: Any) -> Initializer:
    """Every element ``value``, or an array that broadcasts to the shape."""
    return lambda shape, rng: np.broadcast_to(value, shape)


def uniform(low: float = 0.0, high: float = 1.0) -> Initializer:
    """Uniform in ``[low, high)``."""
    return lambda shape, rng: rng.uniform(low, high, shape)


def normal(mean: float = 0.0, std: float = 1.0) -> Initializer:
    return lambda shape, rng: rng.normal(mean, std, shape)


def truncated_normal(
    mean: float = 0.0, std: float = 1.0, lower: float = -2.0, upper: float = 2.0
) -> Initializer:
    """Normal, with what lies outside ``mean + std * [lower, upper]`` drawn again.

    ``std`` is that of the normal distribution before it is cut.
    """
    inside = (math.erf(upper / math.sqrt(2)) - math.erf(lower / math.sqrt(2))) / 2
    if inside < 1e-3:
        raise ArgumentError(
            f"truncated_normal: a normal number lies within [{lower}, {upper}] standard "
            f"deviations with probability {inside:.1e}; widen the bounds\n  at {user_location()}"
        )

    def draw(shape: Shape, rng: np.random.Generator) -> Array:
        values = rng.standard_normal(shape)
        while (outside := (values < lower) | (values > upper)).any():
            values[outside] = rng.standard_normal(int(outside.sum()))
        return mean + std * values

    return draw


def fans(shape: Shape) -> tuple[int, int]:
    """Return how many inputs one output sums over, and how many outputs one input feeds."""
    if len(shape) < 2:
        raise ShapeError(
            f"fan-in and fan-out need a weight of at least 2 dimensions, got shape {shape}; "
            f"for a bias use zeros, constant, uniform or normal"
        )
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def variance_scaling(
    scale: float, fan: Fan, distribution: Literal["uniform", "normal"]
) -> Initializer:
    """Variance ``scale / fan`` about zero; the schemes below are its special cases."""

    def draw(shape: Shape, rng: np.random.Generator) -> Array:
        fan_in, fan_out = fans(shape)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[fan]
        std = math.sqrt(scale / n) if n else 0.0
        if distribution == "normal":
            return rng.normal(0.0, std, shape)
        bound = math.sqrt(3.0) * std
        return rng.uniform(-bound, bound, shape)

    return draw


def xavier_uniform(gain: float = 1.0) -> Initializer:
    """Variance ``2 gain^2 / (fan_in + fan_out)`` (Glorot and Bengio, AISTATS 2010)."""
    return variance_scaling(gain**2, "fan_avg", "uniform")


def xavier_normal(gain: float = 1.0) -> Initializer:
    """Variance ``2 gain^2 / (fan_in + fan_out)`` (Glorot and Bengio, AISTATS 2010)."""
    return variance_scaling(gain**2, "fan_avg", "normal")


def he_uniform(slope: float = 0.0, fan: Fan = "fan_in") -> Initializer:
    """Variance ``2 / ((1 + slope^2) fan)``, for ReLU with that slope below zero.

    He et al., *Delving Deep into Rectifiers*, ICCV 2015.
    """
    return variance_scaling(2.0 / (1.0 + slope**2), fan, "uniform")


def he_normal(slope: float = 0.0, fan: Fan = "fan_in") -> Initializer:
    """Variance ``2 / ((1 + slope^2) fan)``, for ReLU with that slope below zero.

    He et al., *Delving Deep into Rectifiers*, ICCV 2015.
    """
    return variance_scaling(2.0 / (1.0 + slope**2), fan, "normal")


kaiming_uniform, kaiming_normal = he_uniform, he_normal


def lecun_uniform() -> Initializer:
    """Variance ``1 / fan_in`` (LeCun et al., *Efficient BackProp*, 1998, section 4.6)."""
    return variance_scaling(1.0, "fan_in", "uniform")


def lecun_normal() -> Initializer:
    """Variance ``1 / fan_in`` (LeCun et al., *Efficient BackProp*, 1998, section 4.6)."""
    return variance_scaling(1.0, "fan_in", "normal")


def orthogonal(gain: float = 1.0) -> Initializer:
    """``gain`` times a random matrix with orthonormal columns, or rows if those are fewer.

    All axes but the last count as rows. The Q of a normal matrix's QR, with R's diagonal made
    positive, is uniformly distributed (Mezzadri, Notices of the AMS 54, 2007; for networks
    Saxe et al., ICLR 2014).
    """

    def draw(shape: Shape, rng: np.random.Generator) -> Array:
        fans(shape)
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(tall)
        q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
        return gain * (q if rows >= columns else q.T).reshape(shape)

    return draw
