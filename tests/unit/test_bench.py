"""The benchmarks' own code: what is compared, counted and written. Nothing here is timed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from graphc.machine import known
from tests.bench import figures, machine, tables
from tests.bench.harness import DisagreementError, agree, interleaved
from tests.bench.peers import PEERS, runner
from tests.bench.problem import Problem
from tests.bench.training import check

ROOT = Path(__file__).parents[2]
SMALL = Problem((5, 7, 3), 4, steps=3)
STEPS = ("forward", "gradients", "sgd", "adam")


def test_results_agree_up_to_rounding():
    a = np.linspace(1.0, 2.0, 5)
    agree({"a": [a, 0.0], "b": [a * (1 + 1e-6), 0.0], "c": [a, 1e-12]}, 1e-5)


@pytest.mark.parametrize(
    "other",
    [[np.ones(3) * 1.001], [np.ones(4)], [np.ones(3), 1.0], [np.array([1.0, math.nan, 1.0])]],
    ids=["value", "shape", "count", "nan"],
)
def test_other_results_are_no_agreement(other):
    with pytest.raises(DisagreementError):
        agree({"a": [np.ones(3)], "b": other}, 1e-5)


def test_contestants_take_turns():
    calls = []
    seconds = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert calls == list("ab" * 3)  # one each that does not count
    assert set(seconds) == {"a", "b"}


def test_operations_of_a_step_are_those_of_its_products():
    problem = Problem((784, 512, 512, 10), 128)
    weights = 784 * 512 + 512 * 512 + 512 * 10
    assert problem.having(step="forward").flops() == 2 * 128 * weights
    assert problem.flops() == 2 * 128 * (3 * weights - 784 * 512)


def test_epochs_have_different_batches_and_every_call_the_same_data():
    batches = SMALL.batches()
    assert [x.shape for x, _ in batches] == [(4, 5)] * 3
    assert not np.array_equal(batches[0][0], batches[1][0])
    np.testing.assert_array_equal(batches[2][0], SMALL.batches()[2][0])


def results(peer: str, problem: Problem) -> list[np.ndarray]:
    made = runner(peer, problem)
    made.run(3)
    return made.results()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("peer", ["torch", "JAX jit", "JAX scan", "PyTensor"])
@pytest.mark.parametrize("kind", [("relu", "cross_entropy"), ("tanh", "squared")], ids="-".join)
@pytest.mark.filterwarnings("ignore")
def test_libraries_compute_the_same(peer, step, kind):
    pytest.importorskip(PEERS[peer][0])
    if peer == "PyTensor" and step != "forward":
        pytest.skip("compiles for seconds; the benchmarks compare it too")
    if peer == "JAX scan" and step in ("forward", "gradients"):
        pytest.skip("only training has epochs")
    problem = SMALL.having(step=step, activation=kind[0], loss=kind[1])
    check(problem, {p: results(p, problem) for p in ("graphc", peer)})


def test_fit_and_train_step_take_the_same_steps():
    problem = SMALL.having(step="adam")
    found = {peer: results(peer, problem) for peer in ("graphc", "graphc fit")}
    check(problem, found)


def test_another_update_is_no_agreement():
    sgd, adam = (results("graphc", SMALL.having(step=step)) for step in ("sgd", "adam"))
    with pytest.raises(DisagreementError):
        check(SMALL, {"sgd": sgd, "adam": adam})


def test_one_step_fewer_is_no_agreement():
    made = runner("graphc", SMALL)
    made.run(2)
    with pytest.raises(DisagreementError):
        check(SMALL, {"three": results("graphc", SMALL), "two": made.results()})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loop_of_multiply_adds_does_them(dtype):
    run, operations = machine.loop(dtype)
    lanes = known().isa.vector_bytes // np.dtype(dtype).itemsize
    chains = operations // (2 * lanes)
    turns = 3
    expected = sum(lanes * (1 + (i - 1) / 2**turns) for i in range(chains))
    assert run(turns) == expected


def test_cells_have_three_digits_and_what_is_missing_a_dash():
    values = [None, 1234.5, 12.345, 0.012345, 3, "a"]
    assert [tables.cell(v) for v in values] == ["-", "1234", "12.3", "0.0123", "3", "a"]
    assert tables.markdown([{"a": 1}, {"b": 2.0}]) == (
        "| a | b |\n| --- | --- |\n| 1 | - |\n| - | 2.00 |\n"
    )


def step_row(network: str, jax: float) -> dict:
    row = dict.fromkeys(PEERS, 1.0) | {"network": network, "step": "sgd", "limit": 0.5}
    return row | {"vs JAX": jax, "vs torch": None, "of limit": 1.25}


def test_aims_are_met_or_not():
    rows = [step_row("4-16-16-1, batch 8", 3.5), step_row("784-128-10, batch 32", 1.5)]
    found = figures.rows({"steps": {"rows": rows}})
    assert [row["met"] for row in found] == ["yes", None, "no", None, "yes"]


def test_the_page_is_filled_and_the_readme_finds_its_table():
    record = {
        "machine": tables.machine(),
        "sections": {
            "steps": {"title": "Steps", "note": "", "rows": [step_row("4-16-16-1, batch 8", 3.5)]}
        },
    }
    page = "<!-- benchmarks: begin -->\nold\n<!-- benchmarks: end -->\n"
    once = tables.filled(page, [record, record])
    assert "old" not in once
    assert once.count("| 4-16-16-1, batch 8 | 1.00 |") == 2
    assert tables.filled(once, [record, record]) == once
    own = tables.page(record)
    assert "## Aims" in own
    assert "## Steps" in own
    assert known().processor in own


def suite(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120, **options,
    )  # fmt: skip


def test_the_suite_runs_with_graphc_alone(tmp_path):
    file = tmp_path / "results.json"
    done = suite("machine", "simplechains", "--quick", "--rounds", "1",
                 "--without", "torch,jax,pytensor", "--json", str(file))  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(file.read_text())
    assert list(record["sections"]) == ["machine", "simplechains"]
    for row in record["sections"]["simplechains"]["rows"]:
        assert row["graphc"] > 0
        assert row["torch"] is None
    assert "## SimpleChains' network" in done.stdout
    assert " - |" in done.stdout


def test_an_unknown_section_is_named():
    done = suite("stepps")
    assert done.returncode == 2
    assert "no section stepps" in done.stderr
