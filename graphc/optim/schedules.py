"""Schedules of the learning rate: functions from a step or epoch, counted from 0, to a rate.

They are plain functions for callbacks; what a unit of time is, is the caller's choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

Schedule: TypeAlias = Callable[[float], float]


def constant(lr: float) -> Schedule:
    return lambda t: lr


def step(lr: float, every: int, factor: float = 0.1) -> Schedule:
    """``lr * factor ** floor(t / every)``."""
    return lambda t: lr * factor ** (t // every)


def exponential(lr: float, factor: float) -> Schedule:
    """``lr * factor ** t``."""
    return lambda t: lr * factor**t


def cosine(lr: float, total: float, minimum: float = 0.0) -> Schedule:
    """Half a cosine from ``lr`` at 0 to ``minimum`` at ``total``, and ``minimum`` from there on.

    Loshchilov and Hutter, *SGDR*, ICLR 2017, without restarts.
    """

    def rate(t: float) -> float:
        done = min(t / total, 1.0) if total else 1.0
        return minimum + (lr - minimum) * (1.0 + math.cos(math.pi * done)) / 2.0

    return rate


def warmup(after: Schedule, length: float, start: float = 0.0) -> Schedule:
    """A straight line from ``start * after(0)`` to ``after(0)`` at ``length``, then ``after``.

    ``after`` starts its own time at 0 when the line ends.
    """

    def rate(t: float) -> float:
        if t >= length:
            return after(t - length)
        return after(0) * (start + (1.0 - start) * t / length)

    return rate
