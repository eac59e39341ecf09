"""Steps of tables touch the rows that were looked up: their numbers, bytes and memory."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import plain_python

import graphc as gx
from graphc import nn, optim
from graphc.ir.interpret import evaluate
from graphc.ops.gather import Take
from graphc.ops.rows import coalesced
from graphc.ops.touched import touched

RNG = np.random.default_rng(0)
WIDTH = 4


def rows_of(length, count=40):
    """Return lookups with repetitions, some from the end."""
    found = RNG.integers(-length, length, (count, 3))
    found[:, 1] = found[:, 0]
    return found


def table(length, optimizer, looks=1, padding=None, dtype="float64", tied=False):
    embedding = nn.Embedding(length, WIDTH, padding, dtype=dtype)
    i, y = gx.input("i", (None, 3), "int64"), gx.input("y", (None, WIDTH), dtype)
    out = sum(gx.sum(embedding((i * (7 * k + 1)) % length if k else i), 1) for k in range(looks))
    loss = gx.mean(gx.square(out - y))
    if tied:
        loss = loss + gx.mean(gx.square(out @ embedding.weight.T))
    return gx.Model(inputs=i, targets=y, outputs=out, loss=loss, optimizer=optimizer, seed=1)


def trained(length, optimizer, passes="", plain=False, **options):
    values = rows_of(length), RNG.standard_normal((40, WIDTH))
    with gx.config(disable_passes=passes), plain_python(plain):
        model = table(length, optimizer, **options)
        start = {name: v.copy() for name, v in model.parameters.items()}
        model.fit(*values, epochs=2, batch_size=8, verbose=0)
    return model, start, values


SPARSE = {
    "sgd": lambda **o: optim.SGD(0.1, **o),
    "adagrad": lambda **o: optim.Adagrad(0.1, 0.01, **o),
    "adam": lambda **o: optim.Adam(0.1, lazy=True, **o),
    "amsgrad": lambda **o: optim.Adam(0.1, weight_decay=0.1, amsgrad=True, lazy=True, **o),
    "adamw": lambda **o: optim.AdamW(0.1, lazy=True, **o),
}
FORMS = [{}, {"looks": 3}, {"looks": 2, "padding": 5}]
CLIPPED = [{}, {"clip_norm": 0.05, "clip_value": 0.01}]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("name", SPARSE)
def test_rows_learn_what_they_learn_in_a_whole_table(name, form):
    for clipped in CLIPPED:
        results = []
        for passes in ("", "rows"):
            RNG.bit_generator.state = np.random.default_rng(3).bit_generator.state
            model, *_ = trained(2000, SPARSE[name](**clipped), passes, **form)
            results.append(model)
        found, wanted = ({**m.parameters, **m.state} for m in results)
        assert found.keys() == wanted.keys()
        for key in wanted:
            np.testing.assert_allclose(found[key], wanted[key], rtol=1e-11, atol=1e-13)
        hits = {p.name: p.hits for p in results[0].report.passes}["rows"]
        assert hits.get("updates", 0) == 1 + len(results[0].optimizer.slots)
        assert bool(hits.get("folds")) == ("clip_norm" in clipped)


@pytest.mark.parametrize("name", SPARSE)
def test_bytes_do_not_grow_with_the_table(name):
    sizes = {}
    for length in (2000, 50_000):
        model, start, (rows, _) = trained(length, SPARSE[name](clip_norm=1.0), looks=2)
        report = model.report
        sizes[length] = report.arena_bytes, [(k.computes, k.flops, k.bytes) for k in report.kernels]
        touched_rows = np.unique(np.concatenate([rows % length, rows * 8 % length]))
        (key,) = start
        same = (model.parameters[key] == start[key]).all(1)
        assert same.sum() == length - len(touched_rows)
        assert not same[touched_rows].any()
    assert sizes[2000] == sizes[50_000]


@pytest.mark.parametrize("name", SPARSE)
def test_plain_python_and_threads_give_the_same_numbers(name):
    found = []
    for plain, threads in ((False, 1), (False, 3), (True, 1)):
        RNG.bit_generator.state = np.random.default_rng(3).bit_generator.state
        with gx.config(threads=threads):
            model, *_ = trained(1500, SPARSE[name](), plain=plain, looks=2, dtype="float32")
        found.append(list(model.parameters.values()))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert all((a == b).all() for a, b in zip(*found[:2], strict=True))


def test_what_moves_every_row_stays_whole():
    """Momentum, weight decay, Adam, and a table that is also used whole."""
    cases = [
        (optim.SGD(0.1, momentum=0.9), {}), (optim.SGD(0.1, weight_decay=0.1), {}),
        (optim.Adam(0.1), {}), (optim.SGD(0.1), {"tied": True}),
        (optim.Adam(0.1, lazy=True), {"tied": True}),
    ]  # fmt: skip
    for optimizer, form in cases:
        model, *_ = trained(2000, optimizer, **form)
        hits = {p.name: p.hits for p in model.report.passes}["rows"]
        assert not hits.get("updates"), (optimizer, form)


@pytest.mark.parametrize("name", ["sgd", "adagrad", "adam"])
def test_steps_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    kind = {
        "sgd": lambda p: torch.optim.SGD(p, 0.1),
        "adagrad": lambda p: torch.optim.Adagrad(p, 0.1, 0.01),
        "adam": lambda p: torch.optim.SparseAdam(p, 0.1, eps=1e-30),
    }[name]
    values, goal = rows_of(400), RNG.standard_normal((40, WIDTH))
    options = {"eps": 1e-30} if name == "adam" else {}  # theirs stands elsewhere
    model = table(400, SPARSE[name](**options), padding=7)
    (weight,) = model.parameters.values()
    theirs = torch.nn.Embedding(400, WIDTH, 7, sparse=True, dtype=torch.float64)
    theirs.weight.data = torch.tensor(weight.copy())
    optimizer = kind(theirs.parameters())
    with torch.sparse.check_sparse_tensor_invariants(enable=True):
        for k in range(0, 40, 8):
            model.train_step(values[k : k + 8], goal[k : k + 8])
            found = theirs(torch.tensor(values[k : k + 8] % 400)).sum(1)
            optimizer.zero_grad()
            ((found - torch.tensor(goal[k : k + 8])) ** 2).mean().backward()
            optimizer.step()
    (weight,) = model.parameters.values()
    np.testing.assert_allclose(weight, theirs.weight.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_updates_of_ones_own_touch_rows_only():
    p = gx.parameter(np.arange(800.0).reshape(200, 4), dtype="float64")
    i = gx.input("i", (None,), "int64")
    gradient = gx.grad(gx.sum(gx.square(p[i])), p)
    step = gx.function(i, gx.sum(p[i]), updates={p: p - gradient * 0.25})
    after = gx.function([], p * 1.0)
    step([3, -1, 3])
    wanted = np.arange(800.0).reshape(200, 4)
    wanted[3] *= 0.0
    wanted[199] *= 0.5
    np.testing.assert_array_equal(after(), wanted)
    assert "add_at" in str(step.report)
    assert "copy" not in str(step.report)


def test_a_wrong_index_changes_nothing():
    model = table(400, optim.Adagrad(0.1))
    (weight,) = model.parameters.values()
    before = weight.copy()
    with pytest.raises(IndexError, match="out of bounds"):
        model.train_step([[1, 2, 400]], np.zeros((1, WIDTH)))
    np.testing.assert_array_equal(next(iter(model.parameters.values())), before)


def test_gradients_are_whole_where_they_are_asked_for():
    model = table(100, optim.SGD(0.1))
    (found,) = model.gradients([[1, 1, -1]], np.ones((1, WIDTH))).values()
    assert found.shape == (100, WIDTH)
    assert set(np.nonzero(found.any(1))[0]) == {1, 99}
    model.train_step([[1, 1, -1]], np.ones((1, WIDTH)))


def test_tables_smaller_than_their_lookups_stay_whole():
    model, *_ = trained(20, optim.SGD(0.1))
    assert "add_at" not in str(model.report)


@pytest.mark.parametrize("count", [0, 1, 2, 9])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 5)])
def test_coalesced(count, shape):
    places, rows = RNG.integers(-6, 6, count), RNG.standard_normal((count, *shape))
    i, r = gx.input("i", (None,), "int64"), gx.input("r", (None, *shape), "float64")
    results = coalesced(i, r, 6)
    at, sums = gx.function([i, r], list(results))(places, rows)
    values = evaluate(list(results), {i: places, r: rows})
    np.testing.assert_array_equal(at, values[results[0]])
    np.testing.assert_allclose(sums, values[results[1]], rtol=1e-14)
    unique = np.unique(places % 6)
    np.testing.assert_array_equal(at, [*unique, *[-1] * (count - len(unique))])
    for k, place in enumerate(unique):
        np.testing.assert_allclose(sums[k], rows[places % 6 == place].sum(0))
    assert not sums[len(unique) :].any()


def test_which_rows_a_gradient_touches():
    p = gx.parameter(np.ones((6, 2)), dtype="float64")
    a, b = p[np.array([1, 4])], p[np.array([-1])]
    mask = touched(gx.grad(gx.sum(a * a) + gx.sum(b * b), p) * 2.0)
    found = gx.function([], mask)()
    np.testing.assert_array_equal(found[:, 0], [False, True, False, False, True, True])
    assert touched(gx.grad(gx.sum(p[np.array([1])]) + gx.sum(p * p), p)) is None
    assert isinstance(a.op, Take)


def test_rows_of_a_table_whose_length_is_open():
    x, i = gx.input("x", ("n", 4), "float64"), gx.input("i", (3,), "int64")
    g = gx.grad(gx.sum(gx.take(x, i, axis=0) ** 2), x)
    f = gx.function([x, i], gx.vector_norm(g))
    values = np.arange(400.0).reshape(100, 4)
    wanted = np.zeros((100, 4))
    np.add.at(wanted, [5, 7, 5], 2 * values[[5, 7, 5]])
    np.testing.assert_allclose(f(values, [5, 7, -95]), np.linalg.norm(wanted), rtol=1e-12)
