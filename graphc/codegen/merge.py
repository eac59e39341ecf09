"""One call for all parameters: equal flat updates over neighbouring buffers become one.

An optimiser writes the same formula for every parameter, so the update calls share a kernel
that walks flat arrays. If the parameters lie one behind the other in one buffer, and so do
their gradients and states, a single call over the whole computes them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from graphc.codegen.kernel import KernelCall
from graphc.kernel.code import Loop, statements, values, within
from graphc.kernel.value import Element
from graphc.machine.record import TYPICAL
from graphc.plan.program import LAID_OUT, Buffer, Call

PADDING = TYPICAL.isa.vector_bytes // 4
"""Elements to whose multiple each part of a flat buffer is padded: a vector of float32. The
padding is computed too, and nobody reads it."""

Pair = tuple[Call, KernelCall]


@dataclass(frozen=True)
class FlatBuffer:
    """Buffers that lie one behind the other, in elements of one data type."""

    parts: dict[Buffer, int] = field(default_factory=dict)
    """Offset of each part, in elements."""
    size: int = 0


def merge_flat_calls(
    pairs: Sequence[Pair], placeable: set[Buffer]
) -> tuple[list[Pair], list[FlatBuffer]]:
    """Merge calls of one kernel that differ in flat static buffers only.

    ``placeable`` are the persistent buffers whose place may still be chosen. Of calls that are not
    made only these have places, the first. Returns the calls and the flat buffers they need.
    """
    done = {i for i, (call, _) in enumerate(pairs) if call.made == LAID_OUT}
    families: dict[object, list[int]] = {}
    for index, (call, kernel) in enumerate(pairs):
        shape = _shape_of(kernel, placeable)
        if shape is not None:
            families.setdefault((call.phase, shape), []).append(index)
    merged: dict[int, Pair] = {}
    dropped: set[int] = set()
    flats: list[FlatBuffer] = []
    taken: set[Buffer] = set()
    for members in families.values():
        rest = [i for i in members if i not in done]
        members = [*(i for i in members if i in done), *rest]
        used = [b for i in members for b in _moving(pairs[i][1], placeable)]
        if len(members) < 2 or len(set(used)) != len(used) or taken & set(used):
            continue
        if rest and not _can_wait(pairs, rest):
            continue
        taken.update(used)
        columns = list(zip(*(_moving(pairs[i][1], placeable) for i in members), strict=True))
        flats += [_flat(column) for column in columns]
        if len(rest) > 1:
            merged[rest[-1]] = _merged([pairs[i] for i in rest], flats[-1])
            dropped.update(rest[:-1])
    dropped |= done
    result = [merged.get(i, pair) for i, pair in enumerate(pairs) if i not in dropped]
    return result, flats


def _shape_of(kernel: KernelCall, placeable: set[Buffer]) -> object | None:
    """Return what the calls of a family share, or None if the call is no flat one."""
    if isinstance(kernel.kernel, str) or not isinstance(kernel.extent, int):
        return None
    if not _moving(kernel, placeable) or not _is_flat(kernel, placeable):
        return None
    fixed = tuple(None if _is_moving(a, placeable) else a for a in kernel.arguments)
    return kernel.kernel, fixed


def _is_moving(argument: object, placeable: set[Buffer]) -> bool:
    return isinstance(argument, tuple) and argument[0] in placeable and argument[0].size != 1


def _moving(kernel: KernelCall, placeable: set[Buffer]) -> list[Buffer]:
    return [a[0] for a in kernel.arguments if isinstance(a, tuple) and _is_moving(a, placeable)]


def _is_flat(kernel: KernelCall, placeable: set[Buffer]) -> bool:
    """Tell whether the kernel is one loop, in which element i of each moving buffer meets only i.

    Its index must stand nowhere else: not in another buffer's element, reversed, or as a number.
    """
    text = kernel.kernel
    assert not isinstance(text, str)
    loops = [s for s in statements(text.body) if isinstance(s, Loop)]
    if len(loops) != 1 or any(b.size != kernel.extent for b in _moving(kernel, placeable)):
        return False
    pairs = zip(text.parameters, kernel.arguments, strict=True)
    moving = {p.name for p, argument in pairs if _is_moving(argument, placeable)}
    found = [v for s in statements(text.body) for x in values(s) for v in within(x)]
    places = [v for v in found if isinstance(v, Element) and v.pointer.name in moving]
    inside = sum(v == loops[0].index for v in found)
    return inside == len(places) and all(v.index == loops[0].index for v in places)


def _can_wait(pairs: Sequence[Pair], members: Sequence[int]) -> bool:
    """Tell whether all members can run at the place of the last."""
    inside = set(members)
    reads = {b for i in members for b in pairs[i][0].reads}
    writes = {b for i in members for b in pairs[i][0].writes}
    for i in range(members[0], members[-1]):
        if i not in inside:
            call = pairs[i][0]
            if writes & {*call.reads, *call.writes} or reads & set(call.writes):
                return False
    return True


def _flat(column: Sequence[Buffer]) -> FlatBuffer:
    parts, at = {}, 0
    for buffer in column:
        parts[buffer] = at
        assert isinstance(buffer.size, int)
        at += -(-buffer.size // PADDING) * PADDING
    return FlatBuffer(parts, at)


def _merged(pairs: Sequence[Pair], flat: FlatBuffer) -> Pair:
    calls = [c for c, _ in pairs]
    first, kernel = pairs[0]
    flops = sum((c.flops for c in calls[1:]), start=first.flops)
    call = Call(
        first.work,
        first.phase,
        tuple(n for c in calls for n in c.nodes),
        tuple(dict.fromkeys(b for c in calls for b in c.reads)),
        tuple(dict.fromkeys(b for c in calls for b in c.writes)),
        flops,
    )
    places = [(start, b.size) for b, start in flat.parts.items() if isinstance(b.size, int)]
    (before, _), *_ = own = places[-len(pairs) :]
    parts = tuple((start - before, size) for start, size in own)
    return call, replace(kernel, extent=flat.size - before, parts=parts, descent=None)
