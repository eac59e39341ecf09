"""Where old values, new values and views of them share memory."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import build, step_like_the_oracle

import graphc as gx
from graphc import nn
from graphc.ir.graph import Graph
from graphc.run.pace import Pace
from graphc.run.team import team
from graphc.schedule import levels as schedule

RNG = np.random.default_rng(0)


def parameter(*shape, name=None):
    """Return a parameter whose place in memory is still open, as a model's are."""
    values = RNG.standard_normal(shape)
    return gx.parameter(lambda size, rng: values, shape, name=name, dtype="float64")


def swap():
    p, q = parameter(5), parameter(5)
    return [], {"p": p, "q": q}, {p: q, q: p}


def sum_and_old():
    p, q = parameter(5), parameter(5)
    return [], {}, {p: p + q, q: p}


def sum_and_difference():
    p, q = parameter(5), parameter(5)
    return [], {}, {p: p + q, q: p - q}


def old_value_read_after_the_new_one_is_written():
    p = parameter(5)
    new = p + 1.0
    later = p * 3.0
    return [], {"out": later + new}, {p: new}


def old_value_as_output():
    p = parameter(5)
    return [], {"old": p, "view": p[::-1]}, {p: p * 2.0}


def new_value_as_output():
    p = parameter(5)
    new = gx.exp(p)
    return [], {"new": new, "view": new[1:3], "more": new * 2.0}, {p: new}


def shared_new_value():
    p, q, r = parameter(4), parameter(4), parameter(4)
    new = gx.tanh(p + q)
    return [], {"out": new}, {p: new, q: new, r: new[::-1]}


def rotation():
    p, q, r = parameter(4), parameter(4), parameter(4)
    return [], {"sum": p + q * r}, {p: q, q: r, r: p}


def transpose_of_itself():
    w = parameter(3, 3)
    return [], {"old": w}, {w: w.T}


def reverse_of_itself():
    w = parameter(4, 2)
    return [], {}, {w: w[::-1]}


def sum_with_own_transpose():
    w = parameter(3, 3)
    return [], {}, {w: (w + w.T) * 0.5}


def shift_of_itself():
    w = parameter(6)
    return [], {}, {w: gx.roll(w, 1) + w}


def softmax_of_itself():
    w = parameter(3, 4)
    return [], {}, {w: gx.softmax(w)}


def normalised_columns():
    w = parameter(3, 4)
    return [], {"norms": gx.sum(w * w, axis=0)}, {w: w / gx.sqrt(gx.sum(w * w, axis=0))}


def product_with_itself():
    w = parameter(3, 3)
    return [], {}, {w: w @ w}


def product_then_step():
    x = gx.input("x", (None, 3), "float64")
    w = parameter(3, 2)
    loss = gx.sum(gx.tanh(x @ w))
    return [x], {"loss": loss, "w": w.T}, {w: w - 0.1 * gx.grad(loss, w)}


def broadcast_of_itself():
    w, b = parameter(3, 4), parameter(4)
    return [], {}, {w: w + b, b: b * 2.0 + w[0]}


def row_of_another():
    w, b = parameter(3, 4), parameter(4)
    return [], {}, {w: w * 0.5, b: w[1]}


def scalar_counter():
    x = gx.input("x", (None, 3), "float64")
    count, p = parameter(), parameter(3)
    new = count + 1.0
    return [x], {"y": x * new}, {count: new, p: p / new + gx.sum(x)}


def constants_and_inputs_as_new_values():
    x = gx.input("x", (3, 4), "float64")
    w, b = parameter(4, 3), parameter(3)
    return [x], {}, {w: x.T, b: gx.constant(np.arange(3.0))}


def cumulative():
    w = parameter(3, 4)
    return [], {}, {w: gx.cumulative_sum(w, axis=0)}


def gathered():
    w = parameter(5, 2)
    return [], {}, {w: gx.take(w, np.array([4, 0, 0, 1, 2]), axis=0)}


def joined():
    w = parameter(5)
    return [], {}, {w: gx.concat([w[3:], w[:3]])}


def many_equal_updates():
    ps = [parameter(n) for n in (5, 16, 17, 1, 3)]
    ms = [parameter(n) for n in (5, 16, 17, 1, 3)]
    rate = parameter()
    news = [0.9 * m + p for p, m in zip(ps, ms, strict=True)]
    pairs = zip(ps, ms, news, strict=True)
    return [], {}, {t: v for p, m, new in pairs for t, v in ((p, p - rate * new), (m, new))}


def equal_updates_by_one_operand():
    c = gx.constant(np.arange(5.0))
    ps = [parameter(5) for _ in range(3)]
    return [], {}, {p: p * c for p in ps}


def equal_updates_backwards():
    ps, qs = [parameter(5) for _ in range(3)], [parameter(5) for _ in range(3)]
    return [], {}, {p: gx.exp(q[::-1]) for p, q in zip(ps, qs, strict=True)}


def equal_updates_by_position():
    ps = [parameter(5) for _ in range(3)]
    return [], {}, {p: p * gx.arange(5, dtype="float64") for p in ps}


def equal_updates_in_a_ring():
    ps = [parameter(5) for _ in range(3)]
    return [], {}, {p: gx.tanh(q) for p, q in zip(ps, [*ps[1:], ps[0]], strict=True)}


def old_values_of_many_as_outputs():
    ps = [parameter(n) for n in (5, 7)]
    return [], {f"p{i}": p for i, p in enumerate(ps)}, {p: p * 2.0 for p in ps}


CASES = [
    swap, sum_and_old, sum_and_difference, old_value_read_after_the_new_one_is_written,
    old_value_as_output, new_value_as_output, shared_new_value, rotation, transpose_of_itself,
    reverse_of_itself, sum_with_own_transpose, shift_of_itself, softmax_of_itself,
    normalised_columns, product_with_itself, product_then_step, broadcast_of_itself,
    row_of_another, scalar_counter, constants_and_inputs_as_new_values, cumulative, gathered,
    joined, many_equal_updates, equal_updates_by_one_operand, equal_updates_backwards,
    equal_updates_by_position, equal_updates_in_a_ring, old_values_of_many_as_outputs,
]  # fmt: skip


def fed(inputs, batch):
    return {t: RNG.standard_normal([batch if d is None else d for d in t.shape]) for t in inputs}


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "compiled"])
@pytest.mark.parametrize("case", CASES)
def test_all_new_values_come_from_the_old_ones(case, plain):
    inputs, outputs, updates = case()
    run = build(Graph(inputs, outputs, updates), plain=plain)
    for batch in (2, 0, 5, 1, 2):
        feeds = fed(inputs, batch)
        step_like_the_oracle(run, feeds, batch, case.__name__)


def test_old_values_survive_until_all_have_read_them_without_fusion():
    for case in CASES:
        inputs, outputs, updates = case()
        with gx.config(disable_passes="fuse,merge"):
            run = build(Graph(inputs, outputs, updates), plain=True)
        for _ in range(2):
            step_like_the_oracle(run, fed(inputs, 3), 3, case.__name__)


def test_a_counter_beside_divided_loops_counts_once(monkeypatch):
    monkeypatch.setattr(Pace, "replay", lambda self, table, times: team(4).run(table, times))
    monkeypatch.setattr(schedule, "MEETINGS", 0.0)
    count, p = parameter(), parameter(300_000)
    run = build(Graph([], {}, {count: count + 1.0, p: p * 0.5 + (count + 1.0)}))
    count.op.cell.array[...] = 0
    for _ in range(20):
        run.call([])
    assert count.op.cell.array == 20


def test_gradients_of_what_is_fed_do_not_merge():
    """The gradients of a sum of parameters are one array, and none of theirs to run over."""
    x = gx.input("x", (5,), "float64")
    ps = [parameter(5) for _ in range(3)]
    loss = gx.sum((ps[0] + ps[1] + ps[2]) * x)
    gradients = dict(zip(ps, gx.grad(loss, ps), strict=True))
    graph = Graph([x], {"loss": loss}, {p: p - 0.1 * g for p, g in gradients.items()})
    run = build(graph, gradients=gradients, scalars=["loss"], step=True)
    before = [p.op.cell.array.copy() for p in ps]
    given = RNG.standard_normal(5)
    for found in run.gradients([given]).values():
        np.testing.assert_array_equal(found, given)
    for p, old in zip(ps, before, strict=True):
        np.testing.assert_array_equal(p.op.cell.array, old)  # nothing is updated yet
    run.train_step([given])
    for p, old in zip(ps, before, strict=True):
        np.testing.assert_allclose(p.op.cell.array, old - 0.1 * given)


def test_forward_and_backward_of_a_model_update_nothing():
    x = gx.input("x", (None, 3))
    mean = gx.parameter(np.zeros(3, "float32"), trainable=False)
    w = gx.parameter(nn.init.ones, (3,))
    moved = 0.9 * mean + 0.1 * gx.mean(x, axis=0)
    loss = gx.sum((x - moved) * w)
    gradient = gx.grad(loss, w)
    graph = Graph([x], {"loss": loss, "mean": moved}, {mean: moved, w: w - gradient})
    run = build(graph, gradients={w: gradient}, scalars=["loss"], step=True)
    given = RNG.standard_normal((4, 3)).astype("float32")
    run.forward([given])
    run.gradients([given])
    assert not mean.op.cell.array.any()
    run.train_step([given])
    np.testing.assert_allclose(mean.op.cell.array, 0.1 * given.mean(0), rtol=1e-5)


def test_outputs_are_copies():
    x, p = gx.input("x", (None, 3), "float64"), parameter(3)
    f = gx.function(x, (x * 1.0, x[:, ::-1], p))
    given = RNG.standard_normal((2, 3))
    first, second, third = f(given)
    kept = [a.copy() for a in (first, second, third)]
    f(given * 2)
    f(np.ones((7, 3)))
    for a, b in zip((first, second, third), kept, strict=True):
        np.testing.assert_array_equal(a, b)
    third[...] = 0
    assert p.op.cell.array.all()


def test_scalars_beside_an_empty_batch_are_computed():
    x, s = gx.input("x", (None, 3), "float64"), gx.input("s", (), "float64")
    e = gx.exp(s)
    f = gx.function([x, s], (e, x * e, gx.sum(x * e, axis=0), gx.sum(x) + e))
    for batch, value in ((2, 1.5), (0, 2.5), (1, 0.5), (0, -1.0)):
        found = f(np.ones((batch, 3)), value)
        np.testing.assert_allclose(found[0], np.exp(value))
        np.testing.assert_allclose(found[2], np.full(3, batch * np.exp(value)))
        np.testing.assert_allclose(found[3], (3 * batch + 1 * np.exp(value)))
