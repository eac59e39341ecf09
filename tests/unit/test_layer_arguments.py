"""What layers are made with: nonsense raises where it is written, and names reach parameters."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.errors import ArgumentError, DTypeError, GraphcError, ShapeError

MAKE = {
    "eps must be greater than 0": lambda: nn.BatchNorm1d(4, eps=-1),
    "eps must be a number": lambda: nn.BatchNorm2d(4, eps="a"),
    "momentum must be at least 0 and at most 1": lambda: nn.BatchNorm3d(4, momentum=2),
    "InstanceNorm1d: momentum": lambda: nn.InstanceNorm1d(4, momentum=-0.5),
    "num_features must be at least 1": lambda: nn.BatchNorm1d(0),
    "GroupNorm: num_channels must be at least 1": lambda: nn.GroupNorm(1, 0),
    "GroupNorm: eps": lambda: nn.GroupNorm(2, 4, eps=-1e-5),
    "LayerNorm: normalized_shape must have an axis": lambda: nn.LayerNorm(()),
    "RMSNorm: normalized_shape must have an axis": lambda: nn.RMSNorm([]),
    "LayerNorm: eps": lambda: nn.LayerNorm(4, eps=float("nan")),
    "RMSNorm: eps": lambda: nn.RMSNorm(4, eps=-1),
    "Conv1d: in_channels must be at least 1": lambda: nn.Conv1d(0, 3, 3),
    "Conv2d: out_channels must be at least 1": lambda: nn.Conv2d(3, 0, 3),
    "Conv1d: stride must be at least 1": lambda: nn.Conv1d(3, 3, 3, stride=-1),
    "output_padding 5 must be smaller": lambda: nn.ConvTranspose1d(3, 3, 3, output_padding=5),
    "ConvTranspose1d: padding must be numbers": lambda: nn.ConvTranspose1d(3, 3, 3, padding="same"),
    "num_embeddings must be at least 1": lambda: nn.Embedding(0, 3),
    "embedding_dim must be at least 1": lambda: nn.EmbeddingBag(3, 0),
    "padding_idx must be an integer": lambda: nn.Embedding(3, 3, padding_idx=1.5),
    "MaxPool2d: window must be at least 1": lambda: nn.MaxPool2d(-2),
    "MaxPool1d: stride must be at least 1": lambda: nn.MaxPool1d(2, stride=-1),
    "at most half of the window": lambda: nn.MaxPool3d(2, padding=3),
    "divisor_override must not be 0": lambda: nn.AvgPool2d(2, divisor_override=0),
    "norm_type must not be 0": lambda: nn.LPPool2d(0, 2),
    "output_size must be at least 1": lambda: nn.AdaptiveAvgPool2d(0),
    "output_size has 3 numbers for 2 axes": lambda: nn.AdaptiveMaxPool2d((1, 2, 3)),
    "pass either size or scale_factor": lambda: nn.Upsample(),
    "Upsample: size must be at least 1": lambda: nn.Upsample(size=0),
    "scale_factor must be greater than 0": lambda: nn.Upsample(scale_factor=(2, -1)),
    "mode must be one of": lambda: nn.Upsample(size=3, mode="wide"),
    "upscale_factor must be at least 1": lambda: nn.PixelShuffle(0),
    "downscale_factor must be an integer": lambda: nn.PixelUnshuffle(1.5),
    "Unfold: kernel_size must be at least 1": lambda: nn.Unfold(0),
    "Unfold: stride must be at least 1": lambda: nn.Unfold(2, stride=-1),
    "Fold: output_size": lambda: nn.Fold((3, 0), 2),
    "LocalResponseNorm: size": lambda: nn.LocalResponseNorm(0),
    "Unflatten: an axis must be an integer": lambda: nn.Unflatten(1.5, (2, 2)),
    "Reshape: shape must be an integer": lambda: nn.Reshape(2, "a"),
    "must be each of 0 to 1 once": lambda: nn.Permute(0, 0),
    "Concat: an axis": lambda: nn.Concat(axis="a"),
    "LeakyReLU: slope must be a number": lambda: nn.LeakyReLU("a"),
    "ELU: alpha": lambda: nn.ELU(None),
    "Hardshrink: lambd must be at least 0": lambda: nn.Hardshrink(-1),
    "Threshold: threshold": lambda: nn.Threshold("a", 1),
    "PReLU: num_parameters must be at least 1": lambda: nn.PReLU(0),
    "Softmax: axis must be an integer": lambda: nn.Softmax(axis=1.5),
    "no layer 'b'; it has 'a'": lambda: nn.Sequential({"a": nn.ReLU()})["b"],
    "no layer 3; it has 1": lambda: nn.Sequential(nn.ReLU())[3],
}  # fmt: skip


@pytest.mark.parametrize("said", MAKE)
def test_nonsense_raises_at_the_users_line(said):
    with pytest.raises(GraphcError, match=said) as caught:
        MAKE[said]()
    assert f"\n  at {__file__}:" in str(caught.value)
    assert isinstance(caught.value, (ArgumentError, DTypeError, ShapeError, LookupError))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(4, 2), (None, 4)),
        (nn.Conv1d(4, 2, 1), (None, 5, 4)),
        (nn.BatchNorm1d(4), (None, 4)),
        (nn.LayerNorm(4), (None, 4)),
        (nn.RMSNorm(4), (None, 4)),
        (nn.GroupNorm(2, 4), (None, 4)),
        (nn.Dropout(0.5), (None, 4)),
    ],
    ids=lambda part: type(part).__name__,
)
def test_layers_of_numbers_refuse_integers(layer, shape):
    with pytest.raises(DTypeError, match="needs floating-point") as caught:
        layer(gx.input("x", shape, "int64"))
    text = str(caught.value)
    assert f"\n  at {__file__}:" in text
    assert "dropout: dropout" not in text
    assert "int64" in text


def test_names_of_layers_reach_their_parameters():
    class Block(nn.Layer):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 3)
            self.steps = nn.Sequential({"norm": nn.BatchNorm1d(3), "out": nn.Linear(3, 3)})

        def forward(self, x):
            return self.steps(self.inner(x))

    own = nn.Linear(3, 2, name="own")
    net = nn.Sequential({"first": nn.Linear(3, 3), "block": Block(), "head": own})
    x = gx.input("x", (None, 3))
    out = net(x)
    loss = gx.sum(out * out)
    model = gx.Model(inputs=x, outputs=out, loss=loss, optimizer=optim.SGD(0.1))
    assert set(model.parameters) >= {
        "first.weight", "first.bias", "block.linear_0.weight", "block.norm.weight",
        "block.out.weight", "own.weight",
    }  # fmt: skip
    assert "block.norm.running_mean" in model.state
    assert net["first"].scope == "first"
    called = nn.Linear(3, 3)
    called(x)
    assert nn.Sequential({"late": called})["late"].scope != "late"
    with pytest.raises(DTypeError, match="non-empty string"):
        nn.Sequential({"a#b": nn.Linear(3, 3)})


def test_negative_indices_count_from_the_end():
    x = gx.input("x", (None,), "int64")
    layer = nn.Embedding(3, 2, weight_init=lambda shape, rng: np.arange(6.0).reshape(shape))
    f = gx.function(x, layer(x))
    np.testing.assert_array_equal(f([-1, 0]), [[4, 5], [0, 1]])
    with pytest.raises(IndexError):
        f([-4])
