"""Both sides of every threshold of size, count, cache and threads give what NumPy says."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import thresholds
from compiled import build, close, plain_python, step_like_the_oracle
from random_graphs import random_graph
from thresholds import MACHINE, NONE, SWEPT, TESTED

import graphc as gx
from graphc import nn, optim
from graphc.config import options
from graphc.emit import shape
from graphc.errors import GraphcError
from graphc.ir.graph import Graph
from graphc.ir.interpret import evaluate
from graphc.ir.op import ENTRIES
from graphc.passes.compare import random_feeds
from graphc.run.pace import Pace
from graphc.run.team import team
from tests.ops.harness import compiled, equal_all, run, trials

TESTS = Path(__file__).parents[1]
SIDES = {"low": 0, "high": 1}
RNG = np.random.default_rng(0)

# -- the register ----------------------------------------------------------------------------------


def test_every_number_that_decides_is_in_the_register():
    registered = [*SWEPT, *TESTED, *NONE]
    assert len(set(registered)) == len(registered)
    found = thresholds.found_thresholds()
    assert found == set(registered), "tests/thresholds.py says where each number belongs"
    assert thresholds.found_machine() == set(MACHINE)


def test_no_size_is_compared_with_a_number_without_a_name():
    assert thresholds.nameless() == {
        "codegen/loops.py: self.widest == 8",  # bytes of an element
        "codegen/module.py: len(before) > 6",  # how many ops a comment names
        "io/safetensors.py: size < 8",  # bytes of a header's length
        "emit/rows.py: bits == 32",
    }


@pytest.mark.parametrize("where", sorted({t for t in (TESTED | MACHINE).values() if t}))
def test_the_tests_of_the_register_exist(where):
    path, name = where.split("::")
    tree = ast.parse((TESTS / path).read_text())
    assert name in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}


# -- one number at a time --------------------------------------------------------------------------


@pytest.fixture
def unchecked(monkeypatch):
    """Leave out comparing every pass, for every pass is the same on one side."""
    with gx.config(check=False):
        yield


@pytest.fixture
def shared(monkeypatch):
    """Let all threads take part where the schedule lets them."""

    def replay(self, table, times):
        team(options().thread_count()).run(table, times)

    monkeypatch.setattr(Pace, "replay", replay)


def shown():
    """Return a graph of outputs that nothing computes, and of ordinary ones beside them."""
    x, y = gx.input("x", (None, 6)), gx.input("y", (None, 6))
    p = gx.parameter(RNG.standard_normal((6, 6)).astype("float32"), name="p")
    c = gx.constant(RNG.standard_normal((6, 6)).astype("float32"))
    tensors = [x, x[1:], x[-1], x.T, gx.flip(x), p, p[2:4], p.T, c, c[::2], x, p, c]
    loss = gx.sum(gx.logsumexp(x @ p @ c, -1) * gx.mean(y, -1)) + gx.sum(x * y)
    tensors += [loss, *gx.grad(loss, [x, y, p]), *gx.grad(gx.sum(x * y), [x, y])]
    tensors += [gx.sum(gx.exp(x), 0), gx.cumulative_sum(y, axis=0), gx.argmax(x, -1)]
    return Graph([x, y], {f"out{i}": t for i, t in enumerate(tensors)}, {p: p * 0.5 + c})


def agrees(graph, plain, batches=(3, 1, 17, 3)):
    """Compare calls with the oracle, for several batches one after the other."""
    call = build(graph, plain=plain)
    for batch in batches:
        feeds = random_feeds(graph, batch, batch)
        step_like_the_oracle(call, {t: feeds[t] for t in graph.inputs}, batch, f"{batch} rows")


def trained():
    """Return what a small network gives: losses, predictions, gradients, parameters."""
    x, y = gx.input("x", (None, 12)), gx.input("y", (None,), "int64")
    hidden = nn.Sequential(nn.Linear(12, 40), nn.Tanh(), nn.Linear(40, 64), nn.GELU())(x)
    out = nn.Linear(64, 5)(hidden)
    model = gx.Model(
        inputs=x, outputs={"out": out, "x": x, "w": x[:, 1:]}, targets=y, seed=1,
        loss=nn.cross_entropy(out, y), metrics={"accuracy": nn.accuracy(out, y)},
        optimizer=optim.Adam(1e-2, clip_norm=1.0),
    )  # fmt: skip
    rng = np.random.default_rng(3)
    X, Y = rng.standard_normal((70, 12)).astype("float32"), rng.integers(0, 5, 70)
    found = {f"step {n}": model.train_step(X[:n], Y[:n]) for n in (5, 70, 33, 5)}
    found |= {f"fit {k}": v for k, v in model.fit(X, Y, batch_size=32, verbose=0).items()}
    predicted = model.predict(np.asfortranarray(X), batch_size=40)
    np.testing.assert_array_equal(predicted["x"], X)
    np.testing.assert_array_equal(predicted["w"], X[:, 1:])
    found |= {f"predicted {k}": v for k, v in predicted.items()}
    found |= {f"gradient of {k}": v for k, v in model.gradients(X, Y).items()}
    found |= {k: v.copy() for k, v in model.parameters.items()}
    return {name: np.asarray(value) for name, value in found.items()}


@pytest.fixture(scope="module")
def ordinary():
    """Return what the network gives with all numbers as they are."""
    return trained()


def same(found, wanted):
    for name, value in found.items():
        close(value.astype(np.float32), wanted[name].astype(np.float32), name)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("threshold", SWEPT)
def test_both_sides_of_a_threshold(threshold, side, monkeypatch, unchecked, shared, ordinary):
    thresholds.put(monkeypatch, threshold, SWEPT[threshold][SIDES[side]])
    agrees(shown(), plain=True)
    seed = 100 * list(SWEPT).index(threshold) + SIDES[side]
    agrees(random_graph(seed, steps=12), plain=True, batches=(3, 2))
    with gx.config(threads=2):
        agrees(shown(), plain=False)
        same(trained(), ordinary)


# -- all at once -----------------------------------------------------------------------------------


@pytest.fixture(params=SIDES)
def extreme(request, monkeypatch, unchecked):
    """Bring everything to one side of all thresholds."""
    for threshold, values in SWEPT.items():
        thresholds.put(monkeypatch, threshold, values[SIDES[request.param]])


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "compiled"])
def test_one_side_of_all_thresholds(plain, threads, shared, ordinary, extreme):
    with gx.config(threads=threads), plain_python(plain):
        agrees(shown(), plain)
        same(trained(), ordinary)


@pytest.mark.parametrize("first", range(5000, 5040, 10))
def test_random_graphs_on_one_side_of_all_thresholds(first, extreme):
    for seed in range(first, first + 10):
        graph = random_graph(seed, dtype="float64" if seed % 3 else "float32")
        outputs = graph.outputs | {"x": graph.inputs[0], "part": graph.inputs[0][1:]}
        agrees(Graph(graph.inputs, outputs, graph.updates), plain=True, batches=(3, 2))


@pytest.mark.parametrize("seed", range(6000, 6003))
def test_compiled_random_graphs_on_one_side_of_all_thresholds(seed, shared, extreme):
    with gx.config(threads=2):
        agrees(random_graph(seed, steps=10), plain=False, batches=(3, 2))


@pytest.mark.parametrize("part", range(4))
def test_op_samples_on_one_side_of_all_thresholds(part, extreme):
    """The first sample of each op as plain Python, its operands among the outputs."""
    for name in sorted(ENTRIES)[part::4]:
        case = trials(name)[0]
        outputs = [*case.outputs, *case.inputs, *(x[..., :1] for x in case.inputs if x.ndim)]
        with plain_python():
            call = compiled(case.inputs, outputs)
            equal_all(call(case.feeds), run(outputs, case.feeds), str(case), 4.0)


def test_gradients_of_op_samples_on_one_side_of_all_thresholds(extreme):
    for name in sorted(ENTRIES)[::3]:
        case = trials(name)[0]
        try:
            derivatives = case.derivatives
        except GraphcError:
            continue
        if derivatives is None:
            continue
        feeds = {**case.feeds, **derivatives.directions()}
        inputs = [*case.inputs, *derivatives.w, *derivatives.v, *derivatives.u]
        with plain_python():
            found = compiled(inputs, derivatives.pulled)(feeds)
        wanted = evaluate(derivatives.pulled, feeds)
        equal_all(found, [wanted[t] for t in derivatives.pulled], f"gradient of {case}", 10.0)


# -- tiles -----------------------------------------------------------------------------------------

EDGES = (1, 3, 4, 5, 7, 8, 9, 47, 48, 49, 63, 64, 65, 127, 128, 129, 255, 256, 257)
CACHE = shape.large(4)
"""Elements from which panels are copied."""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_on_both_sides_of_the_sizes_of_tiles(dtype, unchecked):
    """Each side of a product at each edge, the others short and long."""
    rng = np.random.default_rng(0)
    sides = [(e, 40) for e in EDGES] + [(40, e) for e in EDGES] + [(65, 65), (257, 129)]
    sides += [(n, CACHE // 256 + d) for n in (255, 256) for d in (-1, 1)]
    for n, k in sides:
        x, w = gx.input("x", (None, k), dtype), gx.input("w", (k, n), dtype)
        t = gx.input("t", (n, k), dtype)
        f = gx.function([x, w, t], (x @ w, x @ t.T, w.T @ x.T))
        right = rng.standard_normal((k, n)).astype(dtype)
        for m in EDGES if k < 300 else (47, 48, 49):
            left = rng.standard_normal((m, k)).astype(dtype)
            product = left.astype(float) @ right.astype(float)
            wanted = (product, product, product.T)
            bound = (1e-6 if dtype == "float32" else 1e-14) * (k + 1)
            for found, exact in zip(f(left, right, right.T), wanted, strict=True):
                np.testing.assert_allclose(found, exact, rtol=0, atol=bound, err_msg=f"{m, n, k}")
