"""PyTorch's functions, each as a formula of ours that takes PyTorch's arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import graphc as gx
from graphc import nn
from tests.peers.samples import Left


def axes(dim: Any) -> Any:
    """Return an axis or several, as a fold here has them; no axes are all there, in PyTorch."""
    if isinstance(dim, (list, tuple)):
        return tuple(dim) or None
    return dim


def fold(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, dim=None, keepdim=False: f(x, axes(dim), keepdims=keepdim)


def spread(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a variance or deviation: the second argument may also be whether it is unbiased."""

    def call(x: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
             correction: Any = None) -> Any:  # fmt: skip
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        one = 1 if unbiased in (None, True) else 0
        own = one if correction is None else correction
        return f(x, axes(dim), correction=float(own), keepdims=keepdim)

    return call


def extreme(fold_: Callable[..., Any], place_of: Callable[..., Any], both: Any) -> Any:
    def call(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
        if hasattr(dim, "op"):
            return both(x, dim)
        if dim is None:
            return fold_(x)
        if not x.ndim:
            return x, gx.constant(0, "int64")
        place = place_of(x, dim, keepdims=True)
        value = gx.take_along_axis(x, place, dim)
        return (value, place) if keepdim else (gx.squeeze(value, dim), gx.squeeze(place, dim))

    return call


def last(x: Any) -> Any:
    """Return images (N, C, *space) with channels last."""
    return gx.moveaxis(x, 1, -1)


def first(x: Any) -> Any:
    return gx.moveaxis(x, -1, 1)


def images(rank: int, f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of images with a batch or without, channels first."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        alone = x.ndim == rank + 1
        if not alone and x.ndim != rank + 2:
            raise gx.errors.ShapeError(f"images of rank {rank}, got {x.type}")
        y = f(last(gx.expand_dims(x, 0) if alone else x), *args, **kwargs)
        several = isinstance(y, tuple)
        made = [gx.squeeze(first(t), 0) if alone else first(t) for t in (y if several else (y,))]
        return tuple(made) if several else made[0]

    return call


def max_pool(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
             return_indices=False):  # fmt: skip
    return gx.max_pool(
        x,
        kernel_size,
        None if stride in (None, (), []) else stride,
        padding,
        dilation,
        ceil_mode,
        return_indices,
    )


def avg_pool(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
             divisor_override=None):  # fmt: skip
    steps = None if stride in (None, (), []) else stride
    return gx.avg_pool(x, kernel_size, steps, padding, ceil_mode, count_include_pad,
                       divisor_override)  # fmt: skip


def unpool(rank: int) -> Callable[..., Any]:
    def call(x, indices, kernel_size, stride=None, padding=0, output_size=None):
        alone = x.ndim == rank + 1
        given = [last(gx.expand_dims(t, 0) if alone else t) for t in (x, indices)]
        y = first(gx.max_unpool(*given, kernel_size, stride, padding, output_size))
        return gx.squeeze(y, 0) if alone else y

    return call


def conv(rank: int) -> Callable[..., Any]:
    def call(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        kernel = gx.moveaxis(weight, (0, 1), (-1, -2))
        made = images(rank, lambda t: with_bias(
            gx.conv(t, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups),
            bias))  # fmt: skip
        return made(x)

    return call


def conv_transpose(rank: int) -> Callable[..., Any]:
    def call(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        n, m, *window = weight.shape
        parts = gx.reshape(weight, (groups, n // groups, m, *window))
        wide = gx.reshape(gx.moveaxis(parts, 0, 1), (n // groups, groups * m, *window))
        kernel = gx.moveaxis(wide, (0, 1), (-2, -1))
        made = images(rank, lambda t: with_bias(gx.conv_transpose(
            t, kernel, stride=stride, padding=padding, output_padding=output_padding,
            groups=groups, dilation=dilation), bias))  # fmt: skip
        return made(x)

    return call


def with_bias(y: Any, bias: Any) -> Any:
    return y if bias is None else y + bias


def pad(mode: str) -> Callable[..., Any]:
    modes = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}

    def call(x: Any, pad: Any, mode: str = mode, value: Any = 0.0) -> Any:
        pairs = list(zip(pad[::2], pad[1::2], strict=True))[::-1]
        if any(w < 0 for pair in pairs for w in pair):
            raise Left("a width is negative: a slice cuts")
        widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs
        return gx.pad(x, widths, modes[mode], constant_values=value or 0.0)

    return call


def clamp(x: Any, min: Any = None, max: Any = None) -> Any:
    return gx.clip(x, min, max)


def divide(x: Any, y: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode == "floor":
        return gx.floor_divide(x, y)
    return gx.trunc(x / y) if rounding_mode == "trunc" else x / y


def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=None,
                recompute_scale_factor=None, antialias=False):  # fmt: skip
    if recompute_scale_factor or antialias:
        raise Left("options recompute_scale_factor and antialias are not there")
    return first(gx.interpolate(last(x), size, scale_factor, mode, align_corners))


def cross_entropy(x, target, weight=None, size_average=None, ignore_index=-100, reduce=None,
                  reduction="mean", label_smoothing=0.0):  # fmt: skip
    soft = target.dtype.kind == "f"
    classes = last(x) if x.ndim > 1 else x
    goal = last(target) if soft and x.ndim > 1 else target
    ignored = {} if soft and ignore_index < 0 else {"ignore_index": ignore_index}
    return nn.cross_entropy(classes, goal, weight=weight, reduction=reduction,
                            label_smoothing=label_smoothing, **ignored)  # fmt: skip


def nll_loss(x, target, weight=None, size_average=None, ignore_index=-100, reduce=None,
             reduction="mean"):  # fmt: skip
    classes = last(x) if x.ndim > 1 else x
    return nn.nll_loss(classes, target, weight=weight, ignore_index=ignore_index,
                       reduction=reduction)  # fmt: skip


def sorted_(x, dim=-1, descending=False, stable=None):
    if not x.ndim:
        return x, gx.constant(0, "int64")
    return gx.sort(x, dim, descending=descending), gx.argsort(x, dim, descending=descending)


def quantile(x, q, dim=None, keepdim=False, interpolation="linear"):
    return gx.quantile(x, q, dim, method=interpolation, keepdims=keepdim)


def embedding(weight, indices, padding_idx=None, max_norm=None, norm_type=2.0,
              scale_grad_by_freq=False, sparse=False):  # fmt: skip
    if max_norm is not None or scale_grad_by_freq or padding_idx is not None:
        raise Left("options of the layer, where there are such")
    if weight.ndim != 2:
        raise gx.errors.ShapeError(f"a table has two axes, not {weight.type}")
    return gx.take(weight, indices, axis=0)


def distance(x, y, p=2.0, eps=1e-6, keepdim=False):
    return nn.pairwise_distance(x, y, p=p, eps=eps, keepdims=keepdim)


def addition(x, y, *, alpha=1):
    return x + y * alpha if alpha != 1 else x + y


def gaussian(x, target, var, full=False, eps=1e-6, reduction="mean"):
    return nn.gaussian_nll_loss(x, target, var, full=full, eps=eps, reduction=reduction)


def squeeze(x: Any, dim: Any = None) -> Any:
    """Return ``x`` without axes of one element, as NumPy has it: others raise there."""
    if dim is None:
        return gx.squeeze(x)
    own = dim if isinstance(dim, (tuple, list)) else (dim,)
    return gx.squeeze(x, tuple(d for d in own if x.shape[d] == 1))


def _same(*names: str) -> dict[str, Callable[..., Any]]:
    return {n: getattr(gx, n) for n in names}


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **_same(
        "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "digamma",
        "erf", "erfinv", "exp", "exp2", "expm1", "floor", "isfinite", "isinf", "isnan", "lgamma",
        "log", "log10", "log1p", "log2", "logical_not", "positive", "reciprocal", "rsqrt",
        "sigmoid", "sign", "signbit", "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh",
        "trunc", "atan2", "copysign", "hypot", "logaddexp", "logical_and", "logical_or",
        "logical_xor", "maximum", "minimum", "nextafter", "xlogy", "bitwise_and", "bitwise_or",
        "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift", "remainder", "floor_divide",
        "kron", "dot", "outer", "matmul", "ravel", "lerp",
    ),
    "neg": gx.negative, "where": lambda x, condition, y: gx.where(condition, x, y),
    "mul": gx.multiply, "pow": gx.pow, "true_divide": gx.divide,
    "div": divide, "add": addition, "sub": lambda x, y, *, alpha=1: x - y * alpha,
    "rsub": lambda x, y, *, alpha=1: y - x * alpha, "float_power": gx.pow,
    "eq": gx.equal, "ne": gx.not_equal, "ge": gx.greater_equal, "gt": gx.greater,
    "le": gx.less_equal, "lt": gx.less, "bitwise_not": gx.bitwise_invert,
    "clamp": clamp, "clamp_min": lambda x, min: gx.maximum(x, min),
    "clamp_max": lambda x, max: gx.minimum(x, max),
    "mm": gx.matmul, "bmm": gx.matmul, "mv": gx.matmul, "vdot": gx.dot,
    "inner": lambda x, y: gx.tensordot(x, y, axes=((-1,), (-1,))) if x.ndim and y.ndim else x * y,
    "addmm": lambda c, a, b, *, beta=1, alpha=1: beta * c + alpha * (a @ b),
    "addmv": lambda c, a, b, *, beta=1, alpha=1: beta * c + alpha * (a @ b),
    "baddbmm": lambda c, a, b, *, beta=1, alpha=1: beta * c + alpha * (a @ b),
    "addr": lambda c, a, b, *, beta=1, alpha=1: beta * c + alpha * gx.outer(a, b),
    "addcmul": lambda x, a, b, *, value=1: x + value * a * b,
    "addcdiv": lambda x, a, b, *, value=1: x + value * a / b,
    "tensordot": lambda a, b, dims=2: gx.tensordot(a, b, axes=dims),
    "einsum": lambda operands, formula: gx.einsum(formula, *operands),
    "sum": fold(gx.sum), "mean": fold(gx.mean), "amax": fold(gx.max), "amin": fold(gx.min),
    "all": fold(gx.all), "any": fold(gx.any), "prod": fold(gx.prod),
    "count_nonzero": lambda x, dim=None: gx.count_nonzero(x, axes(dim)),
    "logsumexp": fold(gx.logsumexp), "var": spread(gx.var), "std": spread(gx.std),
    "argmax": fold(gx.argmax), "argmin": fold(gx.argmin),
    "max": extreme(gx.max, gx.argmax, gx.maximum), "min": extreme(gx.min, gx.argmin, gx.minimum),
    "cumsum": lambda x, dim: gx.cumulative_sum(x, axis=dim),
    "cumprod": lambda x, dim: gx.cumulative_prod(x, axis=dim),
    "softmax": lambda x, dim, dtype=None: gx.softmax(
        x if dtype is None else gx.astype(x, "float64"), dim),
    "log_softmax": lambda x, dim, dtype=None: gx.log_softmax(
        x if dtype is None else gx.astype(x, "float64"), dim),
    "nn.functional.softmin": lambda x, dim, dtype=None: gx.softmax(
        -x if dtype is None else gx.astype(-x, "float64"), dim),
    "sort": sorted_, "argsort": lambda x, dim=-1, descending=False, stable=None: sorted_(
        x, dim, descending)[1],
    "msort": lambda x: gx.sort(x, 0), "quantile": quantile,
    "topk": lambda x, k, dim=-1, largest=True, sorted=True: gx.top_k(
        x, k, axis=dim, largest=largest),
    "flip": lambda x, dims: gx.flip(x, axes(dims) or ()), "fliplr": lambda x: gx.flip(x, 1),
    "flipud": lambda x: gx.flip(x, 0),
    "roll": lambda x, shifts, dims=None: gx.roll(x, shifts, axes(dims)),
    "permute": lambda x, dims: gx.permute_dims(x, dims),
    "t": lambda x: _only(x.ndim < 3, "t of more axes") or (x.T if x.ndim else x),
    "T": lambda x: x.T if x.ndim else x, "mT": gx.matrix_transpose,
    "transpose": lambda x, a, b: gx.swapaxes(x, a, b),
    "movedim": lambda x, a, b: gx.moveaxis(x, a, b),
    "squeeze": squeeze, "unsqueeze": lambda x, dim: gx.expand_dims(
        x, dim),
    "reshape": lambda x, shape: gx.reshape(x, shape), "view": lambda x, shape: gx.reshape(x, shape),
    "broadcast_to": lambda x, shape: gx.broadcast_to(x, shape),
    "tile": lambda x, dims: gx.tile(x, dims), "repeat": lambda x, dims: gx.tile(x, dims),
    "cat": lambda xs, dim=0: gx.concat(xs, dim), "stack": lambda xs, dim=0: gx.stack(xs, dim),
    "unbind": lambda x, dim=0: gx.unstack(x, axis=dim),
    "tensor_split": lambda x, n, dim=0: _number(n) or gx.array_split(
        x, n if isinstance(n, int) else list(n), dim),
    "diagonal": lambda x, offset=0, dim1=0, dim2=1: gx.diagonal(
        x, offset, axis1=dim1, axis2=dim2),
    "diag": lambda x, diagonal=0: gx.diag(x, diagonal),
    "tril": lambda x, diagonal=0: gx.tril(x, k=diagonal),
    "triu": lambda x, diagonal=0: gx.triu(x, k=diagonal), "trace": gx.trace,
    "trapezoid": lambda y, x=None, *, dx=1, dim=-1: gx.trapezoid(y, x, dx=dx, axis=dim),
    "trapz": lambda y, x=None, *, dx=1, dim=-1: gx.trapezoid(y, x, dx=dx, axis=dim),
    "cross": lambda x, y, dim=None: gx.cross(x, y, axis=_three(x, y, dim)),
    "linalg.cross": lambda x, y, *, dim=-1: gx.cross(x, y, axis=dim),
    "linalg.vecdot": lambda x, y, *, dim=-1: gx.vecdot(x, y, axis=dim),
    "linalg.det": gx.linalg.det, "linalg.slogdet": gx.linalg.slogdet, "logdet": gx.linalg.logdet,
    "linalg.inv": gx.linalg.inv, "linalg.matrix_power": gx.linalg.matrix_power,
    "matrix_exp": gx.linalg.matrix_exp, "linalg.svdvals": gx.linalg.svdvals,
    "linalg.vector_norm": lambda x, ord=2, dim=None, keepdim=False: gx.vector_norm(
        x, axis=axes(dim), ord=ord, keepdims=keepdim),
    "index_select": lambda x, dim, index: gx.take(x, index, axis=dim),
    "take": lambda x, index: gx.take(x, index),
    "index_add": lambda x, dim, index, source, *, alpha=1: gx.index_add(
        x, index, source, axis=dim, alpha=alpha),
    "index_copy": lambda x, dim, index, source: gx.index_copy(x, index, source, axis=dim),
    "take_along_dim": lambda x, i, dim=None: gx.take_along_axis(x, i, dim)
    if dim is not None else gx.take_along_axis(gx.ravel(x), gx.ravel(i), 0),
    "searchsorted": lambda x, v, *, out_int32=False, right=False, side=None, sorter=None: (
        _only(sorter is None, "sorter") or gx.searchsorted(
            x, v, side="right" if right or side == "right" else "left")),
    "nn.functional.one_hot": lambda x, num_classes=-1: _only(
        num_classes >= 0, "a number of classes that depends on the data") or gx.one_hot(
            x, num_classes),
    "nn.functional.embedding": embedding,
    "nn.functional.relu": gx.relu, "nn.functional.relu6": gx.relu6, "nn.functional.selu": gx.selu,
    "nn.functional.silu": gx.silu, "nn.functional.mish": gx.mish,
    "nn.functional.hardswish": gx.hard_swish, "nn.functional.hardsigmoid": gx.hard_sigmoid,
    "nn.functional.logsigmoid": gx.log_sigmoid, "nn.functional.softsign": gx.softsign,
    "nn.functional.tanhshrink": gx.tanhshrink,
    "nn.functional.celu": lambda x, alpha=1.0: gx.celu(x, alpha),
    "nn.functional.elu": lambda x, alpha=1.0: gx.elu(x, alpha),
    "nn.functional.leaky_relu": lambda x, negative_slope=0.01: gx.leaky_relu(x, negative_slope),
    "nn.functional.gelu": lambda x, *, approximate="none": gx.gelu(x, approximate=approximate),
    "nn.functional.glu": lambda x, dim=-1: gx.glu(x, dim),
    "nn.functional.hardshrink": lambda x, lambd=0.5: gx.hardshrink(x, lambd),
    "nn.functional.softshrink": lambda x, lambd=0.5: gx.softshrink(x, lambd),
    "nn.functional.hardtanh": lambda x, min_val=-1.0, max_val=1.0: gx.hardtanh(
        x, min_val, max_val),
    "nn.functional.threshold": lambda x, threshold, value: gx.threshold(x, threshold, value),
    "nn.functional.prelu": lambda x, weight: first(gx.prelu(last(x), weight))
    if x.ndim > 1 else gx.prelu(x, weight),
    "nn.functional.softplus": lambda x, beta=1, threshold=20: gx.softplus(x, beta, threshold),
    "nn.functional.linear": lambda x, w, bias=None: with_bias(
        x @ (w.T if w.ndim > 1 else w), bias),
    "nn.functional.normalize": lambda x, p=2.0, dim=1, eps=1e-12: gx.normalize(x, p, dim, eps=eps),
    "nn.functional.cosine_similarity": lambda x, y, dim=1, eps=1e-8: gx.cosine_similarity(
        x, y, axis=dim, eps=eps),
    "nn.functional.pairwise_distance": distance,
    "nn.functional.channel_shuffle": lambda x, groups: first(gx.channel_shuffle(last(x), groups)),
    "nn.functional.pixel_shuffle": images(2, gx.pixel_shuffle),
    "nn.functional.pixel_unshuffle": images(2, gx.pixel_unshuffle),
    "nn.functional.interpolate": interpolate,
    "nn.functional.pad": pad("constant"),
    "constant_pad_nd": lambda x, widths, value=0.0: pad("constant")(x, widths, value=value),
    "nn.functional.group_norm": lambda x, groups, weight=None, bias=None, eps=1e-5: first(
        gx.group_norm(last(x), groups, weight, bias, eps)),
    "nn.functional.local_response_norm": lambda x, size, alpha=1e-4, beta=0.75, k=1.0: first(
        gx.local_response_norm(last(x), size, alpha, beta, k)),
    "nn.functional.layer_norm": lambda x, shape, weight=None, bias=None, eps=1e-5: _norm(
        gx.layer_norm, x, shape, weight, bias, eps),
    "nn.functional.rms_norm": lambda x, shape, weight=None, eps=None: _norm(
        gx.rms_norm, x, shape, weight, *([2.0**-52 if eps is None else eps])),
    **{f"nn.functional.conv{r}d": conv(r) for r in (1, 2, 3)},
    **{f"nn.functional.conv_transpose{r}d": conv_transpose(r) for r in (1, 2, 3)},
    **{f"nn.functional.max_pool{r}d": images(r, max_pool) for r in (1, 2, 3)},
    **{f"nn.functional.avg_pool{r}d": images(r, avg_pool) for r in (1, 2, 3)},
    **{f"nn.functional.max_unpool{r}d": unpool(r) for r in (1, 2, 3)},
    **{f"nn.functional.adaptive_avg_pool{r}d": images(r, gx.adaptive_avg_pool) for r in (1, 2, 3)},
    **{f"nn.functional.adaptive_max_pool{r}d": images(
        r, lambda x, output_size, return_indices=False: gx.adaptive_max_pool(
            x, output_size, return_indices)) for r in (1, 2, 3)},
    "nn.functional.cross_entropy": cross_entropy, "nn.functional.nll_loss": nll_loss,
    **{f"nn.functional.{n}": (lambda f: lambda x, y, size_average=None, reduce=None,
       reduction="mean", weight=None: f(x, y, reduction=reduction) if weight is None else f(
           x, y, reduction=reduction, weight=weight))(getattr(nn, n))
       for n in ("mse_loss", "l1_loss", "soft_margin_loss", "multilabel_margin_loss")},
    "nn.functional.smooth_l1_loss": lambda x, y, size_average=None, reduce=None, reduction="mean",
    beta=1.0: nn.smooth_l1_loss(x, y, reduction=reduction, beta=beta),
    "nn.functional.huber_loss": lambda x, y, reduction="mean", delta=1.0, weight=None:
    nn.huber_loss(x, y, reduction=reduction, delta=delta, **({} if weight is None else {
        "weight": weight})),
    "nn.functional.kl_div": lambda x, y, size_average=None, reduce=None, reduction="mean",
    log_target=False: nn.kl_div(x, y, reduction=reduction, log_target=log_target),
    "nn.functional.binary_cross_entropy": lambda x, y, weight=None, size_average=None, reduce=None,
    reduction="mean": nn.binary_cross_entropy(x, y, weight=weight, reduction=reduction),
    "nn.functional.binary_cross_entropy_with_logits": lambda x, y, weight=None, size_average=None,
    reduce=None, reduction="mean", pos_weight=None: nn.binary_cross_entropy_with_logits(
        x, y, weight=weight, pos_weight=pos_weight, reduction=reduction),
    "nn.functional.poisson_nll_loss": lambda x, y, log_input=True, full=False, size_average=None,
    eps=1e-8, reduce=None, reduction="mean": nn.poisson_nll_loss(
        x, y, log_input=log_input, full=full, eps=eps, reduction=reduction),
    "nn.functional.gaussian_nll_loss": gaussian,
    "nn.functional.hinge_embedding_loss": lambda x, y, margin=1.0, size_average=None, reduce=None,
    reduction="mean": nn.hinge_embedding_loss(x, y, margin=margin, reduction=reduction),
    "nn.functional.margin_ranking_loss": lambda a, b, y, margin=0.0, size_average=None, reduce=None,
    reduction="mean": nn.margin_ranking_loss(a, b, y, margin=margin, reduction=reduction),
    "nn.functional.multi_margin_loss": lambda x, y, p=1, margin=1.0, weight=None, size_average=None,
    reduce=None, reduction="mean": nn.multi_margin_loss(
        x, y, p=p, margin=margin, weight=weight, reduction=reduction),
    "nn.functional.multilabel_soft_margin_loss": lambda x, y, weight=None, size_average=None,
    reduce=None, reduction="mean": nn.multilabel_soft_margin_loss(
        x, y, weight=weight, reduction=reduction),
    "nn.functional.triplet_margin_loss": lambda a, p_, n, margin=1.0, p=2.0, eps=1e-6, swap=False,
    size_average=None, reduce=None, reduction="mean": nn.triplet_margin_loss(
        a, p_, n, margin=margin, p=p, eps=eps, swap=swap, reduction=reduction),
    "nn.functional.cosine_embedding_loss": lambda a, b, y, margin=0.0, size_average=None,
    reduce=None, reduction="mean": nn.cosine_embedding_loss(
        a, b, y, margin=margin, reduction=reduction),
}  # fmt: skip
"""By PyTorch's names, without what tells variants apart."""


def _only(condition: bool, what: str) -> None:
    if not condition:
        raise Left(f"{what} is not there")


def _number(n: Any) -> None:
    if hasattr(n, "op"):
        raise Left("where a tensor is cut is known when the graph is made")


def _three(x: Any, y: Any, dim: Any) -> int:
    """Return PyTorch's axis of a cross product: the first of three elements."""
    if dim is not None:
        return int(dim)
    return [*x.shape].index(3)


def _norm(f: Callable[..., Any], x: Any, shape: Any, *more: Any) -> Any:
    if tuple(x.shape[x.ndim - len(shape) :]) != tuple(shape):
        raise gx.errors.ShapeError("normalized_shape")
    return f(x, shape, *more)
