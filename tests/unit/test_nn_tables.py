"""Tables of vectors, and layers that resize images, beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from tests.layers import beside, channels_first, channels_last, same

RNG = np.random.default_rng(0)


def torch():
    return pytest.importorskip("torch")


# -- images ----------------------------------------------------------------------------------------

RESIZED = [
    ((5,), {"size": 8}),
    ((5,), {"size": 12, "mode": "linear"}),
    ((5,), {"scale_factor": 2.5, "mode": "linear", "align_corners": True}),
    ((4, 5), {"scale_factor": 2}),
    ((4, 5), {"size": (7, 3), "mode": "nearest-exact"}),
    ((4, 5), {"size": (3, 9), "mode": "bilinear"}),
    ((4, 5), {"scale_factor": 1.7, "mode": "bilinear"}),
    ((4, 5), {"size": 6, "mode": "bilinear", "align_corners": True}),
    ((4, 5), {"size": (9, 3), "mode": "bicubic"}),
    ((4, 5), {"size": (9, 3), "mode": "bicubic", "align_corners": True}),
    ((3, 4, 2), {"size": (5, 3, 4), "mode": "trilinear"}),
]


@pytest.mark.parametrize(("space", "options"), RESIZED)
def test_resizing_is_pytorchs(space, options):
    module = torch().nn.Upsample(**options)
    beside(nn.Upsample(**options), module, RNG.standard_normal((2, *space, 3)))


def test_means_of_areas_are_pytorchs():
    value = RNG.standard_normal((2, 7, 5, 3))
    x = gx.input("x", (None, 7, 5, 3), "float64")
    found = gx.function(x, gx.interpolate(x, (3, 4), mode="area"))(value)
    given = torch().tensor(np.moveaxis(value, -1, 1).copy())
    wanted = torch().nn.functional.interpolate(given, (3, 4), mode="area")
    same(found, channels_last(wanted.numpy()), "area")


@pytest.mark.parametrize("name", ["PixelShuffle", "PixelUnshuffle"])
def test_pixels_and_channels_are_pytorchs(name):
    value = RNG.standard_normal((2, 6, 4, 18))
    beside(getattr(nn, name)(2 if "Un" in name else 3),
           getattr(torch().nn, name)(2 if "Un" in name else 3), value)  # fmt: skip


@pytest.mark.parametrize("arguments", [(2,), ((3, 2), (1, 2), 1, (2, 1)), ((2, 3), 1, (1, 0), 2)])
def test_unfolded_windows_are_pytorchs(arguments):
    module = torch().nn.Unfold(*arguments)
    layer = nn.Unfold(*arguments)
    beside(lambda x: gx.permute_dims(layer(x), (0, 2, 1)), module,
           RNG.standard_normal((2, 6, 5, 3)), last=rows, first=channels_first)  # fmt: skip
    folded = torch().nn.Fold((6, 5), *arguments)
    own = nn.Fold((6, 5), *arguments)
    value = RNG.standard_normal(tuple(module(torch().zeros(2, 3, 6, 5)).shape))
    x = gx.input("x", value.shape, "float64")
    found = gx.function(x, own(gx.permute_dims(x, (0, 2, 1))))(value)
    same(found, channels_last(folded(torch().tensor(value)).numpy()), "fold")


def rows(a):
    """Rows as they are, images channels last."""
    return channels_last(a) if a.ndim > 3 else a


def test_responses_of_channels_beside_are_pytorchs():
    options = (3, 0.3, 0.6, 1.5)
    value = RNG.standard_normal((2, 4, 5, 6))
    beside(nn.LocalResponseNorm(*options), torch().nn.LocalResponseNorm(*options), value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either size or scale_factor"),
        ({"size": 3, "scale_factor": 2}, "either size or scale_factor"),
        ({"size": 3, "mode": "cubic"}, "'bicubic'"),
        ({"size": 3, "mode": "linear"}, "not for 2 axes"),
        ({"size": 3, "align_corners": True}, "align_corners"),
        ({"size": (3, 3, 3)}, "size has 3 numbers for 2 axes"),
    ],
)
def test_what_cannot_be_resized(options, words):
    with pytest.raises(ValueError, match=rf"(?s){words}.*test_nn_tables\.py:\d+"):
        nn.Upsample(**options)(gx.input("x", (None, 4, 4, 3)))


# -- tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [None, 2, -1])
def test_a_table_is_pytorchs(padding):
    t = torch()
    module = t.nn.Embedding(7, 4, padding_idx=padding).double()
    layer = nn.Embedding(7, 4, padding_idx=padding, dtype="float64")
    cell = layer.weight.op.cell.array
    if padding is not None:
        assert (cell[padding] == 0).all()
    cell[...] = module.weight.detach().numpy()
    value = RNG.integers(0, 7, (5, 3))
    value[0] = [2, 6, 6]
    i = gx.input("i", (None, 3), "int64")
    y = layer(i)
    found, gradient = gx.function(i, [y, gx.grad(gx.sum(gx.sin(y)), layer.weight)])(value)
    out = module(t.tensor(value))
    out.sin().sum().backward()
    same(found, out.detach().numpy(), "rows")
    same(gradient, module.weight.grad.numpy(), "gradient")


@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_a_bag_is_pytorchs(mode, padding):
    t = torch()
    module = t.nn.EmbeddingBag(7, 4, mode=mode, padding_idx=padding).double()
    layer = nn.EmbeddingBag(7, 4, mode=mode, padding_idx=padding, dtype="float64")
    layer.weight.op.cell.array[...] = module.weight.detach().numpy()
    value = RNG.integers(0, 7, (5, 3))
    value[0], value[1] = 2, [2, 1, 2]
    i = gx.input("i", (None, 3), "int64")
    y = layer(i)
    found, gradient = gx.function(i, [y, gx.grad(gx.sum(gx.sin(y)), layer.weight)])(value)
    out = module(t.tensor(value))
    out.sin().sum().backward()
    same(found, out.detach().numpy(), "bags")
    same(gradient, module.weight.grad.numpy(), "gradient")


def test_a_weighted_bag_is_pytorchs():
    t = torch()
    module = t.nn.EmbeddingBag(7, 4, mode="sum").double()
    layer = nn.EmbeddingBag(7, 4, mode="sum", dtype="float64")
    layer.weight.op.cell.array[...] = module.weight.detach().numpy()
    value, weights = RNG.integers(0, 7, (5, 3)), RNG.standard_normal((5, 3))
    i, w = gx.input("i", (None, 3), "int64"), gx.input("w", (None, 3), "float64")
    found = gx.function([i, w], layer(i, w))(value, weights)
    wanted = module(t.tensor(value), per_sample_weights=t.tensor(weights))
    same(found, wanted.detach().numpy(), "weighted")
    with pytest.raises(ValueError, match="per_sample_weights are for mode 'sum'"):
        nn.EmbeddingBag(7, 4)(i, w)


def test_a_table_is_trained_and_its_padding_is_not():
    i, y = gx.input("i", (None, 3), "int64"), gx.input("y", (None, 4))
    table = nn.Embedding(6, 4, padding_idx=0)
    out = gx.mean(table(i), 1)
    model = gx.Model(inputs=i, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                     optimizer=optim.Adam(0.1), seed=0)  # fmt: skip
    numbers, Y = RNG.integers(0, 6, (40, 3)), RNG.standard_normal((40, 4)).astype("float32")
    before = model.evaluate(numbers, Y)["loss"]
    model.fit(numbers, Y, epochs=30, verbose=0)
    assert model.evaluate(numbers, Y)["loss"] < 0.9 * before
    assert (model.parameters["embedding_0.weight"][0] == 0).all()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: nn.Embedding(5, 3, max_norm=1.0), ValueError, "max_norm=1.0 is not supported"),
        (lambda: nn.Embedding(5, 3, sparse=True), ValueError, "sparse=True is not supported"),
        (lambda: nn.Embedding(5, 3, padding_idx=5), ValueError, "padding_idx 5"),
        (lambda: nn.EmbeddingBag(5, 3, mode="min"), ValueError, "'max'"),
        (lambda: nn.Embedding(5, 3)(gx.input("x", (None,))), TypeError, "needs integers"),
        (lambda: nn.EmbeddingBag(5, 3)(gx.input("x", (None,), "int64")), ValueError, "length"),
    ],
)
def test_what_a_table_refuses(make, error, words):
    with pytest.raises(error, match=rf"(?s){words}.*test_nn_tables\.py:\d+"):
        make()


def test_an_index_out_of_range_is_named():
    i = gx.input("i", (None,), "int64")
    f = gx.function(i, nn.Embedding(5, 3)(i))
    with pytest.raises(IndexError, match="5"):
        f(np.array([1, 5]))
