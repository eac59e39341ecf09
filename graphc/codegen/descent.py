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
from graphc.ir.op import Layout
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
    keys = {place: float(place) for place in range(len(pairs))}
    result = dict(enumerate(pairs))
    traffic = _Traffic(pairs)
    for place, (call, kernel) in enumerate(pairs):
        step = kernel.descent
        if step is None or call.loops or step.direction in kept:
            continue
        before = traffic.product(step.direction, place)
        if before is None or not _is_whole(pairs[before], step):
            continue
        after = traffic.last_user(step.target, before, place)
        rising = traffic.rising(step.factor, after, place)
        if rising is None or traffic.changes(pairs[before][0].reads, before, after):
            continue
        for order, factor in enumerate(rising):
            keys[factor] = min(keys[factor], after + 0.25 + order / (8 * len(pairs)))
        fused = len(result)
        result[fused] = _stepping(pairs[before], (call, kernel))
        keys[fused] = after + 0.5
        result[place] = replace(call, made=LAID_OUT), kernel
        if by_phase:
            result[before] = replace(pairs[before][0], made=BY_PHASE), pairs[before][1]
        else:
            del keys[before]
    return [result[place] for place in sorted(keys, key=keys.__getitem__)]


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
    fused = Call(
        call.work,
        taken.phase,
        (*call.nodes, *taken.nodes),
        tuple(dict.fromkeys((*call.reads, *taken.reads))),
        taken.writes,
        call.flops + taken.flops,
        made=STEP,
    )
    gone = {descent.direction}
    fused = replace(fused, reads=tuple(b for b in fused.reads if b not in gone))
    touches = (*kernel.touches, Touch(FACTOR, False, 0))
    return fused, replace(kernel, arguments=tuple(arguments), touches=touches)


class _Traffic:
    """Which calls read and write what."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        self._readers: dict[Buffer, list[int]] = {}
        self._writers: dict[Buffer, list[int]] = {}
        self._guards = [i for i, (_, kernel) in enumerate(pairs) if kernel.guards]
        for place, (call, _) in enumerate(pairs):
            for buffer in call.reads:
                self._readers.setdefault(buffer, []).append(place)
            for buffer in call.writes:
                self._writers.setdefault(buffer, []).append(place)

    def product(self, gradient: Buffer, place: int) -> int | None:
        """Return the call that computes a gradient, if only the one at ``place`` reads it."""
        writers = self._writers.get(gradient, [])
        if len(writers) != 1 or self._readers[gradient] != [place] or writers[0] > place:
            return None
        return writers[0]

    def last_user(self, weight: Buffer, before: int, place: int) -> int:
        """Return the last place before ``place`` that reads or writes a weight, or is a guard."""
        users = (self._readers.get(weight, ()), self._writers.get(weight, ()), self._guards)
        last = max((i for found in users for i in found if before < i < place), default=before)
        while self._pairs[last][0].loops and last + 1 < place:  # whole loops
            last += 1
        return last

    def changes(self, buffers: Iterable[Buffer], before: int, after: int) -> bool:
        """Tell whether one of the buffers is written after ``before`` and up to ``after``."""
        return any(before < i <= after for b in buffers for i in self._writers.get(b, ()))

    def rising(self, buffer: Buffer, after: int, place: int) -> list[int] | None:
        """Return the calls to make right after ``after``, in order, for the buffer to be there.

        None if they read or write what the calls they then precede do, too.
        """
        found: set[int] = set()
        wanted = [buffer]
        while wanted:
            for writer in self._writers.get(wanted.pop(), ()):
                if after < writer < place and writer not in found:
                    found.add(writer)
                    wanted += self._pairs[writer][0].reads
        for writer in found:
            call = self._pairs[writer][0]
            users = [i for b in call.writes for i in self._readers.get(b, ())]
            written = [i for b in (*call.reads, *call.writes) for i in self._writers.get(b, ())]
            met = any(after < i < writer and i not in found for i in (*users, *written))
            if met or call.loops:
                return None
        return sorted(found)
