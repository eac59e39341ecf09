"""Layers of images beside PyTorch's, with every option; and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from tests.layers import beside, channels_last, same

RNG = np.random.default_rng(0)
SPACE = {1: (9,), 2: (7, 6), 3: (5, 4, 6)}


def images(rank, channels, n=3):
    return RNG.standard_normal((n, *SPACE[rank], channels))


def torch():
    return pytest.importorskip("torch")


# -- convolution -----------------------------------------------------------------------------------

CONVOLUTIONS = [
    (1, (2, 3, 3), {}),
    (1, (2, 4, 3, 2), {"padding": 1, "groups": 2}),
    (1, (4, 4, 2), {"dilation": 3, "bias": False, "groups": 4}),
    (1, (2, 3, 4), {"padding": "same", "dilation": 2}),
    (1, (2, 3, 3), {"padding": 2, "padding_mode": "reflect"}),
    (1, (2, 3, 3), {"padding": 2, "padding_mode": "replicate", "stride": 2}),
    (1, (2, 3, 3), {"padding": 3, "padding_mode": "circular"}),
    (2, (3, 4, 3), {"padding": 1}),
    (2, (4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2), {}),
    (2, (3, 2, 1), {"stride": 2}),
    (2, (3, 6, 3), {"padding": "valid", "groups": 3}),
    (2, (2, 3, (3, 2)), {"padding": "same", "padding_mode": "circular"}),
    (2, (2, 3, 3), {"padding": (2, 1), "padding_mode": "reflect"}),
    (2, (2, 3, 3), {"padding": (2, 0), "padding_mode": "replicate"}),
    (3, (2, 3, (2, 3, 2)), {"padding": (1, 0, 1), "stride": (1, 2, 1)}),
    (3, (2, 4, 2), {"groups": 2, "dilation": (1, 2, 1), "padding_mode": "circular", "padding": 1}),
]


@pytest.mark.parametrize(("rank", "arguments", "options"), CONVOLUTIONS)
def test_convolutions_are_those_of_pytorch(rank, arguments, options):
    module = getattr(torch().nn, f"Conv{rank}d")(*arguments, **options).double()
    layer = getattr(nn, f"Conv{rank}d")(*arguments, **options, dtype="float64")
    beside(layer, module, images(rank, arguments[0]))


TRANSPOSES = [
    (1, (2, 3, 3), {}),
    (1, (4, 2, 3, 2, 1, 1, 2), {}),
    (1, (2, 3, 2), {"stride": 3, "bias": False, "dilation": 2, "output_padding": 1}),
    (2, (3, 4, (3, 2), (2, 1), (1, 0)), {}),
    (2, (4, 4, 3), {"stride": 2, "padding": 1, "output_padding": (1, 0), "groups": 4}),
    (3, (2, 3, 2), {"stride": (1, 2, 1), "dilation": (2, 1, 1)}),
]


@pytest.mark.parametrize(("rank", "arguments", "options"), TRANSPOSES)
def test_transposed_convolutions_are_those_of_pytorch(rank, arguments, options):
    module = getattr(torch().nn, f"ConvTranspose{rank}d")(*arguments, **options).double()
    layer = getattr(nn, f"ConvTranspose{rank}d")(*arguments, **options, dtype="float64")
    groups = module.groups

    def kernel(
        a,
    ):  # (in, out // groups, *window), a group after the other, to (*window, in // groups, out)
        parts = np.split(a, groups, axis=0)
        return np.concatenate([np.moveaxis(p, (0, 1), (-2, -1)) for p in parts], axis=-1)

    beside(layer, module, images(rank, arguments[0]), kernel=kernel)


def test_an_output_size_finds_its_padding():
    t = torch()
    module = t.nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1).double()
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, dtype="float64")
    layer.weight.op.cell.array[...] = np.moveaxis(module.weight.detach().numpy(), (0, 1), (-2, -1))
    layer.bias.op.cell.array[...] = module.bias.detach().numpy()
    value = RNG.standard_normal((2, 4, 5, 2))
    x = gx.input("x", (None, 4, 5, 2), "float64")
    found = gx.function(x, layer(x, output_size=(8, 9)))(value)
    wanted = module(t.tensor(np.moveaxis(value, -1, 1).copy()), output_size=(8, 9))
    same(found, channels_last(wanted.detach().numpy()), "output_size")
    with pytest.raises(ValueError, match=r"must be one of 7 to 8.*\n.*test_nn_images.py"):
        layer(x, output_size=(9, 9))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_images_without_a_batch(rank):
    module = getattr(torch().nn, f"Conv{rank}d")(2, 3, 2).double()
    layer = getattr(nn, f"Conv{rank}d")(2, 3, 2, dtype="float64")

    def last(a):
        return np.moveaxis(a, 0, -1)

    value = images(rank, 2)[0]
    given = {p: getattr(layer, p).op.cell.array for p in ("weight", "bias")}
    given["weight"][...] = np.moveaxis(module.weight.detach().numpy(), (0, 1), (-1, -2))
    given["bias"][...] = module.bias.detach().numpy()
    x = gx.input("x", value.shape, "float64")
    wanted = module(torch().tensor(np.moveaxis(value, -1, 0).copy())).detach().numpy()
    same(gx.function(x, layer(x))(value), last(wanted), "no batch")


def test_convolutions_start_as_pytorch_does():
    t = torch().nn
    for layer, module in (
        (nn.Conv2d(32, 64, 5, groups=2), t.Conv2d(32, 64, 5, groups=2)),
        (nn.ConvTranspose2d(32, 64, 5, groups=2), t.ConvTranspose2d(32, 64, 5, groups=2)),
    ):
        for name in ("weight", "bias"):
            own = np.abs(getattr(layer, name).op.cell.array).max()
            bound = float(getattr(module, name).detach().abs().max())
            assert 0.9 * bound < own < 1.1 * bound


@pytest.mark.parametrize(
    ("make", "shape", "words"),
    [
        (lambda: nn.Conv2d(3, 8, 3), (None, 8, 8, 4), ["3 channels", "(3, 3, 3, 8)", "z"]),
        (lambda: nn.Conv2d(3, 8, 3), (None, 8, 3), None),
        (lambda: nn.Conv2d(3, 8, 3), (None, 3), ["N, H, W, C"]),
        (lambda: nn.Conv1d(3, 8, 9), (None, 8, 3), ["window over 9", "8"]),
        (lambda: nn.Conv2d(4, 6, 3, groups=4), (), ["out_channels", "multiple of groups"]),
        (lambda: nn.Conv2d(3, 6, 3, groups=2), (), ["in_channels", "multiple of groups"]),
        (lambda: nn.Conv2d(3, 6, 3, groups=0), (), ["groups must be at least 1"]),
        (lambda: nn.Conv2d(3, 6, 0), (), ["kernel_size"]),
        (lambda: nn.Conv2d(3, 6, (3, 3, 3)), (), ["kernel_size has 3 numbers for 2 axes"]),
        (lambda: nn.Conv2d(3, 6, 3, stride=0), (), ["stride must be at least 1"]),
        (lambda: nn.Conv2d(3, 6, 3, padding=-1), (), ["padding must be at least 0"]),
        (lambda: nn.Conv2d(3, 6, 3, padding="full"), (), ['"same" or "valid"']),
        (lambda: nn.Conv2d(3, 6, 3, 2, padding="same"), (), ["stride of 1"]),
        (lambda: nn.Conv2d(3, 6, 3, padding_mode="mirror"), (), ["padding_mode", "'reflect'"]),
        (lambda: nn.ConvTranspose2d(3, 6, 3, padding_mode="reflect"), (), ["'zeros'"]),
        (lambda: nn.Conv1d(3, 6, 3, 1, 8, padding_mode="reflect"), (None, 8, 3), ["at least 9"]),
        (lambda: nn.MaxPool2d(2), (None, 3), ["N, H, W, C"]),
        (lambda: nn.MaxPool2d(9), (None, 8, 8, 3), ["window"]),
        (lambda: nn.BatchNorm2d(3), (None, 8, 8, 4), ["3 channels"]),
        (lambda: nn.BatchNorm2d(3), (None, 3), ["4 axes"]),
        (lambda: nn.GroupNorm(3, 4), (), ["4 channels do not divide into 3 groups"]),
        (lambda: nn.LayerNorm((8, 4)), (None, 8, 3), ["(8, 4)"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(make, shape, words):
    if words is None:
        make()(gx.input("z", shape))
        return
    with pytest.raises(ValueError, match=r"test_nn_images\.py:\d+") as error:
        make()(gx.input("z", shape))
    for word in words:
        assert word in str(error.value)


# -- pooling ---------------------------------------------------------------------------------------

POOLS = [
    ("MaxPool1d", 1, (3,), {"stride": 2, "padding": 1}),
    ("MaxPool2d", 2, (2,), {}),
    ("MaxPool2d", 2, ((3, 2), (2, 1), (1, 0), 2), {"ceil_mode": True}),
    ("MaxPool3d", 3, (2,), {"stride": 1}),
    ("AvgPool1d", 1, (3,), {"stride": 2, "padding": 1, "count_include_pad": False}),
    ("AvgPool2d", 2, (2,), {}),
    ("AvgPool2d", 2, ((3, 2), (2, 1), (1, 0)), {"ceil_mode": True}),
    ("AvgPool2d", 2, (3,), {"divisor_override": 5}),
    ("AvgPool3d", 3, (2, 1, 1), {}),
    ("LPPool1d", 1, (3, 2), {}),
    ("LPPool2d", 2, (2, 3), {"stride": 2, "ceil_mode": True}),
    ("AdaptiveAvgPool1d", 1, (4,), {}),
    ("AdaptiveAvgPool2d", 2, (1,), {}),
    ("AdaptiveAvgPool2d", 2, ((3, None),), {}),
    ("AdaptiveAvgPool3d", 3, ((2, 3, 4),), {}),
    ("AdaptiveMaxPool1d", 1, (4,), {}),
    ("AdaptiveMaxPool2d", 2, ((3, 5),), {}),
    ("AdaptiveMaxPool3d", 3, (2,), {}),
]


@pytest.mark.parametrize(("kind", "rank", "arguments", "options"), POOLS)
def test_pools_are_those_of_pytorch(kind, rank, arguments, options):
    value = images(rank, 2)
    if kind.startswith("LP"):
        value = np.abs(value) + 0.1
    module = getattr(torch().nn, kind)(*arguments, **options)
    beside(getattr(nn, kind)(*arguments, **options), module, value)


def test_a_pool_of_one_image_and_its_places():
    value = RNG.standard_normal((7, 6, 2))
    x = gx.input("x", (7, 6, 2), "float64")
    best, place = nn.MaxPool2d(2, return_indices=True)(x)
    found, places = gx.function(x, [best, place])(value)
    wanted, at = torch().nn.MaxPool2d(2, return_indices=True)(
        torch().tensor(np.moveaxis(value, -1, 0).copy())
    )
    same(found, np.moveaxis(wanted.numpy(), 0, -1), "values")
    np.testing.assert_array_equal(places, np.moveaxis(at.numpy(), 0, -1))


# -- normalisation ---------------------------------------------------------------------------------

NORMS = [
    ("BatchNorm1d", (3,), {}, (5, 3)),
    ("BatchNorm1d", (3,), {"eps": 1e-2, "track_running_stats": False}, (5, 4, 3)),
    ("BatchNorm2d", (3,), {"affine": False}, (4, 5, 4, 3)),
    ("BatchNorm3d", (2,), {}, (3, 4, 2, 3, 2)),
    ("InstanceNorm1d", (3,), {}, (2, 5, 3)),
    ("InstanceNorm2d", (3,), {"affine": True, "eps": 1e-3}, (2, 5, 4, 3)),
    ("InstanceNorm3d", (2,), {"affine": True}, (3, 4, 2, 3, 2)),
    ("GroupNorm", (2, 4), {}, (3, 5, 4, 4)),
    ("GroupNorm", (4, 4), {"affine": False, "eps": 1e-2}, (3, 5, 4)),
    ("GroupNorm", (1, 6), {}, (3, 6)),
]


def set_apart(module):
    """Give weights and biases other values than ones and zeros."""
    for parameter in module.parameters():
        parameter.data = parameter.data + torch().rand_like(parameter.data)


@pytest.mark.parametrize(("kind", "arguments", "options", "shape"), NORMS)
def test_norms_of_channels_are_those_of_pytorch(kind, arguments, options, shape):
    module = getattr(torch().nn, kind)(*arguments, **options).double()
    set_apart(module)
    layer = getattr(nn, kind)(*arguments, **options, dtype="float64")
    beside(layer, module, RNG.standard_normal(shape) * 2 + 3)


@pytest.mark.parametrize(
    ("kind", "arguments", "options", "shape"),
    [
        ("LayerNorm", (5,), {}, (3, 4, 5)),
        ("LayerNorm", ((4, 5),), {"bias": False, "eps": 1e-2}, (3, 4, 5)),
        ("LayerNorm", (5,), {"elementwise_affine": False}, (3, 5)),
        ("RMSNorm", (5,), {}, (3, 4, 5)),
        ("RMSNorm", ((4, 5),), {"eps": 1e-2, "elementwise_affine": False}, (3, 4, 5)),
    ],
)
def test_norms_of_samples_are_those_of_pytorch(kind, arguments, options, shape):
    module = getattr(torch().nn, kind)(*arguments, **options).double()
    set_apart(module)
    layer = getattr(nn, kind)(*arguments, **options, dtype="float64")
    plain = lambda a: a  # noqa: E731
    beside(layer, module, RNG.standard_normal(shape) + 1, kernel=plain, last=plain)


@pytest.mark.parametrize(
    ("kind", "options", "shape"),
    [
        ("BatchNorm1d", {}, (6, 3)),
        ("BatchNorm2d", {"momentum": 0.3, "eps": 1e-3}, (6, 4, 5, 3)),
        ("BatchNorm2d", {"momentum": None}, (6, 4, 5, 3)),
        ("InstanceNorm2d", {"track_running_stats": True, "affine": True}, (6, 4, 5, 3)),
    ],
)
def test_running_statistics_are_those_of_pytorch(kind, options, shape):
    """Training moves them, evaluation goes by them, and a file keeps them."""
    t = torch()
    module = getattr(t.nn, kind)(3, **options).double()
    x = gx.input("x", (None, *shape[1:]), "float64")
    layer = getattr(nn, kind)(3, **options, dtype="float64")
    out = layer(x)
    model = gx.Model(inputs=x, outputs=out, loss=gx.mean(out**2), optimizer=optim.SGD(0.1), seed=0)
    descent = t.optim.SGD(module.parameters(), 0.1)
    for _ in range(3):
        value = RNG.standard_normal(shape) * 2 + 3
        model.train_step(value)
        descent.zero_grad()
        module(t.tensor(np.moveaxis(value, -1, 1).copy())).square().mean().backward()
        descent.step()
    (prefix,) = {name.split(".")[0] for name in model.state}
    assert set(model.state) == {
        f"{prefix}.{n}" for n in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert set(model.parameters) == {f"{prefix}.weight", f"{prefix}.bias"}
    counted = ("num_batches_tracked",) if kind.startswith("Batch") else ()  # PyTorch does not
    for name in ("running_mean", "running_var", *counted):
        same(model.state[f"{prefix}.{name}"], getattr(module, name).numpy(), name)
    module.eval()
    wanted = module(t.tensor(np.moveaxis(value, -1, 1).copy())).detach().numpy()
    same(model.predict(value), channels_last(wanted), "by running statistics")


def test_a_norm_called_twice_learns_twice_a_step():
    t = torch()
    module = t.nn.BatchNorm1d(3).double()
    x = gx.input("x", (None, 3), "float64")
    layer = nn.BatchNorm1d(3, dtype="float64")
    out = layer(gx.exp(layer(x)))
    model = gx.Model(inputs=x, outputs=out, loss=gx.mean(out**2), optimizer=optim.SGD(0.1))
    value = RNG.standard_normal((8, 3)) + 2
    model.train_step(value)
    module(module(t.tensor(value)).exp())
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        same(model.state[f"batch_norm1d_0.{name}"], getattr(module, name).numpy(), name)


def net(seed):
    x = gx.input("x", (None, 6, 6, 2))
    h = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())(x)
    out = nn.Linear(64, 1)(h)
    return gx.Model(
        inputs=x, outputs=out, loss=gx.mean(out**2), optimizer=optim.Adam(1e-2), seed=seed
    )


def test_files_keep_running_statistics(tmp_path):
    model, other = net(0), net(1)
    value = RNG.standard_normal((8, 6, 6, 2)).astype("float32")
    model.fit(value, epochs=3, batch_size=4, verbose=0)
    model.save(tmp_path / "m.safetensors", include_optimizer=True)
    other.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(other.predict(value), model.predict(value))
    assert other.state["batch_norm2d_0.num_batches_tracked"] == 6
    model.train_step(value)
    other.train_step(value)
    np.testing.assert_array_equal(other.predict(value), model.predict(value))


def test_large_means_cost_no_digits():
    """Deviations are taken before they are squared: a mean of 1e4 leaves float32 its digits."""
    value = (RNG.standard_normal((256, 5)) + 1e4).astype("float32")
    x = gx.input("x", (None, 5))
    found = gx.function(x, nn.BatchNorm1d(5, eps=1e-12)(x))(value)
    exact = value.astype("float64")
    exact = (exact - exact.mean(0)) / exact.std(0)
    assert np.abs(found - exact).max() < 2e-3  # the last digit of 1e4 in float32 is 1e-3


def test_one_row_gives_the_bias_and_no_nan():
    x = gx.input("x", (None, 3))
    out = nn.BatchNorm1d(3)(x)
    model = gx.Model(inputs=x, outputs=out, loss=gx.mean(out**2), optimizer=optim.SGD(0.1))
    model.train_step(np.ones((1, 3), "float32"))
    assert all(np.isfinite(v).all() for v in (*model.state.values(), *model.parameters.values()))


# -- structure -------------------------------------------------------------------------------------


def test_layers_that_arrange_others():
    x = gx.input("x", (None, 4, 6))
    value = RNG.standard_normal((3, 4, 6)).astype("float32")

    def run(y):
        return gx.function(x, y)(value)

    np.testing.assert_array_equal(run(nn.Reshape(6, -1)(x)), value.reshape(3, 6, 4))
    np.testing.assert_array_equal(run(nn.Permute(0, 2, 1)(x)), value.transpose(0, 2, 1))
    np.testing.assert_array_equal(run(nn.Unflatten(2, (3, -1))(x)), value.reshape(3, 4, 3, 2))
    np.testing.assert_array_equal(run(nn.Identity()(x)), value)
    np.testing.assert_array_equal(run(nn.Lambda(lambda t: t * 2)(x)), value * 2)
    np.testing.assert_array_equal(run(nn.Add()(x, x)), value + value)
    np.testing.assert_array_equal(run(nn.Concat(axis=1)([x, x])), np.concatenate([value] * 2, 1))
    linear = nn.Linear(6, 6)
    residual = nn.Add(linear, nn.Identity())
    assert residual.parameters == linear.parameters
    np.testing.assert_array_equal(run(residual(x)), run(linear(x) + x))
    both = nn.Concat(linear, nn.Identity())
    np.testing.assert_array_equal(run(both(x)), run(gx.concat([linear(x), x], -1)))
    with pytest.raises(ValueError, match=r"Add: parts.*\n.*test_nn_images.py"):
        nn.Add(nn.Linear(6, 5), nn.Identity())(x)
    with pytest.raises(TypeError, match="layer 1 is not callable"):
        nn.Add(linear, 3)


def test_sequential_by_names():
    net = nn.Sequential({"hidden": nn.Linear(2, 3), "act": nn.Tanh(), "head": nn.Linear(3, 1)})
    assert net["hidden"] is net[0]
    tail = net[1:]
    assert tail["head"] is net[2]
    assert len(tail) == 2
    with pytest.raises(KeyError, match="'hidden'"):
        tail["hidden"]
    assert net(gx.input("x", (None, 2))).shape == (None, 1)


# -- what is computed ------------------------------------------------------------------------------


def test_a_padded_image_is_computed_in_its_place():
    """What a convolution pads is written into the padded image: its border is filled, no more."""
    x = gx.input("x", (None, 12, 12, 4))
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
    f = gx.function(x, net(x))
    kernels = [k for k in f.report.kernels if "embed" in k.computes]
    assert kernels
    assert {k.name.split("_")[0] for k in kernels} == {"fill"}
    value = RNG.standard_normal((3, 12, 12, 4)).astype("float32")
    with gx.config(check=True):
        again = gx.function(x, net(x))(value)
    np.testing.assert_array_equal(f(value), again)


def test_the_derivative_of_a_norm_shares_sums():
    """Its weight's gradient, its bias's and its input's need two sums over the batch."""
    x = gx.input("x", (None, 9, 9, 16))
    y = nn.BatchNorm2d(16)(gx.tanh(x))
    model = gx.Model(inputs=x, outputs=y, loss=gx.sum(gx.sin(y)), optimizer=optim.SGD(0.1))
    value = RNG.standard_normal((8, 9, 9, 16)).astype("float32")
    model.train_step(value)
    phases = [k.phase for k in model.report.kernels if k.name.split("_")[-2] == "parts"]
    assert phases.count("backward") == 2
    assert phases.count("forward") == 3  # with that of the loss


def test_folds_that_differ_in_kept_axes_are_one():
    x = gx.input("x", (None, 30))
    f = gx.function(x, [gx.sum(x, 1), gx.sum(x, 1, keepdims=True), gx.sum(x, 0)])
    assert sum("sum" in k.computes for k in f.report.kernels) == 2
    value = RNG.standard_normal((5, 30)).astype("float32")
    a, b, c = f(value)
    np.testing.assert_allclose(a, value.sum(1), rtol=1e-5)
    np.testing.assert_array_equal(a[:, None], b)
    np.testing.assert_allclose(c, value.sum(0), rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"momentum": None}])
@pytest.mark.parametrize(("own", "given"), [("float32", "float64"), ("float64", "float32")])
def test_a_norm_of_another_type_than_its_input_trains(own, given, options):
    x = gx.input("x", (None, 4), given)
    y = nn.Linear(4, 1, dtype=given)(nn.BatchNorm1d(4, dtype=own, **options)(x))
    model = gx.Model(inputs=x, outputs=y, loss=gx.mean(y * y), optimizer=optim.SGD(0.1), seed=0)
    value = RNG.standard_normal((6, 4)).astype(given)
    with gx.config(check=own == given):  # gradients in float64 of what was rounded to float32
        losses = [model.train_step(value) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert model.state["batch_norm1d_0.running_mean"].dtype == own
    assert np.isfinite(model.predict(value)).all()
