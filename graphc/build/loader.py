"""From kernels to entry addresses: memory first, then disk, then the compiler."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from graphc.config import NUMBA, options
from graphc.forks import whole
from graphc.jit.choice import compiler
from graphc.jit.processor import target
from graphc.jit.store import Store
from graphc.jit.versions import installed
from graphc.lazy import lazy_module
from graphc.machine import known
from graphc.build import native
from graphc.emit.kernel import Kernel
from graphc.build.package import sources

if TYPE_CHECKING:
    from graphc.jit import llvm
    from graphc.build import by_numba
    from graphc.build.native import Work
else:
    llvm = lazy_module("graphc.jit.llvm")
    by_numba = lazy_module("graphc.build.by_numba")


@dataclass
class LoadStatistics:
    """Where the kernels of one program came from, and the time that took."""

    hits: int = 0
    misses: int = 0
    seconds: float = 0.0
    notes: list[tuple[str, str, float]] = field(default_factory=list)
    """(kernel, "memory" | "disk" | "numba" | "compiled: " and why, milliseconds)."""


class Entries(dict[str, int]):
    """Entry addresses by the names of kernels, which hold as long as this does."""

    def __init__(self, codes: Mapping[str, Code]) -> None:
        super().__init__((name, code.address) for name, code in codes.items())
        self._codes = tuple(codes.values())


@dataclass(frozen=True, eq=False)
class Code:
    """A kernel in memory, where it stays as long as this or what was linked with it."""

    address: int
    owner: object
    """What keeps it in memory."""


class Loader:
    """Loads object code into this process, once for each kernel that is in use."""

    def __init__(self) -> None:
        self._codes: WeakValueDictionary[str, Code] = WeakValueDictionary()
        self._identities: dict[str, str] = {}
        """What the kernels are, by the names of their entry points."""
        self._begun: dict[str, Work] = {}
        """What the compiler is at work on."""
        self._lock = threading.Lock()

    def begin(self, kernels: Iterable[Kernel]) -> None:
        """Begin to compile what is not stored; :meth:`load` waits for it.

        Numba leaves no time for anything beside it.
        """
        if compiler() == NUMBA:
            return
        store = Store(options().cache_path())
        with self._lock:
            known = set(self._codes) | self._begun.keys()
            fresh = {key: k for k in kernels if (key := self._key(k)) not in known}
            self._compile({key: k for key, k in fresh.items() if not store.has(key)})

    def _compile(self, kernels: Mapping[str, Kernel]) -> None:
        if kernels:  # else the compiler need not be loaded
            with whole():
                begin = native.begin
            self._begun |= begin(kernels)

    def load(self, kernels: Iterable[Kernel]) -> tuple[Entries, LoadStatistics]:
        """Return the entry address of each kernel by name, compiling what is not stored."""
        start = time.perf_counter()
        with self._lock:
            keys = {kernel: self._key(kernel) for kernel in kernels}
            held = {key: code for key in keys.values() if (code := self._codes.get(key))}
            fresh = {key: k for k, key in keys.items() if key not in held}
            linked, notes = self._fetch(fresh) if fresh else ({}, {})
            held |= linked
            entries = Entries({kernel.name: held[key] for kernel, key in keys.items()})
        statistics = LoadStatistics()
        for kernel, key in keys.items():
            source, milliseconds = notes.get(key, ("memory", 0.0))
            statistics.notes.append((kernel.name, source, milliseconds))
            statistics.misses += source.startswith("compiled") or source == NUMBA
        statistics.hits = len(keys) - statistics.misses
        statistics.seconds = time.perf_counter() - start
        return entries, statistics

    def _fetch(
        self, kernels: Mapping[str, Kernel]
    ) -> tuple[dict[str, Code], dict[str, tuple[str, float]]]:
        """Read or compile the kernels, and link them; return where each came from, and ms."""
        if compiler() == NUMBA:
            return self._by_numba(kernels)
        store = Store(options().cache_path())
        codes, notes = {}, {}
        for key in kernels:
            start = time.perf_counter()
            code = None if key in self._begun else store.read(key, self._identities[key])
            if code is not None:
                codes[key] = code
                notes[key] = ("disk", (time.perf_counter() - start) * 1e3)
        missing = {key: kernel for key, kernel in kernels.items() if key not in codes}
        self._compile({key: k for key, k in missing.items() if key not in self._begun})
        for key in missing:
            code, seconds = self._begun.pop(key).result()
            codes[key] = code
            notes[key] = (f"compiled: {store.lack(key)}", seconds * 1e3)
            store.write(key, self._identities[key], code)
        linked = self._link(codes)
        self._codes.update(linked)
        return linked, notes

    def _by_numba(
        self, kernels: Mapping[str, Kernel]
    ) -> tuple[dict[str, Code], dict[str, tuple[str, float]]]:
        """Compile the kernels by Numba, which keeps nothing on disk."""
        codes, notes = {}, {}
        for key, kernel in kernels.items():
            start = time.perf_counter()
            owner = by_numba.compiled(kernel)
            self._codes[key] = codes[key] = Code(int(owner.address), owner)
            notes[key] = (NUMBA, (time.perf_counter() - start) * 1e3)
        return codes, notes

    def _key(self, kernel: Kernel) -> str:
        """Return the name of the kernel's entry point, and of its file: what, and for what machine.

        Kernels whose digests are equal are told apart by a number.
        """
        identity, number = kernel.identity, 1
        way = "graphc_numba" if compiler() == NUMBA else "graphc"
        key = name = f"{way}_{kernel.digest()}_{_machine()}"
        while self._identities.setdefault(key, identity) != identity:
            number += 1
            key = f"{name}_{number}"
        return key

    def _link(self, codes: Mapping[str, bytes]) -> dict[str, Code]:
        """Return the kernels in memory; they share an engine, since one takes milliseconds."""
        with whole(logs=False):
            engine = _new_engine()
            for code in codes.values():
                engine.add_object_file(llvm.binding.ObjectFileRef.from_data(code))
            engine.finalize_object()
            return {key: Code(int(engine.get_function_address(key)), engine) for key in codes}


def _new_engine() -> llvm.binding.ExecutionEngine:
    llvm.binding.initialize_native_target()
    llvm.binding.initialize_native_asmprinter()
    machine = llvm.binding.Target.from_default_triple().create_target_machine(jit=True)
    return llvm.binding.create_mcjit_compiler(llvm.binding.parse_assembly(""), machine)


@functools.cache
@whole(logs=False)
def _machine() -> str:
    """Return a hash of what object code depends on beside the kernel itself.

    That is graphc as it stands, whole: kernels written by hand take numbers from many of its
    modules, and a list of them would be wrong one day.
    """
    digest = hashlib.sha256()
    parts = [
        platform.python_version(),
        llvm.binding.get_default_triple(),
        *target(),
        *map(str, known().caches),
        *(installed(p) for p in ("numba", "llvmlite", "numpy")),
        *(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("NUMBA_")),
    ]
    digest.update("\n".join(parts).encode())
    digest.update(sources(Path(__file__).parents[1]))
    return digest.hexdigest()[:32]


LOADER = Loader()
"""The loader of this process."""


def _after_fork() -> None:
    """Forget what other threads of the parent did: they are not here."""
    LOADER._lock = threading.Lock()
    LOADER._begun.clear()


if os.name == "posix":
    os.register_at_fork(after_in_child=_after_fork)
