"""What NumPy, PyTorch, JAX and Keras call things, and what to use here instead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from graphc.lazy import lazy_module

if TYPE_CHECKING:
    import difflib
else:
    difflib = lazy_module("difflib")

NUMPY = {
    "absolute": "abs", "fabs": "abs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin",
    "arcsinh": "asinh", "arctan": "atan", "arctan2": "atan2", "arctanh": "atanh", "power": "pow",
    "float_power": "pow", "true_divide": "divide", "mod": "remainder",
    "invert": "bitwise_invert", "bitwise_not": "bitwise_invert",
    "left_shift": "bitwise_left_shift", "right_shift": "bitwise_right_shift",
    "fmax": "maximum", "fmin": "minimum", "amax": "max", "amin": "min", "rint": "round",
    "around": "round", "fix": "trunc", "concatenate": "concat", "hstack": "concat",
    "vstack": "concat", "cumsum": "cumulative_sum", "cumprod": "cumulative_prod",
    "transpose": "permute_dims", "inner": "vecdot", "product": "prod", "array": "asarray",
    "percentile": "quantile", "nanmedian": "median", "nanquantile": "quantile",
    "fliplr": "flip", "flipud": "flip", "nanmax": "max", "identity": "eye",
}  # fmt: skip
"""Functions of NumPy by another name."""

OTHERS = {
    **{name: f"gx.{own}" for name, own in NUMPY.items()},
    "expit": "gx.sigmoid", "cat": "gx.concat", "clamp": "gx.clip", "mm": "gx.matmul",
    "bmm": "gx.matmul",
    "permute": "gx.permute_dims", "unsqueeze": "gx.expand_dims", "view": "gx.reshape",
    "flatten": "gx.ravel or nn.Flatten", "gather": "gx.take_along_axis",
    "index_select": "gx.take", "mul": "gx.multiply", "sub": "gx.subtract", "div": "gx.divide",
    "neg": "gx.negative", "cumsum": "gx.cumulative_sum", "chunk": "gx.split",
    "expand": "gx.broadcast_to", "topk": "gx.top_k", "to": "gx.astype",
    "scatter_reduce": "gx.scatter_add, scatter_min or scatter_max",
    "float": "gx.astype", "double": "gx.astype", "type": "gx.astype", "cast": "gx.astype",
    "tensor": "gx.constant, gx.input or gx.parameter", "Variable": "gx.parameter",
    "placeholder": "gx.input", "Input": "gx.input", "Parameter": "gx.parameter",
    "jit": "gx.function", "compile": "gx.function", "fori_loop": "gx.scan",
    "value_and_grad": "gx.grad",
    "detach": "gx.stop_gradient", "no_grad": "gx.stop_gradient",
    "stop_grad": "gx.stop_gradient", "jacrev": "gx.jacobian", "jacfwd": "gx.jacobian",
    "backward": "gx.grad", "randn": "gx.random_normal", "rand": "gx.random_uniform",
    "randint": "gx.random_integers", "randperm": "gx.random_permutation",
    "normal": "gx.random_normal", "uniform": "gx.random_uniform",
    "numpy": "gx.function to compile it, and call that with arrays",
    "item": "gx.function to compile it, and call that with arrays",
    "eval": "gx.function to compile it, and call that with arrays",
    **{name: f"gx.linalg.{name}" for name in (
        "cholesky", "det", "eigh", "eigvalsh", "inv", "logdet", "lstsq", "matrix_exp",
        "matrix_power", "norm", "qr", "slogdet", "solve", "solve_triangular", "svd", "svdvals",
    )},
    "expm": "gx.linalg.matrix_exp", "matrix_norm": "gx.linalg.norm", "pinv": "gx.linalg.lstsq",
    "gammaln": "gx.lgamma", "psi": "gx.digamma", "trapz": "gx.trapezoid", "partition": "gx.sort",
    "argpartition": "gx.argsort", "kthvalue": "gx.sort",
    "roc_auc_score": "nn.roc_auc",
    "Dense": "nn.Linear", "Module": "nn.Layer",
    "CrossEntropyLoss": "nn.cross_entropy", "NLLLoss": "nn.nll_loss",
    "BCEWithLogitsLoss": "nn.binary_cross_entropy_with_logits",
    "BCELoss": "nn.binary_cross_entropy", "MSELoss": "nn.mse_loss",
    "L1Loss": "nn.l1_loss", "HuberLoss": "nn.huber_loss", "SmoothL1Loss": "nn.smooth_l1_loss",
    "TripletMarginLoss": "nn.triplet_margin_loss", "MarginRankingLoss": "nn.margin_ranking_loss",
    "CosineEmbeddingLoss": "nn.cosine_embedding_loss", "MultiMarginLoss": "nn.multi_margin_loss",
    "PoissonNLLLoss": "nn.poisson_nll_loss", "GaussianNLLLoss": "nn.gaussian_nll_loss",
    "sigmoid_focal_loss": "nn.focal_loss", "pinball_loss": "nn.quantile_loss",
    "HingeEmbeddingLoss": "nn.hinge_embedding_loss", "SoftMarginLoss": "nn.soft_margin_loss",
    "MultiLabelMarginLoss": "nn.multilabel_margin_loss",
    "MultiLabelSoftMarginLoss": "nn.multilabel_soft_margin_loss",
    "TripletMarginWithDistanceLoss": "nn.triplet_margin_with_distance_loss",
    "NLLLoss2d": "nn.nll_loss", "CTCLoss": "nn.ctc_loss", "Hardswish": "nn.HardSwish",
    "Hardsigmoid": "nn.HardSigmoid",
    "CrossMapLRN2d": "nn.LocalResponseNorm", "Container": "nn.Layer", "RNNBase": "nn.RNN",
    "RNNCellBase": "nn.RNNCell", "SyncBatchNorm": "nn.BatchNorm2d",
    "LinearCrossEntropyLoss": "nn.linear_cross_entropy",
    "KLDivLoss": "nn.kl_div", "Swish": "nn.SiLU", "RMSProp": "optim.RMSprop",
    "AdaGrad": "optim.Adagrad", "EarlyStopping": "gx.callbacks.EarlyStopping",
    "ModelCheckpoint": "gx.callbacks.Checkpoint", "DataLoader": "gx.data.batches",
}  # fmt: skip
"""Names of other libraries, and what does that here."""


LEFT_OUT = {
    "AdaptiveLogSoftmaxWithLoss": "how many rows each cluster has depends on the data; use "
    "nn.cross_entropy",
    "DataParallel": "one process computes all, on all threads",
    "FractionalMaxPool2d": "its windows are drawn at random; use nn.AdaptiveMaxPool2d",
    "FractionalMaxPool3d": "its windows are drawn at random; use nn.AdaptiveMaxPool3d",
    "ModuleDict": "a dict of layers will do",
    "ModuleList": "a list of layers will do",
    "ParameterDict": "a dict of parameters will do",
    "ParameterList": "a list of parameters will do",
    **{f"Lazy{name}": f"shapes are known when layers are made; use nn.{name}" for name in (
        "Linear", *(f"{kind}{rank}d" for kind in (
            "BatchNorm", "Conv", "ConvTranspose", "InstanceNorm") for rank in (1, 2, 3)),
    )},
}  # fmt: skip
"""Layers of PyTorch that are not there, and why."""


def nearest(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the one of ``known`` that is most like ``name``, or None if none is."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=likeness)
    return found[0] if found else None


def advice(name: str, known: Iterable[str]) -> str:
    """Return ``"; use gx.concat"`` for a name that there is not, or nothing.

    ``known`` are the names there are, as a user writes them: ``gx.concat``, ``nn.Linear``.
    """
    if name in OTHERS:
        return f"; use {OTHERS[name]}"
    if name in LEFT_OUT:
        return f": {LEFT_OUT[name]}"
    by_last: dict[str, str] = {}
    for full in known:
        by_last.setdefault(full.rpartition(".")[2].lower(), full)
    found = nearest(name.lower(), by_last, 0.7)
    return f"; did you mean {by_last[found]}?" if found else ""
