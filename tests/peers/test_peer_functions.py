"""Functions on PyTorch's own samples, in float64: values and gradients to 1e-10, and errors."""

from __future__ import annotations

import inspect
import re
import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")

import graphc as gx  # noqa: E402
from tests.peers.functions import FUNCTIONS  # noqa: E402
from tests.peers.samples import OP_DB, Left, compare, refused  # noqa: E402

MOST = 40
"""Samples of a function that are tried, spread over all of them."""


def title(info):
    return info.name + (f".{info.variant_test_name}" if info.variant_test_name else "")


OPS = [o for o in OP_DB if o.name in FUNCTIONS]
INTEGRAL = {torch.int64, torch.bool}


def samples_of(info):
    floating = torch.float64 in info.supported_dtypes("cpu")
    dtype = torch.float64 if floating else torch.int64
    if dtype not in info.supported_dtypes("cpu"):
        return []
    grad = floating and info.supports_autograd
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        found = list(info.sample_inputs("cpu", dtype, requires_grad=grad))
    step = max(1, len(found) // MOST)
    return found[::step]


def bound(f, args, kwargs):
    """Raise Left if ``f`` has no such option."""
    given = {k: v for k, v in kwargs.items() if k not in ("inplace", "memory_format", "layout")}
    try:
        signature = inspect.signature(f)
    except ValueError:
        return given
    try:
        signature.bind(*args, **given)
    except TypeError as error:
        raise Left(str(error)) from None
    return given


LEFT = {
    "nn.functional.silu.complex": "complex numbers are not there",
    "nn.functional.pad.replicate_negative": "negative widths cut: a slice does",
    "nn.functional.one_hot": "its samples leave the number of classes to the data",
}
"""Functions of which no sample is tried, and why."""

SLOPES = {
    "nextafter": "PyTorch's derivative is not that of a step of no length",
    **{f"nn.functional.max_unpool{r}d": "of elements for one place, the one that stays has the "
       "derivative here, and each in PyTorch" for r in (1, 2, 3)},
}  # fmt: skip
"""Functions whose gradients are not compared, and why."""

NEAR = {
    "nn.functional.hardsigmoid": (1e-6, "PyTorch's derivative has a sixth in float32"),
    "digamma": (1e-8, "PyTorch's trigamma has nine digits"),
    "matrix_exp": (1e-6, "derivatives by matrices of large norm are ill-conditioned"),
}
"""Functions with another tolerance, and why."""


REFUSED = {
    "cat": ("axis 1 is out of bounds", "an empty vector among matrices is no matrix, as in NumPy"),
    "einsum": ("no '...' ellipsis", "axes of '...' must stand in the result, as in NumPy"),
    "index_select": ("cannot take from a scalar", "a scalar has no axis"),
    "nn.functional.multi_margin_loss": ("need the shape|do not fit", "one row has one label ()"),
    "nn.functional.multilabel_margin_loss": ("need the shape", "a scalar is no row"),
    "tensordot": ("shape-mismatch", "axes of one element do not broadcast, as in NumPy"),
}
"""Functions that refuse samples which PyTorch takes: the message, and why."""


def is_scalar_with_axis(args, kwargs):
    """Tell whether an axis of a scalar is meant, which PyTorch lets have one."""
    lone = isinstance(args[0], torch.Tensor) and not args[0].ndim
    axis = any(isinstance(a, (int, tuple, list)) for a in args[1:]) or {"dim", "dims"} & set(kwargs)
    return lone and bool(axis)


@pytest.mark.parametrize("info", OPS, ids=title)
def test_samples(info):
    f, tried, left = FUNCTIONS[info.name], 0, set()
    for sample in samples_of(info):
        args, kwargs = (sample.input, *sample.args), sample.kwargs
        if info.name in ("cumsum", "cumprod", "squeeze") and not sample.input.ndim:
            left.add("a scalar has no axis, as in NumPy")
            continue
        try:
            given = bound(f, args, kwargs)
            compare(lambda *a, **k: f(*a, **{n: k[n] for n in given}), info.op, args, kwargs,
                    compiled=tried == 0, slopes=title(info) not in SLOPES,
                    tolerance=NEAR.get(info.name, (1e-10,))[0])  # fmt: skip
        except Left as reason:
            left.add(str(reason))
            continue
        except AssertionError as error:
            raise AssertionError(f"{shown(args, kwargs)}: {error}") from None
        except gx.errors.GraphcError as error:
            if is_scalar_with_axis(args, kwargs):
                left.add("a scalar has no axis, as in NumPy")
                continue
            if info.name in REFUSED and re.search(REFUSED[info.name][0], str(error)):
                left.add(REFUSED[info.name][1])
                continue
            raise AssertionError(f"{shown(args, kwargs)}: {error}") from error
        tried += 1
    assert tried or title(info) in LEFT, f"none of the samples was tried: {sorted(left)}"


ALLOWED = {
    "nn.functional.group_norm": "groups of no elements are not there",
    "nn.functional.max_pool1d": "images of no elements have no windows",
    "nn.functional.max_pool3d": "images of no elements have no windows",
    "roll": "shifts and axes broadcast, as in NumPy",
    "trace": "stacks of matrices have traces, as in NumPy",
    "mean": "integers have a mean, as in NumPy",
    "linalg.cross": "operands broadcast, as in NumPy",
    **{f"nn.functional.conv{r}d": "data types are promoted, as in NumPy" for r in (1, 2, 3)},
}  # fmt: skip
"""Functions that take some of PyTorch's error samples, and why."""


@pytest.mark.parametrize("info", [o for o in OPS if o.error_inputs_func], ids=title)
def test_errors(info):
    f, wrong = FUNCTIONS[info.name], []
    for error in info.error_inputs("cpu"):
        sample = error.sample_input
        args, kwargs = (sample.input, *sample.args), sample.kwargs
        if not all(isinstance(a, torch.Tensor) for a in args[:2]) and not error.error_regex:
            continue  # PyTorch's functions of two tensors take no numbers; ours do
        try:
            given = bound(f, args, kwargs)
            said = refused(lambda *a, **k: f(*a, **{n: k[n] for n in given}), args, kwargs)
        except Left:
            continue
        if said is None:
            wrong.append(f"{shown(args, kwargs)}: {error.error_regex}")
    if info.name in ALLOWED:
        assert wrong, f"{info.name} refuses all of them by now"
    else:
        assert not wrong, wrong


def shown(args, kwargs):
    def one(v):
        return f"{v.dtype}{tuple(v.shape)}" if isinstance(v, torch.Tensor) else repr(v)

    return ", ".join([*map(one, args), *(f"{k}={one(v)}" for k, v in kwargs.items())])
