"""From a kernel to machine code: the one place that touches Numba's internals.

Numba types and lowers the function. We add the entry point by which the record of a call is
unpacked, run LLVM's optimiser once over both, and keep the object code. Numba's own finishing
(wrappers, reference counts, a second optimisation, its in-memory linker) is left out, which
takes a kernel from about 55 to 35 ms.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from llvmlite import binding
from numba.core import compiler, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from graphc.runtime.kernel import POINTER, Kernel

FASTMATH = {"contract", "nsz"}
"""Freedoms that keep NaN and infinities right, and give an element the same bits in the vectors of
a loop as in its remainder, so that it does not matter how threads divide the loop."""

_SCALARS = {
    "int64": types.int64,
    "int32": types.int32,
    "uint8": types.uint8,
    "bool": types.uint8,
    "float32": types.float32,
    "float64": types.float64,
}


def entry_name(key: str) -> str:
    """Return the symbol of the entry point of the kernel stored under ``key``."""
    return f"graphc_{key}"


@global_compiler_lock  # type: ignore[untyped-decorator]
def compile_kernel(kernel: Kernel, key: str) -> bytes:
    """Return the object code of ``kernel`` with the entry point ``entry_name(key)``."""
    signature = [types.int64, types.int64, *map(_numba_type, kernel.types)]
    _load_named_modules(kernel)
    typing_context, target_context = cpu_target.typing_context, cpu_target.target_context
    typing_context.refresh()
    target_context.refresh()
    library = target_context.codegen().create_library(kernel.name)
    library._optimize_functions = _leave_to_the_end
    result = compiler.compile_extra(
        typing_context,
        target_context,
        kernel.function,
        signature,
        types.void,
        _flags(kernel),
        {},
        library=library,
    )
    module = library._final_module
    for callee in library._linking_libraries:
        module.link_in(callee._get_module_for_linking(), preserve=True)
    name = result.fndesc.llvm_func_name
    entry = binding.parse_assembly(_entry_text(entry_name(key), name, kernel.types, module))
    module.link_in(entry)
    for function in module.functions:
        if not function.is_declaration and function.name != entry_name(key):
            function.linkage = binding.Linkage.internal
    module.verify()
    manager, builder = library._codegen._module_pass_manager()
    manager.run(module, builder)
    code: bytes = library._codegen._tm.emit_object(module)
    return code


def _leave_to_the_end(module: binding.ModuleRef) -> None:
    """Take the place of the passes that Numba runs over each function as it comes."""


def _load_named_modules(kernel: Kernel) -> None:
    """Execute the lazy modules that the kernel names: Numba must know of what they register."""
    for name in kernel.function.__code__.co_names:
        module = kernel.function.__globals__.get(name)
        if isinstance(module, ModuleType):
            vars(module)


def _numba_type(name: str) -> Any:
    if name.endswith(POINTER):
        return types.CPointer(_SCALARS[name.removesuffix(POINTER)])
    return _SCALARS[name]


def _flags(kernel: Kernel) -> compiler.Flags:
    flags = compiler.Flags()
    chosen = {
        "nrt": False,
        "noalias": True,
        "no_cpython_wrapper": True,
        "no_cfunc_wrapper": True,
        "no_compile": True,
        "no_rewrites": True,
        "error_model": "numpy",
        "fastmath": FASTMATH | {"reassoc"} if kernel.reassociate else FASTMATH,
    }
    for name, value in chosen.items():
        setattr(flags, name, value)
    return flags


def _entry_text(
    entry: str, callee: str, arguments: tuple[str, ...], module: binding.ModuleRef
) -> str:
    """Return LLVM text of ``void entry(i64* record, i64 lo, i64 hi)``, which unpacks a record."""
    kinds = ["ptr" if a.endswith(POINTER) else "i64" for a in arguments]
    loads = []
    for i, kind in enumerate(kinds):
        loads.append(f"  %p{i} = getelementptr i64, ptr %record, i64 {i}")
        loads.append(f"  %a{i} = load {kind}, ptr %p{i}, align 8")
    passed = "".join(f", {kind} %a{i}" for i, kind in enumerate(kinds))
    declared = "".join(f", {kind}" for kind in kinds)
    return "\n".join(
        [
            f'target triple = "{module.triple}"',
            f'target datalayout = "{module.data_layout}"',
            f'declare i32 @"{callee}"(ptr, ptr, i64, i64{declared})',
            f'define void @"{entry}"(ptr %record, i64 %lo, i64 %hi) {{',
            "  %result = alloca ptr, align 8",
            "  %error = alloca ptr, align 8",
            *loads,
            f'  %status = call i32 @"{callee}"(ptr %result, ptr %error, i64 %lo, i64 %hi{passed})',
            "  ret void",
            "}",
        ]
    )
