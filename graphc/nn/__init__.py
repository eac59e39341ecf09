"""Layers, initialisers, losses and metrics."""

from graphc.ir.naming import parameter_names
from graphc.nn import init
from graphc.nn.activation import (
    CELU,
    ELU,
    GELU,
    SELU,
    HardSigmoid,
    HardSwish,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from graphc.nn.dropout import Dropout
from graphc.nn.losses import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    hinge,
    hinge_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from graphc.nn.metrics import accuracy, top_k_accuracy
from graphc.nn.module import Flatten, Layer, Linear, Sequential
from graphc.nn.training import inference_form
from graphc.ops.state import state_updates
from graphc.synonyms import advice

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "SELU",
    "Dropout",
    "Flatten",
    "HardSigmoid",
    "HardSwish",
    "Layer",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
    "accuracy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "hinge",
    "hinge_loss",
    "huber_loss",
    "inference_form",
    "init",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "parameter_names",
    "smooth_l1_loss",
    "state_updates",
    "top_k_accuracy",
]


def __getattr__(name: str) -> object:
    said = "" if name.startswith("_") else advice(name, [f"nn.{n}" for n in __all__])
    raise AttributeError(f"graphc.nn has no {name!r}{said}")
