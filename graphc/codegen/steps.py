"""Short steps of a loop are one kernel, in which the loop stands.

Between two calls of a table lie some nanoseconds: more than a step of a recurrence of few numbers
takes. Where all that a step does is small, the statements of its kernels are written one behind the
other into one, inside ``for step in range(count)``; then carries stay in registers. Statements and
their order are those of the table, and so are the bits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

from graphc.codegen.kernel import (
    Argument,
    KernelCall,
    KernelText,
    Offset,
    Parameter,
    Passed,
    Touch,
    told_apart,
)
from graphc.codegen.merge import Pair
from graphc.kernel.code import (
    HI,
    LO,
    MAX_LOOPS,
    Block,
    Comment,
    Do,
    Let,
    Loop,
    Statement,
    Store,
    When,
    statements,
)
from graphc.kernel.value import (
    UINT8,
    Call,
    Converted,
    Element,
    Integer,
    Name,
    Operation,
    Pointer,
    Value,
    summed,
)
from graphc.plan.program import Buffer, Steps
from graphc.plan.program import Call as Planned
from graphc.plan.program import Loop as Around
from graphc.types import BOOL, AnyDim, Dim

MOST_ELEMENTS = 256
"""Elements that the kernels of a step may touch in all: beyond, what lies between is nothing."""

MOST_CALLS = 16
"""Kernels of a step that are written into one."""


def steps_in_kernels(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the calls of a program, each loop of short steps as one of them."""
    depths = {loop: depth for call, _ in pairs for depth, loop in enumerate(call.loops)}
    if not depths:
        return list(pairs)
    pairs = list(pairs)
    for loop in sorted(depths, key=depths.__getitem__, reverse=True):  # those inside come first
        inside = [i for i, (call, _) in enumerate(pairs) if loop in call.loops]
        first, own = inside[0], [pairs[i] for i in inside]
        if inside == list(range(first, first + len(own))) and _is_short(own, loop):
            pairs[first : first + len(own)] = [_one(own, loop)]
    kernels = told_apart([kernel for _, kernel in pairs])
    return [(call, kernel) for (call, _), kernel in zip(pairs, kernels, strict=True)]


def _is_short(pairs: Sequence[Pair], loop: Around) -> bool:
    """Tell whether all that a step does is small, and of statements alone."""
    if loop.taken is not None or loop.going or len(pairs) > MOST_CALLS:
        return False
    total = 0
    for call, kernel in pairs:
        text = kernel.kernel
        if call.loops[-1] is not loop or call.made or kernel.guards or kernel.parts:
            return False
        if isinstance(text, str) or text.fixed or text.given or text.reassociate:
            return False
        if not isinstance(kernel.extent, int) or not all(map(_is_plain, kernel.arguments)):
            return False
        if any(isinstance(s, (Block, Do)) for s in statements(text.body)):
            return False
        sizes = [_size(t, kernel.extent) for t in kernel.touches]
        if None in sizes or _depth(text.body) + len(call.loops) + 1 > MAX_LOOPS:
            return False
        total += sum(size for size in sizes if size is not None)
    return total <= MOST_ELEMENTS


def _is_plain(argument: Argument) -> bool:
    whole = not isinstance(argument, tuple) or argument[1] == 0
    return whole and not isinstance(argument, Passed)


def _size(touch: Touch, extent: int) -> int | None:
    """Return how many elements a kernel touches, if that is known."""
    counts = [count for count, _ in touch.spread]
    if not all(isinstance(n, int) for n in (*counts, touch.every)):
        return None
    return prod(n for n in counts if isinstance(n, int)) * (extent if touch.stride != 0 else 1)


def _depth(body: Sequence[Statement]) -> int:
    inner = [_depth(s.body) for s in body if isinstance(s, (Loop, When))]
    return 1 + max(inner, default=0)


def _one(pairs: Sequence[Pair], loop: Around) -> Pair:
    """Return the call that takes all steps."""
    calls, kernels = [c for c, _ in pairs], [k for _, k in pairs]
    reads: dict[Buffer, None] = {}
    writes: dict[Buffer, None] = {}
    for call in calls:
        reads |= dict.fromkeys(b for b in call.reads if b not in writes)
        writes |= dict.fromkeys(call.writes)
    flops = sum((c.flops for c in calls[1:]), start=calls[0].flops)
    made = Planned(
        Steps(tuple(calls), loop),
        calls[0].phase,
        tuple(dict.fromkeys(n for c in calls for n in c.nodes)),
        tuple(reads),
        tuple(writes),
        flops * loop.count,
        calls[0].loops[:-1],
    )
    return made, _Together(kernels, loop).kernel()


class _Together:
    """Writes kernels one behind the other."""

    def __init__(self, kernels: Sequence[KernelCall], loop: Around) -> None:
        self.kernels, self.loop = kernels, loop
        self.pointers: dict[Buffer, Pointer] = {}
        self.integers: dict[AnyDim, Name] = {}
        self.offsets: dict[Offset, Name] = {}
        self.bases: dict[Buffer, list[AnyDim]] = {}
        """Where accesses of a buffer start, but for known numbers."""
        self.written: set[Buffer] = set()
        self.taken: set[str] = set()
        self.step = self._free("step")

    def kernel(self) -> KernelCall:
        inner: list[Statement] = []
        for kernel in self.kernels:
            self.written |= {_buffer(kernel, t) for t in kernel.touches if t.written}
        for kernel in self.kernels:
            inner += self._body(kernel)
        count = self._integer(self.loop.count)
        if self.loop.reverse:
            back = self._free("back")
            inner.insert(0, Let(self.step, count - 1 - back))
            steps = Loop(back, Integer(0), count, 1, inner)
        else:
            steps = Loop(self.step, Integer(0), count, 1, inner)
        body = (Loop(Name("_"), LO, HI, 1, [steps]),)
        dtypes = {b: Parameter(p.name, b.dtype) for b, p in self.pointers.items()}
        numbers = (*self.integers.values(), *self.offsets.values())
        parameters = (*dtypes.values(), *(Parameter(n.name, None) for n in numbers))
        whats = list(dict.fromkeys(k.kernel.what for k in self.kernels
                                   if isinstance(k.kernel, KernelText)))  # fmt: skip
        what = "_".join(["steps", whats[0], *([whats[-1]] if len(whats) > 1 else [])])
        passed: list[Argument] = [(buffer, 0) for buffer in self.pointers]
        place = {buffer: i for i, buffer in enumerate(self.pointers)}
        touches = tuple(dict.fromkeys(t for k in self.kernels for t in self._touches(k, place)))
        return KernelCall(
            KernelText(what, parameters, body), 1, (*passed, *self.integers, *self.offsets), touches
        )

    def _free(self, name: str) -> Name:
        """Return a variable that no other kernel has."""
        base, number = re.sub(r"_\d+$", "", name), 0
        own = name
        while own in self.taken:
            own, number = f"{base}_{number}", number + 1
        self.taken.add(own)
        return Name(own)

    def _integer(self, dim: AnyDim) -> Value:
        if isinstance(dim, int) and dim in (0, 1):
            return Integer(dim)
        return self.integers.setdefault(dim, Name(f"n{len(self.integers)}"))

    def _body(self, kernel: KernelCall) -> list[Statement]:
        """Return the statements of a kernel in terms of this one."""
        text = kernel.kernel
        assert isinstance(text, KernelText)
        assert isinstance(kernel.extent, int)
        names: dict[str, Value | Pointer] = {LO.name: Integer(0), HI.name: Integer(kernel.extent)}
        for parameter, argument in zip(text.parameters, kernel.arguments, strict=True):
            if isinstance(argument, tuple):
                names[parameter.name] = self._pointer(argument[0])
            else:
                assert not isinstance(argument, Passed)
                names[parameter.name] = self._place(argument)
        for statement in statements(text.body):
            if isinstance(statement, Let) and statement.name.name not in names:
                own = self._free(statement.name.name)
                names[statement.name.name] = Name(own.name, statement.name.dtype)
            elif isinstance(statement, Loop) and statement.index.name not in names:
                names[statement.index.name] = self._free(statement.index.name)
        return list(_rewritten(text.body, names))

    def _pointer(self, buffer: Buffer) -> Pointer:
        if buffer not in self.pointers:
            dtype = UINT8 if buffer.dtype == BOOL else buffer.dtype
            letter = "y" if buffer in self.written else "x"
            self.pointers[buffer] = Pointer(f"{letter}{len(self.pointers)}", dtype)
        return self.pointers[buffer]

    def _place(self, argument: Offset | AnyDim) -> Value:
        """Return an integer argument, which may move with the step."""
        dim = argument.value if isinstance(argument, Offset) else argument
        rest, stride = self._split(dim)
        terms: list[tuple[Value, Value | int]] = []
        if stride != 0:
            known = stride if isinstance(stride, int) else self._integer(stride)
            terms.append((self.step, known))
        if isinstance(argument, Offset):
            base, further = self._base(argument.buffer, rest)
            if base != 0:
                known_base = Offset(argument.buffer, base)
                own = self.offsets.setdefault(known_base, Name(f"o{len(self.offsets)}"))
                terms.append((own, 1))
            if further:
                terms.append((Integer(1), further))
        else:
            terms.append((self._integer(rest), 1))
        return summed(terms)

    def _base(self, buffer: Buffer, place: AnyDim) -> tuple[AnyDim, int]:
        """Return where accesses of a buffer start, and how far from there ``place`` is.

        What lies a known number of elements from another one is told to the compiler so: what a
        step leaves for the next then needs no memory.
        """
        bases = self.bases.setdefault(buffer, [0])
        for base in bases:
            further = place - base
            if isinstance(further, int) and abs(further) <= MOST_ELEMENTS:
                return base, further
        bases.append(place)
        return place, 0

    def _split(self, dim: AnyDim) -> tuple[AnyDim, AnyDim]:
        """Return ``(rest, stride)`` of a place ``rest + stride * step``."""
        return dim.by(self.loop.step) if isinstance(dim, Dim) else (dim, 0)

    def _touches(self, kernel: KernelCall, place: Mapping[Buffer, int]) -> Iterator[Touch]:
        assert isinstance(kernel.extent, int)
        for touch in kernel.touches:
            first, stride = self._split(touch.first)
            spread = [*touch.spread]
            if touch.stride != 0 and kernel.extent > 1:
                assert isinstance(touch.every, int)
                spread.append((-(-kernel.extent // touch.every), touch.stride))
            if stride != 0:
                spread.append((self.loop.count, stride))
            position = place[_buffer(kernel, touch)]
            yield replace(touch, position=position, stride=0, spread=tuple(spread), first=first,
                          every=1)  # fmt: skip


def _buffer(kernel: KernelCall, touch: Touch) -> Buffer:
    pointer = kernel.arguments[touch.position]
    assert isinstance(pointer, tuple)
    return pointer[0]


def _rewritten(
    body: Sequence[Statement], names: Mapping[str, Value | Pointer]
) -> Iterator[Statement]:
    """Yield statements with names replaced; a loop of a single turn is none."""
    for s in body:
        if isinstance(s, Let):
            yield Let(_name(s.name, names), _value(s.value, names))
        elif isinstance(s, Store):
            element = _value(s.element, names)
            assert isinstance(element, Element)
            yield Store(element, _value(s.value, names))
        elif isinstance(s, When):
            yield When(_value(s.condition, names), list(_rewritten(s.body, names)))
        elif isinstance(s, Loop):
            start, stop = _value(s.start, names), _value(s.stop, names)
            if start == Integer(0) and stop == Integer(1):
                yield from _rewritten(s.body, {**names, s.index.name: start})
            else:
                inner = list(_rewritten(s.body, names))
                yield Loop(_name(s.index, names), start, stop, s.step, inner, s.lanes)
        else:
            assert isinstance(s, Comment)
            yield s


def _name(name: Name, names: Mapping[str, Value | Pointer]) -> Name:
    found = names[name.name]
    assert isinstance(found, Name)
    return found


def _value(value: Value, names: Mapping[str, Value | Pointer]) -> Value:
    if isinstance(value, Name):
        found = names.get(value.name, value)
        assert isinstance(found, Value)
        return found
    if isinstance(value, Operation):
        parts = tuple([_value(x, names) for x in value.operands])
        return Operation(value.symbol, parts, value.dtype)
    if isinstance(value, Call):
        return Call(value.function, tuple([_value(x, names) for x in value.operands]), value.dtype)
    if isinstance(value, Converted):
        return Converted(_value(value.value, names), value.dtype)
    if isinstance(value, Element):
        pointer = names[value.pointer.name]
        assert isinstance(pointer, Pointer)
        return pointer[_value(value.index, names)]
    return value
