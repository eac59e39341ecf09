"""What Numba knows while it compiles kernels: numbers, ranges, pointers, and graphc's functions.

Numba's own contexts know arrays, strings, lists and all of NumPy, and take 0.4 s and 30 MB to
fill (SciPy is imported where there is one). Those made here take 0.03 s. Ranges and extrema are
lowered here too, since Numba's make twice the code: it counts steps by a division, and compiles
``min`` and ``max`` from Python each time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from graphc.jit import numba, processor
from graphc.jit.llvm import binding, ir
from graphc.jit.numba import (
    ConcreteTemplate,
    Lowerings,
    RefType,
    RegistryLoader,
    Templates,
    cgutils,
    iternext_impl,
    signature,
    types,
)
from graphc.jit.versions import door, need

_WORD = ir.IntType(64)
_TYPES, _LOWERINGS = Templates(), Lowerings("graphc")


class KernelTypes(numba.Context):
    """Types of numbers, ranges and pointers, and of the functions that graphc registers."""

    def __init__(self) -> None:
        self._signatures: dict[tuple[Any, tuple[Any, ...]], Any] = {}
        super().__init__()

    def load_additional_registries(self) -> None:
        self.install_registry(_TYPES)

    def _load_builtins(self) -> None:
        self.install_registry(numba.builtin_registry)

    def resolve_value_type(self, val: Any) -> Any:
        """Return the type of a constant; to look at a class, Numba imports its containers."""
        known = self._lookup_global(val)
        return super().resolve_value_type(val) if known is None else known

    def resolve_function_type(self, func: Any, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        """Return the signature of a call; Numba tries all that a function has, each time anew."""
        if kws or type(func) is not types.Function:
            return super().resolve_function_type(func, args, kws)
        found = self._signatures.get((func, args))
        if found is None:
            found = super().resolve_function_type(func, args, kws)
            self._signatures[func, args] = found
        return found

    def install_registry(self, registry: Any) -> None:
        """Take what is new in ``registry``, but for what would fill Numba's own contexts too."""
        loader = self._registries.setdefault(registry, RegistryLoader(registry))
        for template in loader.new_registrations("functions"):
            self.insert_function(template(self))
        for template in loader.new_registrations("attributes"):
            if not hasattr(template, "_overload_func"):
                self.insert_attributes(template(self))
        for value, kind in loader.new_registrations("globals"):
            known = self._lookup_global(value)
            if known is not None:
                self._remove_global(value)
            self._insert_global(value, kind if known is None else known.augment(kind))


class KernelTarget(numba.CPUContext):
    """Lowers numbers, ranges and pointers, and the functions that graphc registers."""

    def init(self) -> None:
        self.is32bit = False
        self._internal_codegen = CODEGEN

    def load_additional_registries(self) -> None:
        self.install_registry(_LOWERINGS)

    def get_abi_sizeof(self, ty: Any) -> int:
        return _sizeof(ty)

    def post_lowering(self, mod: ir.Module, library: Any) -> None:
        """Leave the module as it is: Numba would link its library for Python objects."""


@functools.cache
def _sizeof(kind: Any) -> int:
    """Return the bytes of an LLVM type; LLVM, which may be busy, is not asked in most cases."""
    if isinstance(kind, ir.IntType):
        return (int(kind.width) + 7) // 8
    if isinstance(kind, (ir.PointerType, ir.DoubleType)):
        return 8
    if isinstance(kind, ir.FloatType):
        return 4
    return int(kind.get_abi_size(CODEGEN.target_data))


class _Codegen(numba.JITCPUCodegen):
    """Numba's LLVM passes and target machine; asks LLVM what the machine is called once."""

    def _get_host_cpu_name(self) -> str:
        return processor.target()[0]

    def _get_host_cpu_features(self) -> str:
        return processor.target()[1]

    @property
    def machine(self) -> binding.TargetMachine:
        return self._tm

    def passes(self) -> tuple[binding.ModulePassManager, binding.PassBuilder]:
        """Return Numba's passes over a module, and what runs them."""
        manager, builder = self._module_pass_manager()
        return manager, builder

    def _create_empty_module(self, name: str) -> ir.Module:
        module = ir.Module(name)
        module.triple = _triple()
        module.data_layout = self._data_layout or ""
        return module


_triple = functools.cache(binding.get_process_triple)


class KernelLibrary(numba.CPUCodeLibrary):
    """Keeps the module that was lowered, for LLVM to work on later."""

    def __init__(self, name: str) -> None:
        self._codegen, self._name = CODEGEN, name
        self.module = ir.Module()

    def add_ir_module(self, module: ir.Module) -> None:
        self.module = module


# -- ranges, min and max -------------------------------------------------------------------------


def _range(*operands: Any) -> None:
    """Lower ``range`` of so many integers to a structure of start, stop and step."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        start, stop = (ir.Constant(_WORD, 0), args[0]) if len(args) == 1 else args[:2]
        step = args[2] if len(args) == 3 else ir.Constant(_WORD, 1)
        return _structure(context, builder, sig, start, stop, step)

    _LOWERINGS.lower(range, *operands)(lower)


@_LOWERINGS.lower("getiter", types.range_state64_type)  # type: ignore[untyped-decorator]
def _begin(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Lower the start of a loop: the next value is in memory, until LLVM finds it a register."""
    start, stop, step = (builder.extract_value(args[0], i) for i in range(3))
    place = cgutils.alloca_once(builder, _WORD)
    builder.store(start, place)
    return _structure(context, builder, sig, place, stop, step, place)


@_LOWERINGS.lower("iternext", types.range_iter64_type)  # type: ignore[untyped-decorator]
@iternext_impl(RefType.UNTRACKED)  # type: ignore[untyped-decorator]
def _next(context: Any, builder: Any, sig: Any, args: Any, result: Any) -> None:
    """Lower a step of a loop, as C would write it."""
    place, stop, step = (builder.extract_value(args[0], i) for i in range(3))
    value = builder.load(place)
    rising = builder.icmp_signed(">", step, ir.Constant(_WORD, 0))
    below, above = (builder.icmp_signed(relation, value, stop) for relation in "<>")
    more = builder.select(rising, below, above)
    result.set_valid(more)
    with builder.if_then(more):
        result.yield_(value)
        builder.store(builder.add(value, step, flags=["nsw"]), place)


def _structure(context: Any, builder: Any, sig: Any, *values: Any) -> Any:
    result = ir.Constant(context.get_value_type(sig.return_type), ir.Undefined)
    for i, value in enumerate(values):
        result = builder.insert_value(result, value, i)
    return result


def _extremum(function: Callable[..., Any], relation: str) -> None:
    """Lower ``function`` of two integers: ``x if x <relation> y else y``."""

    class Template(ConcreteTemplate):
        key = function
        cases = (signature(types.int64, types.int64, types.int64),)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.icmp_signed(relation, *args), *args)

    _TYPES.register_global(function, types.Function(Template))
    _LOWERINGS.lower(function, types.int64, types.int64)(lower)


for _count in (1, 2, 3):
    _range(*[types.int64] * _count)
_extremum(min, "<=")
_extremum(max, ">=")

CODEGEN = _Codegen("graphc")
TYPES = KernelTypes()
TARGET = KernelTarget(TYPES)

with door("Numba"):  # what objects have, and not their classes
    need([(CODEGEN, "_tm _data_layout"), (TYPES, "_registries"), (TARGET, "_internal_codegen")])
