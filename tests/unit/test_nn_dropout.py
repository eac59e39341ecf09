"""Dropout: its masks, gradient, state, and what is left of it in inference."""

import numpy as np
import pytest

import graphc as gx
from graphc import nn
from graphc.ir.graph import Graph
from graphc.ir.interpret import evaluate
from graphc.ir.verify import verify


def initialize(graph, seed=0):
    rng = np.random.default_rng(seed)
    for parameter in graph.parameters:
        parameter.op.cell.initialize(rng)


def step(updates):
    values = evaluate(updates.values(), {})
    for parameter, new in updates.items():
        parameter.op.cell.array[...] = values[new]


def test_elements_are_dropped_or_scaled():
    x = gx.input("x", (None, 500))
    out = nn.Dropout(0.3)(x)
    assert out.type == x.type
    initialize(Graph([x], {"out": out}))
    ones = np.ones((400, 500), "float32")
    value = evaluate([out], {x: ones})[out]
    dropped = value == 0
    assert abs(dropped.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / ones.size)
    np.testing.assert_allclose(value[~dropped], 1 / 0.7, rtol=1e-6)
    assert np.abs(dropped.mean(0) - 0.3).max() < 0.15  # no column or row is special
    assert np.abs(dropped.mean(1) - 0.3).max() < 0.15


def test_the_formula_is_the_reference():
    x = gx.input("x", (None, 50), dtype="float64")
    out = nn.Dropout(0.4)(x)
    formula = out.op.expand(*out.inputs)
    X = np.random.default_rng(0).standard_normal((6, 50))
    values = evaluate([out, formula], {x: X})
    np.testing.assert_array_equal(values[out], values[formula])


def test_compiled_masks_are_those_of_the_reference():
    x = gx.input("x", (None, 50))
    layer = nn.Dropout(0.4)
    out = layer(layer(x))
    gradient = gx.grad((out * out).sum(), x)
    graph = Graph([x], {"out": out})
    initialize(graph)
    f = gx.function([x], (out, gradient), nn.state_updates([out]))
    X = np.random.default_rng(0).standard_normal((6, 50)).astype("float32")
    for count in range(3):
        values = evaluate([out, gradient], {x: X})
        for got, tensor in zip(f(X), (out, gradient), strict=True):
            np.testing.assert_allclose(got, values[tensor], rtol=1e-6)
        assert {int(p.op.cell.array) for p in graph.parameters if p.label == "step"} == {count + 1}


def test_the_gradient_has_the_same_mask():
    x = gx.input("x", (None, 50), dtype="float64")
    out = nn.Dropout(0.4)(x)
    gradient = gx.grad(out.sum(), x)
    values = evaluate([out, gradient], {x: np.ones((6, 50))})
    np.testing.assert_array_equal(values[out], values[gradient])


def test_masks_change_with_call_step_and_seed_only():
    x = gx.input("x", (None, 50))
    layer = nn.Dropout(0.5)
    a, b = layer(x), layer(x)
    graph = Graph([x], {"a": a, "b": b})
    assert [graph.keys[p] for p in graph.parameters] == [
        "dropout_0.seed", "dropout_0.step", "dropout_0.seed_1", "dropout_0.step_1",
    ]  # fmt: skip
    updates = nn.state_updates([a, b])
    assert [graph.keys[p] for p in updates] == ["dropout_0.step", "dropout_0.step_1"]
    assert {new.phase for new in updates.values()} == {"update"}
    feeds = {x: np.ones((8, 50), "float32")}

    def draw(seed, steps):
        initialize(graph, seed)
        for _ in range(steps):
            step(updates)
        values = evaluate([a, b], feeds)
        return values[a], values[b]

    first = draw(0, 0)
    for same, other in zip(first, draw(0, 0), strict=True):
        np.testing.assert_array_equal(same, other)
    masks = [*first, *draw(0, 1), *draw(0, 2), *draw(1, 0)]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            assert 0.3 < (one == other).mean() < 0.7


def test_inference_has_no_dropout_and_the_same_parameters():
    x = gx.input("x", (None, 4))
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3), nn.Dropout(0.5), nn.ReLU())
    plain = nn.Sequential(net[1], net[3])
    graph = Graph([x], {"out": net(x)})
    inference = nn.inference_form(graph)
    verify(inference)
    assert inference.parameters == net.parameters == net[1].parameters
    assert not any(n.op.name == "dropout" for n in inference)
    X = np.random.default_rng(0).standard_normal((5, 4), dtype="float32")
    expected = plain(x)
    np.testing.assert_array_equal(
        evaluate(inference.roots, {x: X})[inference.outputs["out"]],
        evaluate([expected], {x: X})[expected],
    )
    assert nn.inference_form(inference).outputs["out"] is inference.outputs["out"]


def test_inference_of_an_output_that_is_dropout_itself():
    x = gx.input("x", (None, 4))
    graph = Graph([x], {"out": nn.Dropout(0.5)(x)})
    assert nn.inference_form(graph).outputs["out"] is x


def test_none_and_all():
    x = gx.input("x", (None, 4))
    assert nn.Dropout(0.0)(x) is x
    out = nn.Dropout(1.0)(x)
    assert (evaluate([out], {x: np.ones((3, 4), "float32")})[out] == 0).all()


def test_bad_arguments():
    with pytest.raises(ValueError, match="p must be in"):
        nn.Dropout(1.5)
    with pytest.raises(TypeError, match="p must be a number"):
        nn.Dropout("half")
    with pytest.raises(TypeError, match="floating-point"):
        nn.Dropout()(gx.input("k", (3,), dtype="int64"))
