"""Every registered function and op, on every sample, against NumPy and finite differences."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphc.ir.op import ENTRIES, OPS, Source
from graphc.ir.record import Record
from graphc.types import FLOAT32
from tests.ops import harness
from tests.ops.harness import trials, try_all

NAMES = sorted(ENTRIES)


@pytest.mark.parametrize("name", NAMES)
def test_entry_is_complete(name):
    entry = ENTRIES[name]
    assert (entry.function.__doc__ or "").strip(), f"{name} has no docstring"
    assert entry.section, f"{name} stands in no section of the documentation"
    assert trials(name), f"{name} has no samples"


@pytest.mark.parametrize("name", NAMES)
def test_types(name):
    try_all(harness.check_type, trials(name))
    try_all(harness.check_type, trials(name, FLOAT32))


@pytest.mark.parametrize("name", NAMES)
def test_values(name):
    try_all(harness.check_value, trials(name))
    try_all(harness.check_value, trials(name, FLOAT32))
    try_all(harness.check_strided, trials(name))


@pytest.mark.parametrize("name", NAMES)
def test_special_values(name):
    try_all(harness.check_special, trials(name))
    try_all(harness.check_special, trials(name, FLOAT32))


@pytest.mark.parametrize("name", NAMES)
def test_batches(name):
    try_all(harness.check_batch, trials(name))


@pytest.mark.parametrize("name", NAMES)
def test_derivatives(name):
    try_all(harness.check_derivatives, trials(name))


@pytest.mark.parametrize("name", NAMES)
def test_scalar_text(name):
    try_all(harness.check_text, trials(name))
    try_all(harness.check_text, trials(name, FLOAT32))


ELSEWHERE = {
    "attention": "unit/test_attention.py",
    "attention_gradient": "unit/test_attention.py",
    "batch_norm": "unit/test_nn_images.py",
    "noise": "unit/test_nn_others.py",
    "spectral_norm": "unit/test_nn_others.py",
    "coalesced": "unit/test_table_rows.py",
    "dropped_attention": "unit/test_attention.py",
    "dropout": "unit/test_nn_dropout.py",
    "turn": "unit/test_moving.py",
}
"""Ops of a layer or of a loop's body, not of a function, and the tests that have them."""


def test_every_op_is_reached():
    reached = set(harness.ops_used(NAMES))
    for name, path in ELSEWHERE.items():
        assert name in (Path(__file__).parents[1] / path).read_text()
    missing = [
        name
        for name, op in OPS.items()
        if not issubclass(op, Source) and op not in reached and name not in ELSEWHERE
    ]
    assert not missing, f"no sample of any function reaches {missing}"


@pytest.mark.parametrize("name", sorted(OPS))
def test_op_is_documented_and_a_value(name):
    op = OPS[name]
    assert (op.__doc__ or "").strip(), f"{name} has no docstring"
    assert not op.__doc__.startswith(f"{op.__name__}("), f"{name} has no docstring of its own"
    assert op.__eq__ is Record.__eq__, f"{name} is no record: equal ops would differ"
