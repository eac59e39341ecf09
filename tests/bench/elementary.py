"""Elementary functions in cache: nanoseconds an element, graphc against NumPy and torch.

``python -m tests.bench.elementary [name ...]`` prints a markdown table. One thread. graphc's
loops run inside compiled code, as in a step; the calls of NumPy and torch write into an existing
array where they can. Times are the least of many, interleaved, of one run.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import time

import numpy as np
import torch
from numba import cfunc, types

from graphc.runtime import vmath

ELEMENTS = 8192
FASTMATH = {"contract", "reassoc", "arcp", "nsz"}
F = torch.nn.functional

# name: (NumPy's function or None, torch's)
PEERS = {
    "exp": (np.exp, torch.exp),
    "expm1": (np.expm1, torch.expm1),
    "exp2": (np.exp2, torch.exp2),
    "log": (np.log, torch.log),
    "log1p": (np.log1p, torch.log1p),
    "log2": (np.log2, torch.log2),
    "log10": (np.log10, torch.log10),
    "sin": (np.sin, torch.sin),
    "cos": (np.cos, torch.cos),
    "tan": (np.tan, torch.tan),
    "asin": (np.arcsin, torch.asin),
    "acos": (np.arccos, torch.acos),
    "atan": (np.arctan, torch.atan),
    "atan2": (np.arctan2, torch.atan2),
    "sinh": (np.sinh, torch.sinh),
    "cosh": (np.cosh, torch.cosh),
    "tanh": (np.tanh, torch.tanh),
    "asinh": (np.arcsinh, torch.asinh),
    "acosh": (np.arccosh, torch.acosh),
    "atanh": (np.arctanh, torch.atanh),
    "sqrt": (np.sqrt, torch.sqrt),
    "rsqrt": (None, torch.rsqrt),
    "pow": (np.power, torch.pow),
    "hypot": (np.hypot, torch.hypot),
    "logaddexp": (np.logaddexp, torch.logaddexp),
    "erf": (None, torch.erf),
    "erfc": (None, torch.erfc),
    "sigmoid": (None, torch.sigmoid),
    "log_sigmoid": (None, lambda x, out: F.logsigmoid(x)),
    "softplus": (None, lambda x, out: F.softplus(x)),
    "silu": (None, lambda x, out: F.silu(x)),
    "mish": (None, lambda x, out: F.mish(x)),
    "gelu": (None, lambda x, out: F.gelu(x)),
    "gelu_tanh": (None, lambda x, out: F.gelu(x, approximate="tanh")),
}
BINARY = ("atan2", "pow", "hypot", "logaddexp")


def compiled(name, dtype):
    """Return ``repeat(times, *pointers)``, which runs the loop so often, and its compile time."""
    names = ("x", "y")[: 1 + (name in BINARY)]
    text = f"def repeat(times, {', '.join(names)}, out):\n"
    text += f"    for _ in range(times):\n        for j in range({ELEMENTS}):\n"
    text += f"            out[j] = vmath.{name}({', '.join(f'{n}[j]' for n in names)})\n"
    assert callable(getattr(vmath, name))  # the module loads before Numba asks for its types
    scope = {"vmath": vmath}
    exec(text, scope)
    pointer = types.CPointer(types.float32 if dtype == "float32" else types.float64)
    signature = types.void(types.int64, *[pointer] * (len(names) + 1))
    start = time.perf_counter()
    function = cfunc(signature, error_model="numpy", fastmath=FASTMATH)(scope["repeat"])
    seconds = time.perf_counter() - start
    kinds = [ctypes.c_int64, *[ctypes.c_void_p] * (len(names) + 1)]
    return ctypes.CFUNCTYPE(None, *kinds)(function.address), seconds


def operands(name, dtype):
    rng = np.random.default_rng(0)
    high = 1.0 if name in ("asin", "acos", "atanh") else 3.0
    low = 1.0 if name == "acosh" else 0.01
    count = 1 + (name in BINARY)
    return [rng.uniform(low, high, ELEMENTS).astype(dtype) for _ in range(count)]


def measure(calls, rounds=25, inner=20):
    """Return the least seconds of each call, the rounds interleaved."""
    best = [math.inf] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call(inner)
            best[i] = min(best[i], (time.perf_counter() - start) / inner)
    return best


def repeated(function, args, out):
    def call(inner):
        for _ in range(inner):
            function(*args, out=out)

    return call


def row(name, dtype):
    numpy_function, torch_function = PEERS[name]
    args = operands(name, dtype)
    out = np.empty_like(args[0])
    loop, seconds = compiled(name, dtype)
    pointers = [a.ctypes.data for a in (*args, out)]
    calls = [lambda inner: loop(inner, *pointers)]
    tensors = [torch.from_numpy(a) for a in args]
    calls.append(repeated(torch_function, tensors, torch.empty_like(tensors[0])))
    if numpy_function is not None:
        calls.append(repeated(numpy_function, args, np.empty_like(out)))
    ours, theirs, *numpys = (t / ELEMENTS * 1e9 for t in measure(calls))
    numpy_text = f"{numpys[0]:.3f}" if numpys else "-"
    ratio = min(theirs, *numpys) / ours if numpys else theirs / ours
    return (
        f"| {name} | {dtype} | {ours:.3f} | {numpy_text} | {theirs:.3f} | {ratio:.1f}x "
        f"| {seconds * 1e3:.0f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(PEERS))
    names = parser.parse_args().names or list(PEERS)
    torch.set_num_threads(1)
    compiled("sqrt", "float32")  # the first compilation pays for the compiler
    print("| function | dtype | graphc ns | NumPy ns | torch ns | faster | compile ms |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        for dtype in ("float32", "float64"):
            print(row(name, dtype), flush=True)


if __name__ == "__main__":
    main()
