"""A module is what its program asks for: checked before it runs."""

from __future__ import annotations

import re
from collections import Counter

from graphc.codegen.kernel import Argument, KernelCall, KernelText, Parameter, Passed
from graphc.codegen.module import GAP, Module
from graphc.errors import VerificationError
from graphc.plan.program import Call, Program


def verify(module: Module, program: Program) -> None:
    """Raise :class:`VerificationError` if a call is not what the program asks for.

    Each calls a kernel that stands in the text once, as it was made for that call, with arguments
    of its kinds, and touches no buffer that the program does not name.
    """
    if len(module.calls) != len(program.calls):
        raise VerificationError(f"{len(program.calls)} calls became {len(module.calls)}")
    for number, (call, kernel) in enumerate(zip(program.calls, module.calls, strict=True)):
        wrong = _misprint(module, kernel) or _stray(call, kernel)
        if wrong:
            raise VerificationError(f"call {number}, of {kernel.name}, {wrong}")
    parts = set(module.head.split(GAP))
    counts = Counter(re.findall(r"^def (\w+)\(", module.head, re.MULTILINE))
    for name, text in module.kernels.items():
        if counts[name] != 1 or text.text not in parts:
            raise VerificationError(f"kernel {name} does not stand in the module once")


def _misprint(module: Module, call: KernelCall) -> str:
    """Return what is wrong with a call of a generated kernel, or nothing."""
    text = call.kernel
    if not isinstance(text, KernelText):
        return ""
    if module.kernels.get(text.name) is not text:
        return "finds another kernel of its name"
    if len(text.parameters) != len(call.arguments):
        return f"passes {len(call.arguments)} arguments for {len(text.parameters)} parameters"
    for parameter, argument in zip(text.parameters, call.arguments, strict=True):
        if not _fits(parameter, argument):
            return f"passes {argument} for {parameter}"
    return ""


def _fits(parameter: Parameter, argument: Argument) -> bool:
    if isinstance(argument, tuple):
        return parameter.is_pointer and parameter.dtype == argument[0].dtype
    if isinstance(argument, Passed):
        return not parameter.is_pointer and parameter.dtype == argument.dtype
    return parameter.dtype is None


def _stray(call: Call, kernel: KernelCall) -> str:
    """Return what a kernel touches that its call does not say, or nothing."""
    pointers = [a[0] if isinstance(a, tuple) else None for a in kernel.arguments]
    written = {pointers[t.position] for t in kernel.touches if t.written}
    touched = {pointers[t.position] for t in kernel.touches}
    if not written <= set(call.writes):
        return "writes what the program does not write there"
    if not touched <= {*call.reads, *call.writes}:
        return "reads what the program does not read there"
    return ""
