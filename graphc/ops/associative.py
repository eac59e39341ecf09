"""Running totals by any associative function, in a logarithm of the length many steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.errors import ArgumentError, DTypeError, ShapeError, user_location
from graphc.ir.tensor import FUNCTIONS, Tensor, apply
from graphc.ops.carries import filled, leaves, tensor
from graphc.ops.interleave import Interleave
from graphc.tree import tree_aligned, tree_shown

Tensors = Sequence[Tensor]


def associative_scan(
    f: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0
) -> Any:
    """Return the running totals of ``elems`` along ``axis``, by the associative function ``f``.

    ``f(a, b)`` combines slices of many places at once: tensors of the structure and shapes of
    ``elems``, but for their length along ``axis``. With ``f = add`` it is a cumulative sum; a
    linear recurrence ``h_t = a_t h_{t-1} + b_t`` is one of ``f((a, b), (c, d)) = (c a, c b + d)``.
    Elements are combined in pairs, then these, about ``2 log2(n)`` calls of ``f`` for n elements,
    each of them over whole tensors; ``gx.scan`` takes n steps. With ``reverse`` totals run from
    the end. The length must be fixed. As ``jax.lax.associative_scan`` (Blelloch, *Prefix Sums and
    Their Applications*, 1990).

    Raises :class:`ArgumentError`, :class:`DTypeError` or :class:`ShapeError` where lengths differ
    or are open, or ``f`` changes structure, type or shape.
    """
    where = f"\n  at {user_location()}"
    if not callable(f):
        raise DTypeError(
            f"associative_scan: the first argument must be a function, not {f!r}{where}"
        )
    given = [tensor("associative_scan", t, where) for t in leaves(elems)]
    if not given:
        raise ArgumentError(f"associative_scan: elems has no tensor{where}")
    for t in given:
        if not -t.ndim <= axis < t.ndim:
            raise ShapeError(f"associative_scan: {t.describe()} has no axis {axis}{where}")
        length = t.type.shape[axis]
        if not isinstance(length, int):
            raise ArgumentError(
                f"associative_scan: the length of {t.describe()} along axis {axis} is open; it "
                f"must be fixed, or take gx.scan{where}"
            )
        if length != given[0].type.shape[axis]:
            raise ShapeError(f"associative_scan: elems differ in length along axis {axis}{where}")
    turned = [_turned(t, axis, reverse) for t in given]
    totals = _totals(lambda a, b: _combined(f, elems, a, b, axis, where), turned)
    return filled(elems, [_back(t, axis, reverse) for t in totals])


def _turned(t: Tensor, axis: int, reverse: bool) -> Tensor:
    """Return ``t`` with ``axis`` first, from its end on if asked."""
    moved: Tensor = FUNCTIONS["moveaxis"](t, axis, 0) if axis % t.ndim else t
    turned: Tensor = FUNCTIONS["flip"](moved, axis=0) if reverse else moved
    return turned


def _back(t: Tensor, axis: int, reverse: bool) -> Tensor:
    turned: Tensor = FUNCTIONS["flip"](t, axis=0) if reverse else t
    moved: Tensor = FUNCTIONS["moveaxis"](turned, 0, axis) if axis % t.ndim else turned
    return moved


def _combined(
    f: Callable[[Any, Any], Any], like: Any, a: Tensors, b: Tensors, axis: int, where: str
) -> Tensors:
    """Return what the user's function makes of two runs of elements."""
    left, right = ([_back(t, axis, False) for t in part] for part in (a, b))
    made = f(filled(like, left), filled(like, right))
    found = tree_aligned(made, like)
    if found is None:
        raise ArgumentError(
            f"associative_scan: elems are {tree_shown(like)} and the function returns "
            f"{tree_shown(made)}; both must have one structure{where}"
        )
    out = [tensor("associative_scan", t, where) for t in found if t is not None]
    for new, old in zip(out, left, strict=True):
        if new.dtype != old.dtype:
            raise DTypeError(
                f"associative_scan: the function makes {new.type} of {old.type}; the type must "
                f"stay{where}"
            )
        if new.type.shape != old.type.shape:
            raise ShapeError(
                f"associative_scan: the function makes {new.type} of {old.type}; the shape must "
                f"stay{where}"
            )
    return [_turned(t, axis, False) for t in out]


def _totals(combine: Callable[[Tensors, Tensors], Tensors], elems: Tensors) -> Tensors:
    """Return the totals along the first axis: those of pairs, and the others from these."""
    length = elems[0].type.shape[0]
    assert isinstance(length, int)
    if length < 2:
        return elems
    pairs = combine([t[:-1:2] for t in elems], [t[1::2] for t in elems])
    odd = _totals(combine, pairs)
    even: Tensors = [t[:1] for t in elems]
    if length > 2:
        later = combine([t[: (length - 1) // 2] for t in odd], [t[2::2] for t in elems])
        even = [FUNCTIONS["concat"](pair) for pair in zip(even, later, strict=True)]
    return [_woven(a, b) for a, b in zip(even, odd, strict=True)]


def _woven(even: Tensor, odd: Tensor) -> Tensor:
    """Return the elements of two tensors in turn."""
    rest = even.ndim - 1
    length = even.type.shape[0] + odd.type.shape[0]
    steps, places = (2, *[1] * rest), ((0, *[0] * rest), (1, *[0] * rest))
    return apply(Interleave(steps, places, (length, *even.type.shape[1:])), even, odd)
