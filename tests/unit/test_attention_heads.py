"""Heads of attention, however many leading axes there are, and what a bias holds for each."""

import numpy as np
import pytest

import graphc as gx
from graphc import nn
from graphc.errors import ShapeError

RNG = np.random.default_rng(5)
SLOPES = np.array([0.5, -0.25]).reshape(2, 1, 1)


def attention(q, **options):
    return nn.scaled_dot_product_attention(q, q, q, **options)


def close(got, wanted):
    np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("heads", "bias"),
    [
        (4, nn.alibi(2)),
        (4, nn.alibi(3)),
        (4, nn.alibi(8)),
        (2, lambda i, j: np.ones((3, 1, 1)) * (i - j)),
        (2, lambda i, j: np.ones((5, 2, 1, 1)) * (i - j)),
    ],
)
@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_a_bias_of_other_heads_is_refused(heads, bias, batch):
    q = gx.input("q", (*batch, heads, 6, 8))
    with pytest.raises(ShapeError, match=r"broadcast to \(.*, 1, 1\)") as caught:
        attention(q, bias=bias)
    assert "test_attention_heads.py" in str(caught.value)


@pytest.mark.parametrize("bias", [nn.alibi(2), lambda i, j: SLOPES * (j - i)])
@pytest.mark.parametrize("lengths", [None, np.array([3, 5])])
def test_three_axes_are_heads(bias, lengths):
    """The first of three axes is that of heads, in values and in derivatives of two orders."""
    q = gx.input("q", (2, 6, 4), "float64")
    alone = attention(q, bias=bias, key_lengths=lengths)
    mask = None if lengths is None else np.arange(6) < lengths.reshape(2, 1, 1)
    batched = attention(q[None], bias=bias, mask=mask)[0]
    found = []
    for out in (alone, batched):
        first = gx.grad(gx.sum(gx.sin(out)), q)
        found += [out, first, gx.grad(gx.sum(gx.sin(first)), q)]
    found = gx.function([q], found)(RNG.standard_normal((2, 6, 4)))
    for got, wanted in zip(found[:3], found[3:], strict=True):
        close(got, wanted)
    assert np.abs(found[0][0] - found[0][1]).max() > 1e-3


def test_a_bias_of_samples_and_heads():
    slopes = RNG.standard_normal((2, 3, 4, 1, 1))
    q = gx.input("q", (2, 3, 4, 6, 5), "float64")
    places = np.arange(6)
    mask = slopes * (places - places[:, None])
    got = attention(q, bias=lambda i, j: slopes * (j - i))
    array = RNG.standard_normal(q.shape)
    close(*gx.function([q], [got, attention(q, mask=mask)])(array))


def test_a_function_of_one_sample_is_that_of_many():
    q = gx.input("q", (3, 2, 6, 8), "float64")
    mapped = gx.vmap(lambda one: attention(one, bias=nn.alibi(2)))(q)
    array = RNG.standard_normal(q.shape)
    close(*gx.function([q], [mapped, attention(q, bias=nn.alibi(2))])(array))


@pytest.mark.parametrize("options", [{}, {"is_causal": True}])
def test_groups_of_three_axes_are_pytorchs(options):
    torch = pytest.importorskip("torch")
    arrays = [RNG.standard_normal((heads, 6, 8)) for heads in (4, 2, 2)]
    q, k, v = inputs = [gx.input(s, a.shape, "float64") for s, a in zip("qkv", arrays, strict=True)]
    out = nn.scaled_dot_product_attention(
        q, k, v, causal=bool(options), enable_gqa=True, key_lengths=np.array(6), bias=None
    )
    own = torch.nn.functional.scaled_dot_product_attention
    theirs = own(*(torch.tensor(a) for a in arrays), enable_gqa=True, **options)
    close(gx.function(inputs, out)(*arrays), theirs.numpy())


def test_groups_of_three_axes_with_a_bias_of_heads():
    arrays = [RNG.standard_normal((heads, 6, 8)) for heads in (4, 2, 2)]
    inputs = [gx.input(s, a.shape, "float64") for s, a in zip("qkv", arrays, strict=True)]
    options = {"enable_gqa": True, "bias": nn.alibi(4)}
    alone = nn.scaled_dot_product_attention(*inputs, **options)
    batched = nn.scaled_dot_product_attention(*(x[None] for x in inputs), **options)[0]
    close(*gx.function(inputs, [alone, batched])(*arrays))


@pytest.mark.parametrize("queries", [1, 40])
@pytest.mark.parametrize(
    "bias", [lambda i, j: 0.1 * (i + 2 * j), lambda i, j: gx.sin(i - j) / 3 + gx.sqrt(i + j)]
)
def test_a_bias_is_computed_in_the_type_of_queries(bias, queries):
    q = gx.input("q", (1, 2, queries, 8), "float64")
    k = gx.input("k", (1, 2, 50, 8), "float64")
    i, j = np.arange(queries)[:, None], np.arange(50)[None]
    mask = exact(bias, i, j)
    outs = [nn.scaled_dot_product_attention(q, k, k, **o) for o in ({"bias": bias}, {"mask": mask})]
    got, wanted = gx.function([q, k], outs)(*(RNG.standard_normal(x.shape) for x in (q, k)))
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


def exact(bias, i, j):
    """Return a bias of doubles."""
    places = [gx.constant(x.astype("float64")) for x in (i, j)]
    return gx.function([], bias(*places))()
