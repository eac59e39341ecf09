"""Every registered function compiled, against the oracle.

Compiled, the first sample and the first of integers stand for all: the kernels are the cost. As
plain Python, in a process of its own without the compiler, every sample runs. Another process does
the same by Numba, which is the second way to compile kernels.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from graphc.config import NUMBA, options
from graphc.errors import GraphcError
from graphc.ir.op import ENTRIES
from graphc.types import FLOAT32, FLOAT64
from tests.ops.harness import Trial, compiled, equal_all, resized, run, spoiled, strided, trials

NAMES = sorted(ENTRIES)
PLAIN = os.environ.get("NUMBA_DISABLE_JIT") == "1"
BY_NUMBA = options().compiler == NUMBA


def compare(call, outputs, feeds, what, scale=4.0):
    equal_all(call(feeds), run(outputs, feeds), what, scale)


def compare_together(cases):
    """Compile the values of all ``cases`` as one function, and feed it ordinary and odd arrays."""
    inputs = [x for c in cases for x in c.inputs]
    outputs = [y for c in cases for y in c.outputs]
    call = compiled(inputs, outputs)
    what = "; ".join(str(c) for c in cases[:3])
    feeds = {x: a for c in cases for x, a in c.feeds.items()}
    compare(call, outputs, feeds, what)
    compare(call, outputs, {x: strided(a) for x, a in feeds.items()}, f"{what}, strided")
    odd = {x: a for c in cases for x, a in zip(c.inputs, spoiled(c), strict=True)}
    compare(call, outputs, odd, f"{what}, with NaN and infinities")


def batched(trial):
    """Return the trial with a batch axis if it can have one."""
    free = Trial(trial.entry, trial.number, trial.sample, trial.dtype, batch=True)
    try:
        assert free.derivatives is None or free.derivatives.pulled
    except (GraphcError, AssertionError):
        return trial
    return free


@pytest.mark.parametrize("name", NAMES)
def test_values(name):
    cases = list(trials(name))
    if not PLAIN:
        whole = [c for c in cases if not any(a.dtype.kind == "f" for a in c.arrays)]
        cases = [*cases[:1], *(c for c in whole[:1] if c is not cases[0])]
    compare_together(cases)
    if BY_NUMBA and any(a.dtype == FLOAT64 for a in cases[0].arrays):
        compare_together(list(trials(name, FLOAT32))[:1])


@pytest.mark.parametrize("name", NAMES)
def test_gradients_and_batches(name):
    trial = batched(trials(name, FLOAT32)[0])
    derivatives = trial.derivatives
    inputs, outputs, directions = trial.inputs, trial.outputs, []
    if derivatives is not None:
        directions = [*derivatives.w, *derivatives.v, *derivatives.u]
        outputs = outputs + derivatives.pulled
    call = compiled([*inputs, *directions], outputs)
    sizes = [a.shape[0] for a in trial.arrays if a.ndim and a.shape[0]]
    for size in (sizes[0], 1, sizes[0] + 2) if trial.batch and sizes else (1,):
        arrays = resized(trial, size) if trial.batch else trial.arrays
        feeds = dict(zip(inputs, arrays, strict=True))
        try:
            run(outputs[:1], feeds)
        except (ValueError, IndexError):
            continue  # indices that a shorter batch does not have
        if derivatives is not None:
            feeds |= derivatives.directions(size)
        compare(call, outputs, feeds, f"{trial} with a batch of {size}", 20.0)


if PLAIN or BY_NUMBA:

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
    @pytest.mark.slow
    def test_all_values(name, dtype):
        compare_together(list(trials(name, dtype)))

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.slow
    def test_second_derivatives(name):
        trial = trials(name, FLOAT64)[0]
        if trial.derivatives is None:
            return
        feeds = {**trial.feeds, **trial.derivatives.directions()}
        call = compiled(list(feeds), trial.derivatives.all)
        compare(call, trial.derivatives.all, feeds, f"derivatives of {trial}", 20.0)

else:

    def run_again(*arguments, **variables):
        root = Path(__file__).parents[2]
        flags = ["-q", "--tb=line", "--no-header", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *flags, str(Path(__file__).relative_to(root))],
            cwd=root,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

    def test_everything_as_plain_python():
        run_again("-m", "slow or not slow", NUMBA_DISABLE_JIT="1")

    def test_one_sample_of_everything_by_numba():
        run_again("-k", "test_values", GRAPHC_COMPILER=NUMBA, NUMBA_OPT="0")

    @pytest.mark.slow
    def test_everything_by_numba():
        run_again("-m", "slow or not slow", GRAPHC_COMPILER=NUMBA)
