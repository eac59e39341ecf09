"""Loops as functions of functions: ``scan`` and ``while_loop``, after ``jax.lax``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.errors import ArgumentError, DTypeError, GraphcError, ShapeError, user_location
from graphc.ir.graph import ancestors
from graphc.ir.results import result
from graphc.ir.source import constant
from graphc.ir.tensor import FUNCTIONS, Tensor, apply
from graphc.ops.body import closed, placeholder, substituted
from graphc.ops.carries import Tensors, check_carry, filled, leaves, tensor, traced, weak_as
from graphc.ops.creation import iota
from graphc.ops.geometry import number
from graphc.ops.moving import carried, mark, placed, turn_of
from graphc.ops.operands import is_weak
from graphc.ops.scan import UNBOUNDED, Scan, While
from graphc.tree import tree_aligned, tree_shown
from graphc.types import BOOL, INT64, AnyDim, as_dim, show_shape

Step = Callable[[Any, Any], tuple[Any, Any]]


def scan(
    step: Step,
    init: Any,
    xs: Any = None,
    length: Any = None,
    *,
    axis: int = 0,
    reverse: bool = False,
    unroll: int | bool = 1,
    checkpoint: int | None = None,
    max_length: int | None = None,
) -> tuple[Any, Any]:
    """Return ``(carry, ys)``: the last carry, and what every step leaves, along ``axis``.

    ``step(carry, x) -> (carry, y)`` is called once, with symbols. ``carry`` has the structure,
    shapes and data types of ``init``; ``x`` is a slice of each of ``xs`` along ``axis``; ``y`` is
    anything. Each is a tensor or tuples, lists and dicts of tensors, or None. Tensors and
    parameters from outside are used as they are, and have derivatives of any order like the rest.
    The body is compiled once, whatever the ``length``: an integer, the name of a size ("batch" that
    of the batch), that of ``xs`` along ``axis``, or a scalar integer tensor. The first steps, as
    many as that tensor says, are taken of ``max_length``, or of those of ``xs``: all if it says
    more, none if it is negative. What others would leave is 0, and costs memory, not time. With
    ``reverse`` the last slices come first, and what a step leaves stands where its slices do. With
    ``unroll=k`` the loop takes k steps at once, with True all; that may save time, and changes
    nothing where the length is open. As ``jax.lax.scan``.

    Derivatives in reverse mode need values of all steps. With ``checkpoint=k`` the carry of every
    k-th step is kept, and the k steps from there on are computed again: of n steps, n / k + k are
    in memory, least where k is about the root of n (Griewank and Walther, *Evaluating Derivatives*,
    2008, section 12.2). The length must be fixed: neither open nor a tensor.

    A tensor of the body that depends on neither carry nor slice is computed once, before the loop.
    A random draw is another one in each step: the one that a draw before the loop, of all steps,
    would have there; one that is given its ``step`` is a function of that. What layers learn by
    themselves, such as running statistics, moves in each step.

    Raises :class:`ShapeError` or :class:`DTypeError` if the carry changes its shape or type or
    ``xs`` differ in length, :class:`ArgumentError` if its structure changes or nothing tells the
    length.
    """
    where = f"\n  at {user_location()}"
    loop = _Loop(step, init, xs, axis, where)
    count = loop.length(length, max_length)
    loop.sequences.append(iota((count,), 0, INT64))  # the numbers of steps, for draws in them
    many = 1 if loop.taken else _unrolled(unroll, count, where)
    if checkpoint is not None:
        carry, ys = loop.in_blocks(
            *_checked(checkpoint, count, loop.taken, where), reverse, loop.kept
        )
    elif isinstance(count, int) and many > 1:
        carry, ys = loop.in_blocks(count, many, reverse, loop.several)
    else:
        carry, ys = loop.run(loop.step, loop.sequences, count, reverse)
    return filled(init, carry), filled(loop.y, [_back(t, axis, where) for t in ys])


def while_loop(
    condition: Callable[[Any], Any],
    body: Callable[[Any], Any],
    init: Any,
    max_steps: Any = None,
) -> Any:
    """Return the carry, from ``init`` on, after ``body(carry) -> carry`` while a condition holds.

    ``condition(carry)`` is a scalar of bool; it is asked before each step. Both functions are
    called with symbols; the carry is as that of :func:`scan`. After ``max_steps`` the loop ends
    in any case: derivatives, of any order and both modes, need the values of all steps, whose
    memory is planned beforehand. Without it the loop has none. As ``jax.lax.while_loop``.
    """
    where = f"\n  at {user_location()}"
    for name, given in (("condition", condition), ("body", body)):
        if not callable(given):
            raise DTypeError(
                f"while_loop: {name} must be a function of the carry, not {given!r}{where}"
            )
    most = _most(max_steps, where)
    values = leaves(init)
    starts = [tensor("while_loop", t, where) for t in values]

    def holds(carry: Any) -> Tensor:
        made = tensor("while_loop", condition(carry), where)
        if made.dtype != BOOL or made.ndim:
            raise DTypeError(
                f"while_loop: condition(carry) must be a scalar of bool, not {made.type}{where}"
            )
        return made

    def step(carries: Tensors) -> tuple[Tensors, Tensors]:
        since, (count, *own) = mark(), carries
        carry = body(filled(init, own))
        following = tree_aligned(carry, init)
        if following is None:
            raise ArgumentError(
                f"while_loop: the carry begins as {tree_shown(init)} and body returns "
                f"{tree_shown(carry)}; both must have one structure{where}"
            )
        new = [tensor("while_loop", t, where) for t in following if t is not None]
        new = [weak_as(a, b) for a, b in zip(new, own, strict=True)]
        roots = [count + 1, *new, holds(filled(init, new))]
        roots = placed(roots, since, turn_of(count, most, UNBOUNDED))
        return roots[:-1], roots[-1:]

    counted, since = [constant(0, INT64), *starts], mark()
    made = traced(counted, [False, *map(is_weak, values)], step)
    check_carry("while_loop", made.firsts, made.following, where)
    moved = carried([*made.following, *made.others], since)
    *following, going = moved.roots
    loop = closed(
        [*made.carries, *moved.carries], (), [*following, *moved.following], (), going,
        states=moved.carries,
    )  # fmt: skip
    first = holds(filled(init, made.firsts[1:]))
    steps = FUNCTIONS["where"](first, constant(most, INT64), constant(0, INT64))
    firsts = [*made.firsts, *moved.firsts]
    out = apply(While(loop.body, most, False, True), *firsts, *loop.outside, steps)
    return filled(init, [result(out, k + 1) for k in range(len(values))])


def _most(max_steps: Any, where: str) -> AnyDim:
    if max_steps is None:
        return UNBOUNDED
    try:
        most = as_dim(max_steps)
    except GraphcError as error:
        raise type(error)(f"while_loop: max_steps: {error}{where}") from None
    if not isinstance(most, int) or most < 0:
        raise ArgumentError(f"while_loop: max_steps is {most}; it must be 0 or more{where}")
    return most


Flat = Callable[[Tensors, Tensors], tuple[Tensors, Tensors]]
"""A step of leaves: from carries and slices to carries and what is left."""

Block = Callable[[Tensors, Tensors, int, bool], tuple[Tensors, Tensors]]
"""So many steps, perhaps the last one first."""


class _Loop:
    """A step of the user's, seen as one from tensors to tensors, and what it starts from."""

    def __init__(self, step: Step, init: Any, xs: Any, axis: int, where: str) -> None:
        if not callable(step):
            raise DTypeError(
                f"scan: the first argument must be a function step(carry, x) -> (carry, y), not "
                f"{step!r}{where}"
            )
        self._step, self._init, self._xs, self._where = step, init, xs, where
        given = leaves(init)
        self.firsts = [tensor("scan", t, where) for t in given]
        self._weak = [is_weak(t) for t in given]
        self.sequences = [_front(tensor("scan", t, where), axis, where) for t in leaves(xs)]
        self.y: Any = None
        """What a step leaves, in the user's structure."""
        self.taken: list[Tensor] = []
        """The number of steps, if the values tell it."""
        self._count: AnyDim = 0
        self._traced: tuple[list[Tensor], list[Tensor]] | None = None
        """Carries and slices with which the step was called, and what it made of them."""

    def length(self, length: Any, max_length: Any) -> AnyDim:
        """Return the number of steps, or the most that there may be."""
        where, sequences = self._where, self.sequences
        if isinstance(length, Tensor):
            length = self._bounded(length, max_length)
        elif max_length is not None:
            raise ArgumentError(
                f"scan: max_length is for a length that is a tensor, not {length!r}{where}"
            )
        if length is not None:
            try:
                count = as_dim(length)
            except GraphcError as error:
                raise type(error)(f"scan: length: {error}{where}") from None
            if isinstance(count, int) and count < 0:
                raise ArgumentError(f"scan: length is {count}; it cannot be negative{where}")
        elif sequences:
            count = sequences[0].type.shape[0]
        else:
            raise ArgumentError(
                f"scan: pass xs, or a length; the size of the batch, which is None in a shape, is "
                f'length="batch"{where}'
            )
        for t in sequences:
            if t.type.shape[0] != count:
                raise ShapeError(
                    f"scan: {t.describe()} has {t.type.shape[0]} slices where {count} are needed; "
                    f"xs must have one length{where}"
                )
        self._count = count
        return count

    def _bounded(self, length: Tensor, max_length: Any) -> Any:
        """Note how many steps are taken; return the most that may be, or None if ``xs`` say it."""
        where = self._where
        if length.dtype.kind != "i" or length.ndim:
            raise DTypeError(
                f"scan: length must be a scalar integer, not {length.describe()}{where}"
            )
        most: Any = max_length
        if max_length is None:
            if not self.sequences:
                raise ArgumentError(
                    f"scan: length is the tensor {length.describe()}; pass max_length, the most "
                    f"steps that there may be, for what they leave needs memory{where}"
                )
            most = self.sequences[0].type.shape[0]
        elif isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < 0:
            raise ArgumentError(f"scan: max_length is {max_length!r}; it must be 0 or more{where}")
        bound = number(most)
        count = FUNCTIONS["astype"](length, INT64)
        self.taken = [FUNCTIONS["clip"](count, 0, bound)]
        return most

    def step(self, carries: Tensors, slices: Tensors) -> tuple[Tensors, Tensors]:
        """Call the user's function, or do again what it did when it was called."""
        again = self._traced
        given, count = [*carries, *slices], len(carries)
        if again is None or any(a.type != b.type for a, b in zip(given, again[0], strict=True)):
            again = self._traced = given, self._called(carries, slices)
        roots = substituted(again[1], dict(zip(again[0], given, strict=True)))
        return roots[:count], roots[count:]

    def _called(self, carries: Tensors, slices: Tensors) -> list[Tensor]:
        """Return the next carries and what is left, as the user's function has it."""
        since, (*own, number) = mark(), slices
        made = self._step(filled(self._init, carries), filled(self._xs, own))
        if not isinstance(made, (tuple, list)) or len(made) != 2:
            raise DTypeError(
                f"scan: step(carry, x) must return a pair (carry, y), not {made!r}{self._where}"
            )
        carry, self.y = made
        following = tree_aligned(carry, self._init)
        if following is None:
            raise ArgumentError(
                f"scan: the carry begins as {tree_shown(self._init)} and step returns "
                f"{tree_shown(carry)}; both must have one structure{self._where}"
            )
        roots = [t for t in (*following, *leaves(self.y)) if t is not None]
        roots = [tensor("scan", t, self._where) for t in roots]
        return placed(roots, since, turn_of(number, self._count, UNBOUNDED))

    def run(
        self,
        step: Flat,
        sequences: Sequence[Tensor],
        count: AnyDim,
        reverse: bool,
        firsts: Tensors | None = None,
    ) -> tuple[Tensors, Tensors]:
        """Return the last carries and what is left, stacked, of a loop of ``step``."""
        slices = [
            placeholder(t.label or "slice", t.type.with_shape(t.type.shape[1:])) for t in sequences
        ]
        begin, since = self.firsts if firsts is None else firsts, mark()
        made = traced(begin, self._weak, lambda carries: step(carries, slices))
        check_carry("scan", made.firsts, made.following, self._where)
        moved, many = carried([*made.following, *made.others], since), len(made.firsts)
        following, others = [*moved.roots[:many], *moved.following], moved.roots[many:]
        if slices[-1] not in set(
            ancestors([*following, *others])
        ):  # no draw asks for the step's number
            slices, sequences = slices[:-1], sequences[:-1]
        carries = [*made.carries, *moved.carries]
        loop = closed(carries, slices, following, others, states=moved.carries)
        operands = [*made.firsts, *moved.firsts, *sequences, *loop.outside, *self.taken]
        out = apply(Scan(loop.body, count, reverse, bool(self.taken)), *operands)
        places = [len(carries) + loop.body.place[t] for t in loop.values]
        return [result(out, k) for k in range(many)], [result(out, place) for place in places]

    def in_blocks(
        self, count: int, many: int, reverse: bool, block: Block
    ) -> tuple[Tensors, Tensors]:
        """Return what :meth:`run` does, of a loop over blocks of steps, and of the rest."""
        blocks, rest = divmod(count, many)
        end = blocks * many
        ahead = [t[rest:] if reverse else t[:end] for t in self.sequences]
        behind = [t[:rest] if reverse else t[end:] for t in self.sequences]
        cut = [FUNCTIONS["reshape"](t, (blocks, many, *t.type.shape[1:])) for t in ahead]
        carry, left = self.run(
            lambda carries, slices: block(carries, slices, many, reverse), cut, blocks, reverse
        )
        ys = [FUNCTIONS["reshape"](t, (end, *t.type.shape[2:])) for t in left]
        if not rest:
            return carry, ys
        carry, others = block(carry, behind, rest, reverse)
        pairs = zip(others, ys, strict=True) if reverse else zip(ys, others, strict=True)
        return carry, [FUNCTIONS["concat"](pair) for pair in pairs]

    def several(
        self, carries: Tensors, slices: Tensors, many: int, reverse: bool
    ) -> tuple[Tensors, Tensors]:
        """Take ``many`` steps one after the other, without a loop."""
        left: list[Tensors] = []
        for at in range(many):
            place = many - 1 - at if reverse else at
            following, ys = self.step(carries, [t[place] for t in slices])
            carries = [weak_as(new, old) for new, old in zip(following, carries, strict=True)]
            left.append(ys)
        ordered = left[::-1] if reverse else left
        return carries, [FUNCTIONS["stack"](ys) for ys in zip(*ordered, strict=True)]

    def kept(
        self, carries: Tensors, slices: Tensors, many: int, reverse: bool
    ) -> tuple[Tensors, Tensors]:
        """Take ``many`` steps as a loop of their own: a derivative runs it again."""
        return self.run(self.step, slices, many, reverse, carries)


def _unrolled(unroll: Any, count: AnyDim, where: str) -> int:
    """Return the number of steps that one of the loop takes."""
    if not isinstance(unroll, int) or (unroll < 1 and unroll is not False):
        raise ArgumentError(f"scan: unroll is {unroll!r}; it must be 1 or more, or True{where}")
    if not isinstance(count, int):
        return 1
    return max(1, count if unroll is True else min(int(unroll), count))


def _checked(checkpoint: Any, count: AnyDim, taken: Tensors, where: str) -> tuple[int, int]:
    """Return the steps of a loop, and of one of its blocks."""
    if not isinstance(checkpoint, int) or isinstance(checkpoint, bool) or checkpoint < 1:
        raise ArgumentError(
            f"scan: checkpoint is {checkpoint!r}; it must be None, or 1 or more{where}"
        )
    if not isinstance(count, int) or taken:
        shown = taken[0].describe() if taken else count
        raise ArgumentError(
            f"scan: checkpoint needs a fixed length, and this one is {shown}; declare the input "
            f"with a number, or leave checkpoint out{where}"
        )
    return count, max(1, min(checkpoint, count))


def _front(t: Tensor, axis: int, where: str) -> Tensor:
    """Return ``t`` with its slices along the first axis."""
    if not -t.ndim <= axis < t.ndim:
        raise ShapeError(f"scan: {t.describe()} has no axis {axis} to take slices along{where}")
    moved: Tensor = FUNCTIONS["moveaxis"](t, axis, 0) if axis % t.ndim else t
    return moved


def _back(t: Tensor, axis: int, where: str) -> Tensor:
    if not -t.ndim <= axis < t.ndim:
        raise ShapeError(
            f"scan: a step leaves {show_shape(t.type.shape[1:])} (made at {t.loc}), which cannot "
            f"be stacked along axis {axis}{where}"
        )
    moved: Tensor = FUNCTIONS["moveaxis"](t, 0, axis) if axis % t.ndim else t
    return moved
