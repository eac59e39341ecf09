"""From kernels to entry addresses: memory first, then disk, then the compiler."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from graphc.config import options
from graphc.lazy import lazy_module
from graphc.runtime import native
from graphc.runtime.kernel import Kernel
from graphc.runtime.store import Store

if TYPE_CHECKING:
    from importlib import metadata

    from llvmlite import binding
else:
    binding = lazy_module("llvmlite.binding")
    metadata = lazy_module("importlib.metadata")


@dataclass
class LoadStatistics:
    """Where the kernels of one program came from, and the time that took."""

    hits: int = 0
    misses: int = 0
    seconds: float = 0.0
    notes: list[tuple[str, str, float]] = field(default_factory=list)
    """(kernel, "memory" | "disk" | "compiled", milliseconds)."""


class Loader:
    """Loads object code into this process, once for each kernel."""

    def __init__(self) -> None:
        self._addresses: dict[str, int] = {}
        self._lock = threading.Lock()
        self._engine: binding.ExecutionEngine | None = None

    def load(self, kernels: Iterable[Kernel]) -> tuple[dict[str, int], LoadStatistics]:
        """Return the entry address of each kernel by name, compiling what is not stored."""
        statistics = LoadStatistics()
        start = time.perf_counter()
        addresses = {}
        with self._lock:
            store = Store(options().cache_path())
            for kernel in kernels:
                begin = time.perf_counter()
                addresses[kernel.name], source = self._address(kernel, store)
                elapsed = (time.perf_counter() - begin) * 1e3
                statistics.notes.append((kernel.name, source, elapsed))
                statistics.misses += source == "compiled"
                statistics.hits += source != "compiled"
        statistics.seconds = time.perf_counter() - start
        return addresses, statistics

    def _address(self, kernel: Kernel, store: Store) -> tuple[int, str]:
        key = hashlib.sha256(_machine() + kernel.digest()).hexdigest()
        if key in self._addresses:
            return self._addresses[key], "memory"
        code, source = store.read(key), "disk"
        if code is None:
            code, source = native.compile_kernel(kernel, key), "compiled"
            store.write(key, code)
        self._addresses[key] = self._link(code, f"graphc_{key}")
        return self._addresses[key], source

    def _link(self, code: bytes, symbol: str) -> int:
        if self._engine is None:
            self._engine = _new_engine()
        self._engine.add_object_file(binding.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        return int(self._engine.get_function_address(symbol))


def _new_engine() -> binding.ExecutionEngine:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(jit=True)
    return binding.create_mcjit_compiler(binding.parse_assembly(""), machine)


@functools.cache
def _machine() -> bytes:
    """Return a hash of what object code depends on beside the kernel itself."""
    digest = hashlib.sha256()
    parts = [
        platform.python_version(),
        binding.get_default_triple(),
        binding.get_host_cpu_name(),
        binding.get_host_cpu_features().flatten(),
        *(metadata.version(p) for p in ("numba", "llvmlite", "numpy")),
        *(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("NUMBA_")),
    ]
    digest.update("\n".join(parts).encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


LOADER = Loader()
"""The loader of this process."""


def _after_fork() -> None:
    """Free the lock that another thread of the parent may have held."""
    LOADER._lock = threading.Lock()


if os.name == "posix":
    os.register_at_fork(after_in_child=_after_fork)
