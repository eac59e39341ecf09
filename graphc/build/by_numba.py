"""Kernels by Numba: the text that people read, compiled; see :mod:`graphc.jit.numba`.

Sums of rows are added up in order, and what LLVM's way gets from knowing kernels better is lost:
pointers may overlap, and calls with a rare slow path make no vectors.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from graphc.forks import whole
from graphc.jit import numba
from graphc.jit.versions import explained
from graphc.machine.record import LINE
from graphc.print.llvm import TYPES, argument_type, load_argument
from graphc.print.python import INDENT
from graphc.emit.kernel import MODULES, NUMBERS, GeneratedKernel, Kernel

_HEAD = "def entry(record, lo, hi, scratch):"


def compiled(kernel: Kernel) -> Any:
    """Return a kernel in memory, where it stays as long as this; ``address`` is its entry's."""
    with whole(), explained():
        if isinstance(kernel, GeneratedKernel):
            return numba.compiled(entry_text(kernel), _scope())
        call = numba.taught(kernel.emit_call, 4, returns_nothing=True)
        text = f"{_HEAD}\n{INDENT}call(record, lo, hi, scratch)"
        return numba.compiled(text, {"call": call})


def entry_text(kernel: GeneratedKernel) -> str:
    """Return the kernel's text as an entry point, which takes its arguments from a record."""
    loads = [
        f"{p.name} = argument.{_attribute(kind)}(record, {i})"
        for i, (p, kind) in enumerate(zip(kernel.text.parameters, kernel.types, strict=True))
    ]
    return "\n".join([_HEAD, *(INDENT + line for line in (*loads, *kernel.text.lines, "return"))])


def _attribute(kind: str) -> str:
    return kind.replace("*", "_pointer")


@functools.cache
def _scope() -> Mapping[str, Any]:
    """Return what kernels' text names, as Numba knows it."""
    scope: dict[str, Any] = {name: _taught(module) for name, module in MODULES.items()}
    argument = scope["argument"] = ModuleType("argument")
    for kind in [*TYPES, *(f"{name}*" for name in TYPES)]:
        setattr(argument, _attribute(kind), numba.taught(_argument(kind), 2))
    return {**scope, **NUMBERS}


def _taught(module: Any) -> ModuleType:
    taught = ModuleType(module.__name__)
    for name in dir(module):
        function = getattr(module, name)
        emit = getattr(function, "emit", None)
        if emit is not None:
            arity = len(inspect.signature(function).parameters)
            setattr(taught, name, numba.taught(emit, arity))
    if hasattr(module, "block"):
        taught.block = numba.taught_block(LINE)  # type: ignore[attr-defined]
    return taught


def _argument(kind: str) -> Callable[..., Any]:
    def emit(builder: Any, record: Any, position: Any) -> Any:
        return load_argument(builder, builder.gep(record, [position]), argument_type(kind))

    return emit
