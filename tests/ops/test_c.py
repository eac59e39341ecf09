"""Every registered function with its kernels compiled from C, against the machine code of LLVM."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.functions import function
from graphc.ir.op import ENTRIES
from graphc.kernel.code import Let, Loop, statements, within
from graphc.kernel.value import Name
from graphc.print import c
from graphc.types import FLOAT32
from tests.c_kernels import COMPILER, CLibrary, is_exact, texts_of
from tests.ops.harness import equal_all, resized, spoiled, strided, trials
from tests.ops.test_compiled import PLAIN, batched

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="there is no C compiler: install cc"),
    pytest.mark.skipif(PLAIN, reason="NUMBA_DISABLE_JIT: there is no machine code to compare with"),
]

NAMES = sorted(ENTRIES)
GROUPS = 8
"""Of functions whose kernels are compiled as one file."""

ROUNDING = 0.5
"""Times the tolerance of the data type (2e-5 and 1e-12, relative): of programs that have elementary
functions, where a last bit of tanh is many of 1 - tanh**2, or that fold along rows in vectors. All
others agree to the last bit."""


def values(name):
    """Return what is compiled of one function's values, and what it is fed."""
    cases = list(trials(name))
    whole = [c for c in cases if not any(a.dtype.kind == "f" for a in c.arrays)]
    cases = [*cases[:1], *(c for c in whole[:1] if c is not cases[0])]
    inputs = [x for c in cases for x in c.inputs]
    feeds = [a for c in cases for a in c.arrays]
    odd = [a for c in cases for a in spoiled(c)]
    call = function(inputs, [y for c in cases for y in c.outputs])
    return "; ".join(map(str, cases)), call, [feeds, [strided(a) for a in feeds], odd]


def gradients(name):
    """Return what is compiled of one function and its derivatives, with a batch if it can be."""
    trial = batched(trials(name, FLOAT32)[0])
    derivatives, directions = trial.derivatives, []
    outputs = trial.outputs
    if derivatives is not None:
        directions = [*derivatives.w, *derivatives.v, *derivatives.u]
        outputs = outputs + derivatives.pulled
    call = function([*trial.inputs, *directions], outputs)
    sizes = [a.shape[0] for a in trial.arrays if a.ndim and a.shape[0]]
    feeds = []
    for size in (sizes[0], 1) if trial.batch and sizes else (1,):
        arrays = resized(trial, size) if trial.batch else trial.arrays
        given = derivatives.directions(size) if derivatives else {}
        feeds.append([*arrays, *(given[t] for t in directions)])
    return f"derivatives of {trial}", call, feeds


def called(call, feeds):
    """Return results for all feeds, or the error instead."""
    results = []
    for arrays in feeds:
        try:
            results.append([np.asarray(y) for y in call(*arrays)])
        except (ValueError, IndexError) as error:
            results.append(str(error))
    return results


def changed_bounds(body):
    """Return the variables of loops, or of their bounds, that are changed inside them."""
    found = set()
    for loop in (s for s in statements(body) if isinstance(s, Loop)):
        bounds = [v for x in (loop.index, loop.start, loop.stop) for v in within(x)]
        changed = [s for s in statements(loop.body) if isinstance(s, (Let, Loop))]
        names = {s.name if isinstance(s, Let) else s.index for s in changed}
        found |= {v for v in bounds if isinstance(v, Name) and v in names}
    return found


def compare(programs, folder):
    """Compare what programs compute with kernels of LLVM's with what they do with those of C."""
    kernels = {k: t for _, call, _ in programs for k, t in texts_of(call._executable).items()}
    assert not [k for k, text in kernels.items() if changed_bounds(text.body)]
    library = CLibrary(folder, kernels.values())
    for what, call, feeds in programs:
        exact = all(map(is_exact, texts_of(call._executable).values()))
        expected = called(call, feeds)
        library.replace(call._executable)
        for found, wanted in zip(called(call, feeds), expected, strict=True):
            if isinstance(wanted, str):
                assert found == wanted, what
            elif exact:
                for x, y in zip(found, wanted, strict=True):
                    np.testing.assert_array_equal(x, y, err_msg=what)
            else:
                equal_all(found, wanted, what, ROUNDING)


@pytest.mark.parametrize("group", range(GROUPS))
def test_c_computes_what_llvm_does(group, tmp_path):
    compare([make(name) for name in NAMES[group::GROUPS] for make in (values, gradients)], tmp_path)


@pytest.mark.parametrize(
    ("table", "key", "wrong", "names"),
    [
        ("_SYMBOLS", "-", "+", ["subtract"]),
        ("_SYMBOLS", "<", ">", ["less"]),
        ("_SYMBOLS", "&", "|", ["bitwise_and"]),
        ("_BINDS", "/", (c._PRODUCT, c._PRODUCT, c._SUM), ["softsign"]),
        ("LIBRARY", "exp", "exp2", ["exp"]),
        ("LIBRARY", "ceil", "floor", ["ceil"]),
    ],
)
def test_a_wrong_printer_is_found(monkeypatch, tmp_path, table, key, wrong, names):
    programs = [make(name) for name in names for make in (values, gradients)]
    monkeypatch.setattr(c, table, {**getattr(c, table), key: wrong})
    with pytest.raises(AssertionError):
        compare(programs, tmp_path)
