"""Kernels as LLVM's language: what the machine runs.

One function of the kernel's arguments, whose pointers share no memory, and the entry point that
unpacks them from the words of a table. LLVM makes vectors of the loops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from graphc.jit.llvm import ir, mark
from graphc.jit.target import host
from graphc.kernel.code import (
    Block,
    Do,
    Let,
    Loop,
    Statement,
    Store,
    When,
    carried,
    statements,
)
from graphc.kernel.value import (
    COMPARISONS,
    Call,
    Converted,
    DType,
    Element,
    Integer,
    Name,
    Number,
    Operation,
    Pointer,
    Value,
)
from graphc.machine import known
from graphc.machine.record import LINE
from graphc.types import BOOL

WORD = ir.IntType(64)
_NONE = ir.VoidType()
TYPES: Mapping[str, Any] = {
    "bool": ir.IntType(1), "uint8": ir.IntType(8), "int32": ir.IntType(32), "int64": WORD,
    "float32": ir.FloatType(), "float64": ir.DoubleType(),
}  # fmt: skip

FOLDED = ("nsz", "reassoc")
"""Freedoms of the sums and products that fold an axis: their order, and the sign of a zero.

All else computes as it is written, so that NaN, infinities and the sign of zeros come out right,
and an element has the same bits in the vectors of a loop as in its remainder: it does not matter
how threads divide the loop. Nor may LLVM fuse products with sums (``contract``): it does so where
it sees both, and in a vector it sees into functions that it calls in the remainder. Formulas and
tiles say where they fuse."""

_INTEGER = {
    "+": "add", "-": "sub", "*": "mul", "//": "sdiv", "%": "srem",
    "&": "and_", "|": "or_", "^": "xor",
}  # fmt: skip
_REAL = {"+": "fadd", "-": "fsub", "*": "fmul", "/": "fdiv"}

Emitter: TypeAlias = Callable[..., Any]
"""Writes the code of a function's call: of a builder and LLVM values."""

WRITTEN_OUT = range(9, 1000)
"""Lengths of loops that LLVM may write out whole, whereupon it finds no vectors in them."""

FEWEST = 6
"""Steps for which a masked vector costs less than one by one."""

SMALL = 4
"""Bytes of most elements: as many steps as a vector has of them are not few."""

Functions: TypeAlias = Callable[[str], Emitter]
"""Finds what writes the calls of a function, by its name."""


class LLVMPrinter:
    """Prints the statements of one kernel into ``function``, whose arguments have ``names``."""

    def __init__(
        self,
        function: Any,
        names: Sequence[str],
        functions: Functions,
        given: Mapping[Number, str] | None = None,
        reassociate: bool = False,
    ) -> None:
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self._functions = functions
        self._given = given or {}
        self._reassociate = reassociate
        self._arguments = dict(zip(names, function.args, strict=True))
        self._variables: dict[Name, Any] = {}

    def body(self, statements: Iterable[Statement]) -> None:
        """Print the statements, and return."""
        self._statements(statements)
        self.builder.ret_void()

    # -- statements ---------------------------------------------------------------------------

    def _statements(self, statements: Iterable[Statement]) -> None:
        for statement in statements:
            match statement:
                case Let(name, value):
                    self._assign(name, self._folded(statement) or self.value(value))
                case Store(element, value):
                    self.builder.store(self.value(value), self._address(element))
                case Loop():
                    self._loop(statement)
                case When(condition, inside):
                    with self.builder.if_then(self.value(condition)):
                        self._statements(inside)
                case Do(function, operands):
                    self._functions(function)(self.builder, *map(self._operand, operands))
                case Block(pointer, module, size):
                    memory = self.builder.alloca(
                        TYPES[pointer.dtype.name], self.value(size), f"graphc.{module}"
                    )
                    memory.align = LINE
                    self._arguments[pointer.name] = memory

    def _loop(self, loop: Loop) -> None:
        builder = self.builder
        step = ir.Constant(WORD, loop.step)
        stop = self.value(loop.stop)
        place = self._place(Name(f"{loop.index.name}.next"))
        builder.store(self.value(loop.start), place)
        head, inside, after = (builder.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.load(place)
        builder.cbranch(builder.icmp_signed("<", index, stop), inside, after)
        builder.position_at_end(inside)
        self._assign(loop.index, index)
        builder.store(builder.add(index, step, flags=["nsw"]), place)
        self._statements(loop.body)
        back = builder.branch(head)
        mark = _mark(builder.module, loop)
        if mark is not None:
            back.set_metadata("llvm.loop", mark)
        builder.position_at_end(after)

    def _place(self, name: Name) -> Any:
        """Return the memory of a variable, until LLVM finds it a register."""
        if name not in self._variables:
            with self.builder.goto_entry_block():
                self._variables[name] = self.builder.alloca(TYPES[name.dtype.name])
        return self._variables[name]

    def _assign(self, name: Name, value: Any) -> None:
        self.builder.store(value, self._place(name))

    def _folded(self, statement: Let) -> Any:
        """Return a sum that may be added up in any order, or None if it is none.

        With the freedom elsewhere, ``x - greatest - log(total)`` would become
        ``x - (greatest + log(total))``, which has lost the last places of the logarithm.
        """
        value = statement.value
        if not self._reassociate or not statement.folds or value.dtype.kind != "f":
            return None
        assert isinstance(value, (Operation, Call))
        if isinstance(value, Call):
            found = self.value(value)
            if isinstance(found, ir.CallInstr):  # an intrinsic
                found.fastmath.add(FOLDED[0])
            return found
        operands = map(self.value, value.operands)
        return getattr(self.builder, _REAL[value.symbol])(*operands, flags=FOLDED)

    # -- values -------------------------------------------------------------------------------

    def value(self, value: Value) -> Any:
        """Return a value as LLVM's."""
        match value:
            case Name(name):
                return self._arguments.get(name) or self.builder.load(self._place(value))
            case Integer(number, dtype):
                return ir.Constant(TYPES[dtype.name], number)
            case Number(number, dtype):
                if value in self._given:
                    return self._arguments[self._given[value]]
                return constant(number, dtype)
            case Element():
                return self.builder.load(self._address(value))
            case Converted(inner, dtype):
                return converted(self.builder, self.value(inner), inner.dtype, dtype)
            case Operation(symbol, operands):
                return self._operation(symbol, operands[0].dtype, list(map(self.value, operands)))
            case Call(function, operands):
                return self._functions(function)(self.builder, *map(self.value, operands))
        raise TypeError(f"{value!r} is no value")

    def _operand(self, operand: Value | Pointer) -> Any:
        if isinstance(operand, Pointer):
            return self._arguments[operand.name]
        return self.value(operand)

    def _address(self, element: Element) -> Any:
        return self.builder.gep(self._arguments[element.pointer.name], [self.value(element.index)])

    def _operation(self, symbol: str, dtype: DType, operands: list[Any]) -> Any:
        builder = self.builder
        if symbol in COMPARISONS:
            if dtype.kind != "f":
                signed = dtype.kind == "i"
                compare = builder.icmp_signed if signed else builder.icmp_unsigned
                return compare(symbol, *operands)
            compare = builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered
            return compare(symbol, *operands)
        if len(operands) == 1:
            if symbol != "-":
                return builder.not_(*operands)
            return builder.fneg(*operands) if dtype.kind == "f" else builder.neg(*operands)
        if dtype.kind == "f":
            return getattr(builder, _REAL[symbol])(*operands)
        return getattr(builder, _INTEGER[symbol])(*operands)


def constant(number: Any, dtype: DType) -> Any:
    """Return a number as a constant of LLVM's."""
    return ir.Constant(TYPES[dtype.name], dtype.type(number).item())


def converted(builder: Any, value: Any, before: DType, after: DType) -> Any:
    """Return a value in another data type, as C converts."""
    kind = TYPES[after.name]
    if before.kind == "f":
        if after.kind != "f":
            return builder.fptosi(value, kind)
        wider = after.itemsize > before.itemsize
        return builder.fpext(value, kind) if wider else builder.fptrunc(value, kind)
    signed = before.kind == "i"
    if after.kind == "f":
        return builder.sitofp(value, kind) if signed else builder.uitofp(value, kind)
    if kind.width <= value.type.width:
        return builder.trunc(value, kind)
    return builder.sext(value, kind) if signed else builder.zext(value, kind)


def argument_type(name: str) -> Any:
    """Return LLVM's type of a parameter: ``float32*`` or ``int64``; booleans are bytes."""
    kind = name.removesuffix("*")
    scalar = TYPES["uint8" if kind == BOOL.name else kind]
    return scalar.as_pointer() if name.endswith("*") else scalar


def new_module(name: str) -> Any:
    """Return an empty module for this machine."""
    module = ir.Module(name)
    _, module.triple, module.data_layout = host()
    return module


def new_function(module: Any, types: Sequence[str], scratch: str = "") -> Any:
    """Return the function ``f(lo, hi, *arguments)`` of a kernel, and its scratch if it has any."""
    kinds = [WORD, WORD, *map(argument_type, [*types, *([scratch] if scratch else [])])]
    function = ir.Function(module, ir.FunctionType(_NONE, kinds), "kernel")
    function.linkage = "internal"
    for argument in function.args:
        if isinstance(argument.type, ir.PointerType):
            argument.add_attribute("noalias")
    return function


def add_entry(module: Any, name: str, callee: Any, *, scratch: bool) -> None:
    """Define ``void name(i64* record, i64 lo, i64 hi, i64 scratch)``, which calls ``callee``."""
    kind = ir.FunctionType(_NONE, [WORD.as_pointer(), WORD, WORD, WORD])
    entry = ir.Function(module, kind, name)
    builder = ir.IRBuilder(entry.append_basic_block("entry"))
    call_unpacked(builder, callee, *entry.args, scratch=scratch)
    builder.ret_void()


def call_unpacked(
    builder: Any, callee: Any, record: Any, lo: Any, hi: Any, memory: Any, *, scratch: bool
) -> None:
    """Call a kernel with the words of a record, and pass the scratch to whom wants it."""
    values, kinds = [lo, hi], [a.type for a in callee.args][2:]
    own = [builder.inttoptr(memory, kinds.pop())] if scratch else []
    for i, kind in enumerate(kinds):
        values.append(load_argument(builder, builder.gep(record, [ir.Constant(WORD, i)]), kind))
    builder.call(callee, [*values, *own])


def add_stepping_entry(module: Any, name: str, callee: Any) -> None:
    """Define ``void name(i64* record, i64 lo, i64 hi, i64 scratch)``, which calls ``callee`` often.

    Behind the arguments the record has how often, and by how much each moves from call to call.
    """
    kind = ir.FunctionType(_NONE, [WORD.as_pointer(), WORD, WORD, WORD])
    entry = ir.Function(module, kind, name)
    record, lo, hi, _ = entry.args
    before, step, after = (entry.append_basic_block(n) for n in ("entry", "step", "done"))
    builder = ir.IRBuilder(before)
    kinds = [a.type for a in callee.args][2:]
    words = [builder.load(builder.gep(record, [ir.Constant(WORD, i)]))
             for i in range(2 * len(kinds) + 1)]  # fmt: skip
    first, count, strides = words[: len(kinds)], words[len(kinds)], words[len(kinds) + 1 :]
    fixed = [
        load_argument(builder, builder.gep(record, [ir.Constant(WORD, i)]), kind)
        if isinstance(kind, (ir.FloatType, ir.DoubleType)) else None
        for i, kind in enumerate(kinds)
    ]  # fmt: skip
    builder.cbranch(builder.icmp_signed(">", count, ir.Constant(WORD, 0)), step, after)
    builder = ir.IRBuilder(step)
    at = builder.phi(WORD)
    at.add_incoming(ir.Constant(WORD, 0), before)
    places = [builder.phi(WORD) for _ in kinds]
    values = [lo, hi]
    for place, begin, kind, number in zip(places, first, kinds, fixed, strict=True):
        place.add_incoming(begin, before)
        pointer = isinstance(kind, ir.PointerType)
        values.append(number or (builder.inttoptr(place, kind) if pointer else place))
    builder.call(callee, values)
    for place, stride in zip(places, strides, strict=True):
        place.add_incoming(builder.add(place, stride), builder.block)
    following = builder.add(at, ir.Constant(WORD, 1))
    at.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, count), step, after)
    ir.IRBuilder(after).ret_void()


def load_argument(builder: Any, place: Any, kind: Any) -> Any:
    """Return what a word of a record holds."""
    return builder.load(builder.bitcast(place, kind.as_pointer()))


def inline(functions: Iterable[Any]) -> None:
    """Let functions be part of those that call them, but for those marked."""
    for function in functions:
        if function.blocks and "noinline" not in function.attributes:
            mark(function, "alwaysinline")


def finish(module: Any) -> str:
    """Return the text of a module, whose vectors shall be whole registers."""
    width = 8 * known().isa.vector_bytes
    for function in module.functions:
        if function.blocks:  # else LLVM takes half of a register on Intel's processors
            mark(function, f'"prefer-vector-width"="{width}"')
    return str(module)


def _mark(module: Any, loop: Loop) -> Any | None:
    """Return the mark of an innermost loop of known length with independent steps, or None.

    LLVM shall not write it out whole; and of few steps that shall be lanes, it shall make one
    vector, where the processor has masks.
    """
    if not isinstance(loop.start, Integer) or not isinstance(loop.stop, Integer):
        return None
    length = -(-(loop.stop.value - loop.start.value) // loop.step)
    inner = any(isinstance(s, (Loop, When, Do)) for s in statements(loop.body))
    isa = known().isa
    few = loop.lanes and isa.masks and FEWEST <= length < isa.vector_bytes // SMALL
    if inner or carried(loop.body) or not (few or length in WRITTEN_OUT):
        return None
    wishes = [module.add_metadata(["llvm.loop.unroll.disable"])]
    if few:
        yes = ir.Constant(ir.IntType(1), 1)
        wishes.append(module.add_metadata(["llvm.loop.vectorize.predicate.enable", yes]))
    node = module.add_metadata(["loop", *wishes])
    node.operands = (node, *wishes)  # a node that names itself
    return node
