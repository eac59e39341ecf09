"""Elementary functions in cache: nanoseconds an element, on one thread.

graphc's loops run inside compiled code, as in a step; NumPy and torch are called, and write into
an existing array where they can. ``python -m tests.bench elementary``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from llvmlite import binding

from graphc.build import loader, native
from graphc.ir.source import address_of, aligned_empty
from graphc.kernel.code import HI, LO, Writer
from graphc.kernel.value import Pointer, vmath
from tests.bench.harness import Row, agree, fastest, least, ratio
from tests.bench.peers import installed
from tests.kernels import entry_at, written

TITLE = "Elementary functions"
NOTE = """Nanoseconds an element of 8192 in cache, one thread, after the results agree to 1e-5 (a
test compares each with a wider type); the least of 25 interleaved rounds. Arrays start at cache
lines. "faster" is than the faster of NumPy and torch; "compile" is the loop's, in milliseconds."""
THREADS = (1,)

ELEMENTS = 8192
REPEATS = 20
TOLERANCE = 1e-5
ENGINES: list[binding.ExecutionEngine] = []
"""What keeps the compiled loops."""

NAMES = (
    "exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "asin", "acos",
    "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sqrt", "rsqrt", "pow",
    "hypot", "logaddexp", "erf", "erfc", "sigmoid", "log_sigmoid", "softplus", "silu", "mish",
    "gelu", "gelu_tanh",
)  # fmt: skip
BINARY = ("atan2", "pow", "hypot", "logaddexp")


def torch_function(name: str) -> Callable:
    """Return torch's function; those of networks write into new memory."""
    import torch

    F = torch.nn.functional
    layers = {
        "log_sigmoid": F.logsigmoid,
        "softplus": F.softplus,
        "silu": F.silu,
        "mish": F.mish,
        "gelu": F.gelu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    }
    if name in layers:
        return lambda x, out: layers[name](x)
    return getattr(torch, name)


def compiled(name, dtype):
    """Return ``repeat(times, *pointers)``, which runs the loop so often, and its compile time.

    The loop is compiled as any kernel is, past the cache.
    """
    names, kind, writer = ("x", "y")[: 1 + (name in BINARY)], np.dtype(dtype), Writer()
    pointers = [Pointer(n, kind) for n in (*names, "out")]
    with writer.loop("i", HI, LO), writer.loop("j", ELEMENTS) as j:
        operands = [p[j].load(kind) for p in pointers[:-1]]
        writer.store(pointers[-1][j], vmath(name, *operands, dtype=kind))
    symbol = f"repeat_{name}_{dtype}_{time.time_ns()}"
    made = written(symbol, writer, *pointers)
    code, seconds = native.compile_kernels({symbol: made})[symbol]
    ENGINES.append(loader._new_engine())
    ENGINES[-1].add_object_file(binding.ObjectFileRef.from_data(code))
    ENGINES[-1].finalize_object()
    entry = entry_at(ENGINES[-1].get_function_address(symbol))

    def repeat(times, *pointers):
        record = np.array(pointers, np.int64)
        entry(address_of(record), 0, times, 0)

    return repeat, seconds


def operands(name, dtype):
    rng = np.random.default_rng(0)
    high = 1.0 if name in ("asin", "acos", "atanh") else 3.0
    low = 1.0 if name == "acosh" else 0.01
    made = [empty(dtype) for _ in range(1 + (name in BINARY))]
    for array in made:
        array[:] = rng.uniform(low, high, ELEMENTS)
    return made


def empty(dtype):
    """Return an array that starts at a cache line, as graphc's and PyTorch's do."""
    return aligned_empty(ELEMENTS * np.dtype(dtype).itemsize).view(dtype)


def repeated(function: Callable, args: list, out: object) -> Callable[[], object]:
    def call() -> object:
        for _ in range(REPEATS):
            result = function(*args, out=out)
        return result

    return call


def row(name: str, dtype: str) -> Row:
    args = operands(name, dtype)
    out = empty(dtype)
    loop, seconds = compiled(name, dtype)
    pointers = [a.ctypes.data for a in (*args, out)]
    runs = {"graphc": lambda: loop(REPEATS, *pointers)}
    runs["graphc"]()
    results = {"graphc": [out]}
    numpy_function = getattr(np, name, None)
    if numpy_function is not None:
        runs["NumPy"] = repeated(numpy_function, args, empty(dtype))
        results["NumPy"] = [runs["NumPy"]()]
    if installed("torch"):
        import torch

        tensors = [torch.from_numpy(a) for a in args]
        runs["torch"] = repeated(torch_function(name), tensors, torch.empty_like(tensors[0]))
        results["torch"] = [runs["torch"]().numpy()]
    agree(results, TOLERANCE)
    times = {peer: s / REPEATS / ELEMENTS * 1e9 for peer, s in fastest(runs, 25).items()}
    found = {peer: times.get(peer) for peer in ("graphc", "NumPy", "torch")}
    faster = ratio(least(found["NumPy"], found["torch"]), found["graphc"])
    return {"function": name, "dtype": dtype, **found, "faster": faster, "compile": seconds * 1e3}


def rows(quick: bool) -> list[Row]:
    if installed("torch"):
        import torch

        torch.set_num_threads(1)
    compiled("sqrt", "float32")  # the first compilation pays for the compiler
    names = NAMES[::8] if quick else NAMES
    return [row(name, dtype) for name in names for dtype in ("float32", "float64")]
