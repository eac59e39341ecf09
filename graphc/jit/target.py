"""What LLVM compiles for: the machine of this process, and LLVM's passes for it."""

from __future__ import annotations

import functools
from typing import NamedTuple

from graphc.jit.llvm import binding
from graphc.jit.processor import target


class Target(NamedTuple):
    """LLVM's machine, and how a module in its language names that."""

    machine: binding.TargetMachine
    triple: str
    layout: str


@functools.cache
def host() -> Target:
    """Return the machine that code is compiled for; see :func:`graphc.jit.processor.target`."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    triple = binding.get_process_triple()
    name, features = target()
    x86 = binding.Target.from_default_triple().name.startswith("x86")
    machine = binding.Target.from_triple(triple).create_target_machine(
        cpu=name, features=features, opt=3, reloc="static" if x86 else "default",
        codemodel="jitdefault", jit=True,
    )  # fmt: skip
    return Target(machine, triple, str(machine.target_data))


def passes(
    *, interleave: bool | None = None, unroll: bool | None = None
) -> tuple[binding.ModulePassManager, binding.PassBuilder]:
    """Return LLVM's passes over a module, which make vectors of loops, and what runs them."""
    options = binding.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization, options.slp_vectorization = True, False
    if interleave is not None:
        options.loop_interleaving = interleave
    if unroll is not None:
        options.loop_unrolling = unroll
    builder = binding.create_pass_builder(host().machine, options)
    return builder.getModulePassManager(), builder


def no_passes(
    speed_level: int = 2,
) -> tuple[binding.ModulePassManager, binding.PassBuilder]:
    """Return passes to be filled, and what runs them."""
    options = binding.create_pipeline_tuning_options(speed_level=speed_level)
    return binding.create_new_module_pass_manager(), binding.create_pass_builder(
        host().machine, options
    )
