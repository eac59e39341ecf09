"""Kernels: functions of raw pointers and integers that compute a range of one axis."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.cached import cached_property
from graphc.codegen.kernel import KernelText
from graphc.emit import blocks, random, rows, stream, vmath
from graphc.kernel.code import Block
from graphc.lazy import lazy_module

if TYPE_CHECKING:
    from graphc.print import llvm
else:
    llvm = lazy_module("graphc.print.llvm")

DIGITS = 32
"""Of a digest, in the name of an entry point and of its file."""

Body = Callable[..., None]


class Kernel:
    """A kernel: a function ``f(lo, hi, *arguments)`` of arguments of ``types``.

    ``emit`` writes its body into a function of LLVM's; called directly, it runs as Python on NumPy
    arrays, for which ``make`` returns a function. With ``scratch``, a type of pointer, it has one
    more argument of that type: memory of the thread that runs it, which no call passes.

    ``identity`` says all that it computes, but for what graphc's own modules contribute.
    """

    by_hand = True
    """Whether vectors and loops are written in LLVM's language as they shall be."""
    as_written = False
    """Whether short loops stay as they are: those over the rows of a block."""

    def __init__(
        self,
        name: str,
        types: tuple[str, ...],
        make: Callable[[], Body],
        emit: Callable[[Any], None],
        *,
        scratch: str = "",
    ) -> None:
        self.name = name
        self.types = types
        self.scratch = scratch
        self.identity = repr((name, types, scratch))
        self._make = make
        self._emit = emit

    @cached_property
    def function(self) -> Body:
        return self._make()

    def __call__(self, lo: int, hi: int, *arguments: Any) -> None:
        self.function(lo, hi, *arguments)

    def digest(self) -> str:
        """Return a hash of the identity, which is none: other kernels may have the same."""
        return hashlib.sha256(self.identity.encode()).hexdigest()[:DIGITS]

    def lower(self, entry: str) -> str:
        """Return it in LLVM's language, with one public ``entry(record, lo, hi, scratch)``."""
        module = llvm.new_module(self.name)
        function = llvm.new_function(module, self.types, self.scratch)
        self._emit(function)
        if self.by_hand:
            llvm.inline(module.functions)
        llvm.add_entry(module, entry, function, scratch=bool(self.scratch))
        return llvm.finish(module)

    def emit_call(self, builder: Any, record: Any, lo: Any, hi: Any, memory: Any) -> None:
        """Write it into the module of ``builder``, and a call by its record."""
        module = builder.module
        before = {function.name for function in module.functions}
        function = llvm.new_function(module, self.types, self.scratch)
        self._emit(function)
        llvm.inline(f for f in module.functions if f.name not in before)
        llvm.call_unpacked(builder, function, record, lo, hi, memory, scratch=bool(self.scratch))


class GeneratedKernel(Kernel):
    """A kernel of statements, which are printed for both."""

    by_hand = False

    def __init__(self, text: KernelText) -> None:
        types = tuple(str(p).partition(": ")[2] for p in text.parameters)
        super().__init__(text.name, types, self._define, self._print)
        self.text = text
        self.as_written = any(isinstance(s, Block) and s.module == "rows" for s in text.body)
        self.identity = text.text

    def _print(self, function: Any) -> None:
        text = self.text
        names = ["lo", "hi", *(p.name for p in text.parameters)]
        printer = llvm.LLVMPrinter(function, names, emitter, text.given, text.reassociate)
        printer.body(text.body)

    def _define(self) -> Body:
        scope = dict(SCOPE)
        exec(self.text.text, scope)
        function: Body = scope[self.name].function
        return function


class SteppingKernel(Kernel):
    """A generated kernel that is all that a loop calls, and the loop around it.

    A call has, behind the arguments of the kernel, how many steps there are, and by how much each
    argument moves from step to step. No Python calls it.
    """

    by_hand = False

    def __init__(self, kernel: GeneratedKernel) -> None:
        super().__init__(in_steps(kernel.name), kernel.types, kernel._define, kernel._print)
        self.identity = repr(("in steps", kernel.identity))
        self.as_written = kernel.as_written

    def lower(self, entry: str) -> str:
        module = llvm.new_module(self.name)
        function = llvm.new_function(module, self.types, "")
        self._emit(function)
        llvm.inline([function])
        llvm.add_stepping_entry(module, entry, function)
        return llvm.finish(module)


def in_steps(name: str) -> str:
    """Return the name of a kernel with the loop around it."""
    return f"{name} in steps"


class PlainKernel:
    """A kernel as Python."""

    def __init__(self, function: Body) -> None:
        self.name = function.__name__
        self.function = function

    def __call__(self, lo: int, hi: int, *arguments: Any) -> None:
        self.function(lo, hi, *arguments)


def kernel(signature: str, *, reassociate: bool = False) -> Callable[[Body], PlainKernel]:
    """Declare a kernel in generated text; ``signature`` gives its arguments after ``lo, hi``.

    With ``reassociate`` the compiler may add up a fold (``total = total + x``) in any order, as it
    must to fold a row with vectors. Where the text itself runs, it is Python.
    """
    return PlainKernel


MODULES: Mapping[str, Any] = {
    "blocks": blocks, "random": random, "rows": rows, "stream": stream, "vmath": vmath,
}  # fmt: skip
"""The modules of functions that kernels call."""

NUMBERS: Mapping[str, Any] = {
    "inf": np.inf,
    "nan": np.nan,
    **{t.__name__: t for t in (np.uint8, np.int32, np.int64, np.float32, np.float64)},
}
"""The numbers that generated text names, and their types."""

SCOPE: Mapping[str, Any] = {"kernel": kernel, **MODULES, **NUMBERS}
"""What a kernel's text names."""


def emitter(function: str) -> Callable[..., Any]:
    """Return what writes the calls of a function of graphc's runtime, or of a built-in one."""
    module, _, name = function.rpartition(".")
    found: Callable[..., Any] = getattr(MODULES[module], name).emit if module else _EXTREMES[name]
    return found


def _extreme(relation: str) -> Callable[..., Any]:
    return lambda builder, x, y: builder.select(builder.icmp_signed(relation, x, y), x, y)


_EXTREMES = {"min": _extreme("<="), "max": _extreme(">=")}
