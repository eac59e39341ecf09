"""Matrix products on one core: billions of operations a second, and the share of the limit.

``python -m tests.bench.gemm [float32|float64 ...]`` prints a markdown table: graphc against NumPy,
whose OpenBLAS is told to use its AVX-512 kernels where the processor has them, and against torch.
The limit is a loop of multiply-adds in registers, measured next to each product. graphc's
products repeat inside compiled code, as in a step; ``packed`` has B packed beforehand in each
repetition. NumPy and torch write into an existing array, and are called from Python: below about
32 that is what they spend their time on. Processor time of the thread; the best of many.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from graphc.runtime.gemm import AUTO, PACKED, pack_b
from graphc.runtime.kernel import Kernel, argument_types
from graphc.runtime.loader import LOADER
from graphc.runtime.products import matmul_float32, matmul_float64
from graphc.runtime.tiles import shape
from graphc.runtime.tiles.vectors import Vectors

ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
SQUARES = [4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1000, 1024, 1536, 2048]
NETWORKS = [((784, 512, 512, 10), 128), ((784, 128, 10), 32), ((64, 128, 128, 10), 32)]
KERNELS = {"float32": matmul_float32, "float64": matmul_float64}
WORK = 2e7
"""Operations in one measurement at least."""


def cases() -> Iterator[tuple[str, int, int, int, bool, bool]]:
    """Yield (name, m, n, k, A transposed, B transposed)."""
    for n in SQUARES:
        yield f"{n}", n, n, n, False, False
    for widths, batch in NETWORKS:
        for place, (k, n) in enumerate(itertools.pairwise(widths)):
            layer = f"{k}-{n}, batch {batch}"
            yield f"{layer}: forward", batch, n, k, False, False
            yield f"{layer}: dW", k, n, batch, True, False
            if place:
                yield f"{layer}: dX", batch, k, n, False, True


def limit(dtype: str) -> Callable[[], float]:
    """Return a function that measures multiply-adds in registers, in billions a second."""
    v = Vectors(np.dtype(dtype).itemsize)
    chains = shape.TARGET.registers // 4 * 3

    @intrinsic
    def loop(context, n):
        def codegen(context, builder, signature, args):
            before = builder.block
            body, after = (builder.append_basic_block() for _ in range(2))
            builder.branch(body)
            builder.position_at_end(body)
            left = builder.phi(ir.IntType(64))
            left.add_incoming(args[0], before)
            sums = [builder.phi(v.type) for _ in range(chains)]
            rest = builder.sub(left, ir.Constant(ir.IntType(64), 1))
            left.add_incoming(rest, body)
            half = ir.Constant(v.type, [0.5] * v.lanes)
            nexts = [v.fma(builder, s, half, half) for s in sums]
            for i, (s, following) in enumerate(zip(sums, nexts, strict=True)):
                s.add_incoming(ir.Constant(v.type, [float(i)] * v.lanes), before)
                s.add_incoming(following, body)
            builder.cbranch(builder.icmp_signed(">", rest, ir.Constant(rest.type, 0)), body, after)
            builder.position_at_end(after)
            total = nexts[0]
            for following in nexts[1:]:
                total = builder.fadd(total, following)
            name = f"llvm.vector.reduce.fadd.{v.name}"  # all lanes count, or LLVM drops some
            sum_ = v.call(builder, name, v.real, ir.Constant(v.real, 0.0), total)
            return sum_ if v.itemsize == 8 else builder.fpext(sum_, ir.DoubleType())

        return types.float64(types.int64), codegen

    @njit(types.float64(types.int64))
    def run(n):
        return loop(n)

    steps = 5000
    return lambda: 2 * steps * chains * v.lanes / best(lambda: run(steps), 5) / 1e9


def best(run: Callable[[], object], times: int) -> float:
    """Return the least processor time of ``run``, in seconds."""
    least = float("inf")
    for _ in range(times):
        start = time.thread_time()
        run()
        least = min(least, time.thread_time() - start)
    return least


def entry(kernel: Kernel, *arguments: int | np.ndarray) -> Callable[[int, int], None]:
    """Return a call of the kernel's machine code for rows lo..hi, as a program makes it."""
    addresses, _ = LOADER.load([kernel])
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(
        addresses[kernel.name]
    )
    values = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
    record = np.array(values, np.int64)
    return lambda lo, hi: function(record.ctypes.data, lo, hi)


def packer(dtype: str) -> Kernel:
    signature = f"n: int64, k: int64, b: {dtype}*, b_k: int64, b_j: int64, packed: {dtype}*"
    return Kernel(f"pack_{dtype}", argument_types(signature), lambda: pack_b, None)


def measure(dtype: str, m: int, n: int, k: int, ta: bool, tb: bool) -> dict[str, float]:
    """Return seconds of one product for each of the contestants, and the limit beside them."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((k, m) if ta else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if tb else (k, n)).astype(dtype)
    c = np.zeros((m, n), dtype)
    left, right = (a.T if ta else a), (b.T if tb else b)
    a_steps, b_steps = ([s // x.itemsize for s in x.strides] for x in (left, right))
    repeats = max(1, int(WORK / (2 * m * n * k)))
    sizes, ends = (m, n, k), (c, 0, n, 0, c, 0, 0)
    own = entry(KERNELS[dtype], *sizes, AUTO, a, 0, *a_steps, b, 0, *b_steps, *ends)
    width = shape.width(a.itemsize)
    panels = -(-n // width)
    packed = np.empty(panels * width * k, dtype)
    pack = entry(packer(dtype), n, k, b, *b_steps, packed)
    rest = entry(KERNELS[dtype], *sizes, PACKED, a, 0, *a_steps, packed, 0, width, k, *ends)
    p, q, r = torch.from_numpy(left), torch.from_numpy(right), torch.from_numpy(np.empty_like(c))
    out = np.empty_like(c)

    def packing() -> None:
        for _ in range(repeats):
            pack(0, panels)
            rest(0, m)

    def numpy() -> None:
        for _ in range(repeats):
            np.dot(left, right, out=out)

    def torch_() -> None:
        for _ in range(repeats):
            torch.mm(p, q, out=r)

    runs = {"graphc": lambda: own(0, m * repeats), "numpy": numpy, "torch": torch_}
    if n * k >= shape.large(a.itemsize) and m >= 512:
        runs["packed"] = packing
    bound = 1e-4 if dtype == "float32" else 1e-12
    for run in runs.values():
        run()
    for result in (out, c, r.numpy()):
        np.testing.assert_allclose(result, left @ right, atol=bound * k, rtol=0)
    seconds = dict.fromkeys(runs, float("inf"))
    for _ in range(max(5, min(40, int(2e9 / (2 * m * n * k))))):
        for name, run in runs.items():
            seconds[name] = min(seconds[name], best(run, 1) / repeats)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dtype", nargs="*", default=["float32", "float64"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for dtype in arguments.dtype or KERNELS:
        ceiling = limit(dtype)
        print(
            f"\n| {dtype} | limit | graphc | of limit | packed | numpy | torch | faster than both |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for name, *problem in cases():
            m, n, k = problem[:3]
            before = ceiling()
            seconds = measure(dtype, *problem)
            top = max(before, ceiling())
            rate = {x: 2 * m * n * k / s / 1e9 for x, s in seconds.items()}
            ours = max(rate["graphc"], rate.get("packed", 0))
            peers = max(rate["numpy"], rate["torch"])
            packed = f"{rate['packed']:.0f}" if "packed" in rate else ""
            print(
                f"| {name} | {top:.0f} | {rate['graphc']:.1f} | {ours / top:.0%} | {packed} | "
                f"{rate['numpy']:.1f} | {rate['torch']:.1f} | {ours / peers:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    wanted = dict(ENVIRONMENT)
    if shape.TARGET.vector_bytes == 64:
        wanted["OPENBLAS_CORETYPE"] = "SkylakeX"
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        # OpenBLAS reads these when NumPy is imported, so they must be there before this process.
        command = [sys.executable, "-m", "tests.bench.gemm", *sys.argv[1:]]
        sys.exit(subprocess.run(command, env={**os.environ, **wanted}).returncode)
    main()
