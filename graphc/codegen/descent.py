"""Steps of gradient descent taken by the products that compute the gradient: W -= f X^T G.

A weight's gradient is as large as the weight. Where a plain step is all that reads it, tiles
subtract it from the weight as they are stored, and it is never written. Steps come after all else
that reads the weight, and after the guards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from typing import TypeAlias

from graphc.codegen.kernel import Descent, KernelCall, Touch
from graphc.codegen.product import FORM, UPDATE, C
from graphc.ir.layout import Layout
from graphc.plan.program import BY_PHASE, LAID_OUT, STEP, Buffer, Call, MatrixProduct

FACTOR = C + 1
"""Position of the address of the factor, in place of a stride over the batch."""

Pair: TypeAlias = tuple[Call, KernelCall]


def take_steps(pairs: Sequence[Pair], kept: Set[Buffer], by_phase: bool) -> list[Pair]:
    """Return the calls with products that update weights in place of their gradients.

    Gradients that are ``kept`` must be written. If phases may run alone, the products that write
    the gradients remain for these. A step that a product takes stays where it was, so that its
    parameter finds a place beside the others, but is not made.
    """
    order = _Order(pairs)
    for place, (call, kernel) in enumerate(pairs):
        step = kernel.descent
        if step is None or call.loops or step.direction in kept:
            continue
        before = order.product(step.direction, place)
        if before is None or not _is_whole(pairs[before], step):
            continue
        after = order.last_user(step.target, before, place)
        rising = order.rising(step.factor, after, place)
        if rising is None or order.changes(pairs[before][0].reads, before, after):
            continue
        fused = _stepping(pairs[before], (call, kernel))
        product = replace(pairs[before][0], made=BY_PHASE), pairs[before][1]
        order.leave(place, (replace(call, made=LAID_OUT), kernel))
        order.leave(before, product if by_phase else None)
        for factor in rising:
            order.rise(factor, after)
        order.insert(fused, after)
    return order.pairs()


def without_unread(pairs: Sequence[Pair], kept: Set[Buffer]) -> list[Pair]:
    """Return the calls, of which those that no step needs are made only where phases run alone.

    They lead to gradients alone that no update reads, and that are not among the ``kept``.
    """
    needed = set(kept)
    result = list(pairs)
    for place in reversed(range(len(pairs))):
        call, kernel = pairs[place]
        if call.made in (BY_PHASE, LAID_OUT):
            continue
        inner = all(b.kind in ("arena", "gradient") and b not in needed for b in call.writes)
        if inner and not call.loops:
            result[place] = replace(call, made=BY_PHASE), kernel
        else:
            needed.update(call.needs)
    return result


def _is_whole(pair: Pair, step: Descent) -> bool:
    """Tell whether a product is of two matrices of floats, and its result the whole gradient."""
    call, kernel = pair
    work = call.work
    return (
        isinstance(work, MatrixProduct)
        and not call.loops
        and not work.has_loops
        and len(kernel.arguments) > FACTOR  # no matrix times a vector
        and work.batch == 1
        and step.direction.dtype.kind == "f"
        and work.m * work.n == step.target.size
        and work.out.layout.offset == 0
        and work.out.layout.strides[1:] == Layout.contiguous((work.m, work.n)).strides
    )


def _stepping(product: Pair, step: Pair) -> Pair:
    """Return the call of a product that does ``step`` with its result."""
    (call, kernel), (taken, stepping) = product, step
    descent = stepping.descent
    assert descent is not None
    arguments = list(kernel.arguments)
    form = arguments[FORM]
    assert isinstance(form, int)
    arguments[FORM] = form | UPDATE
    arguments[C], arguments[FACTOR] = (descent.target, 0), (descent.factor, 0)
    reads = dict.fromkeys((*call.reads, *taken.reads))
    del reads[descent.direction]
    fused = Call(
        call.work,
        taken.phase,
        (*call.nodes, *taken.nodes),
        tuple(reads),
        taken.writes,
        call.flops + taken.flops,
        made=STEP,
    )
    touches = (*kernel.touches, Touch(FACTOR, False, 0))
    return fused, replace(kernel, arguments=tuple(arguments), touches=touches)


class _Order:
    """The calls as a step makes them, and which read and write what; by numbers.

    The number of a call is its place at first. Calls that are inserted have numbers of their own,
    and count from then on: a step must not overwrite what a product reads that another moved.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = dict(enumerate(pairs))
        self._moments = {number: (number, 0) for number in self._pairs}
        """For each call the place that it has or follows, and how many were put there before."""
        self._puts = 0
        self._readers: dict[Buffer, set[int]] = {}
        self._writers: dict[Buffer, set[int]] = {}
        self._guards = [i for i, (_, kernel) in enumerate(pairs) if kernel.guards]
        for number, (call, _) in enumerate(pairs):
            self._enter(number, call)

    def pairs(self) -> list[Pair]:
        """Return the calls, in order."""
        return [self._pairs[n] for n in sorted(self._pairs, key=self._moments.__getitem__)]

    def leave(self, number: int, pair: Pair | None) -> None:
        """Let a step not make a call; ``pair`` takes its place, for what is no step."""
        call, _ = self._pairs.pop(number)
        for buffer in call.reads:
            self._readers[buffer].discard(number)
        for buffer in call.writes:
            self._writers[buffer].discard(number)
        if pair is not None:
            self._pairs[number] = pair

    def rise(self, number: int, after: int) -> None:
        """Let a call follow all that is put behind the place ``after`` so far."""
        self._puts += 1
        self._moments[number] = after, self._puts

    def insert(self, pair: Pair, after: int) -> None:
        """Add a call, which follows all that is put behind the place ``after`` so far."""
        number = len(self._moments)
        self.rise(number, after)
        self._pairs[number] = pair
        self._enter(number, pair[0])

    def product(self, gradient: Buffer, place: int) -> int | None:
        """Return the call that computes a gradient, if only the one at ``place`` reads it."""
        writers = self._writers.get(gradient, set())
        if len(writers) != 1 or self._readers[gradient] != {place}:
            return None
        (writer,) = writers
        return writer if writer < place else None

    def last_user(self, weight: Buffer, before: int, place: int) -> int:
        """Return the place after which nobody uses a weight before ``place``, nor a guard stands.

        It is that of ``before`` or a later one, and in no loop.
        """
        users = (self._readers.get(weight, ()), self._writers.get(weight, ()), self._guards)
        between = [i for found in users for i in found if self._is_between(i, before, place)]
        last = max((self._moments[i][0] for i in between), default=before)
        while last + 1 < place and self._loops(last) and self._loops(last + 1):
            last += 1
        return last

    def changes(self, buffers: Iterable[Buffer], before: int, after: int) -> bool:
        """Tell whether one of the buffers is written after ``before`` and up to ``after``."""
        writers = (i for b in buffers for i in self._writers.get(b, ()))
        return any(self._is_between(i, before, after + 1) for i in writers)

    def rising(self, buffer: Buffer, after: int, place: int) -> list[int] | None:
        """Return the calls to make right after ``after``, in order, for the buffer to be there.

        None if they read or write what the calls they then precede do, too.
        """
        found: set[int] = set()
        wanted = [buffer]
        while wanted:
            for writer in self._writers.get(wanted.pop(), ()):
                if self._is_late(writer, after, place) and writer not in found:
                    found.add(writer)
                    wanted += self._pairs[writer][0].reads
        for writer in found:
            call = self._pairs[writer][0]
            users = [i for b in call.writes for i in self._readers.get(b, ())]
            written = [i for b in (*call.reads, *call.writes) for i in self._writers.get(b, ())]
            passed = {i for i in (*users, *written) if self._is_late(i, after, writer)}
            if passed - found or call.loops:
                return None
        return sorted(found, key=self._moments.__getitem__)

    def _enter(self, number: int, call: Call) -> None:
        for buffer in call.reads:
            self._readers.setdefault(buffer, set()).add(number)
        for buffer in call.writes:
            self._writers.setdefault(buffer, set()).add(number)

    def _loops(self, place: int) -> bool:
        return place in self._pairs and bool(self._pairs[place][0].loops)

    def _is_between(self, number: int, before: int, place: int) -> bool:
        """Tell whether a call comes after the one ``before``, and before all at ``place``."""
        return self._moments[before] < self._moments[number] < (place, 0)

    def _is_late(self, number: int, after: int, call: int) -> bool:
        """Tell whether a call comes after all at the place ``after``, and before another call."""
        return (after + 1, 0) <= self._moments[number] < self._moments[call]
