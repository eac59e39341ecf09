"""Kernels of programs compiled by the C compiler of the machine, in place of LLVM's."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Mapping

from graphc.codegen.kernel import KernelText
from graphc.emit.kernel import GeneratedKernel
from graphc.kernel.code import statements, values, within
from graphc.kernel.value import Call
from graphc.print import c
from graphc.run.source import kernels_of

COMPILER = shutil.which("cc")
STRICT = (
    "-Wall", "-Wextra", "-Werror",
    "-Wno-unused-parameter", "-Wno-unused-variable", "-Wno-tautological-compare",
)  # fmt: skip
"""Warnings are errors, but for what a program says itself: ``x == x``, a value nobody reads."""

EXACT = {
    *("abs", "ceil", "copysign", "floor", "floor_divide", "isfinite", "isinf", "isnan"),
    *("left_shift", "maximum", "minimum", "nextafter", "relu", "remainder", "right_shift", "round"),
    *("rsqrt", "sign", "signbit", "sqrt", "trunc", "where"),
}
"""Functions that are right to the last bit in both languages, or that move bits only."""


def texts_of(executable) -> dict[str, KernelText]:
    """Return the generated kernels of a program by name."""
    found = kernels_of(executable._module)
    return {k.name: k.text for k in found if type(k) is GeneratedKernel}


def is_exact(kernel: KernelText) -> bool:
    """Whether both languages must agree to the last bit."""
    made = [v for s in statements(kernel.body) for x in values(s) for v in within(x)]
    calls = {v.function for v in made if isinstance(v, Call)}
    real = {v.function for v in made if isinstance(v, Call) and v.operands[-1].dtype.kind == "f"}
    inexact = {f for f in calls & real if f.startswith("vmath.")} - {f"vmath.{f}" for f in EXACT}
    return not inexact and not kernel.reassociate


class CLibrary:
    """Kernels in memory by name, each under an entry point as graphc's tables call them."""

    def __init__(self, folder, kernels, text: str = "") -> None:
        kernels = list(kernels)
        text = (text or c.source(kernels)) + "\n".join(map(_entry, kernels))
        self._replaced: list[Mapping[str, int]] = []
        self._library = ctypes.CDLL(str(compiled(folder, text)))
        self.entries = {k.name: self._address(f"entry_{k.name}") for k in kernels}

    def _address(self, name: str) -> int:
        return ctypes.cast(getattr(self._library, name), ctypes.c_void_p).value

    def replace(self, executable) -> None:
        """Let a program's generated kernels be these."""
        batches = executable._batches
        own = {name: self.entries[name] for name in texts_of(executable)}
        self._replaced.append(batches.entries)  # what was linked with it stays in memory
        batches.entries = {**batches.entries, **own}
        batches._bound.clear()


def compiled(folder, text: str):
    """Return the shared library that a C compiler makes of a text."""
    source, library = folder / "kernels.c", folder / "kernels.so"
    source.write_text(text)
    flags = (*c.FLAGS, *STRICT, "-O2", "-shared", "-fPIC")
    command = [COMPILER, *flags, str(source), "-o", str(library), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]
    return library


def _entry(kernel: KernelText) -> str:
    """Return a function of a record's words, the range and the thread's scratch."""
    passed = []
    for i, p in enumerate(kernel.parameters):
        word = f"record + {i}"
        if p.dtype is None:
            passed.append(f"*({word})")
        elif p.is_pointer:
            passed.append(f"(void *)record[{i}]")
        else:
            passed.append(f"*({c.TYPES[p.dtype.name]} *)({word})")
    head = f"void entry_{kernel.name}(int64_t *record, int64_t lo, int64_t hi, int64_t scratch)"
    return f"{head} {{ {kernel.name}({', '.join(['lo', 'hi', *passed])}); }}\n"
