"""Statements of a kernel, and the writer that collects them.

A kernel is a list of statements over :class:`~graphc.kernel.value.Value`: what is printed for a
reader, and what is compiled. Loops run forward, by steps that are known and positive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from graphc.errors import ShapeError
from graphc.kernel.value import (
    UINT8,
    Call,
    Converted,
    DType,
    Element,
    Integer,
    Name,
    Operation,
    Pointer,
    Value,
)
from graphc.types import BOOL

MAX_LOOPS = 20
"""Loops that Python allows inside one another."""


@dataclass(frozen=True, slots=True, eq=False)
class Let:
    """``name = value``; the variable may have had another value before."""

    name: Name
    value: Value

    @property
    def folds(self) -> bool:
        """Whether its value is made of the one before and another: ``total = total + x``."""
        value = self.value
        if isinstance(value, Call):
            return self.name in value.operands
        if not isinstance(value, Operation) or value.symbol not in ("+", "*"):
            return False
        return len(value.operands) == 2 and value.operands[0] == self.name


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """``element = value``, of the type that lies in memory."""

    element: Element
    value: Value


@dataclass(frozen=True, slots=True, eq=False)
class Do:
    """A call for what it does to memory; pointers stand for all from their first element on."""

    function: str
    operands: tuple[Value | Pointer, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Memory on the stack: ``pointer = rows.block(type, size)``, or one of another module."""

    pointer: Pointer
    module: str
    size: Value


@dataclass(frozen=True, slots=True, eq=False)
class Comment:
    """A line for the reader."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """``for index in range(start, stop, step)``.

    Nothing inside changes the index or a variable of the bounds: languages differ in what is then.
    """

    index: Name
    start: Value
    stop: Value
    step: int
    body: list[Statement]
    lanes: bool = False
    """Whether the steps shall be lanes of vectors, though they may fill but a part of one."""


@dataclass(frozen=True, slots=True, eq=False)
class When:
    """``if condition``."""

    condition: Value
    body: list[Statement]


Statement: TypeAlias = "Let | Store | Do | Block | Comment | Loop | When"

LO, HI = Name("lo"), Name("hi")
"""The range of the parallel axis that a call computes."""


@dataclass
class Writer:
    """Collects statements."""

    body: list[Statement] = field(default_factory=list)
    depth: int = 0

    def add(self, statement: Statement) -> None:
        self.body.append(statement)

    def let(self, name: str, value: Value) -> Name:
        """Give a variable a value; return it."""
        variable = Name(name, value.dtype)
        self.add(Let(variable, value))
        return variable

    def store(self, element: Element, value: Value) -> None:
        """Write an element; conditions become bytes."""
        self.add(Store(element, Converted(value, UINT8) if value.dtype == BOOL else value))

    def do(self, function: str, *operands: Value | Pointer | int) -> None:
        """Call a function for what it does to memory."""
        given = tuple(Integer(x) if isinstance(x, int) else x for x in operands)
        self.add(Do(function, given))

    def comment(self, text: str) -> None:
        self.add(Comment(text))

    def block(self, name: str, dtype: DType, module: str, size: Value) -> Pointer:
        """Return memory on the stack."""
        pointer = Pointer(name, UINT8 if dtype == BOOL else dtype)
        self.add(Block(pointer, module, size))
        return pointer

    @contextmanager
    def loop(
        self, name: str | Name, stop: Value | int, start: Value | int = 0, step: int = 1,
        *, lanes: bool = False,
    ) -> Iterator[Name]:  # fmt: skip
        """Open a loop; one of a single turn is none."""
        index = Name(name) if isinstance(name, str) else name
        start, stop = (Integer(x) if isinstance(x, int) else x for x in (start, stop))
        if stop == Integer(1) and start == Integer(0):
            self.let(index.name, start)
            yield index
            return
        if self.depth == MAX_LOOPS:
            raise ShapeError(
                f"its kernel would need more than {MAX_LOOPS} loops, one inside the other; "
                "reshape neighbouring axes into one"
            )
        body: list[Statement] = []
        self.add(Loop(index, start, stop, step, body, lanes))
        with self._into(body):
            yield index

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Open what is done only if the condition holds."""
        body: list[Statement] = []
        self.add(When(condition, body))
        with self._into(body):
            yield

    @contextmanager
    def _into(self, body: list[Statement]) -> Iterator[None]:
        outside, self.body = self.body, body
        self.depth += 1
        yield
        self.depth -= 1
        self.body = outside


def statements(body: Iterable[Statement]) -> Iterator[Statement]:
    """Yield all statements, each before those inside it."""
    for statement in body:
        yield statement
        if isinstance(statement, (Loop, When)):
            yield from statements(statement.body)


def carried(body: Sequence[Statement]) -> set[Name]:
    """Return the variables that a step of a loop has from the step before."""
    inside = {s.name for s in statements(body) if isinstance(s, Let)}
    given: set[Name] = set()
    found: set[Name] = set()
    for statement in statements(body):
        read = (w for value in values(statement) for w in within(value) if isinstance(w, Name))
        found |= {name for name in read if name in inside and name not in given}
        if isinstance(statement, Let):
            given.add(statement.name)
    return found


def values(statement: Statement) -> Sequence[Value | Pointer]:
    """Return what a statement itself is made of."""
    if isinstance(statement, Let):
        return (statement.value,)
    if isinstance(statement, Store):
        return statement.element, statement.value
    if isinstance(statement, Do):
        return statement.operands
    if isinstance(statement, Block):
        return (statement.size,)
    if isinstance(statement, Loop):
        return statement.start, statement.stop
    return (statement.condition,) if isinstance(statement, When) else ()


def within(value: Value | Pointer) -> Iterator[Value | Pointer]:
    """Yield a value and all that it is made of."""
    yield value
    if isinstance(value, (Operation, Call)):
        for operand in value.operands:
            yield from within(operand)
    elif isinstance(value, Converted):
        yield from within(value.value)
    elif isinstance(value, Element):
        yield value.pointer
        yield from within(value.index)
