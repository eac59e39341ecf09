"""Kernels for tests: written, compiled alone, and called on arrays."""

from __future__ import annotations

import ctypes

import numpy as np
from llvmlite import binding

from graphc.build import loader, native
from graphc.codegen.kernel import KernelText, Parameter
from graphc.emit.kernel import GeneratedKernel
from graphc.ir.source import address_of
from graphc.jit.target import host
from graphc.kernel.code import HI, LO, Writer
from graphc.kernel.value import UINT8, Name, Pointer, vmath


def written(name, writer, *arguments):
    """Return a kernel of statements; integers are names, pointers are pointers."""
    parameters = [Parameter(a.name, a.dtype if isinstance(a, Pointer) else None) for a in arguments]
    return GeneratedKernel(KernelText(name, tuple(parameters), tuple(writer.body), fixed=name))


def elementwise(name, *dtypes, out=None):
    """Return the kernel ``out[j] = vmath.name(a[j], ...)``; booleans are bytes in memory."""
    kinds = [np.dtype(d) for d in dtypes]
    result = np.dtype(out or dtypes[0])
    writer = Writer()

    def pointer(name, dtype):
        return Pointer(name, UINT8 if dtype == np.bool_ else dtype)

    arrays = [pointer(letter, kind) for letter, kind in zip("abc", kinds, strict=False)]
    target = pointer("out", result)
    with writer.loop("j", HI, LO) as j:
        operands = [a[j].load(kind) for a, kind in zip(arrays, kinds, strict=True)]
        writer.store(target[j], vmath(name, *operands, dtype=result))
    return written(name, writer, *arrays, target)


class Compiled:
    """A kernel in memory, by itself."""

    def __init__(self, kernel):
        code, _ = native.compile_kernels({"entry": kernel})["entry"]
        self._engine = loader._new_engine()
        self._engine.add_object_file(binding.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        self._entry = entry_at(self._engine.get_function_address("entry"))

    def __call__(self, lo, hi, *arguments, scratch=0):
        run(self._entry, lo, hi, *arguments, scratch=scratch)


def entry_at(address):
    word = ctypes.c_int64
    return ctypes.CFUNCTYPE(None, word, word, word, word)(address)


def run(entry, lo, hi, *arguments, scratch=0):
    """Call an entry point with arrays and integers; ``scratch`` is an address."""
    words = [address_of(a) if isinstance(a, np.ndarray) else a for a in arguments]
    record = np.array(words, np.int64)
    entry(address_of(record), lo, hi, scratch)


def optimised(kernel):
    """Return a kernel's code after LLVM's passes."""
    return str(native.optimised(kernel.lower("entry"), kernel))


def assembly(kernel):
    """Return a kernel's machine code as text."""
    return host().machine.emit_assembly(native.optimised(kernel.lower("entry"), kernel))


__all__ = ["Compiled", "Name", "assembly", "elementwise", "entry_at", "optimised", "run", "written"]
