"""The door to llvmlite: its text of LLVM's language (``ir``), and LLVM itself (``binding``).

``ir`` is imported when it is first asked for: to link stored code takes LLVM alone. What compiling
through LLVM takes beside is looked for by :func:`check`; where it is missing, Numba compiles.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from graphc.forks import LIBRARY_LOCKS
from graphc.jit.versions import door, need

with door("llvmlite"):
    from llvmlite import binding as binding

NEEDED = (
    (binding, f"ffi.{LIBRARY_LOCKS['llvmlite.binding.ffi']}"),
    (binding, "create_mcjit_compiler ExecutionEngine.add_object_file ObjectFileRef.from_data"),
    (binding, "ExecutionEngine.finalize_object ExecutionEngine.get_function_address"),
    (binding, "get_default_triple get_process_triple get_host_cpu_name get_host_cpu_features"),
    (binding, "initialize_native_target initialize_native_asmprinter llvm_version_info"),
    (binding, "Linkage parse_assembly create_context"),
    (binding, "Target.from_default_triple Target.from_triple Target.create_target_machine"),
    (binding, "TargetMachine.emit_object TargetMachine.emit_assembly create_pass_builder"),
    (binding, "create_pipeline_tuning_options PassBuilder.getModulePassManager"),
    (binding, "create_new_module_pass_manager ModulePassManager.run ffi.ObjectRef.detach"),
    (binding, "newpassmanagers.NewPassManager._dispose"),
    (binding, "ModulePassManager.add_always_inliner_pass ModulePassManager.add_sroa_pass"),
    (binding, "ModulePassManager.add_dead_arg_elimination_pass ModulePassManager.add_lcssa_pass"),
    (binding, "ModulePassManager.add_global_dead_code_eliminate_pass"),
    (binding, "ModulePassManager.add_global_opt_pass ModulePassManager.add_ipsccp_pass"),
    (binding, "ModulePassManager.add_instruction_combine_pass"),
    (binding, "ModulePassManager.add_jump_threading_pass ModulePassManager.add_loop_rotate_pass"),
    (binding, "ModulePassManager.add_loop_simplify_pass ModulePassManager.add_new_gvn_pass"),
    (binding, "ModulePassManager.add_simplify_cfg_pass"),
)
"""What LLVM's way takes. Numba's way takes of it what says for which processor code is."""


def check() -> None:
    """Raise VersionError if llvmlite lacks something that compiling through LLVM takes."""
    with door("llvmlite"):
        need(NEEDED)


if TYPE_CHECKING:
    from llvmlite import ir as ir
else:

    def __getattr__(name: str) -> Any:
        if name != "ir":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with door("llvmlite"):
            ir = importlib.import_module("llvmlite.ir")
            need([(ir, "Module Function IRBuilder Constant values.AttributeSet.add")])
        globals()["ir"] = ir
        return ir


def mark(function: Any, *attributes: str) -> None:
    """Add attributes to a function; llvmlite has no name for some of LLVM's.

    All attributes are written so, as part of the text: what llvmlite adds to a function that LLVM
    has read stands, in some versions, where LLVM looks for attributes of the result.
    """
    for attribute in attributes:
        set.add(function.attributes, attribute)


def run(
    manager: binding.ModulePassManager, module: binding.ModuleRef, builder: binding.PassBuilder
) -> None:
    """Run passes over a module, and give their memory back: 30 to 70 KB.

    llvmlite forgets that, for the base class that would is hidden behind one that does nothing.
    """
    try:
        manager.run(module, builder)
    finally:
        binding.newpassmanagers.NewPassManager._dispose(manager)
        manager.detach()
