"""The record of the machine: what is known and tried, and that only speed depends on it."""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import stat
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from llvmlite import binding

import graphc as gx
import graphc.machine.loops as loops
import graphc.machine.trial as trial
from graphc import machine, nn, optim
from graphc.__main__ import main
from graphc.config import available_cpus, options
from graphc.machine.isa import AVX2, AVX512, BASELINE, NEON
from graphc.machine.record import TYPICAL, USUAL, Rates, expected
from graphc.run.table import arranged
from graphc.schedule.footprint import Slice
from graphc.schedule.levels import SHARED, Record

ROOT = Path(gx.__file__).parent


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Try the machine, with a folder of its own, as if for the first time."""
    monkeypatch.setattr(machine, "options", lambda: replace(options(), machine=""))
    machine._tried.cache_clear()
    with gx.config(calibrate=True, cache_dir=str(tmp_path / "cache")):
        yield tmp_path / "cache"
    machine._tried.cache_clear()


# -- what is known ---------------------------------------------------------------------------------


def test_unknown_caches_are_the_usual_ones():
    told = replace(TYPICAL, caches=(48 << 10, 2 << 20, 1 << 20))
    assert (told.first, told.second, told.third) == told.caches
    silent = replace(TYPICAL, caches=(0, 0, 0))
    assert (silent.first, silent.second, silent.third) == USUAL


def test_more_is_expected_of_wider_vectors():
    for less, more in ((BASELINE, NEON), (NEON, AVX2), (AVX2, AVX512)):
        assert expected(less).flops < expected(more).flops
        assert expected(less).second <= expected(more).second


def test_the_record_is_of_this_process():
    known = machine.known()
    assert known.processors == available_cpus()
    with gx.config(calibrate=False):
        assert known == machine.this()
    assert not known.tried


# -- what is tried ---------------------------------------------------------------------------------


def test_the_trial_finds_what_a_machine_can_do(fresh):
    found, usual = machine.this(), machine.known().rates
    assert found.tried
    for name, rate in asdict(found.rates).items():
        assert usual.__getattribute__(name) / 50 < rate < usual.__getattribute__(name) * 50, name
    assert found == replace(machine.known(), rates=found.rates, tried=True)


def test_the_trial_is_short(fresh):
    """Promised are 0.3 s where no other process has the processors."""
    assert min(timed() for _ in range(3)) < 0.5


def timed():
    """Return the seconds for which a trial has a processor."""
    import time

    start = time.thread_time()
    trial.try_machine(machine.known())
    return time.thread_time() - start


def test_one_processor_meets_nobody():
    alone = replace(machine.known(), processors=1)
    assert trial.try_machine(alone).meeting == expected(alone.isa).meeting


def test_threads_that_do_not_meet_leave_what_is_usual():
    assert trial._meeting(lambda rounds, patience, word: 0 * fill(word), 123.0) == 123.0


def fill(address):
    import ctypes

    ctypes.c_int64.from_address(address).value = 1
    return 0


@pytest.mark.parametrize("isa", [AVX512, AVX2, NEON, BASELINE])
def test_the_loops_are_llvm_s_language_for_every_machine(isa):
    module = binding.parse_assembly(loops.text(isa), context=binding.create_context())
    module.verify()
    assert {f.name for f in module.functions if not f.is_declaration} == {
        "multiply", "move", "meet", "read", "add",
    }  # fmt: skip


def test_what_was_tried_is_kept(fresh, monkeypatch):
    found = machine.this()
    (file,) = fresh.glob("machine_*.json")
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o700
    machine._tried.cache_clear()
    monkeypatch.setattr(trial, "try_machine", None)  # nobody tries again
    assert machine.this() == found
    store, key, identity = machine.kept()
    assert store.path(key) == file
    assert json.loads(store.read(key, identity)) == asdict(found.rates)


RATES = Rates(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b"\xff", b'{"flops": "x"}']
    + [json.dumps({**asdict(RATES), "memory": bad}).encode()
       for bad in (0, -1, float("nan"), float("inf"), None, [], "fast")],
)  # fmt: skip
def test_what_makes_no_sense_is_tried_again(fresh, content, monkeypatch):
    monkeypatch.setattr(trial, "try_machine", lambda known: RATES)
    store, key, identity = machine.kept()
    store.write(key, identity, content)
    assert machine.this().rates == RATES
    machine._tried.cache_clear()
    monkeypatch.setattr(trial, "try_machine", None)
    assert machine.this().rates == RATES  # and was written over


@pytest.mark.parametrize("spoil", ["truncated", "changed", "pipe", "of another machine"])
def test_a_damaged_entry_is_tried_again(fresh, spoil, monkeypatch):
    machine.this()
    (file,) = fresh.glob("machine_*.json")
    content = file.read_bytes()
    if spoil == "truncated":
        file.write_bytes(content[:-3])
    elif spoil == "changed":
        file.write_bytes(content.replace(b"1", b"2"))
    elif spoil == "pipe":
        file.unlink()
        os.mkfifo(file)
    else:
        store, key, _ = machine.kept()
        store.write(key, "another", json.dumps(asdict(replace(RATES, flops=9.0))).encode())
    machine._tried.cache_clear()
    monkeypatch.setattr(trial, "try_machine", lambda known: RATES)
    assert machine.this().rates == RATES


def test_nothing_is_tried_where_that_is_turned_off(fresh):
    with gx.config(calibrate=False):
        assert machine.this() == machine.known()
    assert not fresh.exists()


def test_another_machine_is_not_here_to_be_tried(run_python):
    code = "from graphc import machine; print(machine.this().tried, machine.this().second)"
    told = run_python(code, GRAPHC_CALIBRATE="1", GRAPHC_MACHINE="l2=3M")
    assert told.split() == ["False", str(3 << 20)]


def test_a_folder_that_cannot_be_written_only_means_that_nothing_is_kept(fresh, tmp_path, capsys):
    place = tmp_path / "file"
    place.write_text("")
    machine._tried.cache_clear()
    with gx.config(calibrate=True, cache_dir=str(place)):
        assert machine.this().tried
        assert main(["machine"]) == 0
    machine._tried.cache_clear()
    assert "tried, kept nowhere" in capsys.readouterr().out


# -- what is shown ---------------------------------------------------------------------------------


def test_the_command_shows_it(fresh, capsys):
    assert main(["machine"]) == 0
    shown = capsys.readouterr().out
    (file,) = fresh.glob("machine_*.json")
    assert f"tried, kept in {file}" in shown
    assert machine.known().processor in shown
    for word in ("instructions", "caches", "memory", "barrier"):
        assert word in shown
    with gx.config(calibrate=False):
        assert main(["machine"]) == 0
    assert "not tried" in capsys.readouterr().out


def test_a_busy_machine_can_be_tried_again(fresh, monkeypatch, capsys):
    monkeypatch.setattr(trial, "try_machine", lambda known: RATES)
    assert main(["machine"]) == 0
    monkeypatch.setattr(trial, "try_machine", lambda known: replace(RATES, memory=77.7))
    assert main(["machine"]) == 0
    assert "77.7" not in capsys.readouterr().out
    assert main(["machine", "--again"]) == 0
    assert "77.7" in capsys.readouterr().out
    machine._tried.cache_clear()
    assert machine.this().rates.memory == 77.7


def test_what_cannot_be_tried_again_says_so(fresh, monkeypatch, capsys):
    with gx.config(calibrate=False):
        assert main(["machine", "--again"]) == 2
    assert "--again tries nothing with GRAPHC_CALIBRATE=0" in capsys.readouterr().err
    monkeypatch.setattr(trial, "try_machine", lambda known: RATES)
    store, key, _ = machine.kept()
    store.path(key).mkdir()  # nothing can be kept there
    assert main(["machine", "--again"]) == 1
    assert "cannot be kept in" in capsys.readouterr().err
    assert main(["machine"]) == 0
    assert "tried, kept nowhere" in capsys.readouterr().out


# -- nothing but speed depends on it ---------------------------------------------------------------

EXTREMES = [
    Rates(*[1e-3] * 5, 1e9, *[1e-3] * 4, 1e9), Rates(*[1e6] * 5, 1e-3, *[1e6] * 4, 1e-3),
    Rates(1e-3, 1e6, 1e-3, 1e6, 1e-3, 50.0, 1e6, 1e-3, 1e6, 1e-3, 1.0),
]  # fmt: skip


def trained():
    """Return all that a model says after two epochs on two threads."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(256, 96)).astype("f"), rng.integers(0, 10, 256)
    x, y = gx.input("x", (None, 96)), gx.input("y", (None,), dtype="int64")
    v, w = (gx.parameter(rng.normal(size=s).astype("f") / 9) for s in ((96, 200), (200, 10)))
    out = gx.tanh(x @ v) @ w
    model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.cross_entropy(out, y),
                     optimizer=optim.Adam(1e-2))  # fmt: skip
    with gx.config(threads=2):
        history = model.fit(X, Y, epochs=2, batch_size=64, verbose=0)
        return model.source, [*map(repr, history["loss"])], model.predict(X).tobytes()


def test_no_bit_and_no_text_depends_on_what_was_tried(monkeypatch):
    wanted = trained()
    for rates in EXTREMES:
        other = replace(machine.known(), rates=rates)
        monkeypatch.setattr(machine, "known", lambda other=other: other)
        assert trained() == wanted


def test_rates_divide_the_work(monkeypatch):
    """They do something: where meeting is dear, nothing is divided, where it is cheap, much."""
    rows = Slice(1 << 20, 64, 64, 1, True)
    for meeting, shared in ((10.0, True), (1e6, False)):
        rates = replace(expected(AVX2), meeting=meeting)
        monkeypatch.setattr(machine, "known", lambda rates=rates: replace(TYPICAL, rates=rates))
        with gx.config(calibrate=False):
            found = arranged([Record(1, 4096, [], (rows,), 1000.0, (0,))], 2)
        assert bool(found.words[3] & SHARED) == shared


# -- no other place --------------------------------------------------------------------------------

WORDS = re.compile("[Nn]anosecond|cycle|[Ll]atenc|(second|third) cache|caches hold")
"""What the comment of a machine's constant speaks of."""

ELSEWHERE = {
    "codegen/product.py:_OVERFLOWING": "a part of TYPICAL's cache",
    "codegen/loops.py:STREAM_BYTES": "TYPICAL's cache",
    "plan/memory.py:ROOMY": "a share of what the record says",
    "build/package.py:IMPORTED": "when something was",
    "schedule/ownership.py:LEAST_BYTES": "cuts K, and so decides bits: the same on every machine",
}


def test_no_constant_of_a_machine_stands_elsewhere():
    found = set()
    for path in ROOT.rglob("*.py"):
        if path.parent.name == "machine":
            continue
        lines, tree = path.read_text().splitlines(), ast.parse(path.read_text())
        for statement, after in itertools.pairwise([*tree.body, None]):
            if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or not statement.value:
                continue
            numbers = [n for n in ast.walk(statement.value) if isinstance(n, ast.Constant)
                       and type(n.value) in (int, float)]  # fmt: skip
            about = "\n".join(lines[statement.lineno - 1 : statement.end_lineno])
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                about += str(after.value.value)
            if numbers and WORDS.search(about):
                name = ast.unparse(statement).split()[0].rstrip(":")
                found.add(f"{path.relative_to(ROOT).as_posix()}:{name}")
    assert found <= ELSEWHERE.keys(), found - ELSEWHERE.keys()


def test_every_rate_is_used():
    """A figure that is tried and decides nothing would be time lost."""
    text = "\n".join(
        p.read_text() for p in ROOT.rglob("*.py") if p.name not in ("record.py", "show.py")
    )
    record = (ROOT / "machine" / "record.py").read_text()
    for field in fields(Rates):
        assert (
            f"rates.{field.name}" in text
            or f"rates.{field.name}" in record
            or f"self.{field.name}" in record
        ), field.name
