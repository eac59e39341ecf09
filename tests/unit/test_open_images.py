"""Images whose lengths are open: one binary serves all sizes, with the values of fixed ones."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc.errors import ShapeError

RNG = np.random.default_rng(0)

CALLS = {
    "unfold": lambda x: gx.unfold(x, (3, 2), padding=1, stride=2),
    "max": lambda x: gx.max_pool(x, 3, 2, 1),
    "max, dilated": lambda x: gx.max_pool(x, 2, 1, 1, 2),
    "max over the end": lambda x: gx.max_pool(x, 3, 2, 1, ceil_mode=True),
    "avg": lambda x: gx.avg_pool(x, 3, 2, 1),
    "avg of the image": lambda x: gx.avg_pool(x, 3, 2, 1, count_include_pad=False),
    "avg over the end": lambda x: gx.avg_pool(x, 3, 2, 1, ceil_mode=True),
    "lp": lambda x: gx.lp_pool(x * x + 1.0, 2.0, 2, ceil_mode=True),
    "global mean": lambda x: gx.adaptive_avg_pool(x, 1),
    "adaptive mean": lambda x: gx.adaptive_avg_pool(x, (3, None)),
    "global max": lambda x: gx.adaptive_max_pool(x, 1),
    "adaptive max": lambda x: gx.adaptive_max_pool(x, (3, None)),
    "nearest": lambda x: gx.interpolate(x, scale_factor=2),
    "nearest, halved": lambda x: gx.interpolate(x, scale_factor=0.5),
    "nearest to a size": lambda x: gx.interpolate(x, size=(5, 11)),
    "nearest-exact": lambda x: gx.interpolate(x, size=(5, 11), mode="nearest-exact"),
    "bilinear": lambda x: gx.interpolate(x, scale_factor=(3, 2), mode="bilinear"),
    "corners": lambda x: gx.interpolate(x, size=9, mode="bilinear", align_corners=True),
    "bicubic": lambda x: gx.interpolate(x, size=9, mode="bicubic"),
    "area": lambda x: gx.interpolate(x, size=3, mode="area"),
    "shuffle": lambda x: gx.pixel_shuffle(x, 2),
    "unshuffle": lambda x: gx.pixel_unshuffle(gx.interpolate(x, scale_factor=2), 2),
    "transposed": lambda x: gx.conv_transpose(x, gx.ones((3, 3, 4, 2)), stride=2, padding=1),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_open_lengths_are_as_fixed_ones(name):
    call, compiled = CALLS[name], []
    for lengths in (("h", "w"), (6, 9), (8, 7)):
        x = gx.input("x", (None, *lengths, 4))
        y = call(x)
        compiled.append(gx.function(x, (y, gx.grad(gx.sum(y * y), x))))
    for f, lengths in zip(compiled[1:], ((6, 9), (8, 7)), strict=True):
        values = RNG.standard_normal((2, *lengths, 4)).astype("float32")
        for got, wanted in zip(compiled[0](values), f(values), strict=True):
            assert got.shape == wanted.shape
            np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: gx.interpolate(x, scale_factor=1.5), r"the open length h .* by whole numbers"),
        (lambda x: gx.pixel_unshuffle(x, 2), "those of open lengths are not known to be"),
        (lambda x: gx.pixel_unshuffle(gx.ones((1, 3, 4, 1)), 2), "3 and 4, must be multiples of"),
        (lambda x: gx.interpolate(gx.ones((1, 3, 4, 1)), scale_factor=0.2), "leaves nothing of 3"),
    ],
)
def test_what_cannot_be_right_says_why(call, said):
    with pytest.raises(ShapeError, match=said) as caught:
        call(gx.input("x", (None, "h", "w", 4)))
    assert "test_open_images.py:" in str(caught.value)
