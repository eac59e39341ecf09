"""Layers and losses on PyTorch's own samples of modules, in float64, and on its error samples."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")

import graphc as gx  # noqa: E402
from graphc import nn  # noqa: E402
from graphc.synonyms import OTHERS  # noqa: E402
from tests.layers import layer_array  # noqa: E402
from tests.peers.functions import FUNCTIONS, first, last  # noqa: E402
from tests.peers.samples import MODULE_DB, Left, compare, refused  # noqa: E402

RENAMED = {"dim": "axis", "negative_slope": "slope", "init": "start"}
IGNORED = ("device", "dtype", "inplace", "size_average", "reduce")
IMAGES = ("Conv", "ConvTranspose", "MaxPool", "AvgPool", "LPPool", "AdaptiveMaxPool",
          "AdaptiveAvgPool", "BatchNorm", "InstanceNorm", "ReflectionPad", "ReplicationPad",
          "ZeroPad", "CircularPad", "ConstantPad")  # fmt: skip
"""Kinds of layers of images, whose channels are first there, of one to three axes."""
CHANNELS = {"GroupNorm", "LocalResponseNorm", "PReLU"}
ALONE = {"Softmax2d": 3}

LEFT = {
    **dict.fromkeys(("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"),
                    "tests/unit/test_recurrent.py compares layers of sequences"),
    **dict.fromkeys(("MultiheadAttention", "Transformer", "TransformerEncoder",
                     "TransformerEncoderLayer", "TransformerDecoderLayer"),
                    "tests/unit/test_transformer.py and test_attention.py compare these"),
    **{f"Lazy{n}{r}d": "not there" for n in ("Conv", "ConvTranspose") for r in (1, 2, 3)},
    "FractionalMaxPool2d": "not there", "FractionalMaxPool3d": "not there",
    "CTCLoss": "tests/unit compares it", "LinearCrossEntropyLoss": "a function here",
}  # fmt: skip
"""Modules that are not compared here, and why."""


def name_of(info):
    return info.module_cls.__name__


def samples(info, errors=False):
    f = info.module_error_inputs_func if errors else info.module_inputs_func
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return f(info, device="cpu", dtype=torch.float64, requires_grad=True, training=True)


def kind_of(name):
    """Return the kind of a layer of images, and the number of axes of space."""
    kind, rank = (name[:-2], int(name[-2])) if name[-1] == "d" and name[-2].isdigit() else (name, 0)
    return (kind, rank) if kind in IMAGES else (name, 0)


def made(name, arguments):
    """Return our layer of PyTorch's arguments."""
    theirs = OTHERS.get(name, f"nn.{name}").removeprefix("nn.")
    options = {RENAMED.get(k, k): v for k, v in arguments.kwargs.items() if k not in IGNORED}
    args = list(arguments.args)
    if name in ("Softmax", "LogSoftmax", "Softmin", "GLU") and args:
        options["axis"] = args.pop(0)
    cls = getattr(nn, theirs)
    parameters = cls.__init__.__code__.co_varnames
    if "dtype" in parameters:
        options["dtype"] = "float64"
    if name in ("SELU", "CELU", "ELU", "Threshold", "ReLU", "ReLU6", "LeakyReLU", "SiLU", "Mish",
                "Hardtanh", "Hardswish", "Hardsigmoid"):  # fmt: skip
        args = [a for a in args if not isinstance(a, bool)]
    return cls(*args, **options)


def weights(name, layer, module):
    """Give our layer PyTorch's weights; return pairs, and what turns a gradient into ours."""
    kind, _ = kind_of(name)
    found = []
    for label in ("weight", "bias", "running_mean", "running_var"):
        theirs, own = getattr(module, label, None), layer_array(layer, label) if hasattr(
            layer, label) else None  # fmt: skip
        if theirs is None or own is None:
            continue

        def turn(a, label=label, own=own):
            if label != "weight" or a.ndim < 2:
                return a
            if name == "Linear":
                return a.T
            if name == "Bilinear":
                return np.moveaxis(a, 0, -1)
            if kind == "ConvTranspose":
                groups, (n, m, *window) = module.groups, a.shape
                parts = a.reshape(groups, n // groups, m, *window)
                wide = np.moveaxis(parts, 0, 1).reshape(n // groups, groups * m, *window)
                return np.moveaxis(wide, (0, 1), (-2, -1))
            return np.moveaxis(a, (0, 1), (-1, -2)) if kind == "Conv" else a

        own[...] = turn(theirs.detach().numpy())
        if theirs.requires_grad:
            found.append((getattr(layer, label), theirs, turn))
    return found


def called(name, layer):
    """Return a function of PyTorch's inputs that calls our layer, channels last."""
    kind, rank = kind_of(name)

    def call(x, *more, **options):
        if name in CHANNELS and x.ndim > 1:
            return first(layer(last(x)))
        alone = ALONE.get(name, rank + 1 if kind.startswith(("Conv", "Max", "Avg", "LP", "Adaptive",
                          "Instance")) or kind.endswith("Pad") else -1)  # fmt: skip
        if not rank and name not in ALONE:
            return layer(x, *more, **options)
        if x.ndim == alone:
            y = layer(gx.moveaxis(x, 0, -1))
            several = isinstance(y, tuple)
            y = [gx.moveaxis(t, -1, 0) for t in (y if several else (y,))]
        else:
            y = layer(last(x) if x.ndim > 2 else x)
            several = isinstance(y, tuple)
            y = [first(t) if t.ndim > 2 else t for t in (y if several else (y,))]
        return tuple(y) if several else y[0]

    return call


def loss_of(module, name):
    """Return the loss as a function of ours, with the options of a module, or None."""
    label = {
        "BCELoss": "binary_cross_entropy", "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
        "L1Loss": "l1_loss", "MSELoss": "mse_loss", "NLLLoss": "nll_loss", "KLDivLoss": "kl_div",
        "CrossEntropyLoss": "cross_entropy", "HuberLoss": "huber_loss",
        "SmoothL1Loss": "smooth_l1_loss", "PoissonNLLLoss": "poisson_nll_loss",
        "GaussianNLLLoss": "gaussian_nll_loss", "SoftMarginLoss": "soft_margin_loss",
        "HingeEmbeddingLoss": "hinge_embedding_loss", "MarginRankingLoss": "margin_ranking_loss",
        "MultiMarginLoss": "multi_margin_loss", "MultiLabelMarginLoss": "multilabel_margin_loss",
        "MultiLabelSoftMarginLoss": "multilabel_soft_margin_loss",
        "CosineEmbeddingLoss": "cosine_embedding_loss", "TripletMarginLoss": "triplet_margin_loss",
    }.get(name)  # fmt: skip
    if label is None:
        return None
    names = ("reduction", "weight", "pos_weight", "ignore_index", "label_smoothing", "delta",
             "beta", "log_input", "full", "eps", "margin", "p", "swap", "log_target")  # fmt: skip
    options = {}
    for option in names:
        value = getattr(module, option, None)
        if value is not None:
            options[option] = (
                gx.constant(value.detach().numpy()) if isinstance(value, torch.Tensor) else value
            )
    f = FUNCTIONS[f"nn.functional.{label}"]
    known = f.__code__.co_varnames[: f.__code__.co_argcount + f.__code__.co_kwonlyargcount]
    known = known or f.__defaults__
    return lambda *args: f(*args, **{k: v for k, v in options.items() if k in known})


@pytest.mark.parametrize("info", MODULE_DB, ids=name_of)
def test_samples(info):
    name = name_of(info)
    if name in LEFT:
        pytest.skip(LEFT[name])
    tried, left = 0, []
    for number, sample in enumerate(samples(info)):
        arguments, inputs = sample.constructor_input, sample.forward_input
        what = f"{name} {number}: {arguments.args} {arguments.kwargs}"
        kwargs = {k: v for k, v in arguments.kwargs.items() if k != "device"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = info.module_cls(*arguments.args, **kwargs).to(torch.float64)
        try:
            ours, pairs = loss_of(module, name), []
            if ours is None:
                layer = made(name, arguments)
                pairs = weights(name, layer, module)
                ours = called(name, layer)
            given = (*inputs.args, *inputs.kwargs.values())
            scalar = isinstance(given[0], torch.Tensor) and not given[0].ndim
            if scalar and name in ("Softmax", "LogSoftmax", "Softmin", "KLDivLoss"):
                raise Left("a scalar has no axis")
            compare(ours, module, given, {}, pairs, compiled=tried == 0,
                    tolerance=1e-6 if name == "Hardsigmoid" else 1e-10)  # fmt: skip
        except Left as reason:
            left.append(str(reason))
            continue
        except (AssertionError, gx.errors.GraphcError, TypeError, AttributeError) as error:
            raise AssertionError(f"{what}: {type(error).__name__} {error}") from error
        tried += 1
    assert tried, left


ERRORS = [i for i in MODULE_DB if i.module_error_inputs_func and name_of(i) not in LEFT]


@pytest.mark.parametrize("info", ERRORS, ids=name_of)
def test_errors(info):
    name = name_of(info)
    for error in samples(info, errors=True):
        arguments = error.module_error_input.constructor_input
        inputs = error.module_error_input.forward_input

        def call(*given, arguments=arguments):
            kwargs = {k: v for k, v in arguments.kwargs.items() if k != "device"}
            if name.endswith("Loss"):
                return loss_of(info.module_cls(*arguments.args, **kwargs), name)(*given)
            return called(name, made(name, arguments))(*given)

        said = refused(call, () if inputs is None else inputs.args, {})
        assert said is not None, f"{arguments.args} {arguments.kwargs}: {error.error_regex}"
