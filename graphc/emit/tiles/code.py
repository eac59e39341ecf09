"""Integers, addresses and loops that write LLVM IR, so that drivers read as they would in Python.

The same drivers as Python functions would take Numba several times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from graphc.jit.llvm import ir

INT = ir.IntType(64)


def const(value: int) -> Any:
    return ir.Constant(INT, value)


def declared(module: Any, name: str, kind: Any) -> Any:
    """Return a function that is defined elsewhere, such as one of LLVM's intrinsics."""
    return module.globals.get(name) or ir.Function(module, kind, name)


class Int:
    """A 64-bit integer, or a condition; quotients are of numbers that are not negative."""

    __slots__ = ("builder", "ir")

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder = builder
        self.ir = const(value) if isinstance(value, int) else value

    def _lift(self, other: Int | int) -> Int:
        return other if isinstance(other, Int) else Int(self.builder, other)

    def _binary(self, name: str, other: Int | int) -> Int:
        return Int(self.builder, getattr(self.builder, name)(self.ir, self._lift(other).ir))

    def _compare(self, how: str, other: Int | int) -> Int:
        return Int(self.builder, self.builder.icmp_signed(how, self.ir, self._lift(other).ir))

    def __add__(self, other: Int | int) -> Int:
        return self._binary("add", other)

    def __sub__(self, other: Int | int) -> Int:
        return self._binary("sub", other)

    def __rsub__(self, other: int) -> Int:
        return self._lift(other) - self

    def __mul__(self, other: Int | int) -> Int:
        return self._binary("mul", other)

    def __floordiv__(self, other: Int | int) -> Int:
        return self._binary("udiv", other)

    def __mod__(self, other: Int | int) -> Int:
        return self._binary("urem", other)

    def __and__(self, other: Int | int) -> Int:
        return self._binary("and_", other)

    def __or__(self, other: Int | int) -> Int:
        return self._binary("or_", other)

    def __lshift__(self, other: Int | int) -> Int:
        return self._binary("shl", other)

    def __rshift__(self, other: Int | int) -> Int:
        return self._binary("lshr", other)

    def __lt__(self, other: Int | int) -> Int:
        return self._compare("<", other)

    def __le__(self, other: Int | int) -> Int:
        return self._compare("<=", other)

    def __gt__(self, other: Int | int) -> Int:
        return self._compare(">", other)

    def __ge__(self, other: Int | int) -> Int:
        return self._compare(">=", other)

    def equals(self, other: Int | int) -> Int:
        return self._compare("==", other)

    def differs(self, other: Int | int) -> Int:
        return self._compare("!=", other)

    def choose(self, yes: Int | Address | int, no: Int | Address | int) -> Any:
        """Return ``yes`` where this condition holds, else ``no``."""
        yes, no = (self._lift(x) if isinstance(x, int) else x for x in (yes, no))
        return type(yes)(self.builder, self.builder.select(self.ir, yes.ir, no.ir))


class Address:
    """The address of an element; ``p + n`` is that of the one n further."""

    __slots__ = ("builder", "ir")

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder = builder
        self.ir = value

    def __add__(self, n: Int | int) -> Address:
        steps = const(n) if isinstance(n, int) else n.ir
        return Address(self.builder, self.builder.gep(self.ir, [steps]))

    def load(self) -> Int:
        """Return the integer that lies here."""
        return Int(self.builder, self.builder.load(self.ir))

    def store(self, value: Int | int) -> None:
        self.builder.store(const(value) if isinstance(value, int) else value.ir, self.ir)

    def at(self, address: Int) -> Address:
        """Return the address that is the number ``address``, of an element like this one."""
        return Address(self.builder, self.builder.inttoptr(address.ir, self.ir.type))

    def table(self, elements: int) -> Address:
        """Return the address of integers that lie so many of this one's elements from here."""
        kind = INT.as_pointer()
        return Address(self.builder, self.builder.bitcast((self + elements).ir, kind))

    def opaque(self) -> Address:
        """Return this address in a register, as if nothing were known of how it was computed.

        LLVM would replace dozens of them by chains of additions, or keep them all in memory.
        """
        kind = ir.FunctionType(self.ir.type, [self.ir.type])
        return Address(self.builder, self.builder.asm(kind, "", "=r,0", [self.ir], False))


class Variable:
    """An integer that changes; LLVM finds it a register."""

    def __init__(self, builder: Any, value: Int) -> None:
        with builder.goto_entry_block():
            self._place = builder.alloca(INT)
        self._builder = builder
        self.set(value)

    @property
    def value(self) -> Int:
        return Int(self._builder, self._builder.load(self._place))

    def set(self, value: Int | int) -> None:
        self._builder.store(const(value) if isinstance(value, int) else value.ir, self._place)


def least(x: Int, y: Int | int) -> Int:
    result: Int = (x < y).choose(x, y)
    return result


def most(x: Int, y: Int | int) -> Int:
    result: Int = (x > y).choose(x, y)
    return result


def ceildiv(x: Int, y: Int | int) -> Int:
    """Return x / y rounded up, for x >= 0 and y > 0."""
    return (x + (y - 1)) // y


class Code:
    """The body of a function while it is written."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))

    @classmethod
    def at(cls, builder: Any) -> Code:
        """Return what goes on where ``builder`` is."""
        code = cls.__new__(cls)
        code.function, code.builder = builder.function, builder
        return code

    @property
    def arguments(self) -> list[Any]:
        return [
            (Int if isinstance(a.type, ir.IntType) else Address)(self.builder, a)
            for a in self.function.args
        ]

    def number(self, value: int) -> Int:
        return Int(self.builder, value)

    @contextmanager
    def loop(self, start: Int | int, stop: Int | int, step: Int | int = 1) -> Iterator[Int]:
        """Repeat what is written within for start, start + step, ... < stop."""
        builder = self.builder
        start, stop, step = (
            x if isinstance(x, Int) else Int(builder, x) for x in (start, stop, step)
        )
        head, inside, after = (builder.append_basic_block() for _ in range(3))
        before = builder.block
        builder.branch(head)
        builder.position_at_end(head)
        index = Int(builder, builder.phi(INT))
        index.ir.add_incoming(start.ir, before)
        builder.cbranch((index < stop).ir, inside, after)
        builder.position_at_end(inside)
        yield index
        index.ir.add_incoming((index + step).ir, builder.block)
        builder.branch(head)
        builder.position_at_end(after)

    def variable(self, value: Int | int) -> Variable:
        return Variable(self.builder, self.number(value) if isinstance(value, int) else value)

    @contextmanager
    def while_(self, condition: Callable[[], Int]) -> Iterator[None]:
        """Repeat what is written within as long as the condition holds."""
        head, inside, after = (self.block() for _ in range(3))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(condition().ir, inside, after)
        self.builder.position_at_end(inside)
        yield
        self.builder.branch(head)
        self.builder.position_at_end(after)

    def fold(
        self,
        start: Int | int,
        stop: Int | int,
        step: int,
        values: list[Any],
        body: Callable[[Int, list[Any]], list[Any]],
    ) -> list[Any]:
        """Return ``values`` after ``values = body(t, values)`` for each t, as in :meth:`loop`."""
        builder, (start, stop) = (
            self.builder,
            (Int(self.builder, x) if isinstance(x, int) else x for x in (start, stop)),
        )
        before = builder.block
        head, inside, after = (builder.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        phis = [builder.phi(INT), *(builder.phi(x.type) for x in values)]
        t = Int(builder, phis[0])
        builder.cbranch((t < stop).ir, inside, after)
        builder.position_at_end(inside)
        nexts = [(t + step).ir, *body(t, phis[1:])]
        for phi, first, following in zip(phis, [start.ir, *values], nexts, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(following, builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return phis[1:]

    def when(self, condition: Int) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self.builder.if_then(condition.ir)
        return context

    def either(self, condition: Int) -> AbstractContextManager[tuple[Any, Any]]:
        """Return the contexts of both cases."""
        context: AbstractContextManager[tuple[Any, Any]] = self.builder.if_else(condition.ir)
        return context

    def lazily(
        self, condition: Int, yes: Callable[[], list[Int]], no: Callable[[], list[Int]]
    ) -> list[Int]:
        """Return what ``yes`` gives where the condition holds, else what ``no`` gives."""
        ends: list[tuple[list[Int], Any]] = []
        with self.either(condition) as ways:
            for way, values in zip(ways, (yes, no), strict=True):
                with way:
                    ends.append((values(), self.builder.block))
        results = []
        for pair in zip(*(values for values, _ in ends), strict=True):
            phi = self.builder.phi(INT)
            for value, (_, block) in zip(pair, ends, strict=True):
                phi.add_incoming(value.ir, block)
            results.append(Int(self.builder, phi))
        return results

    def block(self) -> Any:
        """Return a new basic block."""
        return self.builder.append_basic_block()

    def call(self, function: Any, *args: Int | Address | int) -> None:
        values = [const(a) if isinstance(a, int) else a.ir for a in args]
        self.builder.call(function, values)

    def room(self, kind: Any, count: int) -> Address:
        """Return ``count`` elements on the stack."""
        with self.builder.goto_entry_block():
            room = self.builder.alloca(ir.ArrayType(kind, count))
        room.align = 64
        return Address(self.builder, self.builder.bitcast(room, kind.as_pointer()))

    def end(self) -> None:
        self.builder.ret_void()
