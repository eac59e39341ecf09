"""Layers of pads, noise, unpooling and pairs beside PyTorch's, and what PyTorch has besides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.synonyms import LEFT_OUT, OTHERS
from tests.layers import beside, channels_first, channels_last, layer_array, same

RNG = np.random.default_rng(0)
SPACE = {1: (5,), 2: (4, 5), 3: (3, 4, 5)}


def torch():
    return pytest.importorskip("torch")


# -- pads ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", SPACE)
@pytest.mark.parametrize("kind", ["ConstantPad", "ZeroPad", "ReflectionPad", "ReplicationPad",
                                  "CircularPad"])  # fmt: skip
def test_pads_are_pytorchs(kind, rank):
    name, more = f"{kind}{rank}d", (1.5,) if kind == "ConstantPad" else ()
    for padding in (1, (2, 0, 1, 1, 0, 2)[: 2 * rank], (-1, 1, 0, -2, 1, 0)[: 2 * rank]):
        if kind in ("ReflectionPad", "ReplicationPad", "CircularPad") and np.min(padding) < 0:
            continue
        ours, theirs = (getattr(lib, name)(padding, *more) for lib in (nn, torch().nn))
        value = RNG.standard_normal((2, *SPACE[rank], 3))
        beside(ours, theirs, value)
        x = gx.input("x", value.shape[1:], "float64")
        found = gx.function(x, ours(x))(value[0])
        wanted = theirs(torch().tensor(np.moveaxis(value[0], -1, 0).copy())).numpy()
        same(found, np.moveaxis(wanted, 0, -1), name)


PAD_ERRORS = [
    (lambda x: nn.ReflectionPad1d(5)(x), "padding 5 must be at most 4 for an axis of 5"),
    (lambda x: nn.CircularPad1d((6, 0))(x), "padding 6 must be at most 5"),
    (lambda x: nn.ZeroPad1d((-3, -3))(x), "takes more than there is"),
    (lambda x: nn.ZeroPad2d((1, 2, 3)), "a number or 4 of them"),
    (lambda x: nn.ZeroPad2d(1.5), "padding must be integers, not 1.5"),
    (lambda x: nn.ZeroPad3d(1)(x), "ZeroPad3d needs images of 3 axes"),
]


@pytest.mark.parametrize(("refused", "said"), PAD_ERRORS)
def test_what_pads_refuse(refused, said):
    with pytest.raises((ValueError, TypeError), match=said) as error:
        refused(gx.input("x", (None, 5, 3)))
    assert Path(__file__).name in str(error.value)


# -- activations, pairs, unpooling -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        (lambda: nn.Hardtanh(-0.5, 0.7), lambda t: t.Hardtanh(-0.5, 0.7), (3, 4)),
        (lambda: nn.Softmin(), lambda t: t.Softmin(1), (3, 4)),
        (lambda: nn.Softmax2d(), lambda t: t.Softmax2d(), (2, 3, 4, 5)),
        (lambda: nn.ChannelShuffle(3), lambda t: t.ChannelShuffle(3), (2, 3, 4, 6)),
        (lambda: nn.UpsamplingNearest2d(scale_factor=2),
         lambda t: t.UpsamplingNearest2d(scale_factor=2), (2, 3, 4, 2)),
        (lambda: nn.UpsamplingBilinear2d((5, 7)), lambda t: t.UpsamplingBilinear2d((5, 7)),
         (2, 3, 4, 2)),
    ],
)  # fmt: skip
def test_layers_of_one_input_are_pytorchs(ours, theirs, shape):
    beside(ours(), theirs(torch().nn), RNG.standard_normal(shape))


def pair_beside(ours, theirs, x1, x2):
    a, b = gx.input("a", x1.shape, "float64"), gx.input("b", x2.shape, "float64")
    y = ours(a, b)
    found = gx.function([a, b], [y, *gx.grad(gx.sum(y * y + y), [a, b])])(x1, x2)
    s, t = (torch().tensor(x, requires_grad=True) for x in (x1, x2))
    out = theirs(s, t)
    (out * out + out).sum().backward()
    for a, b in zip(found, (out.detach(), s.grad, t.grad), strict=True):
        same(a, b.numpy(), str(theirs))


def test_layers_of_two_inputs_are_pytorchs():
    t = torch()
    x, y = RNG.standard_normal((2, 4, 3, 5))
    pair_beside(nn.CosineSimilarity(1, 0.1), t.nn.CosineSimilarity(1, 0.1), x, y)
    pair_beside(nn.CosineSimilarity(-1), t.nn.CosineSimilarity(-1), x, y[:1])
    pair_beside(nn.PairwiseDistance(3, 0.01, True), t.nn.PairwiseDistance(3, 0.01, True), x, y)
    pair_beside(nn.PairwiseDistance(), t.nn.PairwiseDistance(), x, y)
    theirs = t.nn.Bilinear(5, 4, 3, dtype=t.float64)
    ours = nn.Bilinear(5, 4, 3, dtype="float64")
    layer_array(ours, "weight")[...] = np.moveaxis(theirs.weight.detach().numpy(), 0, -1)
    layer_array(ours, "bias")[...] = theirs.bias.detach().numpy()
    pair_beside(ours, theirs, x, RNG.standard_normal((4, 3, 4)))
    with pytest.raises(ValueError, match="Bilinear needs rows of 5 and 4"):
        ours(gx.input("x", (None, 5)), gx.input("y", (None, 5)))


@pytest.mark.parametrize("rank", SPACE)
def test_unpooling_is_pytorchs(rank):
    t = torch()
    for arguments, size in (((2, 1), None), ((3, 2, 1), SPACE[rank]), ((2,), SPACE[rank])):
        value = RNG.standard_normal((2, *SPACE[rank], 3))
        x = gx.input("x", value.shape, "float64")
        best, place = getattr(nn, f"MaxPool{rank}d")(*arguments, return_indices=True)(x)
        y = getattr(nn, f"MaxUnpool{rank}d")(*arguments)(best, place, size)
        found = gx.function(x, [y, gx.grad(gx.sum(y * y), x)])(value)
        given = t.tensor(channels_first(value).copy(), requires_grad=True)
        top, where = getattr(t.nn, f"MaxPool{rank}d")(*arguments, return_indices=True)(given)
        back = getattr(t.nn, f"MaxUnpool{rank}d")(*arguments)(top, where, size)
        same(found[0], channels_last(back.detach().numpy()), str(arguments))
        if arguments == (2,):  # else one place may be the greatest of several windows
            (back * back).sum().backward()
            same(found[1], channels_last(given.grad.numpy()), str(arguments))
    with pytest.raises(ValueError, match="less than a stride"):
        gx.max_unpool(best, place, 2, output_size=(9,) * rank)


# -- noise -----------------------------------------------------------------------------------------

NOISE = {
    "Dropout1d": (2000, 5, 6), "Dropout2d": (2000, 2, 3, 6), "Dropout3d": (2000, 2, 2, 2, 6),
    "AlphaDropout": (2000, 2, 3, 6), "FeatureAlphaDropout": (2000, 2, 3, 6),
}  # fmt: skip


@pytest.mark.parametrize("name", NOISE)
def test_what_is_dropped_is_pytorchs(name):
    """The value of what is dropped and of what is kept, which share a draw, and how many."""
    value = np.ones(NOISE[name]) * 0.5
    layer, theirs = getattr(nn, name)(0.3), getattr(torch().nn, name)(0.3)
    x = gx.input("x", (None, *value.shape[1:]), "float64")
    y = layer(x)
    found, slope = gx.function(x, [y, gx.grad(gx.sum(y), x)])(value)
    wanted = channels_last(theirs(torch().tensor(channels_first(value).copy())).numpy())
    np.testing.assert_allclose(np.unique(found.round(9)), np.unique(wanted.round(9)), atol=1e-8)
    low = found < value
    share, size = (low.mean(), low.size) if name == "AlphaDropout" else (
        low.mean(), low.shape[0] * low.shape[-1])  # fmt: skip
    assert abs(share - 0.3) < 5 * (0.21 / size) ** 0.5
    if name != "AlphaDropout":
        first = found.reshape(len(found), -1, found.shape[-1])
        assert (first == first[:, :1]).all()
    assert (slope[low] == 0).all()
    assert np.unique(slope[~low]).size == 1


def test_inference_has_no_noise():
    x = gx.input("x", (None, 4, 4, 6))
    y = gx.input("y", (None, 6))
    h = nn.FeatureAlphaDropout(0.4)(nn.AlphaDropout(0.4)(nn.Dropout2d(0.4)(x)))
    h = nn.RReLU(0.2, 0.4)(h - 0.5)
    out = nn.Linear(6, 6)(gx.mean(h, (1, 2)))
    model = gx.Model(inputs=x, outputs=h, targets=y, loss=nn.mse_loss(out, y),
                     optimizer=optim.SGD(0.1))  # fmt: skip
    value = RNG.standard_normal((5, 4, 4, 6)).astype("float32")
    wanted = np.where(value >= 0.5, value - 0.5, (value - 0.5) * np.float32(0.3))
    np.testing.assert_allclose(model.predict(value), wanted, rtol=1e-6)
    goal = np.zeros((5, 6), "float32")
    losses = {float(model.train_step(value, goal)) for _ in range(3)}
    assert len(losses) == 3


def test_slopes_of_rrelu_lie_between_their_bounds():
    x = gx.input("x", (None, 50), "float64")
    y = nn.RReLU(0.1, 0.4)(x)
    found, slope = gx.function(x, [y, gx.grad(gx.sum(y), x)])(-np.ones((40, 50)))
    np.testing.assert_allclose(-found, slope)
    assert (slope >= 0.1).all()
    assert (slope <= 0.4).all()
    assert slope.std() > 0.05
    with pytest.raises(ValueError, match="must not be above"):
        nn.RReLU(0.5, 0.4)


# -- parametrizations ------------------------------------------------------------------------------


def trained(model, theirs, value, goal, steps=4):
    t = torch()
    optimizer = t.optim.SGD(theirs.parameters(), 0.1)
    for _ in range(steps):
        model.train_step(value, goal)
        optimizer.zero_grad()
        out = theirs(t.tensor(channels_first(value).copy()))
        ((out - t.tensor(channels_first(goal).copy())) ** 2).mean().backward()
        optimizer.step()
    theirs.eval()
    with t.no_grad():
        return channels_last(theirs(t.tensor(channels_first(value).copy())).numpy())


def made(layer, shape, out):
    x, y = gx.input("x", (None, *shape), "float64"), gx.input("y", (None, *out), "float64")
    h = layer(x)
    return gx.Model(inputs=x, outputs=h, targets=y, loss=nn.mse_loss(h, y),
                    optimizer=optim.SGD(0.1))  # fmt: skip


@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("axis", [-1, None, 0])
def test_weight_norm_trains_as_pytorchs(kind, axis):
    t = torch()
    if kind == "linear":
        theirs = t.nn.Linear(5, 3, dtype=t.float64)
        ours, shape, out = nn.Linear(5, 3, dtype="float64"), (5,), (3,)
        dim = {-1: 0, None: None, 0: 1}[axis]
    else:
        theirs = t.nn.Conv2d(2, 3, 2, dtype=t.float64)
        ours, shape, out = nn.Conv2d(2, 3, 2, dtype="float64"), (4, 5, 2), (3, 4, 3)
        dim = {-1: 0, None: None, 0: 2}[axis]
    start = theirs.weight.detach().numpy()
    start = start.T if kind == "linear" else np.moveaxis(start, (0, 1), (-1, -2))
    t.nn.utils.parametrizations.weight_norm(theirs, dim=dim)
    layer = nn.weight_norm(ours, axis=axis)
    assert layer is ours
    model = made(layer, shape, out)
    names = sorted(model.parameters)
    assert [n.rpartition(".")[2] for n in names] == ["bias", "weight_g", "weight_v"]
    _, g, v = (model.parameters[n] for n in names)
    np.testing.assert_allclose(
        g,
        np.sqrt(
            (v**2).sum(
                tuple(k for k in range(v.ndim) if axis is None or k != axis % v.ndim), keepdims=True
            )
        ),
    )
    model.parameters[names[0]][...] = theirs.bias.detach().numpy()
    model.parameters[names[2]][...] = start
    given = theirs.parametrizations.weight.original0.detach().numpy()
    model.parameters[names[1]][...] = np.reshape(given, g.shape)
    value, goal = RNG.standard_normal((6, *shape)), RNG.standard_normal((6, *out))
    wanted = trained(model, theirs, value, goal)
    same(model.predict(value), wanted, "weight_norm")


@pytest.mark.parametrize("kind", ["lstm", "cell", "positions"])
def test_weight_norm_reaches_the_weight_that_a_layer_uses(kind):
    layer, name, shape = {
        "lstm": (nn.LSTM(3, 4), "weight_hh_l0", (2, 5, 3)),
        "cell": (nn.GRUCell(3, 4), "weight_hh", (2, 3)),
        "positions": (nn.LearnedPositions(5, 3), "weight", (2, 5, 3)),
    }[kind]
    nn.weight_norm(layer, name)
    x = gx.input("x", shape)
    out = layer(x)
    loss = gx.sum((out[0] if isinstance(out, tuple) else out) ** 2)
    made = [t for t in layer.parameters if t.name.endswith((f"{name}_g", f"{name}_v"))]
    assert len(made) == 2
    assert all(s is not None for s in gx.grad(loss, made))


@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("count", [1, 3])
def test_spectral_norm_trains_as_pytorchs(kind, count):
    t = torch()
    if kind == "linear":
        theirs = t.nn.Linear(5, 3, dtype=t.float64)
        ours, shape, out = nn.Linear(5, 3, dtype="float64"), (5,), (3,)
    else:
        theirs = t.nn.Conv2d(2, 3, 2, dtype=t.float64)
        ours, shape, out = nn.Conv2d(2, 3, 2, dtype="float64"), (4, 5, 2), (3, 4, 3)
    start = theirs.weight.detach().numpy()
    t.nn.utils.parametrizations.spectral_norm(theirs, n_power_iterations=count)
    model = made(nn.spectral_norm(ours, n_power_iterations=count), shape, out)
    own = {n.rpartition(".")[2]: a for n, a in {**model.parameters, **model.state}.items()}
    own["bias"][...] = theirs.bias.detach().numpy()
    turned = start.T if kind == "linear" else np.moveaxis(start, (0, 1), (-1, -2))
    own["weight"][...] = turned
    vectors = theirs.parametrizations.weight[0]
    own["weight_u"][...] = vectors._u.numpy()
    v = vectors._v.numpy()
    own["weight_v"][...] = (
        v if kind == "linear" else np.moveaxis(v.reshape(start.shape[1:]), 0, -1).ravel()
    )
    value, goal = RNG.standard_normal((6, *shape)), RNG.standard_normal((6, *out))
    wanted = trained(model, theirs, value, goal)
    same(model.predict(value), wanted, "spectral_norm")
    same(own["weight_u"], vectors._u.numpy(), "u")


def test_a_spectral_norm_starts_near_the_greatest_singular_value():
    layer = nn.spectral_norm(nn.Linear(9, 7, dtype="float64"))
    x = gx.input("x", (None, 9), "float64")
    weight = gx.function(x, gx.sum(layer(x)) * 0.0 + layer.weight)(np.ones((1, 9)))
    assert abs(np.linalg.svd(weight)[1][0] - 1.0) < 0.05


def test_what_cannot_be_normalised_is_named():
    layer = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="Linear has no parameter 'kernel'"):
        nn.weight_norm(layer, "kernel")
    with pytest.raises(ValueError, match="must have two axes"):
        nn.spectral_norm(layer, "bias")
    layer(gx.input("x", (None, 3)))
    with pytest.raises(ValueError, match="has been called"):
        nn.weight_norm(layer)
    with pytest.raises(ValueError, match="has no parameter 'weight'"):
        nn.weight_norm(nn.weight_norm(nn.Linear(3, 2)))


# -- what PyTorch has ------------------------------------------------------------------------------


def test_every_layer_of_pytorch_is_there_or_is_named():
    t = torch()
    found = {
        name for name, kind in vars(t.nn).items()
        if isinstance(kind, type) and issubclass(kind, t.nn.Module)
    }  # fmt: skip
    absent = found - set(nn.__all__)
    assert not set(nn.__all__) & {*OTHERS, *LEFT_OUT}, "some are there by now"
    assert absent <= {*OTHERS, *LEFT_OUT}, sorted(absent - {*OTHERS, *LEFT_OUT})
    page = (Path(__file__).parents[2] / "docs" / "pytorch.md").read_text()
    for name in sorted(absent):
        with pytest.raises(AttributeError, match=name) as error:
            getattr(nn, name)
        assert "use" in str(error.value) or "write" in str(error.value) or name in LEFT_OUT
        assert f"`{name}`" in page, f"docs/pytorch.md does not name {name}"
