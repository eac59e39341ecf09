"""Matrix products: billions of operations a second, and the share of the limit.

``python -m tests.bench.gemm [--quick]`` prints a markdown table: graphc against NumPy, with
OpenBLAS's kernels for AVX-512 where the machine has it, and PyTorch. The limit is a loop of
multiply-adds in registers, measured before and after. graphc's products run inside compiled code,
as in a step, on the team of threads that runs steps; the others write into an existing array and
are called from Python: below about 32 that is what they spend their time on.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable, Iterator

import numpy as np

from graphc.build.loader import LOADER, Entries
from graphc.emit.products import matmul_float32, matmul_float64
from graphc.emit.tiles import COLUMNS
from graphc.ir.source import aligned_empty
from graphc.machine import known
from graphc.machine.isa import AVX512
from graphc.run.team import team
from graphc.schedule.levels import Record, by_levels
from tests.bench.harness import Row, agree, fastest
from tests.bench.machine import fma_peak
from tests.bench.tables import markdown

TITLE = "Matrix products"
NOTE = """Billions of operations a second, the best of many interleaved calls. *limit*:
multiply-adds in registers, in the same run; *faster*: than the faster of NumPy, whose OpenBLAS is
made to take its AVX-512 kernels, and PyTorch. Layers are *inputs-outputs, batch*."""
THREADS = (1, None)
ENVIRONMENT = {"OPENBLAS_CORETYPE": "SkylakeX"} if known().isa == AVX512 else {}

SQUARES = (4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1000, 1024, 1536, 2048)
NETWORKS = (((784, 512, 512, 10), 128), ((784, 128, 10), 32), ((64, 128, 128, 10), 32))
KERNELS = {"float32": matmul_float32, "float64": matmul_float64}
TOLERANCE = {"float32": 1e-4, "float64": 1e-12}
WORK = 2e7
"""Operations in one measurement at least."""

EXPECTED = 100.0
"""Operations a nanosecond, by which it is decided whether threads share a product."""

Case = tuple[str, int, int, int, bool, bool]
"""(name, m, n, k, A transposed, B transposed)"""


def cases(quick: bool) -> Iterator[Case]:
    for n in SQUARES[::4] if quick else SQUARES:
        yield f"{n}", n, n, n, False, False
    seen = set()
    for widths, batch in NETWORKS[:1] if quick else NETWORKS:
        for place, (k, n) in enumerate(itertools.pairwise(widths)):
            layer = f"{k}-{n}, {batch}"
            if layer in seen:
                continue
            seen.add(layer)
            yield f"{layer}: forward", batch, n, k, False, False
            yield f"{layer}: dW", k, n, batch, True, False
            if place:
                yield f"{layer}: dX", batch, k, n, False, True


def aligned(dtype: str, shape: tuple[int, int]) -> np.ndarray:
    """Return an array that starts at a cache line, as graphc's and PyTorch's do."""
    size = np.dtype(dtype).itemsize * shape[0] * shape[1]
    return aligned_empty(size).view(dtype).reshape(shape)


def strided(array: np.ndarray) -> list[int]:
    """Return what a record holds of a matrix."""
    return [array.ctypes.data, 0, *(s // array.itemsize for s in array.strides)]


def own(
    left: np.ndarray, right: np.ndarray, out: np.ndarray, threads: int
) -> Callable[[int], None]:
    """Return a function that computes the product so many times, as a step does."""
    kernel = KERNELS[out.dtype.name]
    entries, _ = LOADER.load([kernel])
    (m, k), n = left.shape, right.shape[1]
    form, extent = (COLUMNS, n) if n > m else (0, m)
    words = [m, n, k, form, *strided(left), *strided(right), *strided(out)[:3]]
    record = Record(entries[kernel.name], extent, words, (), 2 * m * n * k / EXPECTED, (0,))
    table = by_levels([record], threads).table

    def run(times: int, held: Entries = entries) -> None:
        team(threads).run(table, times)

    return run


def measured(dtype: str, case: Case, threads: int) -> Row:
    """Return a line of the table, after the results were compared."""
    import torch

    name, m, n, k, a_turned, b_turned = case
    rng = np.random.default_rng(0)
    a, b = (
        aligned(dtype, (k, m) if a_turned else (m, k)),
        aligned(dtype, (n, k) if b_turned else (k, n)),
    )
    for x in (a, b):
        x[...] = rng.standard_normal(x.shape)
    left, right = (a.T if a_turned else a), (b.T if b_turned else b)
    repeats = max(1, int(WORK / (2 * m * n * k)))
    c, d, e = (aligned(dtype, (m, n)) for _ in range(3))
    compute = own(left, right, c, threads)
    p, q, r = torch.from_numpy(left), torch.from_numpy(right), torch.from_numpy(e)

    def numpy() -> None:
        for _ in range(repeats):
            np.dot(left, right, out=d)

    def pytorch() -> None:
        for _ in range(repeats):
            torch.mm(p, q, out=r)

    runs = {"graphc": lambda: compute(repeats), "numpy": numpy, "torch": pytorch}
    for run in runs.values():
        run()
    agree({"numpy": [d], "graphc": [c], "torch": [e]}, TOLERANCE[dtype])
    before = fma_peak(dtype, threads)
    seconds = fastest(runs, max(5, min(40, int(4e9 / (2 * m * n * k)))))
    limit = max(before, fma_peak(dtype, threads))
    rate = {x: 2 * m * n * k * repeats / s / 1e9 for x, s in seconds.items()}
    share = f"{rate['graphc'] / limit:.0%}"
    faster = rate["graphc"] / max(rate["numpy"], rate["torch"])
    return {"product": f"{name} {dtype}", "limit": limit, "graphc": rate["graphc"],
            "of limit": share, "numpy": rate["numpy"], "torch": rate["torch"],
            "faster": faster}  # fmt: skip


def rows(quick: bool) -> list[Row]:
    import torch

    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    return [measured(dtype, case, threads) for dtype in KERNELS for case in cases(quick)]


def main() -> None:
    from tests.bench.__main__ import measured as section

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    print(markdown(section("gemm", parser.parse_args().quick)["rows"]))


if __name__ == "__main__":
    main()
