"""From kernels to object code: what is compiled, beside what, and what happens on errors."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import graphc as gx
from graphc import collector
from graphc.build import loader, native
from graphc.build.loader import LOADER, Loader
from graphc.emit.kernel import GeneratedKernel
from graphc.emit.products import matmul_float32
from graphc.kernel.code import HI, LO, Writer
from graphc.kernel.value import Integer, Pointer, least, most
from graphc.lazy import loaded
from graphc.schedule.epoch import advance, gather
from graphc.types import INT64
from tests.kernels import entry_at, run, written

ROOT = Path(__file__).parents[2]

native = loaded(native)  # whose functions tests replace


def _stepping():
    """Count the turns of loops, and those of empty ones."""
    w, out = Writer(), Pointer("out", INT64)
    with w.loop("i", HI, LO, 3) as i:
        w.store(out[0], out[0] + 1)
        w.store(out[1], i)
    with w.loop("j", LO, HI):
        w.store(out[4], Integer(1))
    w.store(out[5], least(most(LO, 5), HI))
    return written("stepping", w, out)


stepping = _stepping()


class Unknown(GeneratedKernel):
    """A kernel whose code cannot be written."""

    def lower(self, entry):
        raise TypeError("a value of no type")


unknown = Unknown(stepping.text)


def test_code_by_hand_keeps_its_functions_and_takes_in_what_calls_them():
    text = matmul_float32.lower("entry")
    assert matmul_float32.by_hand
    assert not gather.by_hand
    module = native.optimised(text, matmul_float32)
    names = {f.name for f in module.functions if not f.is_declaration}
    assert "entry" in names
    assert any(name.startswith("tile_") for name in names)
    assert "kernel" not in names


@pytest.mark.parametrize(("lo", "hi"), [(0, 10), (2, 3), (4, 4), (9, 2)])
def test_ranges_and_extrema_are_pythons(lo, hi):
    addresses, _ = LOADER.load([stepping])
    found, wanted = np.zeros(6, np.int64), np.zeros(6, np.int64)
    run(entry_at(addresses["stepping"]), lo, hi, found)
    stepping(lo, hi, wanted)
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
    run(entry_at(addresses["stepping"]), 0, 10, found)
    stepping(0, 10, wanted)
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
    run(entry_at(wanted[0]["stepping"]), 0, 10, found)
    stepping(0, 10, expected)
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
    with pytest.raises(TypeError, match="no type"):
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


def test_compiling_imports_no_numba():
    script = (
        "import sys\n"
        "from graphc.build import native\n"
        "from graphc.schedule.epoch import gather\n"
        "native.compile_kernels({'graphc_a': gather})\n"
        "print('numba' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, timeout=600, check=True, capture_output=True
    )
    assert done.stdout.split() == [b"False"]
