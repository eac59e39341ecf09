"""What the machine can do: multiply-adds in registers, and bytes copied in memory."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
import time
from collections.abc import Callable

from llvmlite import binding

from graphc.jit import processor
from graphc.machine import known

TITLE = "The machine"
NOTE = """Multiply-adds in registers alone, and a copy of 64 MB: bytes read and bytes written. The
best of 20."""

TIMES = 20
TURNS = 1_000_000
COPY_BYTES = 64 << 20

REALS = {"float32": ("float", "f32", 4), "float64": ("double", "f64", 8)}


def loop_text(dtype: str) -> tuple[str, int]:
    """Return LLVM text of ``peak(turns)``, and the operations of one turn.

    A turn is ``x = x / 2 + 1 / 2`` in three quarters of the registers: enough chains to hide the
    latency of each, and values that stay normal numbers.
    """
    real, suffix, size = REALS[dtype]
    lanes, chains = known().isa.vector_bytes // size, known().isa.registers // 4 * 3
    vector, fma = f"<{lanes} x {real}>", f"@llvm.fmuladd.v{lanes}{suffix}"

    def constant(value: float) -> str:
        return "<" + ", ".join([f"{real} {value:.1f}"] * lanes) + ">"

    half = f"{vector} {constant(0.5)}"
    lines = [
        f"declare {vector} {fma}({vector}, {vector}, {vector})",
        f"declare {real} @llvm.vector.reduce.fadd.v{lanes}{suffix}({real}, {vector})",
        f"define {real} @peak(i64 %turns) {{",
        "start:", "  br label %turn",
        "turn:", "  %left = phi i64 [ %turns, %start ], [ %rest, %turn ]",
        *(f"  %x{i} = phi {vector} [ {constant(i)}, %start ], [ %y{i}, %turn ]"
          for i in range(chains)),
        *(f"  %y{i} = call {vector} {fma}({vector} %x{i}, {half}, {half})" for i in range(chains)),
        "  %rest = sub i64 %left, 1", "  %more = icmp sgt i64 %rest, 0",
        "  br i1 %more, label %turn, label %done",
        "done:", f"  %sum0 = fadd {vector} %y0, %y1",
        *(f"  %sum{i} = fadd {vector} %sum{i - 1}, %y{i + 1}" for i in range(1, chains - 1)),
        f"  %sum = call {real} @llvm.vector.reduce.fadd.v{lanes}{suffix}"
        f"({real} 0.0, {vector} %sum{chains - 2})",
        f"  ret {real} %sum", "}",
    ]  # fmt: skip
    return "\n".join(lines), 2 * lanes * chains


@functools.cache
def loop(dtype: str) -> tuple[Callable[[int], float], int]:
    """Return the compiled ``peak(turns)``, which lets other threads run, and operations a turn."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    text, operations = loop_text(dtype)
    target = binding.Target.from_default_triple().create_target_machine(*processor.target(), opt=3)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(text), target)
    engine.finalize_object()
    real = ctypes.c_float if dtype == "float32" else ctypes.c_double
    function = ctypes.CFUNCTYPE(real, ctypes.c_int64)(engine.get_function_address("peak"))

    def peak(turns: int, keep: object = engine) -> float:
        return function(turns)

    return peak, operations


def at_once(work: list[Callable[[], object]]) -> float:
    """Return the seconds from the first start to the last end, each on a thread of its own."""
    gate, times = threading.Barrier(len(work)), []

    def run(part: Callable[[], object]) -> None:
        gate.wait()
        start = time.perf_counter()
        part()
        times.append((start, time.perf_counter()))

    threads = [threading.Thread(target=run, args=(part,)) for part in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    starts, ends = zip(*times, strict=True)
    return max(ends) - min(starts)


def fma_peak(dtype: str = "float32", threads: int = 1) -> float:
    """Return billions of operations a second, a multiply-add being two."""
    peak, operations = loop(dtype)
    work = [functools.partial(peak, TURNS)] * threads
    return threads * TURNS * operations / min(at_once(work) for _ in range(TIMES)) / 1e9


def copy_bandwidth(threads: int = 1) -> float:
    """Return billions of bytes a second, read and written, of a copy far larger than caches."""
    source, target = (bytearray(b"1") * COPY_BYTES for _ in range(2))  # zeros may be no memory
    addresses = [ctypes.addressof((ctypes.c_char * COPY_BYTES).from_buffer(b))
                 for b in (target, source)]  # fmt: skip
    part = COPY_BYTES // threads
    work = [
        functools.partial(ctypes.memmove, *(a + i * part for a in addresses), part)
        for i in range(threads)
    ]
    return 2 * part * threads / min(at_once(work) for _ in range(TIMES)) / 1e9


def rows(quick: bool) -> list[dict]:
    del quick
    counts = sorted({1, len(os.sched_getaffinity(0))})
    measures = {
        "float32 multiply-adds, GF/s": functools.partial(fma_peak, "float32"),
        "float64 multiply-adds, GF/s": functools.partial(fma_peak, "float64"),
        "copy, GB/s": copy_bandwidth,
    }
    return [
        {"": name, **{f"{n} thread{'s' * (n > 1)}": measure(n) for n in counts}}
        for name, measure in measures.items()
    ]
