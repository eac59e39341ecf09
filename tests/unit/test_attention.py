"""Attention in blocks: values and derivatives against the formula in PyTorch, every option."""

from __future__ import annotations

import math

import numpy as np
import pytest
from c_kernels import COMPILER, CLibrary, texts_of
from compiled import plain_python

import graphc as gx
from graphc import nn
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.ir.graph import Graph
from graphc.ir.interpret import evaluate

RNG = np.random.default_rng(0)
SLOPES = RNG.standard_normal((4, 1, 1))


def boolean(*shape):
    mask = RNG.random(shape) < 0.7
    mask[..., 0] = True
    return mask


def infinite(*shape):
    return np.where(boolean(*shape), RNG.standard_normal(shape), -np.inf)


SAME = ((2, 4, 37, 5),) * 3
CASES = {
    "plain": (SAME, {}),
    "one": (((2, 4, 1, 5),) * 3, {"causal": True}),
    "one query": (((2, 4, 1, 5), (2, 4, 700, 5), (2, 4, 700, 9)), {}),
    "one query, masks": (((2, 4, 1, 5), (2, 2, 600, 5), (2, 2, 600, 9)),
        {"enable_gqa": True, "mask": infinite(2, 1, 1, 600), "key_lengths": np.array([590, 0]),
         "window": 530, "bias": nn.alibi(4)}),
    "blocks": (((1, 1, 150, 3),) * 3, {}),
    "causal blocks": (((1, 2, 300, 8), (1, 2, 300, 8), (1, 2, 300, 17)), {"causal": True}),
    "cross": (((2, 4, 7, 5), (2, 4, 190, 5), (2, 4, 190, 9)), {}),
    "cross, causal": (((2, 4, 70, 5), (2, 4, 19, 5), (2, 4, 19, 9)), {"causal": True}),
    "scale": (SAME, {"scale": 0.3}),
    "mask": (SAME, {"mask": boolean(37, 37)}),
    "mask of heads": (SAME, {"mask": boolean(4, 1, 37)}),
    "mask of samples": (SAME, {"mask": boolean(2, 1, 1, 37), "causal": True}),
    "additive mask": (SAME, {"mask": infinite(2, 4, 37, 37)}),
    "additive mask of all": (SAME, {"mask": infinite(37)}),
    "mask, blocks": (((1, 2, 40, 3), (1, 2, 150, 3), (1, 2, 150, 3)), {"mask": boolean(40, 150)}),
    "lengths": (SAME, {"key_lengths": np.array([5, 37])}),
    "no length": (SAME, {"key_lengths": np.array([0, 33]), "causal": True}),
    "grouped": (((2, 4, 37, 5), (2, 2, 37, 5), (2, 2, 37, 5)), {"enable_gqa": True}),
    "one for all": (((2, 4, 37, 5), (2, 1, 37, 5), (2, 1, 37, 5)),
                    {"enable_gqa": True, "causal": True}),
    "broadcast": (((2, 4, 37, 5), (1, 1, 37, 5), (37, 5)), {}),
    "window": (((1, 2, 150, 3),) * 3, {"window": 40}),
    "window, causal": (((1, 2, 150, 3),) * 3, {"window": 33, "causal": True}),
    "window of one": (SAME, {"window": 1}),
    "alibi": (SAME, {"bias": nn.alibi(4), "causal": True}),
    "formula": (SAME, {"bias": lambda i, j: gx.sin(0.1 * (i - 2 * j).astype("float64"))}),
    "two axes": (((37, 5),) * 3, {"mask": boolean(37, 37)}),
    "three axes": (((3, 37, 5),) * 3,
                   {"mask": boolean(3, 1, 37), "key_lengths": np.array([9, 1, 37])}),
    "five axes": (((2, 3, 4, 17, 5),) * 3, {"mask": boolean(3, 1, 17, 17), "causal": True}),
    "none": (((2, 4, 0, 5), (2, 4, 3, 5), (2, 4, 3, 5)), {}),
}  # fmt: skip


def formula(torch, q, k, v, *, causal=False, mask=None, scale=None, key_lengths=None,
            enable_gqa=False, window=None, bias=None):  # fmt: skip
    """Return what attention is, in PyTorch."""
    if enable_gqa:
        k, v = (x.repeat_interleave(q.shape[-3] // k.shape[-3], -3) for x in (k, v))
    s = q @ k.transpose(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    i, j = np.arange(q.shape[-2])[:, None], np.arange(k.shape[-2])[None]
    allowed = np.ones((len(i), j.size), bool)
    if causal:
        allowed &= i >= j
    if window is not None:
        allowed &= abs(i - j) < window
    if key_lengths is not None:
        allowed = allowed & (j < key_lengths.reshape(-1, *(1,) * (q.ndim - 1)))
    if bias is not None:
        places = gx.constant(i), gx.constant(j)
        value = gx.function([], gx.broadcast_to(bias(*places), s.shape).astype("float64"))()
        s = s + torch.tensor(value)
    if mask is not None and mask.dtype == bool:
        allowed = allowed & mask
    elif mask is not None:
        s = s + torch.tensor(mask)
    s = s.masked_fill(~torch.tensor(allowed), -math.inf)
    some = (s > -math.inf).any(-1, keepdim=True)
    p = torch.softmax(torch.where(some, s, 0.0), -1)
    return torch.where(some, p, 0.0) @ v


def tangent(torch, function, xs, along):
    """Return the tangent of a function: the gradient of that of its products, by the factors."""
    return torch.autograd.functional.jvp(function, tuple(xs), tuple(along))[1].numpy()


def close(got, wanted, rtol=1e-10):
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives_of_two_orders(name):
    torch = pytest.importorskip("torch")
    shapes, options = CASES[name]
    arrays = [RNG.standard_normal(shape) for shape in shapes]
    ways = [RNG.standard_normal(shape) for shape in shapes]
    inputs = [gx.input(s, a.shape, "float64") for s, a in zip("qkv", arrays, strict=True)]
    out = nn.scaled_dot_product_attention(*inputs, **options)
    first = gx.grad(gx.sum(gx.sin(out)), inputs)
    total = sum(gx.sum(gx.sin(g)) for g in first)
    second = gx.grad(total, inputs)
    moved = gx.jvp([out, *first], inputs, [gx.constant(t) for t in ways])
    got = gx.function(inputs, [out, *first, *second, *moved])(*arrays)

    def slopes(*xs):
        return torch.autograd.grad(
            formula(torch, *xs, **options).sin().sum(), xs, create_graph=True
        )

    q, k, v = xs = [torch.tensor(a, requires_grad=True) for a in arrays]
    value = formula(torch, q, k, v, **options)
    wanted = slopes(*xs)
    again = torch.autograd.grad(sum(g.sin().sum() for g in wanted), xs)
    expected = [value, *wanted, *again]
    for mine, theirs in zip(got, expected, strict=False):
        close(mine, theirs.detach().numpy())
    along = [torch.tensor(t) for t in ways]
    close(got[7], tangent(torch, lambda *x: formula(torch, *x, **options), xs, along))
    # The tangent of a gradient is the gradient of its product with the direction: Hessians are
    # symmetric.
    whole = sum((g * t).sum() for g, t in zip(slopes(*xs), along, strict=True))
    for mine, theirs in zip(got[8:], torch.autograd.grad(whole, xs), strict=True):
        close(mine, theirs.numpy())


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, boolean(5, 7), infinite(5, 7)])
def test_pytorch_itself(mask, causal):
    torch = pytest.importorskip("torch")
    if mask is not None and causal:
        pytest.skip("PyTorch takes one of them")
    q, k, v = (RNG.standard_normal((2, 3, n, 4)) for n in (5, 7, 7))
    inputs = [gx.input(s, a.shape, "float64") for s, a in zip("qkv", (q, k, v), strict=True)]
    out = nn.scaled_dot_product_attention(*inputs, mask=mask, causal=causal)
    theirs = torch.nn.functional.scaled_dot_product_attention(
        *map(torch.tensor, (q, k, v)),
        None if mask is None else torch.tensor(mask),
        is_causal=causal,
    )
    close(gx.function(inputs, out)(q, k, v), theirs.numpy())


def test_single_precision():
    arrays = RNG.standard_normal((4, 2, 2, 200, 16))
    found = []
    for dtype in ("float32", "float64"):
        q, k, v, c = (gx.input(s, (2, 2, 200, 16), dtype) for s in "qkvc")
        out = nn.scaled_dot_product_attention(q, k, v, causal=True)
        f = gx.function([q, k, v, c], [out, *gx.grad(gx.sum(out * c), [q, k, v])])
        found.append(f(*arrays.astype(dtype)))
    for single, double in zip(*found, strict=True):
        np.testing.assert_allclose(single, double, rtol=2e-4, atol=2e-5)


def test_memory_grows_with_the_length():
    sizes = []
    for length in (512, 1024):
        q, k, v = (gx.input(s, (1, 2, length, 16), "float64") for s in "qkv")
        out = nn.scaled_dot_product_attention(q, k, v, causal=True)
        f = gx.function([q, k, v], [out, *gx.grad(gx.sum(gx.sin(out)), [q, k, v])])
        sizes.append(f.report.arena_bytes)
    assert sizes[1] <= 2.1 * sizes[0] < 2.1 * 16 * 8 * 2 * 512 * 16


def test_a_query_without_a_key_is_zero():
    mask = np.array([[True, True], [False, False]])
    q, k, v = (gx.input(s, (2, 3), "float64") for s in "qkv")
    for given in (mask, np.where(mask, 0.0, -np.inf)):
        out = nn.scaled_dot_product_attention(q, k, v, mask=given)
        f = gx.function([q, k, v], [out, *gx.grad(gx.sum(gx.sin(out)), [q, k, v])])
        value, *slopes = f(*RNG.standard_normal((3, 2, 3)))
        assert value[0].all()
        assert not value[1].any()
        assert np.isfinite(slopes).all()
        assert not slopes[0][1].any()


def test_what_lies_behind_the_end_is_not_looked_at():
    shape = (3, 2, 40, 4)
    q, k, v = (gx.input(s, shape, "float64") for s in "qkv")
    out = nn.scaled_dot_product_attention(q, k, v, key_lengths=np.array([4, 0, 39]))
    slopes = gx.grad(gx.sum(gx.sin(out)), [q, k, v])
    second = gx.grad(sum(gx.sum(gx.sin(g)) for g in slopes), q)
    f = gx.function([q, k, v], [out, *slopes, second])
    Q, K, V = RNG.standard_normal((3, *shape))
    before = f(Q, K, V)
    for n, count in enumerate((4, 0, 39)):
        K[n, :, count:] = V[n, :, count:] = np.nan
    for one, other in zip(before, f(Q, K, V), strict=True):
        np.testing.assert_array_equal(one, other)


def test_views_are_read_where_they_lie():
    x = gx.input("x", (None, 20, 3, 2, 4), "float64")
    q, k, v = (gx.permute_dims(x[:, :, n], (0, 2, 1, 3)) for n in range(3))
    out = nn.scaled_dot_product_attention(q, k, v, causal=True)
    f = gx.function(x, [out, gx.grad(gx.sum(gx.sin(out)), x)])
    X = RNG.standard_normal((3, 20, 3, 2, 4))
    y = [gx.input(s, (None, 2, 20, 4), "float64") for s in "qkv"]
    plain = nn.scaled_dot_product_attention(*y, causal=True)
    g = gx.function(y, [plain, *gx.grad(gx.sum(gx.sin(plain)), y)])
    for count in (3, 1, 2):
        value, slope = f(X[:count])
        wanted, *parts = g(*(np.swapaxes(X[:count, :, n], 1, 2).copy() for n in range(3)))
        close(value, wanted)
        close(slope, np.stack([np.swapaxes(p, 1, 2) for p in parts], 2))
    assert [k.computes for k in f.report.kernels if k.phase == "forward"] == ["attention"]


def test_vectors_whose_elements_lie_apart():
    shapes = ((2, 2, 5, 40), (2, 2, 5, 150), (2, 2, 6, 150))
    turned = [gx.input(s, shape, "float64") for s, shape in zip("qkv", shapes, strict=True)]
    out = nn.scaled_dot_product_attention(*map(gx.matrix_transpose, turned))
    f = gx.function(turned, [out, *gx.grad(gx.sum(gx.sin(out)), turned)])
    arrays = [RNG.standard_normal(s) for s in shapes]
    graph = Graph(turned, {str(n): t for n, t in enumerate(f.graph.outputs.values())})
    values = evaluate(list(graph.outputs.values()), dict(zip(turned, arrays, strict=True)))
    for got, tensor in zip(f(*arrays), graph.outputs.values(), strict=True):
        close(got, values[tensor])


def test_a_length_that_is_open():
    q, k, v = (gx.input(s, ("n", 2, "t", 4), "float64") for s in "qkv")
    out = nn.scaled_dot_product_attention(q, k, v, causal=True)
    f = gx.function([q, k, v], [out, *gx.grad(gx.sum(gx.sin(out)), [q, k, v])])
    for n, t in ((1, 1), (2, 50), (3, 9)):
        arrays = RNG.standard_normal((3, n, 2, t, 4))
        fixed = [gx.input(s, (n, 2, t, 4), "float64") for s in "qkv"]
        same = nn.scaled_dot_product_attention(*fixed, causal=True)
        g = gx.function(fixed, [same, *gx.grad(gx.sum(gx.sin(same)), fixed)])
        for got, wanted in zip(f(*arrays), g(*arrays), strict=True):
            close(got, wanted)


def test_gradients_by_a_mask_and_by_what_a_bias_is_made_of():
    torch = pytest.importorskip("torch")
    arrays = RNG.standard_normal((3, 2, 4, 9, 5))
    M = RNG.standard_normal((4, 1, 9))
    q, k, v = (gx.input(s, (2, 4, 9, 5), "float64") for s in "qkv")
    slopes, mask = gx.input("slopes", (4, 1, 1), "float64"), gx.input("mask", M.shape, "float64")
    out = nn.scaled_dot_product_attention(
        q, k, v, mask=mask, bias=lambda i, j: slopes * slopes * (j - i)
    )
    given = [q, k, v, slopes, mask]
    first = gx.grad(gx.sum(gx.sin(out)), given)
    second = gx.grad(sum(gx.sum(gx.sin(g)) for g in first), given)
    along = [RNG.standard_normal(x.shape) for x in given]
    moved = gx.jvp([out, *first], given, [gx.constant(t) for t in along])
    got = gx.function(given, [out, *first, *second, *moved])(*arrays, SLOPES, M)
    xs = [torch.tensor(a, requires_grad=True) for a in (*arrays, SLOPES, M)]
    apart = torch.arange(9)[None] - torch.arange(9)[:, None]

    def attended(q, k, v, slopes, mask):
        s = q @ k.transpose(2, 3) / math.sqrt(5) + mask + slopes**2 * apart
        return torch.softmax(s, -1) @ v

    value = attended(*xs)
    by = torch.autograd.grad(value.sin().sum(), xs, create_graph=True)
    again = torch.autograd.grad(sum(g.sin().sum() for g in by), xs, retain_graph=True)
    for mine, theirs in zip(got, [value, *by, *again], strict=False):
        close(mine, theirs.detach().numpy(), 1e-9)
    ways = [torch.tensor(t) for t in along]
    close(got[11], tangent(torch, attended, xs, ways), 1e-9)
    whole = sum((g * t).sum() for g, t in zip(by, ways, strict=True))
    for mine, theirs in zip(got[12:], torch.autograd.grad(whole, xs), strict=True):
        close(mine, theirs.numpy(), 1e-9)


def dropped(p, causal=False):
    """Return inputs, attention of which weights are dropped, and its derivatives."""
    q, k, v = (gx.input(s, (2, 2, 40, 40), "float64") for s in "qkv")
    out = nn.scaled_dot_product_attention(q, k, v, causal=causal, dropout=p)
    first = gx.grad(gx.sum(gx.sin(out)), [q, k, v])
    return [q, k, v], out, [*first, gx.grad(sum(gx.sum(gx.sin(g)) for g in first), v)]


def test_dropped_weights():
    inputs, out, slopes = dropped(0.25, causal=True)
    assert out.op.name == "dropped_attention"
    f = gx.function(inputs, [out, *slopes], nn.state_updates([out]))
    Q, K, _ = RNG.standard_normal((3, 2, 2, 40, 40))
    V = np.broadcast_to(np.eye(40), Q.shape)
    graph = Graph(inputs, {"out": out})
    masks = []
    for _ in range(3):
        feeds = dict(zip(inputs, (Q, K, V), strict=True))
        wanted = evaluate([out, *slopes], feeds)
        for got, tensor in zip(f(Q, K, V), [out, *slopes], strict=True):
            if tensor is out:
                masks.append(got == 0)
            close(got, wanted[tensor])
    assert (masks[0] != masks[1]).any()
    assert (masks[1] != masks[2]).any()
    below = np.tril(np.ones((40, 40), bool))
    assert abs(masks[0][:, :, below].mean() - 0.25) < 0.03
    kept = nn.inference_form(graph).outputs["out"]
    plain = gx.function(inputs, kept)(Q, K, V)
    assert not (plain == 0)[:, :, below].any()
    close(plain.sum(-1), 1.0)


def test_dropped_weights_of_one_query():
    q, k = gx.input("q", (2, 2, 1, 8), "float64"), gx.input("k", (2, 2, 600, 8), "float64")
    v = gx.constant(np.broadcast_to(np.eye(250)[np.arange(600) % 250], (2, 2, 600, 250)))
    out = nn.scaled_dot_product_attention(q, k, v, dropout=0.25)
    slopes = gx.grad(gx.sum(gx.sin(out)), [q, k])
    f = gx.function([q, k], [out, *slopes])
    Q, K = RNG.standard_normal((2, 2, 1, 8)), RNG.standard_normal((2, 2, 600, 8))
    found = f(Q, K)
    wanted = evaluate([out, *slopes], {q: Q, k: K})
    for got, tensor in zip(found, [out, *slopes], strict=True):
        close(got, wanted[tensor])


def test_dropout_of_all_and_of_none():
    inputs, out, slopes = dropped(1.0)
    f = gx.function(inputs, [out, *slopes])
    assert not any(x.any() for x in f(*RNG.standard_normal((3, 2, 2, 40, 40))))
    inputs, out, _ = dropped(0.0)
    assert not Graph(inputs, {"out": out}).parameters


def test_wide_heads_are_a_formula():
    arrays = RNG.standard_normal((3, 1, 1, 9, 300))
    found = []
    for width in (300, 256):
        q, k, v = (gx.input(s, (1, 1, 9, width), "float64") for s in "qkv")
        out = nn.scaled_dot_product_attention(q, k, v, causal=True, scale=0.1)
        f = gx.function([q, k, v], [out, *gx.grad(gx.sum(out), [q, k, v])])
        given = arrays[..., :width].copy()
        if width == 300:
            arrays[:2, ..., 256:] = 0
        found.append(f(*(arrays[..., :width] if width == 300 else given)))
    close(found[0][0][..., :256], found[1][0])
    with pytest.raises(ArgumentError, match="dropout of heads wider than 256"):
        nn.scaled_dot_product_attention(*(gx.input(s, (1, 300)) for s in "qkv"), dropout=0.5)


def small(queries):
    """Return a function that uses all kinds of blocks, and what it is called with."""
    shapes = ((1, 2, queries, 3), (1, 1, 70, 3), (1, 1, 70, 4))
    inputs = [gx.input(s, shape) for s, shape in zip("qkv", shapes, strict=True)]
    mask = boolean(2, queries, 70)
    out = nn.scaled_dot_product_attention(
        *inputs, mask=mask, window=30, enable_gqa=True, bias=nn.alibi(2),
        key_lengths=np.array([60]),
    )  # fmt: skip
    outputs = [out, *gx.grad(gx.sum(gx.sin(out)), inputs)]
    return inputs, outputs, [RNG.standard_normal(s).astype("float32") for s in shapes]


@pytest.mark.parametrize("queries", [35, 1])
def test_the_text_runs_as_python_and_by_numba(queries):
    inputs, outputs, arrays = small(queries)
    values = evaluate(outputs, dict(zip(inputs, arrays, strict=True)))
    for way in ("llvm", "numba", "python"):
        with (
            plain_python(way == "python"),
            gx.config(compiler="numba" if way == "numba" else "llvm"),
        ):
            got = gx.function(inputs, outputs)(*arrays)
        for found, tensor in zip(got, outputs, strict=True):
            np.testing.assert_allclose(found, values[tensor], rtol=1e-4, atol=1e-5, err_msg=way)


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler: install cc")
@pytest.mark.parametrize("queries", [35, 1])
def test_kernels_in_c(tmp_path, queries):
    inputs, outputs, arrays = small(queries)
    f = gx.function(inputs, outputs)
    before = [x.copy() for x in f(*arrays)]
    texts = texts_of(f._executable)
    assert {"attention", "attention_gradient"} <= {t.what for t in texts.values()}
    library = CLibrary(tmp_path, texts.values())
    library.replace(f._executable)
    for got, wanted in zip(f(*arrays), before, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shapes", "options", "error", "said"),
    [
        (((2, 3), (2, 4), (2, 3)), {}, ShapeError, "one number of features"),
        (((2, 3), (4, 3), (5, 3)), {}, ShapeError, "one length"),
        (((3,), (4, 3), (4, 3)), {}, ShapeError, "length, features"),
        (((2, 1, 4, 3), (3, 1, 4, 3), (3, 1, 4, 3)), {}, ShapeError, "broadcast"),
        (((1, 3, 4, 3), *((1, 2, 4, 3),) * 2), {"enable_gqa": True}, ShapeError, "cannot share"),
        (((4, 3),) * 3, {"mask": np.ones((5, 4), bool)}, ShapeError, "does not broadcast"),
        (((4, 3),) * 3, {"mask": np.ones((4, 4), int)}, DTypeError, "booleans, or numbers"),
        (((4, 3),) * 3, {"key_lengths": np.array([1.0])}, DTypeError, "must be integers"),
        (((2, 4, 3),) * 3, {"key_lengths": np.array([1, 2, 3])}, ShapeError, "one for each sample"),
        (((4, 3),) * 3, {"window": 0}, ArgumentError, "at least 1"),
        (((4, 3),) * 3, {"dropout": 1.5}, ArgumentError, "dropout must be in"),
        (((4, 3),) * 3, {"scale": "big"}, DTypeError, "scale must be a number"),
        (((4, 3),) * 3, {"attn_mask": None}, DTypeError, "'attn_mask'; use mask"),
        (((4, 3),) * 3, {"is_causal": True}, DTypeError, "'is_causal'; use causal"),
        (((4, 3),) * 3, {"masc": None}, DTypeError, "takes no argument 'masc'"),
        (((4, 3),) * 3, {"bias": 3}, DTypeError, "function of two places"),
        (((4, 3),) * 3, {"bias": lambda i, j: i + np.ones((4, 4))}, ShapeError, "heads, 1, 1"),
        (((4, 3),) * 3, {"bias": lambda i, j: gx.sum(i + np.ones(2))}, ArgumentError, "element"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(shapes, options, error, said):
    inputs = [gx.input(s, shape) for s, shape in zip("qkv", shapes, strict=True)]
    with pytest.raises(error, match=said) as caught:
        nn.scaled_dot_product_attention(*inputs, **options)
    assert "test_attention.py" in str(caught.value)
