"""graphc: a compiler of static graphs for neural networks.

Declare a network with symbolic tensors, differentiate it, and compile the whole training step
into one readable module.
"""

from graphc import nn, ops, optim
from graphc.autodiff.adjoint import grad, vjp
from graphc.autodiff.gradcheck import check_grads
from graphc.autodiff.tangent import hessian, hvp, jacobian, jvp
from graphc.config import config
from graphc.function import Function, function
from graphc.ir.formula import formula
from graphc.ir.graph import Graph
from graphc.ir.source import constant, input, parameter
from graphc.ir.tensor import Tensor
from graphc.ops import *  # noqa: F403
from graphc.synonyms import advice
from graphc.train import callbacks, data
from graphc.train.model import Model
from graphc.viz import visualize

__version__ = "0.1.0"

__all__ = [
    "Function",
    "Graph",
    "Model",
    "Tensor",
    "callbacks",
    "check_grads",
    "config",
    "constant",
    "data",
    "formula",
    "function",
    "grad",
    "hessian",
    "hvp",
    "input",
    "jacobian",
    "jvp",
    "nn",
    "optim",
    "parameter",
    "visualize",
    "vjp",
]
__all__ += ops.__all__


def __getattr__(name: str) -> object:
    if name.startswith("_"):
        raise AttributeError(f"graphc has no {name!r}")
    known = {"gx": __all__, "nn": nn.__all__, "optim": optim.__all__}
    said = advice(name, [f"{module}.{n}" for module, names in known.items() for n in names])
    raise AttributeError(f"graphc has no {name!r}{said}")
