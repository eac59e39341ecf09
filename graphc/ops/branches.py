"""Branches of which one is computed: ``cond`` and ``switch``, after ``jax.lax``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.errors import ArgumentError, DTypeError, GraphcError, ShapeError, user_location
from graphc.ir.results import result
from graphc.ir.source import constant
from graphc.ir.tensor import FUNCTIONS, Tensor, apply
from graphc.ops.body import closed, placeholder, zeros
from graphc.ops.carries import filled, tensor
from graphc.ops.moving import carried, mark, placed
from graphc.ops.operands import common, is_weak
from graphc.ops.random import Turn
from graphc.ops.scan import Branch
from graphc.tree import tree_aligned, tree_shown
from graphc.types import BOOL, INT64, show_shape


def cond(predicate: Any, yes: Callable[..., Any], no: Callable[..., Any], *operands: Any) -> Any:
    """Return ``yes(*operands)`` if the scalar ``predicate`` holds, else ``no(*operands)``.

    Both functions are called with symbols, and must return equal structures of tensors of equal
    types, where a Python number takes the type that it takes in :func:`where`; only what the one
    taken does is computed, when the function runs. Tensors and parameters from outside may be used
    in both, and have derivatives of any order: those of the branch taken, which alone moves the
    state of layers, such as running statistics. A predicate of numbers other than bools holds
    where it is not 0. As ``jax.lax.cond``.
    """
    where = f"\n  at {user_location()}"
    held = _scalar("cond", "predicate", predicate, where)
    if held.dtype != BOOL:
        held = held != 0
    return _chosen("cond", [held, ~held], [yes, no], operands, where)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """Return ``branches[index](*operands)``, for a scalar integer ``index``.

    An index below 0 is 0, one behind the last is the last. Otherwise as :func:`cond`; after
    ``jax.lax.switch``.
    """
    where = f"\n  at {user_location()}"
    at = _scalar("switch", "index", index, where)
    if at.dtype.kind != "i":
        raise DTypeError(f"switch: index must be an integer, not {at.describe()}{where}")
    if not isinstance(branches, Sequence) or not branches:
        raise ArgumentError(f"switch: pass one branch or more, in a list{where}")
    last = len(branches) - 1
    number = FUNCTIONS["clip"](at, 0, last)
    held = [number == constant(k, at.dtype) for k in range(last + 1)]
    return _chosen("switch", held, list(branches), operands, where)


def _chosen(
    what: str,
    held: Sequence[Tensor],
    branches: Sequence[Callable[..., Any]],
    operands: Sequence[Any],
    where: str,
) -> Any:
    """Return what the one branch does whose condition holds."""
    traces = []
    for number, branch in enumerate(branches):
        if not callable(branch):
            raise DTypeError(f"{what}: branch {number} must be a function, not {branch!r}{where}")
        before = mark()
        traces.append((before, branch(*operands)))
    like = traces[0][1]
    given = [_leaves(what, number, out, like, where) for number, (_, out) in enumerate(traces)]
    leaves = [_alike(what, own, where) for own in zip(*given, strict=True)]
    kinds = [own[0] for own in leaves]
    values: list[Tensor] = [zeros(t.type) for t in kinds]
    latest: dict[Tensor, Tensor] = {}
    """What the branches before leave of layers' state."""
    for number, (before, _) in enumerate(traces):
        own = [found[number] for found in leaves]
        _check(what, number, own, kinds, where)
        carries = [placeholder("otherwise", t.type) for t in kinds]
        moved = carried(placed(own, before, lambda: apply(Turn())), before)
        following = [*moved.roots, *moved.following]
        made = closed([*carries, *moved.carries], (), following, (), None, before, moved.carries)
        taken = FUNCTIONS["astype"](held[number], INT64)
        firsts = [*values, *(latest.get(state, state) for state in moved.firsts)]
        out = apply(Branch(made.body, 1, False, True), *firsts, *made.outside, taken)
        values = [result(out, k) for k in range(len(kinds))]
        latest |= {state: result(out, k) for k, state in enumerate(moved.firsts, len(kinds))}
    return filled(like, values)


def _leaves(what: str, number: int, out: Any, like: Any, where: str) -> list[Any]:
    """Return the leaves of what a branch returns; Python's numbers stay."""
    found = tree_aligned(out, like)
    if found is None:
        raise ArgumentError(
            f"{what}: branch 0 returns {tree_shown(like)} and branch {number} {tree_shown(out)}; "
            f"all must have one structure{where}"
        )
    return [t if is_weak(t) else tensor(what, t, where) for t in found if t is not None]


def _alike(what: str, own: Sequence[Any], where: str) -> Sequence[Tensor]:
    """Return what the branches have in one place: a number takes the type it has in ``where``."""
    if len({t.dtype for t in own if not is_weak(t)}) > 1:
        return [tensor(what, t, where) for t in own]
    try:
        return common(what, *own)
    except GraphcError as error:
        message = str(error).partition("\n  at ")[0]
        raise type(error)(f"{message}{where}") from None


def _check(
    what: str, number: int, own: Sequence[Tensor], kinds: Sequence[Tensor], where: str
) -> None:
    """Raise unless a branch returns tensors of the same types as the first one."""
    for t, kind in zip(own, kinds, strict=True):
        if t.dtype != kind.dtype:
            raise DTypeError(
                f"{what}: branch 0 returns {kind.type} (made at {kind.loc}) and branch {number} "
                f"{t.type} (made at {t.loc}); cast one of them{where}"
            )
        if t.type.shape != kind.type.shape:
            raise ShapeError(
                f"{what}: branch 0 returns {show_shape(kind.type.shape)} (made at {kind.loc}) and "
                f"branch {number} {show_shape(t.type.shape)} (made at {t.loc}); their shapes must "
                f"be equal{where}"
            )


def _scalar(what: str, name: str, value: Any, where: str) -> Tensor:
    found = tensor(what, value, where)
    if found.ndim:
        raise ShapeError(
            f"{what}: {name} must be a scalar, not {found.describe()}; gx.where chooses "
            f"element by element{where}"
        )
    return found
