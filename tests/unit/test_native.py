"""From kernels to object code: what is compiled, beside what, and what happens on errors."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numba.core.errors import NumbaError

from graphc import collector
from graphc.ir.source import address_of
from graphc.runtime import frontend, native
from graphc.runtime.epoch import advance, gather
from graphc.runtime.kernel import kernel
from graphc.runtime.loader import LOADER
from graphc.runtime.products import matmul_float32

ROOT = Path(__file__).parents[2]


@kernel("x: float32*, out: int64*")
def unknown(lo, hi, x, out):
    """Ask a pointer for what it does not know."""
    out[lo] = x.size


@kernel("out: int64*, step: int64")
def stepping(lo, hi, out, step):
    """Count the turns of ranges with steps of either sign, and those of empty ones."""
    for i in range(lo, hi, step):
        out[0] = out[0] + 1
        out[1] = i
    for i in range(hi, lo, -step):
        out[2] = out[2] + 1
        out[3] = i
    for _ in range(hi, lo):
        out[4] = 1
    out[5] = min(max(lo, 5), hi)


def run(entry, lo, hi, arrays, integers):
    record = np.array([*map(address_of, arrays), *integers], np.int64)
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(entry)
    call(address_of(record), lo, hi)


def test_code_by_hand_keeps_its_functions_and_takes_in_what_calls_them():
    text = frontend.lower(matmul_float32, "entry")
    assert matmul_float32.by_hand
    assert not gather.by_hand
    modules = native.optimised(text), native.optimised(text, by_hand=True)
    names = [{f.name for f in m.functions if not f.is_declaration} for m in modules]
    assert names[0] == names[1]
    assert "entry" in names[0]
    assert not any("gemm" in name for name in names[1])


@pytest.mark.parametrize(("lo", "hi", "step"), [(0, 10, 1), (0, 10, 3), (2, 3, 5), (4, 4, 1)])
def test_ranges_and_extrema_are_pythons(lo, hi, step):
    addresses, _ = LOADER.load([stepping])
    found, wanted = np.zeros(6, np.int64), np.zeros(6, np.int64)
    run(addresses["stepping"], lo, hi, [found], [step])
    stepping(lo, hi, wanted, step)
    np.testing.assert_array_equal(found, wanted)


def test_an_error_ends_the_thread_beside_and_restores_the_settings():
    interval, threads = sys.getswitchinterval(), threading.active_count()
    with pytest.raises(NumbaError):
        native.compile_kernels({"graphc_a": gather, "graphc_b": unknown, "graphc_c": advance})
    assert (gc.isenabled(), sys.getswitchinterval()) == (True, interval)
    assert threading.active_count() == threads


def test_collections_are_put_off_and_taken_up_again():
    with collector.paused():
        assert not gc.isenabled()
        with collector.paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with collector.paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_a_pause_made_is_old():
    with collector.paused():
        made = [[] for _ in range(10)]
    assert any(x is made for x in gc.get_objects(generation=2))


def test_what_the_user_set_aside_stays_there():
    gc.freeze()
    try:
        count = gc.get_freeze_count()
        with collector.paused():
            pass
        assert gc.get_freeze_count() == count
    finally:
        gc.unfreeze()


def test_compiling_leaves_numbas_own_contexts_empty(tmp_path):
    """They take 0.4 s to fill, and import SciPy where there is one."""
    script = (
        "import sys\n"
        "from graphc.runtime import native\n"
        "from graphc.runtime.epoch import gather\n"
        "native.compile_kernels({'graphc_a': gather})\n"
        "print(*(name in sys.modules for name in\n"
        "        ('numba.np.linalg', 'scipy.linalg', 'numba.typed.typeddict')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, timeout=60, check=True, capture_output=True
    )
    assert done.stdout.split() == [b"False"] * 3
