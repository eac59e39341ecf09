"""Products divided as the weights that they read are updated: same bits, less to send."""

from __future__ import annotations

import ctypes
import dataclasses

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.build.loader import LOADER
from graphc.codegen.product import COLUMNS, FORM, PIECES, SUM, C
from graphc.config import options
from graphc.emit import products, shape
from graphc.emit.shape import scratch_bytes
from graphc.ir.source import address_of, aligned_empty
from graphc.run import table
from graphc.run.pace import Pace
from graphc.run.team import team
from graphc.schedule import levels as schedule
from graphc.schedule import ownership
from graphc.schedule.epoch import gather
from graphc.schedule.footprint import Slice
from graphc.schedule.levels import Record, by_levels
from graphc.schedule.ownership import own_weights

RNG = np.random.default_rng(0)
ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)


def random(*shape, dtype="float32"):
    return RNG.standard_normal(shape).astype(dtype)


def product(a, b, c, number=0):
    """Return the record of C = A B, divided by rows."""
    steps = [[s // x.itemsize for s in x.strides] for x in (a, b, c)]
    arguments = [c.shape[0], c.shape[1], a.shape[1], 0]
    for x, strides in zip((a, b), steps[:2], strict=True):
        arguments += [address_of(x), 0, *strides]
    arguments += [address_of(c), 0, steps[2][0]]
    kernel = f"matmul_{a.dtype}"
    return Record(entry(kernel), c.shape[0], arguments, (), 1e6, (number,), ((C, "c"),), kernel)


def update(w, number=9):
    """Return a record that changes ``w`` element by element."""
    slices = (Slice(address_of(w), w.itemsize, w.itemsize, 1, True),)
    return Record(0, w.size, [address_of(w)], slices, 1e6, (number,), (), "update")


LOADED = []
"""What holds the code of the kernels."""


@pytest.fixture(autouse=True)
def a_machine(machine):
    """Blocks and panels are those of a machine with a second cache of 1 MB."""
    machine("l2=1M")


def entry(name):
    kernel = gather if name == "gather" else getattr(products, name)
    LOADED.append(LOADER.load([kernel])[0])
    return LOADED[-1][name]


def run(record, lo=0, hi=None):
    words = np.array(record.arguments, np.int64)
    hi = record.extent if hi is None else hi
    scratch = aligned_empty(scratch_bytes())
    ENTRY(record.entry)(address_of(words), lo, hi, address_of(scratch))


def owned(*records, threads=2):
    found, planes = own_weights(records, threads)
    return [r for r in found if r.kernel != "update"], planes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("caches", ["l2=256K", "l2=2M", "l2=unknown"])
@pytest.mark.parametrize(
    ("length", "number"),
    [
        (lambda panel: 128, 2),
        (lambda panel: panel * 3 // 2 + 16, 2),
        (lambda panel: 3 * (panel * 2 // 3 + 1), 3),
        (lambda panel: 3 * panel, 3),
    ],
)
def test_pieces_of_k_give_the_bits_of_one_thread(length, number, caches, dtype, machine):
    machine(caches)
    k = length(shape.DEPTH)
    x, w, y = random(24, k, dtype=dtype), random(k, 100, dtype=dtype), random(24, 100, dtype=dtype)
    (whole,), none = owned(product(x, w, y), update(w), threads=1)
    run(whole)
    alone = y.copy()
    assert none == []
    np.testing.assert_allclose(alone, x @ w, rtol=0, atol=1e-2 if dtype == "float32" else 1e-10)
    (parts, total), (plane,) = owned(product(x, w, y), update(w))
    pieces = parts.extent // 24
    assert whole.arguments[FORM] >> PIECES == pieces == number
    y[...] = 7
    for piece in reversed(range(pieces)):
        run(parts, piece * 24, (piece + 1) * 24)
    assert (y == 7).all()
    for lo, hi in ((13, 24), (0, 13)):
        run(total, lo, hi)
    np.testing.assert_array_equal(y, alone)
    assert plane.nbytes == pieces * y.nbytes
    assert (parts.moving, total.moving) == ((), ((C, "c"),))


def touched(record, index, array):
    """Return which elements of an array unit ``index`` of a record touches, by its slices."""
    mask = np.zeros(array.nbytes, bool)
    for s in record.slices:
        for line in range(s.lines):
            start = s.first + index * s.stride + line * s.pitch - address_of(array)
            if 0 <= start < array.nbytes:
                mask[start : start + s.span] = True
    return mask.reshape(array.size, array.itemsize).all(1).reshape(array.shape)


def test_a_piece_touches_what_its_record_says():
    x, w, y = random(24, 256), random(256, 100), random(24, 100)
    (parts, total), (plane,) = owned(product(x, w, y), update(w))
    for piece in range(2):
        reads = [touched(parts, piece, a) for a in (x, w)]
        assert [r.sum() for r in reads] == [24 * 128, 128 * 100]
        kept = [a.copy() for a in (x, w)]
        run(parts, piece * 24, (piece + 1) * 24)
        expected = plane.view("float32").reshape(2, 24, 100)[piece].copy()
        for a, read in zip((x, w), reads, strict=True):
            a[~read] = np.nan
        run(parts, piece * 24, (piece + 1) * 24)
        np.testing.assert_array_equal(plane.view("float32").reshape(2, 24, 100)[piece], expected)
        for a, old in zip((x, w), kept, strict=True):
            a[...] = old
    assert touched(total, 3, y).sum() == 100
    assert touched(total, 3, plane.view("float32")).sum() == 200


def test_samples_are_gathered_by_the_pieces_that_read_them():
    data, order, cursor = random(50, 256), RNG.permutation(50), np.array([7])
    x, w, y = np.zeros((24, 256), "float32"), random(256, 100), random(24, 100)
    arguments = [*map(address_of, (data, order, cursor, x)), 1024, 24, 1]
    slices = (Slice(address_of(x), 1024, 1024, 1, True),)
    take = Record(entry("gather"), 24, arguments, slices, 1e6, (0,), (), "gather")
    (parts, reads, _), _ = owned(take, product(x, w, y, 1), update(w))
    run(parts, 24, 48)
    np.testing.assert_array_equal(x[:, 128:], data[order[7:31], 128:])
    assert (x[:, :128] == 0).all()
    run(parts, 0, 24)
    np.testing.assert_array_equal(x, data[order[7:31]])
    assert touched(parts, 1, x)[:, 128:].all()
    assert not touched(parts, 1, x)[:, :128].any()
    assert by_levels([parts, reads], 2).barriers == 1  # at its start: each thread reads its own


def test_a_transposed_weight_is_divided_by_columns():
    y, w, dx = random(24, 128), random(160, 128), random(24, 160)
    (record,), planes = owned(product(y, w.T, dx), update(w))
    assert (record.arguments[FORM], record.extent, planes) == (COLUMNS, 160, [])
    assert touched(record, 5, w).sum() == 128
    assert touched(record, 5, w)[5].all()
    assert touched(record, 5, dx)[:, 5].sum() == 24
    (alone,), _ = owned(product(y, w.T, dx), update(w), threads=1)
    assert (alone.arguments[FORM], alone.extent) == (0, 24)
    run(alone)
    expected = dx.copy()
    dx[...] = 7
    for lo, hi in ((0, 50), (50, 160)):
        run(record, lo, hi)
    np.testing.assert_array_equal(dx, expected)


def elementwise(source, target, number=1, **changes):
    """Return a record of ``target = f(source)``, element by element."""
    slices = tuple(
        Slice(address_of(a), a.itemsize, a.itemsize, 1, a is target) for a in (source, target)
    )
    made = Record(0, source.size, [], slices, 1e6, (number,), (), "relu")
    return dataclasses.replace(made, **changes)


def test_elements_of_a_matrix_that_lies_by_columns_are_taken_so():
    y, w, dx, mask = (
        random(24, 128),
        random(160, 128),
        random(24, 160),
        np.zeros((24, 160), "uint8"),
    )
    product_record = product(y, w.T, dx)
    (columns, own), _ = owned(product_record, elementwise(dx, mask), update(w))
    assert (own.extent, own.times, own.pitch) == (160, 24, 160)
    for array in (dx, mask):
        found = touched(own, 7, array)
        assert found[:, 7].all()
        assert found.sum() == 24
    assert by_levels([columns, own], 2).barriers == 1  # no more between them
    again, more = elementwise(dx, random(24, 160)), elementwise(dx, mask, 2)
    (_, _, last), _ = owned(product(y, w.T, dx), again, more, update(w))
    assert last.times == 24


@pytest.mark.parametrize(
    "other",
    [
        lambda dx, out: elementwise(dx, out, extent=24),
        lambda dx, out: elementwise(dx, out, slices=(Slice(address_of(dx), 640, 640, 1, False),)),
        lambda dx, out: elementwise(out, out),
    ],
)
def test_what_is_not_element_by_element_stays_as_it_is(other):
    y, w, dx, out = random(24, 128), random(160, 128), random(24, 160), random(24, 160)
    record = other(dx, out)
    (_, same), _ = owned(product(y, w.T, dx), record, update(w))
    assert same == record


@pytest.mark.parametrize(
    ("samples", "shape", "changed"),
    [
        (24, (256, 100), False),  # nobody writes the weight
        (24, (128, 64), True),  # so small that it is soon sent
        (100, (256, 100), True),  # more activations than weights
        (24, (257, 100), True),  # no equal pieces
        (8, (100, 256), True),  # pieces too short for the tiles
    ],
)
def test_other_products_stay_as_they_are(samples, shape, changed):
    x, w, y = random(samples, shape[0]), random(*shape), random(samples, shape[1])
    before = product(x, w, y)
    after, planes = owned(before, *([update(w)] if changed else []))
    assert (after, planes) == ([before], [])
    assert before.arguments[FORM] == 0


# -- whole steps -----------------------------------------------------------------------------

X = random(320, 256)
Y = RNG.integers(0, 10, 320)


@pytest.fixture
def divided(monkeypatch):
    """Divide whatever can be, whether it pays or not; return the forms of all products."""
    forms = []

    def own(records, threads):
        found, planes = own_weights(records, threads)
        forms.extend(r.arguments[FORM] for r in found if r.kernel.startswith("matmul_float"))
        forms.extend("columns" for r in found if r.times > 1)
        return found, planes

    monkeypatch.setattr(table, "own_weights", own)
    monkeypatch.setattr(table, "WORTH_SCHEDULING", 0.0)
    monkeypatch.setattr(schedule, "MEETINGS", 0.0)
    monkeypatch.setattr(
        Pace, "replay", lambda self, table, times: team(options().thread_count()).run(table, times)
    )
    return forms


@pytest.mark.parametrize("optimizer", [optim.SGD(0.1, momentum=0.9), optim.Adam(1e-2)])
def test_training_does_not_depend_on_the_threads(optimizer, divided):
    def trained(threads):
        divided.clear()
        x, y = gx.input("x", (None, 256)), gx.input("y", (None,), "int64")
        h = gx.relu(nn.Linear(256, 192)(x))
        h = gx.relu(nn.Linear(192, 128)(h))
        out = nn.Linear(128, 10)(h)
        model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.cross_entropy(out, y),
                         optimizer=optimizer, seed=0)  # fmt: skip
        with gx.config(threads=threads):
            losses = [model.train_step(X[:32], Y[:32]) for _ in range(2)]
            losses += model.fit(X, Y, batch_size=32, epochs=2, verbose=0)["loss"]
        return losses, {k: v.copy() for k, v in model.parameters.items()}

    losses, values = trained(1)
    assert not set(divided) & {COLUMNS, SUM, "columns"}
    for threads in (2, 3):
        again, others = trained(threads)
        assert {COLUMNS, SUM, "columns"} < set(divided)
        assert again == losses
        for name, value in values.items():
            np.testing.assert_array_equal(others[name], value, name)


def test_weights_are_few_bytes(monkeypatch):
    """A negative control of the above: without a limit, small weights are divided, too."""
    monkeypatch.setattr(ownership, "LEAST_BYTES", 0)
    x, w, y = random(24, 128), random(128, 64), random(24, 64)
    assert len(owned(product(x, w, y), update(w))[0]) == 2
