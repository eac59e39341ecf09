"""Random programs over every public function compute what they should, and faults are found.

``python -m tests.random_graphs --count 10000`` tries many more; here are a few in a minute, and
wrong rules of each kind, which the driver must find and shrink to the op that is wrong.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import graphc as gx
from graphc.ir.graph import ancestors
from graphc.ir.op import ENTRIES, unbroadcast
from graphc.ops.arithmetic import Subtract
from graphc.ops.trigonometric import Tanh
from graphc.plan import fusion, memory
from tests.random_graphs.check import check, jit
from tests.random_graphs.draw import Drawing, draw
from tests.random_graphs.program import LAYOUTS, Leaf, Step, laid
from tests.random_graphs.reference import Reference
from tests.random_graphs.shrink import shrink
from tests.random_graphs.trial import try_seeds
from tests.thresholds import SWEPT

BLOCKS = [
    pytest.param(range(first, first + 10), marks=[pytest.mark.slow] * (first >= 1_000_020))
    for first in range(1_000_000, 1_000_060, 10)
]


@pytest.mark.parametrize("seeds", BLOCKS, ids=lambda r: str(r.start))
def test_random_programs(seeds):
    tally = try_seeds((seeds, 10, 10.0, False))
    assert not tally.failures, "\n".join(text for _, text in tally.failures)


@pytest.mark.slow
def test_ten_thousand_random_programs():
    jobs = str(min(2, multiprocessing.cpu_count()))
    command = [sys.executable, "-m", "tests.random_graphs", "--count", "10000", "--jobs", jobs]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-4000:]


def test_programs_are_what_the_docstring_says():
    programs = [draw(seed) for seed in range(250)]
    leaves = [n for p in programs for n in p.nodes if isinstance(n, Leaf)]
    assert all(3 <= len(p.nodes) <= 60 for p in programs)
    assert max(len(p.nodes) for p in programs) > 40
    assert {n.kind for n in leaves} == {"input", "parameter", "constant"}
    assert {n.dtype for n in leaves} == {"float32", "float64", "int32", "int64", "bool"}
    assert {p.mode for p in programs} == {"values", "grad", "vjp", "jvp", "second"}
    assert {n.layout for n in leaves} == {"C", "F", "strided", "reversed", "unaligned"}
    assert any(0 in n.shape for n in leaves)
    assert any(None in n.shape for n in leaves)
    assert {c.threads for p in programs for c in p.calls} == {1, 2}
    assert any(isinstance(p.nodes[o], Leaf) for p in programs for o in p.outputs)
    assert any(len(set(p.outputs)) < len(p.outputs) for p in programs)
    assert any(p.updates for p in programs)
    assert len({t for p in programs for t in p.thresholds}) > len(SWEPT)  # of two sides each
    nbytes = [n.values(p.calls[0].batch).nbytes for p in programs for n in p.nodes
              if isinstance(n, Leaf)]  # fmt: skip
    assert any((256 << 10) - 1024 < n < 256 << 10 for n in nbytes)
    assert any(256 << 10 < n < (256 << 10) + 1024 for n in nbytes)


def test_every_function_is_drawn():
    """Alone; in programs they stand where the types fit."""
    for name in sorted(set(ENTRIES) - {"positive"}):  # returns its argument
        rng = np.random.default_rng(0)
        d = Drawing(0, rng, "float32", batch=3, open=False, limit=2000)
        proposals = (d.sampled(name) for _ in range(60))
        assert any(p is not None and d.propose(p) for p in proposals), name


def test_a_program_is_its_text(capsys):
    for seed in range(4):
        program = draw(seed)
        assert program == draw(seed)
        with gx.config(), jit(on=False):
            exec(program.text(), {})
    off = [float(line.split()[4]) for line in capsys.readouterr().out.splitlines()]
    assert off
    assert max(off) < 1e-3


# -- negative controls --------------------------------------------------------------------------


def first_failure(count=400, jax=False):
    """Return the first small program that fails, made smaller, and its failure.

    They run as plain Python: the text is the same, and nothing is compiled.
    """
    for seed in range(count):
        program = replace(draw(seed), plain=True)
        if not program.small:
            continue
        found = check(program, jax=jax)
        if found:
            return shrink(program, found, jax=jax, seconds=20)
    raise AssertionError("nothing was found")


def steps(program):
    return [n.text for n in program.nodes if isinstance(n, Step)]


@pytest.fixture(autouse=True)
def unchecked():
    """The programs are checked themselves: leave out the check of each pass."""
    with gx.config(check=False):
        yield


def test_a_wrong_vjp_is_found(monkeypatch):
    def vjp(self, g, out, x, y):
        return unbroadcast(g, x.type.shape), unbroadcast(g, y.type.shape)

    monkeypatch.setattr(Subtract, "vjp", vjp)
    program, failure = first_failure()
    assert failure.kind == "derivative"
    assert "by reverse mode" in failure.text
    assert len(steps(program)) <= 2


def test_a_wrong_kernel_text_is_found(monkeypatch):
    monkeypatch.setattr(Subtract, "formula", lambda x, y: y - x)
    program, failure = first_failure()
    assert failure.kind == "value"
    assert len(steps(program)) <= 2


def test_a_wrong_fusion_is_found(monkeypatch):
    monkeypatch.setattr(  # whether what a loop reads is there in time is not asked
        fusion.Fusion, "_can_merge",
        lambda self, group, into: into.is_loop and group.is_loop
        and (into.column or group.column) is None and fusion._same_loops(group, into),
    )  # fmt: skip
    program, failure = first_failure()
    assert failure.kind == "value" or failure.kind.startswith(("compile", "call"))
    assert len(steps(program)) <= 4


def test_wrong_places_in_memory_are_found(monkeypatch):
    right = memory._placed

    def placed(buffers, *args, **kwargs):
        plan = right(buffers, *args, **kwargs)
        return replace(plan, offsets=dict.fromkeys(plan.offsets, 0))

    monkeypatch.setattr(memory, "_placed", placed)
    program, failure = first_failure()
    assert failure.kind == "value"
    assert len(steps(program)) <= 2


def test_a_wrong_reference_is_found(monkeypatch):
    pytest.importorskip("jax")
    monkeypatch.setattr(Tanh, "ufunc", np.sin)
    program, failure = first_failure(jax=True)
    assert failure.kind in ("jax", "derivative", "value", "update")
    assert "tanh" in {t.op.name for t in ancestors(program.build().outputs)}
    assert len(steps(program)) <= 2


def test_an_error_in_the_last_places_is_found():
    """The bound follows from rounding: what is off by 64 units in the last place is wrong."""
    for dtype in ("float32", "float64"):
        x = gx.input("x", (50,), dtype)
        y = gx.tanh(x) * x + 1.0
        values = np.random.default_rng(0).uniform(-2, 2, 50).astype(dtype)
        reference = Reference([y, x[::2]], {x: values}, 1)
        right = reference.middle[y].astype(dtype)
        off = right.copy()
        off[7] += 300 * np.spacing(off[7])
        assert not reference.difference(y, right)
        assert not reference.difference(y, right + np.spacing(right))
        assert "at (7,)" in reference.difference(y, off)
        view = reference.roots[1]
        assert not reference.difference(view, values[::2])
        assert reference.difference(view, values[::2] + np.spacing(values[::2]))


def test_layouts_hold_the_values():
    for shape in ((), (0,), (5,), (2, 3), (2, 3, 4)):
        values = np.random.default_rng(0).standard_normal(shape).astype("float32")
        for layout in LAYOUTS:
            found = laid(values, layout)
            assert found.shape == shape
            np.testing.assert_array_equal(found, values)
    assert not laid(np.ones(5), "unaligned").flags.aligned
