"""Functions of one sample as functions of many, against JAX and against samples one by one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from compiled import plain_python

import graphc as gx
from graphc import nn, optim
from graphc.errors import ArgumentError, DTypeError, ShapeError

rng = np.random.default_rng(0)
X = rng.standard_normal((4, 3))
W = rng.standard_normal((3, 3)) / 2


def looped(f, *arrays):
    """Return what ``f`` gives for each sample, one by one."""
    ins = [gx.input(f"x{k}", a.shape[1:], a.dtype) for k, a in enumerate(arrays)]
    compiled = gx.function(ins, f(*ins))
    results = [compiled(*sample) for sample in zip(*arrays, strict=True)]
    if isinstance(results[0], (tuple, list)):
        return [np.stack(part) for part in zip(*results, strict=True)]
    return np.stack(results)


def mapped(f, *arrays, batch=False, **options):
    ins = [gx.input(f"x{k}", ((None,) if batch else a.shape[:1]) + a.shape[1:], a.dtype)
           for k, a in enumerate(arrays)]  # fmt: skip
    return gx.function(ins, gx.vmap(f, **options)(*ins))(*arrays)


def scanned(x):
    c, ys = gx.scan(lambda c, u: (gx.tanh(c * 0.5 + u), c * u), gx.sum(x), x)
    return c, ys


def counted(x):
    """A loop whose end each sample finds for itself."""
    return gx.while_loop(lambda c: gx.sum(c * c) < 9.0, lambda c: c * 1.5 + 0.1, x, 20)


def branched(x):
    return gx.cond(gx.sum(x) > 0, lambda a: gx.exp(a) * 2.0, lambda a: a - 1.0, x)


def switched(x):
    return gx.switch(gx.argmax(x), [lambda a: a * 2, lambda a: a * a, lambda a: gx.sin(a)], x)


def nested(x):
    def step(c, u):
        c, _ = gx.scan(lambda d, v: (gx.sin(d + v), None), c, x)
        return gx.cond(c > 0, lambda: c * u, lambda: c - u), c

    return gx.scan(step, x[0], x)


def in_while(x):
    """A branch and a loop of its own in each step of a loop that samples end."""

    def body(c):
        k, v = c
        v = v + gx.scan(lambda a, b: (a * 0.9 + b, None), v * 0.0, gx.stack([v, v]))[0]
        return k + 1, gx.cond(k > 1, lambda: v * 1.1, lambda: v)

    return gx.while_loop(lambda c: gx.sum(c[1] * c[1]) < 50.0, body, (0, x), 12)


LOOPS = [scanned, counted, branched, switched, nested, in_while]


@pytest.mark.parametrize("f", LOOPS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "compiled"])
def test_loops_and_branches(f, plain):
    with plain_python(plain):
        got, wanted = mapped(f, X), looped(f, X)
    for a, b in zip(got if isinstance(got, tuple) else [got],
                    wanted if isinstance(wanted, list) else [wanted], strict=True):  # fmt: skip
        np.testing.assert_allclose(a, b, rtol=1e-10)


def total(out):
    parts = out if isinstance(out, (tuple, list)) else [out]
    return sum((gx.sum(p * p) for p in parts if p.dtype.kind == "f"), gx.constant(0.0, "float64"))


@pytest.mark.parametrize("f", LOOPS, ids=lambda f: f.__name__)
def test_gradients_through_loops_of_samples_and_samples_of_gradients(f):
    slope = gx.grad_of(lambda x: total(f(x)))
    wanted = looped(slope, X)
    np.testing.assert_allclose(mapped(slope, X), wanted, rtol=1e-8, atol=1e-10)
    x = gx.input("x", X.shape, "float64")
    outer = gx.grad(total(gx.vmap(f)(x)), x)
    np.testing.assert_allclose(gx.function(x, outer)(X), wanted, rtol=1e-8, atol=1e-10)


def test_gradients_of_each_sample_of_a_network():
    net = nn.Sequential(
        nn.Linear(3, 5, dtype="float64"), nn.Tanh(), nn.Linear(5, 2, dtype="float64")
    )
    x, y = gx.input("x", (None, 3), "float64"), gx.input("y", (None,), "int64")
    params = list(net.parameters)

    def loss(x, y):
        return nn.cross_entropy(net(gx.expand_dims(x, 0)), gx.expand_dims(y, 0))

    each = gx.vmap(lambda x, y: gx.grad(loss(x, y), params))(x, y)
    whole = gx.grad(nn.cross_entropy(net(x), y), params)
    f = gx.function([x, y], (each, whole))
    for n in (4, 7):
        samples, labels = rng.standard_normal((n, 3)), rng.integers(0, 2, n)
        one, mean = f(samples, labels)
        for a, b in zip(one, mean, strict=True):
            assert a.shape == (n, *b.shape)
            np.testing.assert_allclose(a.mean(0), b, rtol=1e-10, atol=1e-12)


def test_gradients_of_each_image_of_a_convolution_and_of_a_table():
    w, table = rng.standard_normal((2, 2, 1, 3)), rng.standard_normal((5, 2))
    images, words = rng.standard_normal((3, 4, 4, 1)), np.array([[0, 2], [1, 1], [4, -1]])

    def loss(x, k, w, t):
        y = gx.max_pool(gx.relu(gx.conv(gx.expand_dims(x, 0), w)), 2)
        return gx.sum(y * y) + gx.sum(gx.sin(gx.take(t, k, axis=0)))

    x, k = gx.input("x", images.shape, "float64"), gx.input("k", words.shape, "int64")
    a, t = gx.input("w", w.shape, "float64"), gx.input("t", table.shape, "float64")
    each = gx.vmap(gx.grad_of(loss, (0, 2, 3)), (0, 0, None, None))(x, k, a, t)
    got = gx.function([x, k, a, t], each)(images, words, w, table)
    one = gx.grad_of(loss, (0, 2, 3))(x[0], k[0], a, t)
    f = gx.function([x, k, a, t], one)
    for number in range(3):
        wanted = f(images[[number] * 3], words[[number] * 3], w, table)
        for part, other in zip(got, wanted, strict=True):
            np.testing.assert_allclose(part[number], other, rtol=1e-10, atol=1e-12)


def test_axes_and_structures_are_jaxs():
    def f(p, x, scale):
        return {"y": x @ p["w"] + p["b"] * scale, "same": p["b"]}

    w, b = rng.standard_normal((3, 2, 4)), rng.standard_normal((2,))
    p = {"w": gx.input("w", (3, 2, 4), "float64"), "b": gx.input("b", (2,), "float64")}
    x = gx.input("x", (3, 4), "float64")
    g = gx.vmap(f, ({"w": 2, "b": None}, 1, None), {"y": 1, "same": None})
    out = g(p, x, 2.0)
    data = rng.standard_normal((3, 4))
    got = gx.function([p["w"], p["b"], x], out)(w, b, data)
    assert got["y"].shape == (2, 4)
    np.testing.assert_allclose(got["y"], np.einsum("is,ios->os", data, w) + 2 * b[:, None])
    np.testing.assert_array_equal(got["same"], b)
    twice = gx.vmap(gx.vmap(lambda a, b: a * b + a, (None, 0)), (0, None))
    u, v = gx.input("u", (2,)), gx.input("v", (5,))
    np.testing.assert_allclose(gx.function([u, v], twice(u, v))(np.arange(2), np.ones(5)),
                               [[0] * 5, [2] * 5])  # fmt: skip


def test_the_batch_may_be_open():
    f = lambda x: gx.softmax(gx.tanh(x) @ W) * gx.max(x)  # noqa: E731
    for n in (1, 5):
        data = rng.standard_normal((n, 3))
        np.testing.assert_allclose(mapped(f, data, batch=True), looped(f, data), rtol=1e-10)


def test_draws_are_the_same_and_masks_are_not():
    data = np.ones((3, 200))
    u = mapped(lambda x: x * gx.random_uniform((200,), seed=1, dtype="float64"), data)
    assert (u[0] == u[1]).all()
    masks = mapped(lambda x: nn.Dropout(0.5)(x) > 0, data)
    assert (masks[0] != masks[1]).any()
    seeds = np.arange(3)
    got = mapped(lambda s: gx.random_uniform((4,), seed=s, stream=0, dtype="float64"), seeds)
    for k in range(3):
        a = gx.input("a", ())
        one = gx.function(a, gx.random_uniform((4,), seed=k, stream=0, dtype="float64"))(0.0)
        np.testing.assert_array_equal(got[k], one)


def test_what_vmap_refuses():
    x, y = gx.input("x", (3, 2)), gx.input("y", (4, 2))
    cases = [
        (DTypeError, "is not a function", lambda: gx.vmap(3)),
        (ShapeError, "x: float32.* has 3 samples along its axis, and y: float32.* has 4",
         lambda: gx.vmap(lambda a, b: a)(x, y)),
        (ShapeError, "has no such axis", lambda: gx.vmap(lambda a: a, 5)(x)),
        (ArgumentError, "nothing has samples", lambda: gx.vmap(lambda a: a, None)(x)),
        (ArgumentError, "have the structure", lambda: gx.vmap(lambda a: a, (0, 1))(x)),
        (ArgumentError, "differs from sample to sample",
         lambda: gx.vmap(lambda a: a, 0, None)(x)),
        (ArgumentError, "standardises by a batch", lambda: gx.vmap(nn.BatchNorm1d(2))(
            gx.input("z", (3, 4, 2)))),
        (DTypeError, "is not a function", lambda: gx.grad_of(3)),
        (ShapeError, "must return a scalar", lambda: gx.grad_of(lambda a: a)(x)),
        (ArgumentError, "there are 1 arguments", lambda: gx.grad_of(gx.sum, 1)(x)),
    ]  # fmt: skip
    for kind, words, make in cases:
        with pytest.raises(kind, match=words) as caught:
            make()
        assert f"\n  at {__file__}:" in str(caught.value)


def test_a_gradient_of_a_function_is_that_of_its_argument():
    x = gx.input("x", (3,), "float64")
    y = gx.sin(x)
    inner = gx.grad_of(lambda y: gx.sum(y * gx.stop_gradient(y) + x * 0.0))(y)
    second = gx.grad_of(lambda v: gx.sum(gx.grad_of(lambda u: gx.sum(u**3.0))(v)))(x)
    a, b = gx.function(x, (inner, second))(X[0])
    np.testing.assert_allclose(a, np.sin(X[0]))
    np.testing.assert_allclose(b, 6 * X[0])


def test_models_train_through_samples():
    x, y = gx.input("x", (None, 3)), gx.input("y", (None,))
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    out = gx.vmap(lambda v: net(v)[0])(x)
    model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                     optimizer=optim.Adam(0.05), seed=0)  # fmt: skip
    data = rng.standard_normal((64, 3)).astype("float32")
    history = model.fit(data, data.sum(1), epochs=30, batch_size=16, verbose=0)
    assert history["loss"][-1] < 0.1 * history["loss"][0]


ATTENTION = {
    "plain": (lambda q, k, v, m: {}, (0, 0, 0, None)),
    "causal": (lambda q, k, v, m: {"causal": True, "window": 3}, (0, None, 0, None)),
    "a mask for all": (lambda q, k, v, m: {"mask": m[0]}, (0, 0, None, None)),
    "a mask of each": (lambda q, k, v, m: {"mask": m}, (None, 0, 0, 0)),
    "booleans": (lambda q, k, v, m: {"mask": m > -0.5}, (0, 0, 0, 0)),
    "lengths": (lambda q, k, v, m: {"key_lengths": gx.astype(m[:, 0, 0] > 0, "int64") + 4},
                (0, 0, 0, 0)),
    "bias": (lambda q, k, v, m: {"bias": lambda i, j: m[0, 0, 0] * (i - j)}, (0, 0, 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("heads", [1, 2])
def test_attention_of_samples_is_one_attention(name, heads):
    options, axes = ATTENTION[name]
    q, k, v = (rng.standard_normal((3, 2, heads, length, 4)) for length in (5, 6, 6))
    masks = rng.standard_normal((3, 2, 5, 6))

    def attend(q, k, v, m):
        def loss(q, k, v):
            given = options(q, k, v, m)
            if name.endswith(("of each", "booleans")):
                given = {"mask": gx.expand_dims(given["mask"], 1)}
            return nn.scaled_dot_product_attention(q, k, v, **given)

        slopes = gx.grad_of(lambda *x: gx.sum(gx.sin(loss(*x))), (0, 1, 2))(q, k, v)
        return loss(q, k, v), *slopes

    arrays = [a if axis == 0 else a[0] for a, axis in zip((q, k, v, masks), axes, strict=True)]
    ins = [gx.input(f"x{n}", a.shape, "float64") for n, a in enumerate(arrays)]
    f = gx.function(ins, gx.vmap(attend, axes)(*ins))
    assert not any(n.op.name == "scan" for n in f.graph)
    one = [gx.input(f"x{n}", a.shape[1:], "float64") for n, a in enumerate((q, k, v, masks))]
    single = gx.function(one, attend(*one))
    got = f(*arrays)
    for sample in range(3):
        own = [a[sample] if axis == 0 else a for a, axis in zip(arrays, axes, strict=True)]
        for a, b in zip(got, single(*own), strict=True):
            np.testing.assert_allclose(a[sample], b, rtol=1e-10, atol=1e-12)


def test_samples_drop_weights_of_their_own():
    x = gx.input("x", (None, 2, 16, 4))
    out = gx.vmap(lambda a: nn.scaled_dot_product_attention(a, a, a, dropout=0.5))(x)
    assert not any(n.op.name == "scan" for n in gx.function(x, out).graph)
    data = np.tile(rng.standard_normal((1, 2, 16, 4)).astype("float32"), (3, 1, 1, 1))
    dropped = gx.function(x, out)(data)
    assert not np.allclose(dropped[0], dropped[1])
    scaled, y = out * gx.parameter(np.ones(4, "float32"), name="w"), gx.input("y", (None, 2, 16, 4))
    model = gx.Model(inputs=x, outputs=scaled, targets=y, loss=nn.mse_loss(scaled, y),
                     optimizer=optim.SGD(0.1), seed=0)  # fmt: skip
    whole = gx.vmap(lambda a: nn.scaled_dot_product_attention(a, a, a))(x)
    np.testing.assert_allclose(model.predict(data), gx.function(x, whole)(data), rtol=1e-5)


class Pair(NamedTuple):
    left: object
    right: object


def test_named_tuples_keep_their_kind():
    x, w = gx.input("x", X.shape, "float64"), gx.input("w", W.shape, "float64")
    f = gx.vmap(
        lambda p: Pair(p.left @ p.right, p.right), in_axes=(Pair(0, None),), out_axes=Pair(0, None)
    )
    out = f(Pair(x, w))
    assert isinstance(out, Pair)
    left, right = gx.function([x, w], [out.left, out.right])(X, W)
    np.testing.assert_allclose(left, X @ W, rtol=1e-12)
    np.testing.assert_array_equal(right, W)
