"""From kernels to object code: what is compiled, beside what, and what happens on errors."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numba.core.errors import NumbaError
from numpy import float32

import graphc as gx
from graphc import collector
from graphc.ir.source import address_of
from graphc.lazy import loaded
from graphc.runtime import frontend, loader, native, target
from graphc.runtime.epoch import advance, gather
from graphc.runtime.kernel import kernel
from graphc.runtime.loader import LOADER, Loader
from graphc.runtime.products import matmul_float32

ROOT = Path(__file__).parents[2]

native = loaded(native)  # whose functions tests replace


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


@kernel("x: float32*, y: float64*")
def halving(lo, hi, x, y):
    """Halve numbers of both kinds."""
    for i in range(lo, hi):
        value = x[i] * float32(0.5)
        x[i] = value
        y[i] = y[i] * 0.5 if value > 0 else y[i]


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


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Return a loader with an empty store, and the list of kernels that get compiled."""
    compiled = []

    def begin(kernels):
        compiled.extend(k.name for k in kernels.values())
        return native_begin(kernels)

    native_begin = native.begin
    monkeypatch.setattr(native, "begin", begin)
    with gx.config(cache_dir=str(tmp_path)):
        yield Loader(), compiled


def test_what_was_begun_is_loaded_and_not_compiled_twice(fresh):
    ours, compiled = fresh
    ours.begin([stepping, gather])
    assert compiled == ["stepping", "gather"]
    addresses, statistics = ours.load([gather, advance, stepping])
    assert compiled == ["stepping", "gather", "advance"]
    assert [note.partition(":")[0] for _, note, _ in statistics.notes] == ["compiled"] * 3
    found, wanted = np.zeros(6, np.int64), np.zeros(6, np.int64)
    run(addresses["stepping"], 0, 10, [found], [3])
    stepping(0, 10, wanted, 3)
    np.testing.assert_array_equal(found, wanted)
    ours.begin([stepping, gather])
    assert ours.load([stepping])[1].notes[0][1] == "memory"
    assert len(compiled) == 3


def test_nothing_is_begun_that_is_stored(fresh):
    ours, compiled = fresh
    ours.load([stepping])
    again = Loader()
    again.begin([stepping])
    assert again.load([stepping])[1].notes[0][1] == "disk"
    assert compiled == ["stepping"]


def test_a_damaged_entry_is_compiled_when_it_is_read(fresh, tmp_path):
    ours, compiled = fresh
    ours.load([stepping])
    (entry,) = tmp_path.glob("*.o")
    entry.write_bytes(entry.read_bytes()[:-1])
    again = Loader()
    again.begin([stepping])
    assert compiled == ["stepping"]
    assert again.load([stepping])[1].notes[0][1].startswith("compiled: damaged")


def test_code_goes_with_its_last_user(fresh):
    ours, _ = fresh
    first, _ = ours.load([stepping, gather])
    second, _ = ours.load([gather, advance])
    assert second["gather"] == first["gather"]
    assert len(ours._codes) == 3
    del first
    gc.collect()
    assert len(ours._codes) == 2
    wanted = ours.load([stepping])
    assert wanted[1].notes[0][1] == "disk"
    found, expected = np.zeros(6, np.int64), np.zeros(6, np.int64)
    run(wanted[0]["stepping"], 0, 10, [found], [3])
    stepping(0, 10, expected, 3)
    np.testing.assert_array_equal(found, expected)
    del second, wanted
    gc.collect()
    assert not ours._codes


def test_functions_that_are_deleted_leave_no_code():
    x = gx.input("x", (None, 4))
    gc.collect()
    before = len(LOADER._codes)
    f = gx.function(x, gx.exp(x * 7.5) * 3.25)
    f(np.ones((2, 4), np.float32))
    assert len(LOADER._codes) > before
    del f
    gc.collect()
    assert len(LOADER._codes) <= before + 2  # a team that was made here holds its own


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of JAX, where it is installed
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # Python 3.12
def test_a_child_compiles_what_its_parent_had_begun(fresh, monkeypatch):
    ours, _ = fresh
    monkeypatch.setattr(loader, "LOADER", ours)
    ours.begin([stepping])
    child = os.fork()
    if not child:
        os._exit(bool(ours._begun))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ours.load([stepping])[1].misses == 1


def test_lowering_asks_llvm_for_no_sizes(monkeypatch):
    """LLVM is busy with the kernel before."""
    target._sizeof.cache_clear()
    monkeypatch.setattr(type(target.CODEGEN), "target_data", property(lambda _: 1 / 0))
    assert "fmul" in frontend.lower(halving, "graphc_halving")


def test_turns_are_frequent_until_the_last_has_left():
    interval, turns = sys.getswitchinterval(), native._Turns()
    first, second = turns.frequent(), turns.frequent()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert sys.getswitchinterval() < interval
    second.__exit__(None, None, None)
    assert sys.getswitchinterval() == interval


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


@pytest.mark.parametrize("many", [True, False])
def test_much_that_a_pause_made_is_old(many):
    with collector.paused():
        made = [[] for _ in range(collector.MANY * many)]
    assert any(x is made for x in gc.get_objects(generation=2)) == many


def test_what_the_user_set_aside_stays_there():
    gc.freeze()
    try:
        count = gc.get_freeze_count()
        with collector.paused():
            made = [[] for _ in range(collector.MANY)]
        assert gc.get_freeze_count() == count
        assert not any(x is made for x in gc.get_objects(generation=2))
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
        [sys.executable, "-c", script], cwd=ROOT, timeout=600, check=True, capture_output=True
    )
    assert done.stdout.split() == [b"False"] * 3
