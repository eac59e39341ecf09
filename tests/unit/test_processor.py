"""For which processor code is compiled: Numba's own choice, and what LLVM makes of it."""

from __future__ import annotations

import functools
import platform

import numpy as np
import pytest
from llvmlite import binding

from graphc.jit import processor
from graphc.machine import isa

X86 = platform.machine().lower() in ("x86_64", "amd64")
only_x86 = pytest.mark.skipif(not X86, reason="names of x86-64's processors and features")

SAME_AS_NUMBA = """
import os, warnings
warnings.simplefilter("ignore")
from llvmlite import binding
from numba.core import config
from numba.core.codegen import JITCPUCodegen
from graphc.jit import processor

host = binding.get_host_cpu_name()
given = binding.get_host_cpu_features()


def fail():
    raise RuntimeError("LLVM cannot tell")


numba = JITCPUCodegen.__new__(JITCPUCodegen)
names = "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX"
tried = 0
for real, told in ((host, True), ("sandybridge", True), ("nocona", True), (host, False)):
    binding.get_host_cpu_name = lambda: real
    copies = lambda: type(given)(given)
    binding.get_host_cpu_features = copies if told else fail
    for name in (None, "", "generic", "Generic", "nehalem", "haswell", "ivybridge"):
        for features in (None, "", "+sse2,-avx", "-fma"):
            for avx in (None, "", "0", "1", "no"):
                for key, value in zip(names, (name, features, avx)):
                    os.environ.pop(key, None)
                    if value is not None:
                        os.environ[key] = value
                config.reload_config()
                wanted = numba._get_host_cpu_name(), numba._customize_tm_features()
                found = processor.target.__wrapped__()
                assert found == wanted, (real, told, name, features, avx, found, wanted)
                tried += 1
print(tried)
"""


def test_the_choice_is_numbas(run_python):
    assert int(run_python(SAME_AS_NUMBA)) == 4 * 7 * 4 * 5


@only_x86
@pytest.mark.parametrize(
    ("name", "chosen", "wanted"),
    [
        ("generic", "", set()),
        ("nehalem", "", set()),
        ("sandybridge", "", {"avx"}),
        ("haswell", "", {"avx", "avx2", "fma"}),
        ("haswell", "-fma", {"avx", "avx2"}),
        ("haswell", "-avx", set()),
        ("haswell", "-avx,+f16c,+fma", {"avx", "fma"}),  # what implies AVX brings it back
        ("knl", "", {"avx", "avx2", "avx512f", "fma"}),
        ("skylake-avx512", "", {"avx", "avx2", "avx512f", "avx512dq", "avx512vl", "fma"}),
    ],
)
def test_features_that_a_name_stands_for(name, chosen, wanted):
    assert processor.probed(name, chosen) == wanted


def test_features_of_arm():
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    try:
        found = processor.probed("generic", "", "aarch64-unknown-linux-gnu")
    except RuntimeError:
        pytest.skip("this LLVM is built for the host alone")
    assert found == {"neon", "fma"}
    assert isa.isa_of(found) == isa.NEON


def test_the_host_is_probed_as_it_says():
    name, chosen = processor.target()
    asked = set(processor._PROBES)
    implied = {"fma"} if "neon" in processor.features() else set()
    assert processor.probed(name, chosen) == (processor.features() & asked) | implied


WORK = """
import numpy as np
import graphc as gx
from graphc.machine import known
x = gx.input("x", (None, 33))
f = gx.function(x, gx.sum(gx.exp(x) @ gx.erf(x).T, axis=1) + gx.sum(gx.sin(x) * gx.log(x), axis=1))
found = f(np.random.default_rng(0).uniform(0.1, 1, (40, 33)).astype("float32"))
"""

FORCED = {
    "generic": {"NUMBA_CPU_NAME": "generic"},
    "no AVX": {"NUMBA_ENABLE_AVX": "0"},
    "SSE 4.2": {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": ""},
    "AVX": {"NUMBA_CPU_NAME": "sandybridge", "NUMBA_CPU_FEATURES": ""},
    "no FMA": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "-fma"},
}
VECTORS = {
    "generic": "vector_bytes=16", "SSE 4.2": "vector_bytes=16", "AVX": "vector_bytes=32",
    "no FMA": "fma=False", "no AVX": "Isa",
}  # fmt: skip
NEEDS = {"AVX": {"avx"}, "no FMA": {"avx2"}}


@functools.cache
def plain():
    scope = {}
    exec(WORK, scope)
    return scope["found"]


@only_x86
@pytest.mark.parametrize("kind", FORCED)
def test_forced_processors(kind, run_python):
    if not processor.features() >= NEEDS.get(kind, set()):
        pytest.skip("this processor has fewer features")
    isa, *forced = run_python(WORK + "print(known().isa, *found, sep='|')", **FORCED[kind]).split(
        "|"
    )
    np.testing.assert_allclose(np.array(forced, float), plain(), rtol=1e-5)
    assert VECTORS[kind] in isa
