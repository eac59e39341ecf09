"""Programs: what fuses, what is verified, and updates in place."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.errors import VerificationError
from graphc.ir.graph import Graph
from graphc.ir.layout import Layout
from graphc.passes.pipeline import optimize
from graphc.plan.fusion import MAX_NODES
from graphc.plan.planner import plan
from graphc.plan.program import Access, Buffer, Call, Copy, LoopNest, MatrixProduct


def planned(outputs, inputs, updates=None, *, fuse=True):
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    graph = Graph(inputs, {f"out{i}": t for i, t in enumerate(outputs)}, updates)
    return plan(optimize(graph)[0], fuse=fuse)


def kinds(program):
    return [type(c.work).__name__ for c in program.calls]


@pytest.fixture
def x():
    return gx.input("x", (None, 10))


def test_a_chain_of_elementwise_operations_is_one_loop(x):
    program = planned(gx.tanh(gx.exp(x) * 2 + x) / 3, [x])
    assert kinds(program) == ["LoopNest"]
    assert planned(gx.tanh(gx.exp(x) * 2 + x) / 3, [x], fuse=False).calls[3:]


@pytest.mark.parametrize("function", [gx.softmax, gx.log_softmax, gx.logsumexp])
def test_softmax_is_one_kernel(x, function):
    program = planned(function(x, axis=-1), [x])
    assert kinds(program) == ["LoopNest"]
    assert program.calls[0].work.group.inner == 1


def test_normalisation_of_rows_is_one_kernel(x):
    centred = x - gx.mean(x, axis=-1, keepdims=True)
    scale, shift = (gx.parameter(np.ones(10, "float32")) for _ in range(2))
    y = centred / gx.sqrt(gx.mean(centred**2, axis=-1, keepdims=True) + 1e-5)
    assert kinds(planned(y * scale + shift, [x])) == ["LoopNest"]


def test_cross_entropy_and_its_gradient(x):
    labels = gx.input("labels", (None,), "int64")
    loss = nn.cross_entropy(x, labels)
    assert len(planned(loss, [x, labels]).calls) <= 2
    both = planned([loss, gx.grad(loss, x)], [x, labels])
    assert set(kinds(both)) == {"LoopNest"}
    assert len(both.calls) <= 4


def test_a_bias_gradient_is_a_column_kernel(x):
    program = planned(gx.sum(x * 2, axis=0), [x])
    assert kinds(program) == ["LoopNest"]
    assert program.calls[0].work.group.column == (0, 1)


def training(layers, optimizer):
    x, labels = gx.input("x", (None, 8)), gx.input("y", (None,), "int64")
    out = x
    for _ in range(layers):
        out = nn.ReLU()(nn.Linear(8, 8)(out))
    model = gx.Model(inputs=x, outputs=out, targets=labels, loss=nn.cross_entropy(out, labels),
                     optimizer=optimizer, seed=0)  # fmt: skip
    graph = optimize(model.graph)[0]
    return plan(graph), graph


def test_an_mlp_step_has_three_products_and_few_loops_a_layer():
    program, _ = training(3, optim.SGD(0.1))
    products = [c for c in program.calls if isinstance(c.work, MatrixProduct)]
    loops = [c for c in program.calls if isinstance(c.work, LoopNest)]
    assert len(products) == 3 * 3 - 1  # the first layer's input has no gradient
    # a layer: activation, its gradient, the bias gradient, two updates
    assert len(loops) <= 3 + 5 * 3
    assert len(program.calls) == len(products) + len(loops)


def test_twenty_layers_plan_linearly():
    few, many = training(4, optim.SGD(0.1))[0], training(20, optim.SGD(0.1))[0]
    layer = (len(many.calls) - len(few.calls)) / 16
    assert layer <= 8


@pytest.mark.parametrize("optimizer", [optim.SGD(0.1, momentum=0.9), optim.Adam(1e-3)])
def test_optimisers_update_in_place(optimizer):
    program, graph = training(2, optimizer)
    assert not [c for c in program.calls if isinstance(c.work, Copy)]
    written = {b for c in program.of_phase(2) for b in c.writes}
    assert len([b for b in written if b.kind == "parameter"]) == len(graph.updates)
    early = {b for p in (0, 1) for c in program.of_phase(p) for b in c.writes}
    assert not [b for b in early if b.kind == "parameter"]


def test_groups_are_bounded(x):
    y = x
    for _ in range(3 * MAX_NODES):
        y = gx.tanh(y)
    program = planned(y, [x])
    assert all(len(c.nodes) <= MAX_NODES for c in program.calls)
    assert len(program.calls) == 3


def test_calls_stand_in_order_of_phase():
    program, _ = training(2, optim.Adam(1e-3))
    phases = [c.phase for c in program.calls]
    assert phases == sorted(phases)


def test_a_program_prints_its_calls_and_buffers(x):
    text = str(planned(gx.softmax(x @ gx.parameter(np.ones((10, 4), "float32"))), [x]))
    assert "x0: float32(None, 10) in input" in text
    assert "MatrixProduct(matmul): x0, p0 -> matmul_0" in text
    assert "LoopNest(" in text
    assert "flops" in text


# -- verification can fail -----------------------------------------------------------------------


def broken():
    x = gx.input("x", (None, 4))
    program = planned(gx.softmax(gx.cumulative_sum(gx.exp(x), axis=1)), [x])
    assert len(program.calls) == 3
    return program


def test_a_missing_call_is_noticed():
    for missing in range(3):
        program = broken()
        del program.calls[missing]
        with pytest.raises(VerificationError, match=r"before it is written|never computed"):
            program.verify()


def test_a_wrong_order_is_noticed():
    program = broken()
    program.calls.reverse()
    with pytest.raises(VerificationError, match=r"before it is written"):
        program.verify()


def test_an_unknown_buffer_is_noticed():
    program = broken()
    stray = Buffer("stray", "arena", np.dtype("float32"), (4,), None)
    access = Access(stray, Layout(0, (1,)), (4,))
    program.calls.append(Call(Copy(None, access, 1), 0, (), (), (stray,), 0))
    with pytest.raises(VerificationError, match="unknown to the program"):
        program.verify()


def test_an_output_that_nothing_computes_is_noticed():
    program = broken()
    stray = Buffer("stray", "arena", np.dtype("float32"), (4,), None)
    program.buffers.append(stray)
    program.outputs["more"] = Access(stray, Layout(0, (1,)), (4,))
    program.find_lifetimes()
    with pytest.raises(VerificationError, match="never computed"):
        program.verify()
