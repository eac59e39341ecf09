"""Every op for many samples at once: what its samples give one by one, derivatives too."""

from __future__ import annotations

import importlib
import itertools
import pkgutil

import numpy as np
import pytest

import graphc.ops
from graphc.ir.interpret import evaluate
from graphc.ir.op import ENTRIES, OPS, Composite, Source
from graphc.ops.batched import rule_of
from graphc.ops.body import placeholder
from graphc.ops.vmap import batched
from tests.ops import harness

COUNT = 3

ONE_BY_ONE = {
    "add_at": "of rows of tables that optimisers alone change",
    "coalesced": "of rows of tables that optimisers alone change",
    "put_at": "of rows of tables that optimisers alone change",
}
"""Ops without a rule, which a loop over samples computes, and why."""


def variants(array, number):
    """Return as many arrays like a sample's, each another one but in its domain."""
    if array.dtype.kind == "f":
        return np.stack([array * (1 - 0.01 * k * (1 + number)) for k in range(COUNT)])
    if not array.ndim:
        return np.stack([array] * COUNT)
    return np.stack([np.roll(array, k, axis=-1) for k in range(COUNT)])


def checked(trial, derivatives):
    inputs, outputs = trial.symbolic
    if not inputs:
        return
    roots, feeds = list(outputs), [*trial.arrays]
    if derivatives is not None:
        roots += [*derivatives.pulled, *derivatives.pushed]
        inputs = [*inputs, *derivatives.w, *derivatives.v]
        rng = np.random.default_rng(0)
        more = [*derivatives.w, *derivatives.v]
        feeds += [rng.standard_normal(t.type.shape).astype(t.dtype) for t in more]
    many = [variants(a, k) for k, a in enumerate(feeds)]
    for own in itertools.islice(choices(len(inputs)), 4):
        samples = {t: placeholder("many", t.type.with_shape((COUNT, *t.type.shape)))
                   for t, has in zip(inputs, own, strict=True) if has}  # fmt: skip
        found = batched(roots, {t: (x, True) for t, x in samples.items()}, COUNT)
        given = {samples.get(t, t): m if has else m[0]
                 for t, m, has in zip(inputs, many, own, strict=True)}  # fmt: skip
        got = evaluate([found.get(t, (t, False))[0] for t in roots], given)
        for k in range(COUNT):
            one = {t: m[k if has else 0] for t, m, has in zip(inputs, many, own, strict=True)}
            wanted = evaluate(roots, one)
            for t in roots:
                made, has = found.get(t, (t, False))
                value = got[made][k] if has else got[made]
                np.testing.assert_allclose(
                    value, wanted[t], rtol=1e-9, atol=1e-9, err_msg=str(trial)
                )


def choices(count):
    """Yield which operands have samples: all, then each one alone."""
    yield (True,) * count
    for k in range(count if count > 1 else 0):
        yield tuple(i == k for i in range(count))


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_samples_at_once_are_samples_one_by_one(name):
    for trial in harness.trials(name):
        checked(trial, trial.derivatives)


def test_every_op_says_how_it_is_computed_for_many_samples():
    for module in pkgutil.walk_packages(graphc.ops.__path__, "graphc.ops."):
        importlib.import_module(module.name)
    importlib.import_module("graphc.nn.dropout")
    without = {
        name
        for name, op in OPS.items()
        if not issubclass(op, (Source, Composite)) and rule_of(op) is None
    }
    assert without == set(ONE_BY_ONE), "state a rule beside the op (ops/batched.py), or why not"
