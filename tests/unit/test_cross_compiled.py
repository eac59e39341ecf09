"""Kernels for processors that are not here: compiled, and the code read.

Each uses the whole register of its processor, and what it multiplies and adds at once where that is
one instruction; nothing is left to the C library that the processor can do.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.build import native
from graphc.build.loader import LOADER
from graphc.emit import products, shape
from graphc.emit.vmath import exponential, trace, variants
from graphc.jit import processor, target
from graphc.jit.llvm import binding
from graphc.lazy import loaded
from graphc.machine import known
from graphc.machine.isa import isa_of
from graphc.print import llvm
from tests.kernels import elementwise

ARM, X86 = "aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"
PROCESSORS = {
    "neon": (ARM, "generic"),
    "neoverse-v2": (ARM, "neoverse-v2"),
    "avx512": (X86, "znver4"),
    "avx512 of few": (X86, "knl"),
    "avx512 of Intel": (X86, "sapphirerapids"),
    "avx2": (X86, "haswell"),
    "avx": (X86, "sandybridge"),
    "sse4.2": (X86, "nehalem"),
    "sse2": (X86, "generic"),
}
REGISTER = {
    (16, ARM): r"\bv\d+\.(4s|2d)",
    (16, X86): r"xmm",
    (32, X86): r"ymm",
    (64, X86): r"zmm",
}
FUSED = {ARM: r"\bfml[as]\s+v\d+\.4s", X86: r"\bvfn?m(add|sub)\w+ps\s"}


class Compiler:
    """Compiles kernels for another processor, into text."""

    def __init__(self, triple, name):
        self.triple = triple
        self.features = processor.probed(name, "", triple)
        self.isa = isa_of(self.features)
        self.machine = binding.Target.from_triple(triple).create_target_machine(cpu=name)

    def register(self):
        """Return a pattern of the names that whole registers have."""
        return REGISTER[self.isa.vector_bytes, self.triple]

    def assembly(self, made):
        text = made.lower("entry")
        layout = f'target datalayout = "{self.machine.target_data}"'
        text = re.sub(r'target datalayout = ".*"', layout, text)
        return self.machine.emit_assembly(native.optimised(text, made))


@pytest.fixture(params=PROCESSORS)
def compiler(request, monkeypatch):
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    triple, name = PROCESSORS[request.param]
    try:
        found = Compiler(triple, name)
    except RuntimeError:
        pytest.skip(f"this LLVM does not compile for {triple}")
    there = target.Target(found.machine, triple, str(found.machine.target_data))
    for module in (target, llvm, loaded(native)):
        monkeypatch.setattr(module, "host", lambda: there)
    monkeypatch.setattr(shape, "TARGET", found.isa)
    record = replace(known(), isa=found.isa)
    for module in (llvm, trace, variants):
        monkeypatch.setattr(loaded(module), "known", lambda: record)
    monkeypatch.setattr(variants, "features", lambda: found.features)
    monkeypatch.setattr(exponential, "HAS_SCALE", False)
    return found


def calls(assembly):
    """Return the functions that code calls beyond its own."""
    found = set(re.findall(r"^\s+(?:callq?|bl|jmp|b)\s+([A-Za-z_][\w.]*)", assembly, re.MULTILINE))
    return {name for name in found if f"\n{name}:" not in assembly}


FUNCTIONS = ["exp", "tanh", "erf", "log1p"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementary_functions(name, compiler):
    assembly = compiler.assembly(elementwise(name, "float32"))
    assert re.search(compiler.register(), assembly)
    if compiler.isa.fma:
        assert re.search(FUSED[compiler.triple], assembly)
    assert not calls(assembly)


@pytest.mark.parametrize("name", ["sin", "pow"])
def test_functions_with_residuals(name, compiler):
    made = elementwise(name, *["float64"] * (2 if name == "pow" else 1))
    assert calls(compiler.assembly(made)) <= {"sin", "trunc"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products(dtype, compiler):
    assembly = compiler.assembly(getattr(products, f"matmul_{dtype}"))
    assert re.search(compiler.register(), assembly)
    assert not calls(assembly)


@pytest.fixture
def kernels(monkeypatch):
    """Return what is to be compiled, which then stops: :class:`Stop`."""
    found = []

    def begin(self, made):
        found.extend(made)
        raise Stop

    monkeypatch.setattr(type(LOADER), "begin", begin)
    return found


class Stop(Exception):
    pass


@pytest.mark.parametrize("channels", [16, 32, 48, 96])
def test_loops_of_few_steps_have_vectors(channels, compiler, kernels):
    """A bias and an activation of so many channels: LLVM does not write the loop out instead."""
    x, b = gx.input("x", (None, channels)), gx.parameter(np.zeros(channels, "float32"))
    with pytest.raises(Stop):
        gx.function(x, gx.relu(x + b))
    (made,) = [k for k in kernels if "add_relu" in k.name]
    added = r"\bfadd\s+v\d+\.4s" if compiler.triple == ARM else r"\bv?addps\s"
    (loop,) = re.findall(rf"{added}.*", compiler.assembly(made))[:1]
    assert re.search(compiler.register(), loop)


def test_a_training_step(compiler, kernels):
    """Each of its kernels compiles, and calls nothing but the system."""
    x, y = gx.input("x", (None, 20)), gx.input("y", (None,), "int64")
    out = nn.Sequential(nn.Linear(20, 30), nn.GELU(), nn.Dropout(0.1), nn.Linear(30, 5))(x)
    model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.cross_entropy(out, y),
                     optimizer=optim.Adam(1e-3))  # fmt: skip
    with pytest.raises(Stop):
        model.train_step(np.zeros((8, 20), "float32"), np.zeros(8, "int64"))
    assert len(kernels) > 5
    for made in kernels:
        assert calls(compiler.assembly(made)) <= {"memset", "memcpy", "sched_yield"}
