"""Compiled code, and what it took to compile it, go with their last user."""

import os
import subprocess
import sys

import pytest

CODE = """
import gc
import numpy as np
import graphc as gx

def held():
    gc.collect()
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))

def compile_some(numbers):
    for i in numbers:
        f = gx.function(x, gx.exp(x * (i + 1)) + gx.sum(x * i + 3, axis=-1, keepdims=True))
        f(np.ones((3, 4), "float32"))

x = gx.input("x", (None, 4))
compile_some(range(12))
before = held()
compile_some(range(12, 36))
print((held() - before) / 24)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="Linux tells")
def test_compiling_leaves_nothing_behind(tmp_path):
    """llvmlite forgets to give LLVM's passes back, 150 KB a function."""
    run = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True,
        env={**os.environ, "GRAPHC_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert float(run.stdout) < 30  # KB
