"""Kernels whose names clash are told apart, and a module that is not its program's is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compiled import build, step_like_the_oracle
from random_graphs import random_graph

import graphc as gx
from graphc.codegen import kernel
from graphc.codegen.kernel import KernelText
from graphc.codegen.module import generate
from graphc.codegen.verify import verify
from graphc.errors import VerificationError
from graphc.ir.graph import Graph
from graphc.passes.compare import random_feeds
from graphc.passes.pipeline import optimize
from graphc.plan.planner import plan


def test_two_kernels_whose_digests_begin_alike():
    """SHA-256 of these two texts has the same first eight digits."""
    x = gx.input("x", (6,))
    parts = gx.function(x, gx.concat([x * 475, x * 1603], axis=0))
    np.testing.assert_array_equal(parts(np.ones(6, "f4")), np.repeat([475, 1603], 6))


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("digits", [0, 1])
def test_clashes_everywhere(digits, plain, monkeypatch):
    monkeypatch.setattr(kernel, "DIGITS", digits)
    for seed in range(8 if plain else 3):
        graph = random_graph(seed, batch=bool(seed % 2))
        run = build(graph, plain=plain)
        step_like_the_oracle(run, random_feeds(graph, 3), 3, f"seed {seed}")


def module_of(graph):
    program = plan(optimize(graph)[0])
    return generate(program, {}), program


def test_names_are_told_apart_in_the_order_of_the_calls(monkeypatch):
    monkeypatch.setattr(kernel, "DIGITS", 0)
    x = gx.input("x", (6,))
    graph = Graph([x], {"a": gx.sin(x), "b": gx.cos(x[1:]) * 2.0, "c": gx.sin(x * 2.0) * 3.0})
    module, program = module_of(graph)
    names = [c.name for c in module.calls]
    assert len(set(names)) == len(names) == len(module.kernels)
    assert module_of(graph)[0].text == module.text
    verify(module, program)


def other(call, **changes):
    return replace(call, kernel=replace(call.kernel, **changes))


@pytest.mark.parametrize(
    ("match", "spoil"),
    [
        ("became", lambda calls: calls[:-1]),
        ("another kernel", lambda calls: (other(calls[0], body=()), *calls[1:])),
        ("arguments", lambda calls: (replace(calls[0], arguments=()), *calls[1:])),
        (
            "passes 0 for",
            lambda calls: (replace(calls[0], arguments=(0,) * len(calls[0].arguments)), *calls[1:]),
        ),
        ("writes what", lambda calls: calls[::-1]),
    ],
)
def test_a_module_of_another_program_is_refused(match, spoil):
    x, w = gx.input("x", (None, 6)), gx.parameter(np.ones(4))
    y = gx.sum(gx.sin(x), axis=1)
    graph = Graph([x], {"a": y, "b": gx.outer(gx.cos(y), w), "c": gx.cumulative_sum(x, axis=1)})
    module, program = module_of(graph)
    assert all(isinstance(c.kernel, KernelText) for c in module.calls)
    verify(module, program)
    with pytest.raises(VerificationError, match=match):
        verify(replace(module, calls=tuple(spoil(module.calls))), program)


def test_a_kernel_that_does_not_stand_in_the_text():
    x = gx.input("x", (6,))
    module, program = module_of(Graph([x], {"a": gx.sin(x)}))
    with pytest.raises(VerificationError, match="stand in the module once"):
        verify(replace(module, head=module.head.replace("sin(", "cos(")), program)


def test_constants_are_equal_by_their_bytes(monkeypatch):
    a, b = gx.constant(np.arange(3.0)), gx.constant(np.arange(3.0) + 1.0)
    for constant in (a, b):
        constant.op.value.digest = b"the same"
    x = gx.input("x", (3,), "float64")
    f = gx.function(x, (x * a, x * b))
    np.testing.assert_array_equal(f(np.ones(3))[1], [1.0, 2.0, 3.0])
