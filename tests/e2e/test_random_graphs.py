"""The passes keep what random graphs compute."""

import numpy as np
import pytest
from random_graphs import random_graph

import graphc as gx
from graphc.ir.interpret import evaluate
from graphc.passes.compare import compare, random_feeds
from graphc.passes.pipeline import optimize


@pytest.mark.parametrize("seed", range(60))
def test_passes_keep_values(seed):
    dtype = "float64" if seed % 3 else "float32"
    graph = random_graph(seed, dtype=dtype, batch=bool(seed % 2))
    with gx.config(check=True):
        optimized, reports = optimize(graph)
    compare("all of them", graph, optimized)
    assert len(reports) > 8


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1500))
def test_passes_keep_values_of_many(seed):
    graph = random_graph(seed, steps=25)
    optimized, _ = optimize(graph)
    compare("all of them", graph, optimized)


def compiled_equals_interpreted(graph):
    f = gx.function(list(graph.inputs), graph.outputs)
    for batch in (1, 3):
        feeds = random_feeds(graph, batch)
        given = {t: feeds[t] for t in graph.inputs}
        expected = evaluate(graph.outputs.values(), given, batch)
        for name, found in f(*given.values()).items():
            want = expected[graph.outputs[name]]
            np.testing.assert_allclose(found, want, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("seed", range(4))
def test_compiled_equals_interpreted(seed):
    compiled_equals_interpreted(random_graph(seed, steps=10))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1060))
def test_compiled_equals_interpreted_of_many(seed):
    compiled_equals_interpreted(random_graph(seed, steps=20))


@pytest.mark.parametrize("seed", range(12))
def test_gradients_are_finite_differences(seed):
    graph = random_graph(seed, steps=8)
    loss, x = graph.outputs["loss"], graph.inputs[0]
    feeds = random_feeds(graph, 3, seed)
    values = evaluate([graph.outputs["dx"]], feeds, 3)
    direction = np.random.default_rng(seed).standard_normal(feeds[x].shape)
    ends = [
        evaluate([loss], {**feeds, x: feeds[x] + h * direction}, 3)[loss] for h in (1e-6, -1e-6)
    ]
    slope = np.vdot(values[graph.outputs["dx"]], direction)
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-7)
