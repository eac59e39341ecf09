"""For which processor code is compiled: its name and features, by Numba's own rule.

Numba takes the host's, but for what its environment variables and its list of processors with a
slow AVX say (``numba.core.config``). The rule is repeated here because a warm start never imports
Numba; the compiler is handed what this module says, so that the two cannot differ.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import sys
from typing import TYPE_CHECKING

from graphc.forks import whole
from graphc.lazy import lazy_module

if TYPE_CHECKING:
    from graphc.jit import llvm
else:
    llvm = lazy_module("graphc.jit.llvm")

SLOW_AVX = {"corei7-avx", "core-avx-i", "sandybridge", "ivybridge", "nocona"}
"""Processors for which Numba leaves AVX out."""

_PROBE = """
define {kind} @probe({kind} %x, {kind} %y, {kind} %z) {{
  %r = {operation}
  ret {kind} %r
}}
declare double @llvm.fma.f64(double, double, double)
"""
_PROBES = {
    "avx": ("<8 x float>", "fadd <8 x float> %x, %y", r"vaddps\s.*ymm"),
    "avx2": ("<8 x i32>", "add <8 x i32> %x, %y", r"vpaddd\s.*ymm"),
    "avx512f": ("<16 x float>", "fadd <16 x float> %x, %y", r"vaddps\s.*zmm"),
    "avx512dq": ("<8 x i64>", "mul <8 x i64> %x, %y", r"vpmullq\s.*zmm"),
    "avx512vl": ("<4 x i64>", "ashr <4 x i64> %x, %y", r"vpsravq\s.*ymm"),
    "fma": ("double", "call double @llvm.fma.f64(double %x, double %y, double %z)", r"fmadd"),
    "neon": ("<4 x float>", "fadd <4 x float> %x, %y", r"fadd\s+v\d+\.4s"),
}
"""Features by the instruction that LLVM has for an operation where, and only where, it has them."""


def _takes_avx(name: str) -> bool:
    """Whether Numba uses AVX on processor ``name``."""
    try:
        return bool(int(os.environ["NUMBA_ENABLE_AVX"]))
    except KeyError:
        pass
    except ValueError:  # of which Numba warns
        return True
    if sys.platform.startswith("linux") and platform.machine() == "x86_64":
        try:
            with open("/proc/cpuinfo") as lines:
                parts = (line.partition(":") for line in lines)
                if not any(h.strip() == "flags" and "avx" in b.split() for h, _, b in parts):
                    return False
        except OSError:
            pass
    return name not in SLOW_AVX


@functools.cache
@whole(logs=False)
def target() -> tuple[str, str]:
    """Return the name of the processor and its features, ``+yes,-no``, as LLVM takes them."""
    forced = os.environ.get("NUMBA_CPU_NAME")
    name = llvm.binding.get_host_cpu_name() if forced is None else forced
    default = "" if str(forced).lower() == "generic" else None
    chosen = os.environ.get("NUMBA_CPU_FEATURES", default)
    if chosen is not None:
        return name, chosen
    try:
        found = llvm.binding.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot tell on this system
        return name, ""
    if not _takes_avx(name or llvm.binding.get_host_cpu_name()):
        found.update({feature: False for feature in found if feature.startswith("avx")})
    return name, str(found.flatten())


@functools.cache
def features() -> frozenset[str]:
    """Return what code may use of the processor, by LLVM's names.

    Of a processor that was chosen only those that graphc asks for: what a name stands for, and
    which features imply others (``+f16c`` brings AVX back after ``-avx``), LLVM alone knows.
    """
    name, chosen = target()
    with whole(logs=False):
        try:
            found = llvm.binding.get_host_cpu_features()
        except RuntimeError:
            found = None
        if found is not None and (name, chosen) == (
            llvm.binding.get_host_cpu_name(),
            found.flatten(),
        ):
            return frozenset(feature for feature, present in found.items() if present)
        return probed(name, chosen)


def probed(name: str, chosen: str, triple: str | None = None) -> frozenset[str]:
    """Return which of the features that graphc asks for LLVM uses on a processor."""
    llvm.binding.initialize_native_target()
    llvm.binding.initialize_native_asmprinter()
    triple = triple or llvm.binding.get_process_triple()
    machine = llvm.binding.Target.from_triple(triple).create_target_machine(
        cpu=name, features=chosen
    )
    found = set()
    for feature, (kind, operation, instruction) in _PROBES.items():
        text = _PROBE.format(kind=kind, operation=operation)
        module = llvm.binding.parse_assembly(f'target triple = "{triple}"\n{text}')
        if re.search(instruction, machine.emit_assembly(module)):
            found.add(feature)
    return frozenset(found)
