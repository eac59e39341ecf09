"""The text of one kernel and what it is called with."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import Layout, Literal
from graphc.plan.program import Access, Buffer
from graphc.types import AnyDim, Shape

INDENT = "    "

DIGITS = 8
"""Of the digest of its text in a kernel's name. Kernels whose names are equal are told apart."""

_NUMBER = re.compile(r"\bv\d+\b")
"""The name of a number."""

MAX_LOOPS = 20
"""Loops that Python allows inside one another."""


STACK_BYTES = 32 << 10
"""Of blocks that a kernel may have on the stack: threads may have no more than 128 KB."""


@dataclass(frozen=True)
class Offset:
    """Where in a buffer an access starts, in elements: a number that no kernel's text holds."""

    buffer: Buffer
    value: AnyDim


@dataclass(frozen=True)
class Number:
    """A number that stands in a kernel, as Python text: ``float32(0.5)``."""

    text: str
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return self.text


Argument: TypeAlias = tuple[Buffer, AnyDim] | Offset | Number | AnyDim
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


@dataclass(frozen=True)
class KernelText:
    """A kernel as text: ``def name(lo, hi, <parameters>)``, computing ``lo <= i < hi``.

    The name ends in some digits of a digest of the text, so equal work has one name in every
    program. They are no identity: other work may have the same (see :func:`told_apart`).
    """

    name: str
    parameters: tuple[Parameter, ...]
    lines: tuple[str, ...]
    """Its body, with names for its numbers."""
    numbers: tuple[tuple[str, Number], ...] = ()
    """What stands in the text for each of those names that is no parameter."""
    reassociate: bool = False
    """Whether it folds along its rows: the compiler may then add in any order."""

    @cached_property
    def body(self) -> tuple[str, ...]:
        """The lines, with the numbers in their places."""
        if not self.numbers:
            return self.lines
        known = dict(self.numbers)
        return tuple(
            _NUMBER.sub(lambda m: known[m[0]].text if m[0] in known else m[0], line)
            for line in self.lines
        )

    @property
    def what(self) -> str:
        """What its name says that it computes."""
        return self.name.rpartition("_")[0]

    def named(self, what: str) -> KernelText:
        """Return it with the name that its text has."""
        digest = hashlib.sha256(replace(self, name="kernel").text.encode()).hexdigest()[:DIGITS]
        return replace(self, name=f"{what}_{digest}")

    @property
    def signature(self) -> str:
        return ", ".join(map(str, self.parameters))

    @property
    def text(self) -> str:
        names = ", ".join(["lo", "hi", *(p.name for p in self.parameters)])
        freedom = ", reassociate=True" if self.reassociate else ""
        head = [f'@kernel("{self.signature}"{freedom})', f"def {self.name}({names}):"]
        return "\n".join([*head, *(INDENT + line for line in self.body)])


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
    """What a call does if that is ``target[i] -= factor * direction[i]``: argument positions."""

    factor: int
    direction: int
    target: int


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
    """Return the calls with kernels of one name and other texts renamed, in their order."""
    taken: dict[str, KernelText] = {}
    renamed: dict[KernelText, KernelText] = {}
    result = []
    for call in calls:
        text = call.kernel
        if isinstance(text, str):
            result.append(call)
            continue
        if text not in renamed:
            names = (f"{text.name}_{n}" if n > 1 else text.name for n in itertools.count(1))
            name = next(n for n in names if n not in taken)
            renamed[text] = taken[name] = text if name == text.name else replace(text, name=name)
        result.append(call if renamed[text] is text else replace(call, kernel=renamed[text]))
    return result


def literal(value: Any, dtype: np.dtype[Any]) -> str:
    """Return ``value`` as Python text in ``dtype``: ``float32(0.5)``."""
    if dtype.kind == "b":
        return str(bool(value))
    if dtype.kind == "i":
        return f"{dtype.name}({int(value)})"
    number = dtype.type(value)
    if np.isfinite(number):
        return f"{dtype.name}({number!s})"  # the shortest text that gives these bits
    text = "nan" if np.isnan(number) else "inf"
    return f"{dtype.name}({'-' if number < 0 else ''}{text})"


def literal_of(dtype: np.dtype[Any]) -> Literal:
    """Return the function that renders numbers in ``dtype``."""
    return lambda value: literal(value, dtype)


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


_Seen: TypeAlias = tuple[Buffer, Layout, Shape, tuple[str, ...], bool]
"""An element that a kernel reads or writes: buffer, layout, axes, index and whether it writes."""


@dataclass
class KernelWriter:
    """Collects the lines, pointers and run-time integers of one kernel.

    Equal buffers share a pointer: the compiler is told that pointers do not overlap. Where an
    access starts is an argument, so that equal work on other parts is the same kernel. A
    ``generic`` kernel takes every length at run time, so that one serves many shapes.
    """

    generic: bool = False
    lines: list[str] = field(default_factory=list)
    depth: int = 0
    extent: AnyDim = 1
    reassociate: bool = False
    _parallel: str = ""
    _pointers: dict[Buffer, Parameter] = field(default_factory=dict)
    _integers: dict[AnyDim, Parameter] = field(default_factory=dict)
    _offsets: dict[Offset, Parameter] = field(default_factory=dict)
    _seen: dict[_Seen, None] = field(default_factory=dict)
    _numbers: dict[str, Number] = field(default_factory=dict)

    def line(self, text: str) -> None:
        self.lines.append(INDENT * self.depth + text)

    @contextmanager
    def loop(self, name: str, extent: str) -> Iterator[None]:
        """Open ``for name in range(extent)``; an extent of 1 needs no loop."""
        if extent == "1":
            self.line(f"{name} = 0")
            yield
            return
        if self.depth == MAX_LOOPS:
            raise ShapeError(
                f"its kernel would need more than {MAX_LOOPS} loops, one inside the other; "
                "reshape neighbouring axes into one"
            )
        self.line(f"for {name} in range({extent}):")
        self.depth += 1
        yield
        self.depth -= 1

    @contextmanager
    def parallel(self, name: str, extent: AnyDim, bounds: str = "lo, hi") -> Iterator[None]:
        """Open the outermost loop, over the part ``lo <= name < hi`` of ``extent``."""
        self.extent, self._parallel = extent, name
        with self.loop(name, bounds):
            yield

    def lit(self, value: Any, dtype: np.dtype[Any]) -> str:
        """Return the name of a number: alike kernels may be one that takes it as an argument."""
        text = literal(value, dtype)
        if dtype.kind == "b":
            return text
        name = f"v{len(self._numbers)}"
        self._numbers[name] = Number(text, dtype)
        return name

    def literal_of(self, dtype: np.dtype[Any]) -> Literal:
        """Return the function that takes numbers in ``dtype``."""
        return lambda value: self.lit(value, dtype)

    def pointer(self, buffer: Buffer, written: bool) -> str:
        """Return the name of the pointer to ``buffer``."""
        if buffer not in self._pointers:
            number = len(self._pointers)
            name = f"y{number}" if written else f"x{number}"
            self._pointers[buffer] = Parameter(name, buffer.dtype)
        return self._pointers[buffer].name

    def integer(self, dim: AnyDim) -> str:
        """Return a dimension as text: its digits, or the name of a run-time integer."""
        if isinstance(dim, int) and (not self.generic or dim in (0, 1)):
            return str(dim)
        if dim not in self._integers:
            self._integers[dim] = Parameter(f"n{len(self._integers)}", None)
        return self._integers[dim].name

    def element(self, access: Access, index: Sequence[str], written: bool = False) -> str:
        """Return the element of ``access`` at ``index``, one index for each of its axes."""
        pointer = self.pointer(access.buffer, written)
        self._seen[access.buffer, access.layout, access.shape, tuple(index), written] = None
        terms = [self._term(i, s) for i, s in zip(index, access.layout.strides, strict=True)]
        terms = [t for t in terms if t]
        if access.layout.offset != 0:
            offset = Offset(access.buffer, access.layout.offset)
            known = self._offsets.setdefault(offset, Parameter(f"o{len(self._offsets)}", None))
            terms.append(known.name)
        return f"{pointer}[{' + '.join(terms).replace('+ -', '- ') or '0'}]"

    def linear(self, index: Sequence[str], strides: Sequence[AnyDim]) -> str:
        """Return ``sum(index * strides)`` as text."""
        terms = [self._term(i, s) for i, s in zip(index, strides, strict=True)]
        return " + ".join(t for t in terms if t) or "0"

    def _term(self, index: str, stride: AnyDim) -> str:
        if stride == 0 or index == "0":
            return ""
        if stride == 1:
            return index
        if stride == -1:
            return f"-{index}"
        return f"{index} * {self.integer(stride)}"

    def load(self, element: str, dtype: np.dtype[Any]) -> str:
        """Return an element as a value: booleans are bytes in memory."""
        return f"({element} != 0)" if dtype.kind == "b" else element

    def store(self, element: str, value: str, dtype: np.dtype[Any]) -> None:
        self.line(f"{element} = {f'uint8({value})' if dtype.kind == 'b' else value}")

    def finish(self, what: str) -> KernelCall:
        """Return the call; its name is ``what`` and a digest of the text."""
        pointers = sorted(self._pointers.values(), key=lambda p: int(p.name[1:]))
        buffers = {p.name: b for b, p in self._pointers.items()}
        parameters = (*pointers, *self._integers.values(), *self._offsets.values())
        numbers = tuple(self._numbers.items())
        text = KernelText(what, parameters, tuple(self.lines), numbers, self.reassociate)
        passed: list[Argument] = [(buffers[p.name], 0) for p in pointers]
        position = {buffers[p.name]: i for i, p in enumerate(pointers)}
        touches = tuple(dict.fromkeys(self._touch(seen, position) for seen in self._seen))
        arguments = (*passed, *self._integers, *self._offsets)
        return KernelCall(text.named(what), self.extent, arguments, touches)

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
    def shape(self) -> tuple[str, ...]:
        return tuple(self.writer.integer(d) for d in self.access.shape)

    @property
    def dims(self) -> Shape:
        return self.access.shape

    def at(self, *index: str) -> str:
        wrapped = [i if i.isalnum() else f"({i})" for i in index]
        return self.writer.element(self.access, wrapped, self.written)
