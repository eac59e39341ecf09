"""The text of one kernel and what it is called with."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from graphc.cached import cached_property
from graphc.ir.layout import Layout
from graphc.kernel.code import HI, LO, Statement, Writer, statements, values, within
from graphc.kernel.value import (
    UINT8,
    Element,
    Integer,
    Literal,
    Name,
    Number,
    Pointer,
    Value,
    summed,
)
from graphc.plan.program import Access, Buffer
from graphc.print.python import INDENT, PythonPrinter
from graphc.types import BOOL, AnyDim, Shape

DIGITS = 8
"""Of the digest of its text in a kernel's name. Kernels whose names are equal are told apart."""

STACK_BYTES = 32 << 10
"""Of blocks that a kernel may have on the stack: threads may have no more than 128 KB."""


@dataclass(frozen=True)
class Offset:
    """Where in a buffer an access starts, in elements: a number that no kernel's text holds."""

    buffer: Buffer
    value: AnyDim


@dataclass(frozen=True)
class Passed:
    """A number that a kernel is called with, as Python text: ``float32(0.5)``."""

    text: str
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return self.text


Argument: TypeAlias = tuple[Buffer, AnyDim] | Offset | Passed | AnyDim
"""What a kernel is called with: a pointer, as buffer and offset in elements, or a number."""

Spread: TypeAlias = tuple[tuple[AnyDim, AnyDim], ...]
"""Numbers of steps along some axes, and their strides."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kernel: a pointer to ``dtype``, a number of it, or (None) an integer."""

    name: str
    dtype: np.dtype[Any] | None
    is_pointer: bool = True

    def __str__(self) -> str:
        kind = self.dtype.name if self.dtype else "int64"
        return f"{self.name}: {kind}{'*' if self.dtype and self.is_pointer else ''}"


@dataclass(frozen=True, eq=False)
class KernelText:
    """A kernel: ``def name(lo, hi, <parameters>)``, computing ``lo <= i < hi``.

    Its name says what it computes, and ends in some digits of a digest of the text, so that equal
    work has one name in every program. They are no identity: other work may have the same (see
    :func:`told_apart`).
    """

    what: str
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]
    given: Mapping[Number, str] = field(default_factory=dict)
    """The names of those of its numbers that are parameters."""
    reassociate: bool = False
    """Whether it folds along its rows: the compiler may then add in any order."""
    twin: int = 1
    """Tells it from others whose texts have the same digest."""
    fixed: str = ""
    """The name of one that ships with graphc."""

    @cached_property
    def _printed(self) -> tuple[list[str], set[str]]:
        printer = PythonPrinter(self.given)
        return printer.lines(self.body), printer.used

    @property
    def lines(self) -> list[str]:
        """Its body as Python."""
        return self._printed[0]

    @property
    def used(self) -> set[str]:
        """The types, modules and constants that it names."""
        return self._printed[1]

    @cached_property
    def numbers(self) -> tuple[Number, ...]:
        """The numbers in it, in their order."""
        found = (v for s in statements(self.body) for x in values(s) for v in within(x))
        return tuple(dict.fromkeys(v for v in found if isinstance(v, Number) and v.dtype != BOOL))

    @cached_property
    def family(self) -> tuple[object, ...]:
        """What kernels have in common that differ in nothing but their numbers."""
        names = {number: f"v{i}" for i, number in enumerate(self.numbers)}
        lines = tuple(PythonPrinter(names).lines(self.body))
        kinds = tuple(number.dtype for number in self.numbers)
        return self.what, self.parameters, lines, kinds, self.reassociate

    @cached_property
    def name(self) -> str:
        if self.fixed:
            return self.fixed
        digest = hashlib.sha256(self._text("kernel").encode()).hexdigest()[:DIGITS]
        return f"{self.what}_{digest}" + (f"_{self.twin}" if self.twin > 1 else "")

    @property
    def signature(self) -> str:
        return ", ".join(map(str, self.parameters))

    @cached_property
    def text(self) -> str:
        """The whole as Python."""
        return self._text(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KernelText) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def _text(self, name: str) -> str:
        names = ", ".join(["lo", "hi", *(p.name for p in self.parameters)])
        freedom = ", reassociate=True" if self.reassociate else ""
        head = [f'@kernel("{self.signature}"{freedom})', f"def {name}({names}):"]
        return "\n".join([*head, *(INDENT + line for line in self.lines)])


@dataclass(frozen=True)
class Touch:
    """The elements of one pointer that iteration ``i`` of the parallel axis may touch.

    They are ``first + i // every * stride + sum(k * step)`` for all ``0 <= k < count`` of each
    pair (count, step) in ``spread``. A stride of 0 says: all iterations touch the same.
    """

    position: int
    """Of the pointer among the arguments."""
    written: bool
    stride: AnyDim
    spread: Spread = ()
    first: AnyDim = 0
    every: AnyDim = 1

    @cached_property
    def is_fixed(self) -> bool:
        """Whether it is the same for every batch, but for the extent."""
        dims = (self.stride, self.first, self.every, *itertools.chain.from_iterable(self.spread))
        return all(isinstance(d, int) for d in dims)


@dataclass(frozen=True)
class Descent:
    """What a call does if that is ``target[i] -= factor * direction[i]``, with whole arrays."""

    factor: Buffer
    direction: Buffer
    target: Buffer


@dataclass(frozen=True)
class KernelCall:
    """A kernel with its extent (of the parallel axis) and arguments."""

    kernel: KernelText | str
    """The generated kernel, or the name of one that ships with graphc."""
    extent: AnyDim
    arguments: tuple[Argument, ...]
    touches: tuple[Touch, ...]
    parts: tuple[tuple[int, int], ...] = ()
    """Of a merged call, (start, length) of what it computes of each of the calls before."""
    descent: Descent | None = None
    guards: bool = False
    """Whether it may stop the step, by what its first argument points to."""

    @property
    def name(self) -> str:
        return self.kernel if isinstance(self.kernel, str) else self.kernel.name


def told_apart(calls: Iterable[KernelCall]) -> list[KernelCall]:
    """Return the calls with one kernel for equal texts, and other names for others of one name."""
    by_text: dict[str, KernelText] = {}
    taken: dict[str, int] = {}
    result = []
    for call in calls:
        kernel = call.kernel
        if isinstance(kernel, str):
            result.append(call)
            continue
        if kernel.text not in by_text:
            twin = taken[kernel.name] = taken.get(kernel.name, 0) + 1
            by_text[kernel.text] = kernel if twin == 1 else replace(kernel, twin=twin)
        found = by_text[kernel.text]
        result.append(call if found is kernel else replace(call, kernel=found))
    return result


def merge_axes(
    axes: Iterable[int],
    dims: Sequence[AnyDim],
    walks: Sequence[Sequence[AnyDim]],
    borders: Set[int] = frozenset(),
) -> list[list[int]]:
    """Merge neighbours among ``axes`` that all ``walks`` (strides by axis) step through as one.

    No axis in ``borders`` joins the one before it.
    """
    merged: list[list[int]] = []
    for axis in axes:
        last = merged[-1][-1] if merged and axis not in borders else None
        if last is not None and all(w[last] == dims[axis] * w[axis] for w in walks):
            merged[-1].append(axis)
        else:
            merged.append([axis])
    return merged


_Seen: TypeAlias = tuple[Buffer, Layout, Shape, tuple[Value, ...], bool]
"""An element that a kernel reads or writes: buffer, layout, axes, index and whether it writes."""


@dataclass
class KernelWriter(Writer):
    """Collects the statements, pointers and run-time integers of one kernel.

    Equal buffers share a pointer: the compiler is told that pointers do not overlap. Where an
    access starts is an argument, so that equal work on other parts is the same kernel. A
    ``generic`` kernel takes every length at run time, so that one serves many shapes.
    """

    generic: bool = False
    extent: AnyDim = 1
    reassociate: bool = False
    _parallel: Value | None = None
    _pointers: dict[Buffer, Pointer] = field(default_factory=dict)
    _integers: dict[AnyDim, Name] = field(default_factory=dict)
    _offsets: dict[Offset, Name] = field(default_factory=dict)
    _seen: list[_Seen] = field(default_factory=list)

    @contextmanager
    def parallel(
        self, name: str | Name, extent: AnyDim, start: Value = LO, stop: Value = HI, step: int = 1
    ) -> Iterator[Name]:
        """Open the outermost loop, over the part ``lo <= name < hi`` of ``extent``."""
        with self.loop(name, stop, start, step) as index:
            self.extent, self._parallel = extent, index
            yield index

    def share(self, name: str, extent: AnyDim) -> Name:
        """Let threads share ``extent`` places, of which one touches its own only."""
        self.extent, self._parallel = extent, Name(name)
        return Name(name)

    def lit(self, value: Any, dtype: np.dtype[Any]) -> Number:
        """Return a number: alike kernels may be one that takes it as an argument."""
        return Number(value, dtype)

    def literal_of(self, dtype: np.dtype[Any]) -> Literal:
        """Return the function that makes numbers in ``dtype``."""
        return lambda value: Number(value, dtype)

    def pointer(self, buffer: Buffer, written: bool) -> Pointer:
        """Return the pointer to ``buffer``."""
        if buffer not in self._pointers:
            letter = "y" if written else "x"
            dtype = UINT8 if buffer.dtype == BOOL else buffer.dtype
            self._pointers[buffer] = Pointer(f"{letter}{len(self._pointers)}", dtype)
        return self._pointers[buffer]

    def integer(self, dim: AnyDim) -> Value:
        """Return a dimension: a number, or a run-time integer."""
        if isinstance(dim, int) and (not self.generic or dim in (0, 1)):
            return Integer(dim)
        if dim not in self._integers:
            self._integers[dim] = Name(f"n{len(self._integers)}")
        return self._integers[dim]

    def element(self, access: Access, index: Sequence[Value], written: bool = False) -> Element:
        """Return the element of ``access`` at ``index``, one index for each of its axes."""
        layout = access.layout
        self._seen.append((access.buffer, layout, access.shape, tuple(index), written))
        terms = self.terms(index, layout.strides)
        if layout.offset != 0:
            offset = Offset(access.buffer, layout.offset)
            known = self._offsets.setdefault(offset, Name(f"o{len(self._offsets)}"))
            terms.append((known, 1))
        return self.pointer(access.buffer, written)[summed(terms)]

    def terms(
        self, index: Sequence[Value], strides: Sequence[AnyDim]
    ) -> list[tuple[Value, Value | int]]:
        """Return the products that add up to a place."""
        return [
            (i, s if s in (-1, 0, 1) else self.integer(s))
            for i, s in zip(index, strides, strict=True)
        ]

    def finish(self, what: str) -> KernelCall:
        """Return the call; the kernel's name is ``what`` and a digest of the text."""
        pointers = {b: Parameter(p.name, b.dtype) for b, p in self._pointers.items()}
        integers = [
            Parameter(n.name, None) for n in (*self._integers.values(), *self._offsets.values())
        ]
        parameters = (*pointers.values(), *integers)
        text = KernelText(what, parameters, tuple(self.body), reassociate=self.reassociate)
        position = {buffer: i for i, buffer in enumerate(pointers)}
        touches = tuple(dict.fromkeys(self._touch(seen, position) for seen in self._seen))
        passed: list[Argument] = [(buffer, 0) for buffer in pointers]
        return KernelCall(text, self.extent, (*passed, *self._integers, *self._offsets), touches)

    def _touch(self, seen: _Seen, position: dict[Buffer, int]) -> Touch:
        """Return what an iteration of the parallel axis touches by one element of the text."""
        buffer, layout, shape, index, written = seen
        stride: AnyDim = 0
        spread = []
        for name, step, dim in zip(index, layout.strides, shape, strict=True):
            if name == self._parallel:
                stride = step + stride
            elif dim != 1:
                spread.append((dim, step))
        return Touch(position[buffer], written, stride, tuple(spread), layout.offset)


@dataclass(frozen=True)
class KernelAccess:
    """An :class:`~graphc.plan.program.Access` inside the loops of an op that writes its own."""

    writer: KernelWriter
    access: Access
    written: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.access.buffer.dtype

    @property
    def shape(self) -> tuple[Value, ...]:
        return tuple(self.writer.integer(d) for d in self.access.shape)

    @property
    def dims(self) -> Shape:
        return self.access.shape

    def stride(self, axis: int) -> Value:
        return self.writer.integer(self.access.layout.strides[axis])

    def at(self, *index: Value) -> Element:
        return self.writer.element(self.access, index, self.written)
