"""Large inputs are read and large outputs written where they lie, and nobody can tell."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import build, plain_python

import graphc as gx
from graphc import nn, optim
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.plan import memory
from graphc.run import executable
from graphc.run.executable import LARGE

N = 2 * LARGE // 4
RNG = np.random.default_rng(0)


@pytest.fixture(params=["compiled", "plain"])
def square(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    x = gx.input("x", (None,))
    return gx.function(x, x * x)


def values(n=N):
    return RNG.standard_normal(n).astype("float32")


def test_inputs_stay_as_they_are_and_outputs_are_fresh(square):
    first, second = values(), values()
    kept = first.copy()
    a, b = square(first), square(second)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(a, kept * kept)
    np.testing.assert_array_equal(b, second * second)
    a[...] = 0
    np.testing.assert_array_equal(square(first), kept * kept)


def test_an_input_may_lie_anywhere(square):
    wide = values(2 * N)
    odd = np.frombuffer(b"x" + values().tobytes(), np.uint8)[1:].view("float32")
    assert not odd.flags.aligned
    for x in (wide[::2], wide[N:], wide[::-1][:N], odd, wide[:N].astype(">f4"), values(10)):
        np.testing.assert_array_equal(square(x), np.asarray(x, "float32") ** 2)


def test_an_input_may_be_an_output(square):
    x = np.abs(values())
    np.testing.assert_array_equal(square(square(x)), (x * x) * (x * x))


def test_an_input_may_be_a_parameter_that_is_replaced():
    p = gx.parameter(np.ones(N, "float32"))
    x = gx.input("x", (N,))
    f = gx.function(x, gx.cumulative_sum(x * 1.0), {p: p * 0.0})
    found = f(p.op.cell.array)
    np.testing.assert_array_equal(found, np.arange(1, N + 1, dtype="float32"))
    assert not p.op.cell.array.any()


def test_a_view_of_an_output_keeps_its_values(square):
    x = values()
    last = square(x)[-1:]
    for _ in range(3):
        square(values())
    assert last == x[-1] * x[-1]


def test_outputs_that_share_their_memory_are_copies():
    x = gx.input("x", (N // 8, 8))
    y = gx.exp(x)
    f = gx.function(x, (y, y.T, y))
    a, b, c = f(values().reshape(-1, 8))
    a[...] = 0
    assert b.all()
    assert c.all()


# -- outputs that are inputs, parameters, constants, views of them, twice the same ----------------

ROWS = {"small": -1, "just large": 0, "larger": 5}
"""Rows of four float32 above the number from which an array is large."""


@pytest.fixture(params=["plain", "compiled"])
def plain(request, monkeypatch):
    """Tell whether to run as plain Python, which is slow: there, arrays are large early."""
    if request.param == "plain":
        monkeypatch.setattr(executable, "LARGE", 16 * 9)
    return request.param == "plain"


SHOWN = {
    "itself": lambda t: t,
    "rows": lambda t: t[3:],
    "every second row": lambda t: t[::2],
    "row": lambda t: t[-1],
    "columns": lambda t: t[:, 1:3],
    "transposed": lambda t: t.T,
    "flat": lambda t: gx.reshape(t, (t.type.shape[0] * 4,)),
    "backwards": gx.flip,
    "broadcast": lambda t: gx.broadcast_to(t[0], (5, 4)),
    "new axis": lambda t: t[:, None],
    "times one": lambda t: t * 1.0,
    "joined": lambda t: gx.concat([t, t]),
    "computed": lambda t: t + 1.0,
}


def layouts(rows):
    """Yield new arrays of so many rows, as they may lie in memory."""
    for make in (
        np.ascontiguousarray,
        np.asfortranarray,
        np.ascontiguousarray,
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: a[::-1],
        lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),  # read-only
        lambda a: a.astype("float64"),
        np.ascontiguousarray,
    ):
        yield make(RNG.standard_normal((rows, 4)).astype("float32"))


def sources(rows, fixed):
    x = gx.input("x", (rows if fixed else None, 4))
    y = gx.input("y", (rows if fixed else None, 4))
    p = gx.parameter(RNG.standard_normal((rows, 4)).astype("float32"), name="p")
    return x, y, p, gx.constant(RNG.standard_normal((rows, 4)).astype("float32"))


def derivatives(x, y):
    """Return gradients and tangents that are inputs, or parts of them."""
    joined, stacked = gx.concat([x, y]), gx.stack([x, y])
    v = [x, y]
    return [
        *gx.grad(gx.sum(x * y), [x, y]),
        *gx.vjp([x + y], [x, y], [y]),
        *gx.vjp([x - y], [x, y], [x]),
        *gx.vjp([gx.reshape(x, (x.type.shape[0] * 4,))], [x], [gx.reshape(y, (-1,))]),
        *gx.vjp([joined], [x, y], [joined]),
        *gx.vjp([stacked], [x, y], [stacked]),
        *gx.vjp([gx.pad(x, ((1, 2), (0, 0)))], [x], [gx.pad(y, ((1, 2), (0, 0)))]),
        *gx.jvp([x + 0.0, x[1:], x * 1.0], [x, y], v),
    ]


def equals_numpy(run, feeds):
    """Compare a call with the oracle; return its outputs, of which none shares memory."""
    graph, owned = run.graph, [p.op.cell.array for p in run.graph.parameters]
    owned += [t.op.value.array for t in graph.nodes if type(t.op).__name__ == "Constant"]
    kept = [a.copy() for a in (*feeds, *owned)]
    pairs = zip(graph.inputs, feeds, strict=True)
    wanted = interpret(graph, {t: a.astype(t.dtype) for t, a in pairs})
    found = run.call(feeds)
    for name, value in found.items():
        assert value.flags.c_contiguous
        assert value.flags.writeable
        np.testing.assert_array_equal(value, wanted[name], err_msg=name)
        for other in (*feeds, *owned, run._batches.arena):
            assert not np.shares_memory(value, other), name
    outputs = list(found.values())
    for i, value in enumerate(outputs):
        assert not any(np.may_share_memory(value, other) for other in outputs[:i])
        value[...] = -7.0  # theirs: nobody else sees it
    for array, old in zip((*feeds, *owned), kept, strict=True):
        np.testing.assert_array_equal(array, old)
    return found


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "open"])
@pytest.mark.parametrize("size", ROWS)
def test_outputs_are_what_numpy_says_wherever_they_lie(plain, size, fixed, threads):
    rows = executable.LARGE // 16 + ROWS[size]
    x, y, p, c = sources(rows, fixed)
    tensors = {f"{what} of {t}": f(t) for t in (x, y, p, c) for what, f in SHOWN.items()}
    tensors |= {f"derivative {i}": g for i, g in enumerate(derivatives(x, y))}
    tensors |= {"x again": x, "p again": p, "c again": c, "rows again": x[3:]}
    with gx.config(threads=threads):
        run = build(Graph([x, y], tensors, {}), plain=plain)
        for n in (rows,) if fixed else (rows, 7, rows):
            for a, b in zip(layouts(n), reversed(list(layouts(n))), strict=True):
                equals_numpy(run, [a, b])


@pytest.mark.parametrize("what", SHOWN)
def test_one_output_alone_is_what_numpy_says(what, plain):
    at = executable.LARGE // 16
    x, _, p, c = sources(at, fixed=False)
    for tensor in (x, p, c) if plain else (x,):
        run = build(Graph([x], {"out": SHOWN[what](tensor)}, {}), plain=plain)
        for n in (at, at - 1, at + 1):
            for array in layouts(n):
                equals_numpy(run, [array])


def test_a_function_that_passes_an_input_on(plain):
    x = gx.input("x", (None,))
    with plain_python(plain):
        f = gx.function(x, (x, x[3:], x[-1], x, x[::-1]))
    at = executable.LARGE // 4
    for n in (at - 1, at, 2 * at):
        for _ in range(2):
            a = values(n)
            for found, wanted in zip(f(a), (a, a[3:], a[-1], a, a[::-1]), strict=True):
                np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("rows", [1023, 1024, 3000])
def test_a_model_passes_an_input_on(rows, plain, monkeypatch):
    width = 8 if plain else LARGE // 4 // 1024
    monkeypatch.setattr(executable, "LARGE", 4 * 1024 * width)
    x, t = gx.input("x", (None, width)), gx.input("t", (None, 1))
    out = nn.Linear(width, 1)(x)
    with plain_python(plain):
        model = gx.Model(
            inputs=x, targets=t,
            outputs={"y": out, "x": x, "part": x[:, 1:], "slope": gx.grad(gx.sum(out), x)},
            loss=nn.mse_loss(out, t), optimizer=optim.SGD(0.0),
        )  # fmt: skip
        for order in "CFC":
            a = np.asarray(RNG.standard_normal((rows, width)).astype("float32"), order=order)
            slope = np.broadcast_to(model.parameters["linear_0.weight"].T, a.shape)
            for found in (model.predict(a), model.forward(a, a[:, :1])["outputs"]):
                np.testing.assert_array_equal(found["x"], a)
                np.testing.assert_array_equal(found["part"], a[:, 1:])
                np.testing.assert_allclose(found["slope"], slope, rtol=1e-6)


def test_what_calls_wait_for_does_not_depend_on_where_an_input_lay_first(monkeypatch):
    """In an arena whose buffers share memory, an input that lies there is overwritten later."""
    monkeypatch.setattr(memory, "ROOMY", 0)
    monkeypatch.setattr(memory, "GENEROUS", 0.0)
    x = gx.input("x", (LARGE // 128, 64))
    p = gx.parameter(values(LARGE // 2).reshape(64, -1))
    with gx.config(threads=2):
        f = gx.function(x, (gx.sum(x, axis=1), gx.sum(gx.cumulative_sum(p, axis=1), axis=1)))
        tables = []
        for first in ("C", "F"):
            f._executable._batches._bound.clear()
            for order in (first, "F"):
                f(np.asarray(values(LARGE // 2).reshape(-1, 64), order=order))
            (bound,) = f._executable._batches
            tables.append(bound.tables["call", 2].words.copy())
    assert not bound.plan.apart
    np.testing.assert_array_equal(*tables)


def test_rows_of_an_epoch_may_be_a_parameter_that_it_changes():
    w = gx.parameter(np.ones((8, 3), "float32"), name="w")
    x = gx.input("x", (None, 3))
    loss = gx.mean(gx.square(x)) + gx.sum(w) * 0.0 + gx.sum(gx.square(w))
    model = gx.Model(inputs=x, outputs=x, loss=loss, optimizer=optim.SGD(0.25))
    data = model.parameters["w"]
    history = model.fit(data, epochs=1, batch_size=1, shuffle=False, verbose=0)
    squares = sum(24 * 0.25**step for step in range(8)) / 8
    np.testing.assert_allclose(history["loss"], [1.0 + squares], rtol=1e-6)
