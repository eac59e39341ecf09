"""Numbers that an optimiser's step reads when it runs, and checks of what a user passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from graphc.errors import ArgumentError, DTypeError, user_location

if TYPE_CHECKING:
    from graphc.optim.optimizer import Optimizer

Check = Callable[[str, Any], float]


class Setting:
    """An attribute of an optimiser that takes effect at the next step, without recompiling.

    It is a float64 scalar beside the optimiser's state, which steps read and files keep.
    ``check`` returns the user's number or raises; with ``optional`` None means without it.
    What the rule leaves out (a decay of 0, no clipping) is no part of a compiled step, and
    assigning it then raises.
    """

    def __init__(self, check: Check, *, optional: bool = False) -> None:
        self.check = check
        self.optional = optional
        self.name = ""

    def __set_name__(self, owner: type[Optimizer], name: str) -> None:
        self.name = name

    def __get__(self, optimizer: Optimizer | None, owner: type[Optimizer]) -> Any:
        return self if optimizer is None else optimizer.read(self.name)

    def __set__(self, optimizer: Optimizer, value: Any) -> None:
        absent = value is None and self.optional
        optimizer.write(self.name, None if absent else self.check(self.name, value))


def number(what: str, value: Any) -> float:
    """Return a user's real number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        where = f"\n  at {user_location()}"
        raise DTypeError(f"{what} must be a number, not {value!r}{where}") from None


def at_least_zero(what: str, value: Any) -> float:
    result = number(what, value)
    if not result >= 0.0:
        raise ArgumentError(f"{what} must not be negative, got {value}\n  at {user_location()}")
    return result


def positive(what: str, value: Any) -> float:
    result = number(what, value)
    if not result > 0.0:
        raise ArgumentError(f"{what} must be positive, got {value}\n  at {user_location()}")
    return result


def fraction(what: str, value: Any) -> float:
    """Return a user's number of ``[0, 1)``."""
    result = number(what, value)
    if not 0.0 <= result < 1.0:
        raise ArgumentError(f"{what} must be in [0, 1), got {value}\n  at {user_location()}")
    return result
