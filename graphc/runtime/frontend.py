"""From a kernel to LLVM's language: the one place that drives Numba.

Numba types and lowers the function, in the contexts of :mod:`.target` and with those of its
passes that a kernel cannot do without: 12 ms for ten lines of loops, where the usual pipeline
takes 20. We add the entry point by which the record of a call is unpacked.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from graphc.jit import numba
from graphc.jit.llvm import ir, mark
from graphc.jit.numba import Flags, global_compiler_lock, types
from graphc.lazy import loaded
from graphc.machine import known
from graphc.runtime.kernel import POINTER, Kernel
from graphc.runtime.target import TARGET, TYPES, KernelLibrary

FOLDED = ("nsz", "reassoc")
"""Freedoms of the sums and products that fold an axis: their order, and the sign of a zero.

All else computes as it is written, so that NaN, infinities and the sign of zeros come out right,
and an element has the same bits in the vectors of a loop as in its remainder: it does not matter
how threads divide the loop. Nor may LLVM fuse products with sums (``contract``): it does so where
it sees both, and in a vector it sees into functions that it calls in the remainder. Formulas and
tiles say where they fuse."""

PASSES = (
    numba.untyped_passes.TranslateByteCode,
    numba.untyped_passes.FixupArgs,
    numba.untyped_passes.IRProcessing,
    numba.untyped_passes.ReconstructSSA,
    numba.typed_passes.NopythonTypeInference,
    numba.typed_passes.PreLowerStripPhis,
)
"""Numba's passes up to lowering; the others are about Python objects and inlined closures."""

VERSION = "weak_odr"
"""The linkage of functions that no call names until LLVM has made vectors of loops; see
:mod:`graphc.runtime.vmath.variants`."""

_SCALARS = {
    "int64": types.int64,
    "int32": types.int32,
    "uint8": types.uint8,
    "bool": types.uint8,
    "float32": types.float32,
    "float64": types.float64,
}


@global_compiler_lock  # type: ignore[untyped-decorator]
def lower(kernel: Kernel, entry: str) -> str:
    """Return ``kernel`` as LLVM text with one public ``entry(record, lo, hi, scratch)``."""
    _load_named_modules(kernel)
    given = [*kernel.types, kernel.scratch] if kernel.scratch else kernel.types
    arguments = [types.int64, types.int64, *map(_numba_type, given)]
    library = KernelLibrary(kernel.name)
    passes = _Passes(TYPES, TARGET, library, arguments, types.void, _flags(), {})
    passes.reassociate = kernel.reassociate
    callee = passes.compile_extra(kernel.function)
    for function in library.module.functions:
        if function.blocks and function.linkage != VERSION:
            function.linkage = "internal"
            if kernel.by_hand and "noinline" not in function.attributes:
                mark(function, "alwaysinline")
    _add_entry(library.module, entry, callee, scratch=bool(kernel.scratch))
    width = 8 * known().isa.vector_bytes
    for function in library.module.functions:
        if function.blocks:  # else LLVM takes half of it on Intel's processors
            mark(function, f'"prefer-vector-width"="{width}"')
    return str(library.module)


class _Lower(numba.Lower):
    """Lowers a function; its folds, and nothing else, may be reassociated.

    A fold is ``total = total + x``. With the freedom elsewhere, ``x - greatest - log(total)``
    becomes ``x - (greatest + log(total))``, which has lost the last places of the logarithm.
    """

    def __init__(self, *args: Any, folds: set[int]) -> None:
        super().__init__(*args)
        self._folds = folds

    def lower_binop(self, resty: Any, expr: Any, op: Any) -> Any:
        result = super().lower_binop(resty, expr, op)
        if id(expr) in self._folds and getattr(result, "opname", "") in ("fadd", "fmul"):
            result.flags.extend(FOLDED)
        return result


def _folds(blocks: Mapping[int, Any]) -> set[int]:
    """Return the identities of the expressions ``x + ...`` and ``x * ...`` assigned to ``x``."""
    found = set()
    for block in blocks.values():
        made = {}
        for statement in block.find_insts(numba.ir.Assign):
            value = statement.value
            if isinstance(value, numba.ir.Expr) and value.op in ("binop", "inplace_binop"):
                made[statement.target.name] = value
            elif isinstance(value, numba.ir.Var) and value.name in made:
                expression = made[value.name]
                if expression.lhs.unversioned_name == statement.target.unversioned_name:
                    found.add(id(expression))
    return found


class _Passes(numba.CompilerBase):
    """Runs the passes, and lowers; returns the name of the function in the library's module."""

    reassociate = False

    def _compile_core(self) -> str:
        state = self.state
        with numba.ConfigStack().enter(state.flags):
            for kind in PASSES:
                kind().run_pass(state)
            description = numba.PythonFunctionDescriptor.from_specialized_function(
                state.func_ir,
                state.typemap,
                state.return_type,
                state.calltypes,
                mangler=state.targetctx.mangler,
                inline=False,
                noalias=state.flags.noalias,
                abi_tags=[],
            )
            with state.targetctx.push_code_library(state.library):
                folds = _folds(state.func_ir.blocks) if self.reassociate else set()
                _Lower(
                    state.targetctx, state.library, description, state.func_ir, folds=folds
                ).lower()
        return str(description.llvm_func_name)


def _load_named_modules(kernel: Kernel) -> None:
    """Execute the lazy modules that the kernel names: Numba must know of what they register."""
    for name in kernel.function.__code__.co_names:
        module = kernel.function.__globals__.get(name)
        if isinstance(module, ModuleType):
            loaded(module)


def _numba_type(name: str) -> Any:
    if name.endswith(POINTER):
        return types.CPointer(_SCALARS[name.removesuffix(POINTER)])
    return _SCALARS[name]


def _flags() -> Flags:
    flags = Flags()
    chosen = {
        "nrt": False,
        "noalias": True,
        "error_model": "numpy",
    }
    for name, value in chosen.items():
        setattr(flags, name, value)
    return flags


def _add_entry(module: ir.Module, name: str, callee: str, *, scratch: bool) -> None:
    """Define ``void name(i64* record, i64 lo, i64 hi, i64 scratch)``, which calls ``callee``.

    It unpacks the record, and passes the scratch to whom wants it.
    """
    function = module.get_global(callee)
    word = ir.IntType(64)
    entry = ir.Function(
        module, ir.FunctionType(ir.VoidType(), [word.as_pointer(), word, word, word]), name
    )
    builder = ir.IRBuilder(entry.append_basic_block("entry"))
    record, lo, hi, memory = entry.args
    result, error, _, _, *wanted = function.function_type.args
    values = [builder.alloca(result.pointee), builder.alloca(error.pointee), lo, hi]
    own = [builder.inttoptr(memory, wanted.pop())] if scratch else []
    for i, kind in enumerate(wanted):
        place = builder.gep(record, [ir.Constant(word, i)])
        values.append(builder.load(builder.bitcast(place, kind.as_pointer())))
    builder.call(function, [*values, *own])
    builder.ret_void()
