"""graphc: a compiler of static graphs for neural networks.

Declare a network with symbolic tensors, differentiate it, and compile the whole training step
into one readable module.
"""

from typing import TYPE_CHECKING

from graphc import ops
from graphc.config import config
from graphc.function import Function, function
from graphc.ir.graph import Graph
from graphc.ir.source import constant, input, parameter
from graphc.ir.tensor import Tensor
from graphc.lazy import lazy_module, loaded
from graphc.ops import *  # noqa: F403
from graphc.synonyms import advice

if TYPE_CHECKING:
    from graphc import nn, optim
    from graphc.autodiff.adjoint import grad, vjp
    from graphc.autodiff.gradcheck import check_grads
    from graphc.autodiff.tangent import hessian, hvp, jacobian, jvp
    from graphc.ir.formula import formula
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


_MODULES = {
    "callbacks": "graphc.train.callbacks",
    "data": "graphc.train.data",
    "nn": "graphc.nn",
    "optim": "graphc.optim",
}
_NAMES = {
    "Model": "graphc.train.model",
    "check_grads": "graphc.autodiff.gradcheck",
    "formula": "graphc.ir.formula",
    "grad": "graphc.autodiff.adjoint",
    "hessian": "graphc.autodiff.tangent",
    "hvp": "graphc.autodiff.tangent",
    "jacobian": "graphc.autodiff.tangent",
    "jvp": "graphc.autodiff.tangent",
    "visualize": "graphc.viz",
    "vjp": "graphc.autodiff.adjoint",
}
"""Modules, and names in modules, that are imported when they are first used: without bytecode each
costs milliseconds, and few scripts use all."""


def __getattr__(name: str) -> object:
    if name in _MODULES or name in _NAMES:
        module = loaded(lazy_module(_MODULES.get(name) or _NAMES[name]))
        found = globals()[name] = module if name in _MODULES else getattr(module, name)
        return found
    if name.startswith("_"):
        raise AttributeError(f"graphc has no {name!r}")
    nn, optim = (loaded(lazy_module(_MODULES[module])) for module in ("nn", "optim"))
    known = {"gx": __all__, "nn": nn.__all__, "optim": optim.__all__}
    said = advice(name, [f"{module}.{n}" for module, names in known.items() for n in names])
    raise AttributeError(f"graphc has no {name!r}{said}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
