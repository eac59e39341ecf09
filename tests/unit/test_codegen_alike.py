"""Nests that are alike share a kernel, and it is the one that each would get by itself."""

from __future__ import annotations

import re

import numpy as np
import pytest
from compiled import build, plain_python, step_like_the_oracle
from random_graphs import random_graph

import graphc as gx
from graphc import nn
from graphc.codegen import alike
from graphc.codegen.alike import Lowering
from graphc.codegen.kernel import KernelText
from graphc.codegen.lower import lower
from graphc.ir.graph import Graph
from graphc.passes.pipeline import optimize
from graphc.plan.planner import plan
from graphc.plan.program import LoopNest


def calls_of(graph):
    return plan(optimize(graph)[0]).calls


def nests_of(*outputs):
    calls = calls_of(Graph([], {str(i): t for i, t in enumerate(outputs)}))
    return [call.work for call in calls if isinstance(call.work, LoopNest)]


@pytest.fixture
def written(monkeypatch):
    """Return the list of calls that are lowered from now on."""
    found = []
    monkeypatch.setattr(alike, "lower", lambda call: found.append(call) or lower(call))
    return found


def test_a_shared_kernel_is_what_would_have_been_written(written):
    lowering = Lowering()
    calls = [c for seed in range(40) for c in calls_of(random_graph(seed, batch=bool(seed % 2)))]
    for call in calls:
        assert lowering.kernel(call) == lower(call)
    nests = [c for c in calls if isinstance(c.work, LoopNest)]
    assert len(nests) > 400
    assert len([c for c in written if isinstance(c.work, LoopNest)]) < 0.9 * len(nests)


def test_equal_layers_are_written_once(written):
    layers = [part for _ in range(20) for part in (nn.Linear(8, 8), nn.ReLU())]
    x = gx.input("x", (None, 8))
    calls = calls_of(Graph([x], {"y": nn.Sequential(*layers)(x)}))
    kernels = [found.kernel for found in map(Lowering().kernel, calls)]
    nests = [call for call in written if isinstance(call.work, LoopNest)]
    texts = {k.name for k in kernels if isinstance(k, KernelText)}
    assert len(nests) == len(texts) == 2  # the last layer's writes an output, the others in place


def parameter(*shape, dtype="float32"):
    return gx.parameter(np.zeros(shape, dtype))


@pytest.mark.parametrize(
    "build",
    [
        lambda: (gx.tanh(parameter(8)), gx.sin(parameter(8))),
        lambda: (parameter(8) + 1.0, parameter(8) + 2.0),
        lambda: (gx.tanh(parameter(8)), gx.tanh(parameter(9))),
        lambda: (gx.tanh(parameter(8)), gx.tanh(parameter(8, dtype="float64"))),
        lambda: (gx.tanh(parameter(6, 8)), gx.tanh(parameter(8, 6).T)),
        lambda: (gx.tanh(parameter(6, 8)[:, :4]), gx.tanh(parameter(6, 4))),
        lambda: (gx.sum(parameter(6, 8), 0), gx.sum(parameter(6, 8), 1)),
        lambda: (gx.sum(parameter(70000)), gx.sum(parameter(80000))),
        lambda: ((p := parameter(8)) * p + p, parameter(8) * parameter(8) + parameter(8)),
    ],
    ids=["op", "constant", "length", "dtype", "strides", "slice", "axis", "division", "buffers"],
)  # fmt: skip
def test_what_differs_in_more_than_buffers_is_described_otherwise(build):
    nests = nests_of(*build())
    assert len({alike.described(nest)[0] for nest in nests}) == len(nests) > 1


def test_buffers_are_told_apart_by_their_numbers_only():
    one, two = nests_of(gx.tanh(parameter(8)), gx.tanh(parameter(8)))
    assert alike.described(one)[0] == alike.described(two)[0]
    assert set(alike.described(one)[1]).isdisjoint(alike.described(two)[1])


def recurrence(steps):
    """Return a graph of slices, a recurrence and a concatenation, with its gradients."""
    x, w = gx.input("x", (None, steps, 3)), parameter(4, 4)
    v, state, states = parameter(3, 4), gx.zeros((1, 4)), []
    for t in range(steps):
        state = gx.tanh(gx.sin(x[:, t]) @ v + state @ w)
        states.append(state)
    out = gx.stack([*states, states[0] * 2.0], axis=1)
    loss = gx.sum(out * gx.flip(out, axis=1)[:, 1:3].sum(axis=1, keepdims=True))
    return Graph([x], {"out": out, "dv": gx.grad(loss, v), "dx": gx.grad(loss, x)})


def test_equal_work_on_other_parts_is_one_kernel():
    """What differs in where slices and parts start only is compiled once."""
    texts = {
        steps: {k.kernel for k in map(Lowering().kernel, calls_of(recurrence(steps)))}
        for steps in (6, 12, 24)
    }
    assert len(texts[24]) <= len(texts[12]) <= len(texts[6]) + 2
    run = build(recurrence(12))
    step_like_the_oracle(run, {run.graph.inputs[0]: np.ones((5, 12, 3), "float32")}, 5)


def kernels_of(fn):
    return re.findall(r"^def (\w+)\(lo", fn.source, re.MULTILINE)


NUMBERS = [0.5, -0.0, np.inf, -np.inf, np.nan, 1e-40, 3.0, 0.1, 1e30, -7.25, 1e-30, 2.0]


@pytest.mark.parametrize(
    "part",
    [
        lambda x, v: x * v,
        lambda x, v: gx.exp(x * v) * 2.0 + v,
        lambda x, v: gx.clip(x, -3.0, v),
        lambda x, v: gx.leaky_relu(x, v),
        lambda x, v: gx.sum(gx.where(x > v, x, v), keepdims=True),
        lambda x, v: gx.grad(gx.sum(gx.tanh(x * v)), x),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("jit", [True, False])
def test_work_that_differs_in_numbers_is_one_kernel(part, dtype, jit, monkeypatch):
    """The numbers are arguments, with the bits that they have in a text of their own."""
    x = gx.input("x", (37,), dtype=dtype)
    data = np.linspace(-3, 3, 37).astype(dtype)
    results, texts = [], []
    with plain_python(not jit), np.errstate(all="ignore"):
        for few in (alike.FEW, 1 << 60):
            monkeypatch.setattr(alike, "FEW", few)
            fn = gx.function(x, gx.concat([part(x, v) for v in NUMBERS]))
            results.append(fn(data) + 0.0)  # which of two zeros is left to the compiler
            texts.append([k for k in kernels_of(fn) if not k.startswith("copy")])
    assert results[0].tobytes() == results[1].tobytes()
    assert len(texts[0]) <= 3  # some numbers are simplified away, and leave work of another kind
    assert len(texts[1]) >= len(NUMBERS) - 3


def test_whole_numbers_of_any_size_are_arguments_too():
    x = gx.input("x", (5,), dtype="int64")
    numbers = [(1 << 62) + i for i in range(6)] + [-(1 << 63), (1 << 63) - 1, -1, 7, 9, 11]
    fn = gx.function(x, gx.concat([gx.maximum(x, v) for v in numbers]))
    data = np.array([-(1 << 63), -1, 0, 1 << 62, (1 << 63) - 1])
    np.testing.assert_array_equal(fn(data), np.concatenate([np.maximum(data, v) for v in numbers]))
    assert len([k for k in kernels_of(fn) if k.startswith("maximum")]) == 1


def test_a_few_keep_their_numbers_in_the_text():
    x = gx.input("x", (5,))
    fn = gx.function(x, gx.concat([x * (i + 0.5) for i in range(alike.FEW)]))
    assert all(f"float32({i}.5)" in fn.source.partition("def call")[0] for i in range(alike.FEW))
