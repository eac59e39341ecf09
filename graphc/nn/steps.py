"""Layers that go over the steps of sequences, each of which may end early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from graphc import ops
from graphc.errors import DTypeError, ShapeError, user_location
from graphc.ir.tensor import Tensor
from graphc.ops.carries import tensor
from graphc.ops.control import scan
from graphc.ops.creation import iota
from graphc.types import INT64, Shape, show_shape

Carry = tuple[Tensor, ...]
"""The state of a step: the hidden one, and that of the cell if there is one."""


def ends_of(kind: str, x: Tensor, lengths: Any, rest: int) -> Tensor | None:
    """Return where samples end, ``(N, 1, ...)`` or ``(1, ...)``; None if all take all steps.

    ``x`` are the sequences of a user, with ``rest`` axes behind that of the steps.
    """
    if lengths is None:
        return None
    where = f"\n  at {user_location()}"
    ends = tensor(f"{kind}: lengths", lengths, where)
    lead = x.type.shape[: x.ndim - rest - 1]
    if ends.dtype.kind != "i":
        raise DTypeError(f"{kind}: lengths must be integers, got {ends.describe()}{where}")
    if ends.type.shape != lead:
        raise ShapeError(
            f"{kind}: lengths must have one element for each sample of {x.describe()}, "
            f"got {ends.describe()}{where}"
        )
    return ops.reshape(ops.astype(ends, INT64), (*(lead or (1,)), *[1] * rest))


def by_steps(kind: str, x: Tensor, lengths: Any, rest: int) -> tuple[Tensor, Tensor | None, bool]:
    """Return ``(T, N, ...)`` of a user's sequences, where they end, and whether ``x`` is one alone.

    ``x`` has ``rest`` axes behind that of the steps; what lies behind an end is 0.
    """
    alone = x.ndim == rest + 1
    steps = ops.expand_dims(x, 1) if alone else ops.moveaxis(x, 1, 0)
    ends = ends_of(kind, x, lengths, rest)
    if ends is not None:
        steps = ops.where(before_end(steps, ends), steps, 0.0)
    return steps, ends, alone


def by_samples(steps: Tensor, alone: bool) -> Tensor:
    """Return ``(N, T, ...)``, or the one sequence alone, of steps ``(T, N, ...)``."""
    result: Tensor = ops.squeeze(steps, 1) if alone else ops.moveaxis(steps, 0, 1)
    return result


def before_end(steps: Tensor, ends: Tensor) -> Tensor:
    """Return which steps of ``(T, N, ...)`` are there."""
    return iota((steps.type.shape[0], *[1] * ends.ndim), 0, INT64) < ends


def over_steps(
    advance: Callable[[Tensor, Carry], Carry],
    begin: Carry,
    steps: Tensor,
    ends: Tensor | None,
    reverse: bool = False,
) -> tuple[Tensor, Carry]:
    """Return the first part of the state after each step, and the last state.

    ``advance(step, state) -> state`` sees steps ``(T, N, ...)`` one by one. From its end on the
    state of a sample stays as it is, and what is returned of a step is 0.
    """
    if ends is None and steps.type.shape[0] == 1:  # a token that is generated: no loop
        final = advance(steps[0], begin)
        return ops.expand_dims(final[0], 0), final
    if ends is None:
        final, out = scan(
            lambda state, v: (lambda new: (new, new[0]))(advance(v, state)),
            begin, steps, reverse=reverse,
        )  # fmt: skip
        return out, final

    def step(state: Carry, x: tuple[Tensor, Tensor]) -> tuple[Carry, Tensor]:
        v, at = x
        goes_on = at < ends
        new = advance(v, state)
        kept = tuple(ops.where(goes_on, a, b) for a, b in zip(new, state, strict=True))
        return kept, ops.where(goes_on, new[0], 0.0)

    places = iota(steps.type.shape[:1], 0, INT64)
    final, out = scan(step, begin, (steps, places), reverse=reverse)
    return out, final


class Stepping(Protocol):
    """A layer that goes over steps."""

    states: ClassVar[tuple[str, ...]]
    """What the tensors of its state are called."""


def given_state(
    layer: Stepping, state: Any, shapes: Sequence[Shape], dtype: np.dtype[Any]
) -> Carry:
    """Return the tensors of a state that a user gave, or zeros."""
    if state is None:
        return tuple(ops.zeros(shape, dtype=dtype) for shape in shapes)
    kind, where = type(layer).__name__, f"\n  at {user_location()}"
    several = isinstance(state, (tuple, list))
    given = list(state) if several else [state]
    if len(given) != len(layer.states) or several != (len(given) > 1):
        names = ", ".join(layer.states)
        wanted = f"({names})" if len(layer.states) > 1 else f"a tensor {names}"
        raise DTypeError(f"{kind}: state must be {wanted}, not {state!r}{where}")
    tensors = tuple(tensor(kind, t, where) for t in given)
    for name, t, shape in zip(layer.states, tensors, shapes, strict=True):
        if t.type.shape != shape:
            raise ShapeError(
                f"{kind}: the state {name} must have shape {show_shape(shape)}, got "
                f"{t.describe()}{where}"
            )
    return tuple(ops.astype(t, dtype) for t in tensors)
