"""Products over groups of axes, and windows: equal to NumPy's, and without a copy of an operand."""

import numpy as np
import pytest

import graphc as gx

CASES = [
    ("bhqd,bkhd->bhqk", (2, 3, 32, 16), (2, 33, 3, 16)),
    ("bqhd,bkhd->bqhk", (2, 32, 3, 16), (2, 33, 3, 16)),
    ("bhqk,bkhd->bqhd", (2, 3, 32, 16), (2, 16, 3, 20)),
    ("nhwc,hwco->no", (20, 5, 6, 7), (5, 6, 7, 8)),
    ("ijk,kl->jil", (12, 13, 14), (14, 30)),
    ("ahbk,bkal->hl", (5, 40, 6, 20), (6, 20, 5, 50)),
    ("ii->i", (5, 5)),
    ("nhwcij,ijco->nhwo", (2, 6, 5, 4, 3, 2), (3, 2, 4, 7)),
]


def inputs(shapes, dtype, name="x"):
    rng = np.random.default_rng(0)
    arrays = [(rng.standard_normal(s) * 4).astype(dtype) for s in shapes]
    return arrays, [gx.input(f"{name}{n}", s, dtype=dtype) for n, s in enumerate(shapes)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize(("subscripts", "shapes"), [(s, shapes) for s, *shapes in CASES])
def test_einsum_copies_no_operand(subscripts, shapes, dtype):
    arrays, symbols = inputs(shapes, dtype)
    function = gx.function(symbols, gx.einsum(subscripts, *symbols))
    expected = np.einsum(subscripts, *arrays)
    tolerance = {"float32": 1e-5, "float64": 1e-13}.get(dtype, 0)
    np.testing.assert_allclose(
        function(*arrays), expected, tolerance, tolerance * max(1, np.abs(expected).max())
    )
    assert "copy_" not in function.source


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("empty", range(4))
def test_axes_without_elements(dtype, empty):
    dims = dict(zip("nijc", (3, 4, 5, 6), strict=True))
    dims["nijc"[empty]] = 0
    shapes = [tuple(dims[x] for x in "icnj"), (dims["j"], 7, dims["i"])]
    arrays, symbols = inputs(shapes, dtype)
    function = gx.function(symbols, gx.einsum("icnj,joi->nco", *symbols))
    np.testing.assert_array_equal(function(*arrays), np.einsum("icnj,joi->nco", *arrays))


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (2, 3)])
def test_a_convolution_is_a_product_of_windows(stride, dilation):
    """Forward and by weights: neither writes the windows down."""
    (x, w), (sx, sw) = inputs([(4, 13, 12, 8), (3, 3, 8, 9)], "float64")
    options = {"axis": (1, 2), "stride": stride, "dilation": dilation}
    windows = gx.sliding_window_view(sx, (3, 3), **options)
    result = gx.function([sx, sw], gx.einsum("nhwcij,ijco->nhwo", windows, sw))
    span = 2 * dilation + 1
    seen = np.lib.stride_tricks.sliding_window_view(x, (span, span), (1, 2))
    seen = seen[:, ::stride, ::stride, :, ::dilation, ::dilation]
    np.testing.assert_allclose(result(x, w), np.einsum("nhwcij,ijco->nhwo", seen, w), 1e-12, 1e-12)
    assert "copy_" not in result.source
    (g,), (sg,) = inputs([(*seen.shape[:3], 9)], "float64", "g")
    by_weights = gx.function([sx, sg], gx.einsum("nhwcij,nhwo->ijco", windows, sg))
    expected = np.einsum("nhwcij,nhwo->ijco", seen, g)
    np.testing.assert_allclose(by_weights(x, g), expected, 1e-11, 1e-11)
    assert "copy_" not in by_weights.source
