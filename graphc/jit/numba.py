"""The door to Numba: the names of it that graphc uses, most of them private.

Names of methods are those that graphc calls, or replaces in classes derived from Numba's: where
Numba has another name for it, what replaces a method is never run.
"""

from __future__ import annotations

from graphc.forks import LIBRARY_LOCKS
from graphc.jit.versions import check, door, need

__all__ = [
    "INSTALLED",
    "AbstractTemplate",
    "CPUCodeLibrary",
    "CPUContext",
    "CompilerBase",
    "ConcreteTemplate",
    "ConfigStack",
    "Context",
    "Flags",
    "JITCPUCodegen",
    "Lower",
    "Lowerings",
    "PythonFunctionDescriptor",
    "RefType",
    "RegistryLoader",
    "Templates",
    "builtin_registry",
    "cgutils",
    "global_compiler_lock",
    "infer_global",
    "ir",
    "iternext_impl",
    "lower_builtin",
    "signature",
    "typed_passes",
    "types",
    "untyped_passes",
]

with door("Numba"):
    import numba

    INSTALLED: str = numba.__version__
    check(INSTALLED)

    import numba.core.optional  # these are imported for what they register
    import numba.core.typing.builtins
    import numba.cpython.builtins
    import numba.cpython.numbers
    import numba.cpython.tupleobj
    from numba.core import (
        cgutils,
        compiler_lock,
        imputils,
        ir,
        typed_passes,
        types,
        untyped_passes,
    )
    from numba.core.codegen import CPUCodeLibrary, JITCPUCodegen
    from numba.core.compiler import CompilerBase, Flags
    from numba.core.cpu import CPUContext
    from numba.core.funcdesc import PythonFunctionDescriptor
    from numba.core.imputils import RefType, iternext_impl
    from numba.core.lowering import Lower
    from numba.core.targetconfig import ConfigStack
    from numba.core.typing import templates
    from numba.core.typing.context import Context
    from numba.core.typing.templates import (
        AbstractTemplate,
        ConcreteTemplate,
        RegistryLoader,
        builtin_registry,
        infer_global,
        signature,
    )
    from numba.extending import lower_builtin

    Lowerings, Templates = imputils.Registry, templates.Registry
    global_compiler_lock = compiler_lock.global_compiler_lock

    NEEDED = (
        (cgutils, "alloca_once for_range for_range_slice get_or_insert_function"),
        (compiler_lock, LIBRARY_LOCKS[compiler_lock.__name__]),
        (ir, "Assign Block.find_insts Expr.binop Var.unversioned_name"),
        (typed_passes, "NopythonTypeInference.run_pass PreLowerStripPhis.run_pass"),
        (untyped_passes, "TranslateByteCode.run_pass FixupArgs.run_pass IRProcessing.run_pass"),
        (untyped_passes, "ReconstructSSA.run_pass"),
        (types, "CPointer Function VarArg unliteral range_state64_type range_iter64_type"),
        (CPUCodeLibrary, "add_ir_module"),
        (JITCPUCodegen, "_create_empty_module _module_pass_manager target_data"),
        (JITCPUCodegen, "_get_host_cpu_name _get_host_cpu_features"),
        (CompilerBase, "compile_extra _compile_core"),
        (Flags, "nrt noalias error_model"),
        (CPUContext, "init load_additional_registries install_registry get_abi_sizeof"),
        (CPUContext, "post_lowering push_code_library get_value_type get_dummy_value"),
        (PythonFunctionDescriptor, "from_specialized_function llvm_func_name"),
        (Lower, "lower lower_binop"),
        (ConfigStack, "enter"),
        (Context, "_load_builtins load_additional_registries install_registry"),
        (Context, "resolve_value_type resolve_function_type insert_function insert_attributes"),
        (Context, "_lookup_global _remove_global _insert_global"),
        (RegistryLoader, "new_registrations"),
    )
    need(NEEDED)
