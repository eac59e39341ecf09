"""Layers of transformers beside PyTorch's: values and gradients, with PyTorch's weights."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.nn.torch_weights import _named
from tests.layers import same

RNG = np.random.default_rng(0)
N, L, S, E, H = 2, 5, 7, 12, 3


def torch():
    return pytest.importorskip("torch")


def beside(layer, module, shapes, ours=None, theirs=None, call=None):
    """Compare outputs and gradients by inputs and weights, in float64."""
    t = torch()
    layer.load_torch(module.state_dict())
    arrays = [RNG.standard_normal(s) for s in shapes]
    inputs = [gx.input(f"x{n}", s, "float64") for n, s in enumerate(shapes)]
    outputs = as_list((call or (lambda f, x, o: f(*x, **o)))(layer, inputs, ours or {}))
    named = dict(_named(layer))
    weights = [named[name][0] for name, _ in module.named_parameters()]
    loss = sum(gx.sum(gx.sin(y) * 0.7 + y * y * (0.3 + k)) for k, y in enumerate(outputs))
    slopes = gx.grad(loss, [*inputs, *weights], unconnected="zero")
    found = gx.function(inputs, [*outputs, *slopes])(*arrays)

    xs = [t.tensor(a, requires_grad=True) for a in arrays]
    results = as_list((call or (lambda f, x, o: f(*x, **o)))(module, xs, theirs or ours or {}))
    total = sum((y.sin() * 0.7 + y * y * (0.3 + k)).sum() for k, y in enumerate(results))
    by = t.autograd.grad(total, [*xs, *module.parameters()], allow_unused=True)
    turned = [False] * len(xs) + [named[name][1] for name, _ in module.named_parameters()]
    wanted = [y.detach().numpy() for y in results]
    for g, turn, like in zip(by, turned, [*xs, *module.parameters()], strict=True):
        array = np.zeros(like.shape) if g is None else g.numpy()
        wanted.append(array.T if turn else array)
    assert len(found) == len(wanted)
    for number, (mine, other) in enumerate(zip(found, wanted, strict=True)):
        same(mine, other, f"output or gradient {number}")


def as_list(x):
    return [y for y in x if y is not None] if isinstance(x, (tuple, list)) else [x]


def boolean(*shape):
    mask = RNG.random(shape) < 0.3
    mask[..., 0] = False
    return mask


def both(value):
    """Return options with arrays for graphc, and with tensors for PyTorch."""
    theirs = {k: torch().tensor(v) if isinstance(v, np.ndarray) else v for k, v in value.items()}
    return value, theirs


ATTENTION = {
    "plain": ({}, {}),
    "no bias": ({"bias": False}, {}),
    "bias_kv": ({"add_bias_kv": True}, {}),
    "zero": ({"add_zero_attn": True}, {"key_padding_mask": boolean(N, S)}),
    "both added": ({"add_bias_kv": True, "add_zero_attn": True}, {"attn_mask": boolean(L, S)}),
    "widths": ({"kdim": 4, "vdim": 6}, {}),
    "kdim": ({"kdim": 4, "bias": False}, {}),
    "padding": ({}, {"key_padding_mask": boolean(N, S)}),
    "mask": ({}, {"attn_mask": boolean(L, S)}),
    "mask of heads": ({}, {"attn_mask": boolean(N * H, L, S)}),
    "numbers": ({}, {"attn_mask": RNG.standard_normal((L, S))}),
    "both masks": ({}, {"attn_mask": boolean(L, S), "key_padding_mask": boolean(N, S)}),
    "both as numbers": (
        {},
        {"attn_mask": RNG.standard_normal((L, S)), "key_padding_mask": RNG.standard_normal((N, S))},
    ),
    "weights of heads": ({}, {"average_attn_weights": False}),
    "without weights": ({}, {"need_weights": False}),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_of_heads(name):
    made, called = ATTENTION[name]
    module = torch().nn.MultiheadAttention(E, H, batch_first=True, dtype=torch().float64, **made)
    layer = nn.MultiheadAttention(E, H, dtype="float64", **made)
    shapes = [(N, L, E), (N, S, made.get("kdim", E)), (N, S, made.get("vdim", E))]
    beside(layer, module, shapes, *both(called))


def test_self_attention():
    module = torch().nn.MultiheadAttention(E, H, batch_first=True, dtype=torch().float64)
    layer = nn.MultiheadAttention(E, H, dtype="float64")
    mask = np.triu(np.ones((L, L), bool), 1)
    mine = {"is_causal": True}
    theirs = {"attn_mask": torch().tensor(mask)}
    beside(layer, module, [(N, L, E)], mine, theirs, lambda f, x, o: f(x[0], x[0], x[0], **o))
    beside(layer, module, [(L, E)], mine, theirs, lambda f, x, o: f(x[0], x[0], x[0], **o))
    beside(layer, module, [(N, L, E), (N, S, E)], {}, {}, lambda f, x, o: f(x[0], x[1], x[1], **o))
    x = gx.input("x", (None, L, E), "float64")
    assert layer(x)[0].type == x.type
    one, two = layer(x), layer(x, x, x)
    X = RNG.standard_normal((N, L, E))
    for a, b in zip(*gx.function(x, [one, two])(X), strict=True):
        np.testing.assert_array_equal(a, b)


def test_causal_with_added_keys():
    made = {"add_bias_kv": True, "add_zero_attn": True}
    module = torch().nn.MultiheadAttention(E, H, batch_first=True, dtype=torch().float64, **made)
    layer = nn.MultiheadAttention(E, H, dtype="float64", **made)
    mask = np.triu(np.ones((L, L), bool), 1)
    theirs = {"attn_mask": torch().tensor(mask)}
    beside(layer, module, [(N, L, E)], {"is_causal": True}, theirs,
           lambda f, x, o: f(x[0], x[0], x[0], **o))  # fmt: skip


OPTIONS = {
    "plain": {},
    "norm first": {"norm_first": True},
    "gelu": {"activation": "gelu"},
    "eps, no bias": {"layer_norm_eps": 1e-2, "bias": False},
}
MASKS = {
    "none": {},
    "masks": {"src_mask": boolean(L, L), "src_key_padding_mask": boolean(N, L)},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("masks", MASKS)
def test_layers_of_an_encoder(name, masks):
    given = {"dim_feedforward": 20, "dropout": 0.0, **OPTIONS[name]}
    module = torch().nn.TransformerEncoderLayer(
        E, H, batch_first=True, dtype=torch().float64, **given
    )
    layer = nn.TransformerEncoderLayer(E, H, dtype="float64", **given)
    beside(layer, module, [(N, L, E)], *both(MASKS[masks]))


@pytest.mark.parametrize("name", OPTIONS)
def test_layers_of_a_decoder(name):
    given = {"dim_feedforward": 20, "dropout": 0.0, **OPTIONS[name]}
    module = torch().nn.TransformerDecoderLayer(
        E, H, batch_first=True, dtype=torch().float64, **given
    )
    layer = nn.TransformerDecoderLayer(E, H, dtype="float64", **given)
    masks = {
        "tgt_mask": boolean(L, L), "memory_mask": boolean(L, S),
        "tgt_key_padding_mask": boolean(N, L), "memory_key_padding_mask": boolean(N, S),
    }  # fmt: skip
    beside(layer, module, [(N, L, E), (N, S, E)], *both(masks))


def test_an_activation_may_be_a_function():
    module = torch().nn.TransformerEncoderLayer(
        E, H, 20, 0.0, torch().tanh, batch_first=True, dtype=torch().float64
    )
    beside(nn.TransformerEncoderLayer(E, H, 20, 0.0, gx.tanh, dtype="float64"), module, [(N, L, E)])


NESTED = "ignore:enable_nested_tensor is True"
"""What PyTorch says of an odd number of heads."""


@pytest.mark.filterwarnings(NESTED)
def test_a_whole_transformer():
    t = torch()
    given = (E, H, 2, 2, 20, 0.0)
    module = t.nn.Transformer(*given, batch_first=True, dtype=t.float64)
    layer = nn.Transformer(*given, dtype="float64")
    mask = nn.Transformer.generate_square_subsequent_mask(L)
    np.testing.assert_array_equal(mask, t.nn.Transformer.generate_square_subsequent_mask(L).numpy())
    masks = {"tgt_mask": mask.astype("float64"), "src_key_padding_mask": boolean(N, S),
             "memory_key_padding_mask": boolean(N, S)}  # fmt: skip
    masks["src_key_padding_mask"] = np.where(masks["src_key_padding_mask"], -np.inf, 0.0)
    masks["memory_key_padding_mask"] = np.where(masks["memory_key_padding_mask"], -np.inf, 0.0)
    beside(layer, module, [(N, S, E), (N, L, E)], *both(masks))
    src, tgt = gx.input("src", (N, S, E), "float64"), gx.input("tgt", (N, L, E), "float64")
    causal = layer(src, tgt, tgt_is_causal=True)
    masked = layer(src, tgt, tgt_mask=mask.astype("float64"))
    f = gx.function([src, tgt], [causal, masked])
    same(*f(RNG.standard_normal((N, S, E)), RNG.standard_normal((N, L, E))), "causal")


@pytest.mark.filterwarnings(NESTED)
def test_parts_are_named_as_in_pytorch():
    layer = nn.Transformer(E, H, 1, 1, 20, 0.0)
    theirs = torch().nn.Transformer(E, H, 1, 1, 20, batch_first=True)
    assert {n for n, _ in _named(layer)} == {n for n, _ in theirs.named_parameters()}
    src, tgt = gx.input("src", (N, S, E)), gx.input("tgt", (N, L, E))
    f = gx.function([src, tgt], layer(src, tgt))
    found = nn.parameter_names(f.graph.parameters).values()
    assert {n.removeprefix("transformer_0.") for n in found} == {n for n, _ in _named(layer)}


def test_weights_begin_as_in_pytorch():
    x = gx.input("x", (None, L, 64))
    layers = [nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0), nn.MultiheadAttention(64, 4)]
    outputs = [layers[0](x), layers[1](x)[0]]
    f = gx.function(x, outputs)
    f(np.zeros((1, L, 64), "float32"))
    t = torch()
    t.manual_seed(0)
    modules = [t.nn.TransformerEncoderLayer(64, 4, 128), t.nn.MultiheadAttention(64, 4)]
    for layer, module in zip(layers, modules, strict=True):
        own = dict(_named(layer))
        for name, p in module.named_parameters():
            mine, theirs = own[name][0].op.cell.array, p.detach().numpy()
            assert abs(mine.std() - theirs.std()) < 0.3 * theirs.std() + 1e-6, name
            assert abs(np.abs(mine).max() - np.abs(theirs).max()) < 0.2 * theirs.max() + 1e-6, name


def test_a_cache_goes_on_from_where_it_was():
    layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(E, H, 20, 0.0, dtype="float64"), 2)
    x = gx.input("x", (N, 9, E), "float64")
    whole = gx.function(x, layers(x, is_causal=True))
    X = RNG.standard_normal((N, 9, E))
    wanted = whole(X)
    caches = layers.cache(N, 9)
    steps = {}
    for count in (1, 4):
        part = gx.input("x", (N, count, E), "float64")
        out, after = layers(part, cache=caches)
        updates = {
            k: v for c, a in zip(caches, after, strict=True) for k, v in c.updates(a).items()
        }
        steps[count] = gx.function(part, out, updates=updates)
    at = 0
    for count in (4, 1, 1, 1, 1, 1):
        same(steps[count](X[:, at : at + count]), wanted[:, at : at + count], f"from {at}")
        at += count
    with pytest.raises(IndexError, match="9"):  # there is no room
        steps[1](X[:, :1])
    copies = [k for k in steps[1].report.kernels if k.computes == "copy"]
    assert not copies, "the cache is written in place"


def test_a_cache_with_rotary_positions():
    layer = nn.MultiheadAttention(E, H, rotary=100.0, dtype="float64")
    x, one = gx.input("x", (N, 6, E), "float64"), gx.input("one", (N, 1, E), "float64")
    X = RNG.standard_normal((N, 6, E))
    wanted = gx.function(x, layer(x, is_causal=True)[0])(X)
    cache = layer.cache(N, 8)
    out, weights, after = layer(one, cache=cache)
    step = gx.function(one, [out, weights], updates=cache.updates(after))
    for at in range(6):
        found, share = step(X[:, at : at + 1])
        same(found, wanted[:, at : at + 1], f"token {at}")
        assert share.shape == (N, 1, 8)
        np.testing.assert_allclose(share[:, 0, : at + 1].sum(-1), 1.0)


@pytest.mark.parametrize("options", [
    {"window": 2}, {"window": 1}, {"bias": nn.alibi(H)}, {"window": 3, "bias": nn.alibi(H)},
    {"bias": lambda i, j: gx.sin(0.3 * i * j)},
])  # fmt: skip
@pytest.mark.parametrize("parts", [(1,) * 6, (3, 3), (2, 1, 3)])
def test_places_of_queries_go_on_with_a_cache(options, parts):
    layer = nn.MultiheadAttention(E, H, dtype="float64")
    x = gx.input("x", (N, 6, E), "float64")
    X = RNG.standard_normal((N, 6, E))
    wanted, shares = gx.function(x, list(layer(x, is_causal=True, **options)))(X)
    cache, steps, at = layer.cache(N, 8), {}, 0
    for count in set(parts):
        some = gx.input("some", (N, count, E), "float64")
        *found, after = layer(some, cache=cache, **options)
        steps[count] = gx.function(some, found, updates=cache.updates(after))
    for count in parts:
        found, share = steps[count](X[:, at : at + count])
        same(found, wanted[:, at : at + count], f"tokens from {at}")
        same(share[..., :6], shares[:, at : at + count], f"weights from {at}")
        at += count


def test_dropout_is_for_training():
    x, y = gx.input("x", (None, L, E)), gx.input("y", (None, L, E))
    out = nn.TransformerEncoderLayer(E, H, 20, 0.5)(x, is_causal=True)
    model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                     optimizer=optim.SGD(0.0), seed=0)  # fmt: skip
    X = RNG.standard_normal((8, L, E)).astype("float32")
    np.testing.assert_array_equal(model.predict(X), model.predict(X))
    losses = [model.train_step(X, X) for _ in range(3)]
    assert len(set(losses)) == 3


# -- positions -------------------------------------------------------------------------------------


def test_rotary_products_depend_on_distances():
    q, k = RNG.standard_normal((2, 10, 8))
    a, b = gx.input("a", (10, 8), "float64"), gx.input("b", (10, 8), "float64")
    start = gx.input("start", (), "int64")
    for interleaved in (False, True):
        places = start + np.arange(10)
        turned = [nn.rotary(x, places, interleaved=interleaved) for x in (a, b)]
        f = gx.function([a, b, start], turned[0] @ gx.matrix_transpose(turned[1]))
        np.testing.assert_allclose(f(q, k, 0), f(q, k, 123), rtol=1e-9, atol=1e-9)
        one = gx.function(a, nn.rotary(a, interleaved=interleaved))(q)
        pairs = (0, 1) if interleaved else (0, 4)
        turns = np.exp(1j * np.arange(10))
        z = (q[:, pairs[0]] + 1j * q[:, pairs[1]]) * turns
        np.testing.assert_allclose(one[:, pairs[0]] + 1j * one[:, pairs[1]], z, rtol=1e-12)
    with pytest.raises(ShapeError, match="even size"):
        nn.rotary(gx.input("x", (3, 5)))
    with pytest.raises(ShapeError, match=r"axes \(\.\.\., T, d\)"):
        nn.rotary(gx.zeros((4,)))
    with pytest.raises(DTypeError, match=r"floating-point(.|\n)*test_transformer\.py"):
        nn.rotary(gx.zeros((3, 4), dtype="int64"))


def test_sinusoidal_positions():
    table = nn.sinusoidal(6, 5)
    for place in range(6):
        for k in range(5):
            angle = place / 10000 ** (2 * (k // 2) / 5)
            assert abs(table[place, k] - (np.cos if k % 2 else np.sin)(angle)) < 1e-12
    x = gx.input("x", (None, 4, 5))
    layer = nn.SinusoidalPositions(5, 6)
    X = RNG.standard_normal((2, 4, 5)).astype("float32")
    start = gx.input("start", (), "int64")
    whole, moved = gx.function([x, start], [layer(x), layer(x, start)])(X, 2)
    np.testing.assert_allclose(whole, X + table[:4], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moved, X + table[2:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [nn.SinusoidalPositions, lambda e, n: nn.LearnedPositions(n, e)])
def test_positions_that_a_table_does_not_have(make):
    layer, x = make(4, 5), gx.input("x", (2, 4))
    for start in (4, -1, np.int64(7)):
        with pytest.raises(IndexError, match=r"among the 5(.|\n)*test_transformer\.py"):
            layer(x, start=start)
    assert layer(x, start=3).type == layer(x, start=np.int64(0)).type == x.type
    with pytest.raises(ShapeError, match="does not fit"):
        layer(gx.input("x", (4,)))
    with pytest.raises(DTypeError, match="floating-point"):
        layer(gx.input("x", (2, 4), "int64"))


def test_sinusoidal_positions_in_double_precision():
    x = gx.input("x", (7, 6), "float64")
    X = RNG.standard_normal((7, 6))
    got = gx.function(x, nn.SinusoidalPositions(6, 9)(x, start=2))(X)
    np.testing.assert_allclose(got, X + nn.sinusoidal(9, 6)[2:], rtol=1e-15, atol=1e-15)


def test_learned_positions():
    layer = nn.LearnedPositions(6, 5)
    x = gx.input("x", (None, 4, 5))
    f = gx.function(x, [layer(x), layer(x, 2), gx.grad(gx.sum(layer(x)), layer.weight)])
    X = RNG.standard_normal((2, 4, 5)).astype("float32")
    whole, moved, slope = f(X)
    weight = layer.weight.op.cell.array
    np.testing.assert_allclose(whole, X + weight[:4], rtol=1e-6)
    np.testing.assert_allclose(moved, X + weight[2:], rtol=1e-6)
    np.testing.assert_array_equal(slope, np.repeat([2.0] * 4 + [0.0] * 2, 5).reshape(6, 5))
    with pytest.raises(ShapeError, match="does not fit"):
        layer(gx.input("x", (None, 7, 5)))


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: nn.MultiheadAttention(12, 5), ArgumentError, "multiple of num_heads"),
        (lambda: nn.MultiheadAttention(12, 3, batch_first=False), ArgumentError, "batch_first"),
        (lambda: nn.MultiheadAttention(12, 3, dropout=2.0), ArgumentError, "dropout must be in"),
        (lambda: nn.TransformerEncoderLayer(12, 3, activation="tan"), ArgumentError, "one of"),
        (lambda: nn.TransformerEncoderLayer(12, 3, activation=3), DTypeError, "name or a function"),
        (lambda: nn.TransformerEncoder(nn.Linear(3, 3), 2), DTypeError, "TransformerEncoderLayer"),
        (lambda: nn.TransformerEncoder(encoder_layer(), 2, norm="layer"), DTypeError,
         "norm must be a layer"),
        (lambda: nn.MultiheadAttention(12, 3)(gx.input("x", (12,))), ShapeError, "axes"),
        (lambda: nn.MultiheadAttention(12, 3)(gx.input("x", (2, 5, 8))), ShapeError,
         r"query of axes \(N, length, 12\)"),
        (lambda: nn.MultiheadAttention(12, 3, kdim=4)(*(gx.input("x", (2, 5, 12)),) * 3),
         ShapeError, r"key of axes \(N, length, 4\)"),
        (lambda: nn.MultiheadAttention(12, 3)(
            gx.input("x", (2, 5, 12)), attn_mask=np.zeros((2, 5, 5), bool)),
         ShapeError, r"\(N \* heads, L, S\), here \(2 \* 3, 5"),
        (lambda: cached(window=0), ArgumentError, "window must be"),
        (lambda: cached(key_lengths=np.array([1])), ArgumentError, "with a cache"),
        (lambda: nn.Transformer(12, 3)(gx.input("x", (1, 2, 4)), gx.input("y", (1, 2, 12))),
         ShapeError, "12 features"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(make, error, said):
    with pytest.raises(error, match=said) as caught:
        make()
    assert "test_transformer.py" in str(caught.value)


def encoder_layer():
    return nn.TransformerEncoderLayer(12, 3)


def cached(**options):
    layer = nn.MultiheadAttention(12, 3)
    return layer(gx.input("x", (1, 1, 12)), cache=layer.cache(1, 4), **options)


def test_weights_that_do_not_fit():
    layer = nn.TransformerEncoderLayer(12, 3, 20)
    state = {n: p.op.cell for n, (p, _) in _named(layer)}
    shapes = {n: np.zeros(p.shape[::-1] if turn else p.shape) for n, (p, turn) in _named(layer)}
    assert set(state) == set(shapes)
    with pytest.raises(ArgumentError, match=r"lacks norm1\.bias"):
        layer.load_torch({n: a for n, a in shapes.items() if n != "norm1.bias"})
    with pytest.raises(ArgumentError, match="does not: more"):
        layer.load_torch({**shapes, "more": np.zeros(3)})
    with pytest.raises(ShapeError, match=r"linear1\.weight transposed has shape \(3, 3\)"):
        layer.load_torch({**shapes, "linear1.weight": np.zeros((3, 3))})
    layer.load_torch({f"encoder.{n}": a for n, a in shapes.items()}, prefix="encoder.")


def test_layers_again_are_as_the_first_one_is_now():
    layer = nn.TransformerEncoderLayer(8, 2, dropout=0.0)
    layer.norm_first = True
    assert all(own.norm_first for own in nn.TransformerEncoder(layer, 2).layers)
    nothing = nn.Sequential()
    assert nn.Transformer(8, 2, 1, 1, custom_encoder=nothing).encoder is nothing
