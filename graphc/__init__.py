"""graphc: a compiler of static graphs for neural networks.

Declare a network with symbolic tensors, differentiate it, and compile the whole training step
into one readable module.
"""

from typing import TYPE_CHECKING

from graphc.config import config as config
from graphc.lazy import imported
from graphc.synonyms import advice

if TYPE_CHECKING:  # the names below, as type checkers and editors read them
    from graphc import linalg as linalg
    from graphc import nn as nn
    from graphc import ops as ops
    from graphc import optim as optim
    from graphc.autodiff.adjoint import grad as grad
    from graphc.autodiff.adjoint import vjp as vjp
    from graphc.autodiff.functional import grad_of as grad_of
    from graphc.autodiff.gradcheck import check_grads as check_grads
    from graphc.autodiff.tangent import hessian as hessian
    from graphc.autodiff.tangent import hvp as hvp
    from graphc.autodiff.tangent import jacobian as jacobian
    from graphc.autodiff.tangent import jvp as jvp
    from graphc.functions import Function as Function
    from graphc.functions import function as function
    from graphc.ir.formula import formula as formula
    from graphc.ir.graph import Graph as Graph
    from graphc.ir.source import constant as constant
    from graphc.ir.source import input as input
    from graphc.ir.source import parameter as parameter
    from graphc.ir.tensor import Tensor as Tensor
    from graphc.ops import *  # noqa: F403
    from graphc.ops.associative import associative_scan as associative_scan
    from graphc.ops.branches import cond as cond
    from graphc.ops.branches import switch as switch
    from graphc.ops.checkpoint import checkpoint as checkpoint
    from graphc.ops.control import scan as scan
    from graphc.ops.control import while_loop as while_loop
    from graphc.ops.vmap import vmap as vmap
    from graphc.train import callbacks as callbacks
    from graphc.train import data as data
    from graphc.train.model import Model as Model
    from graphc.viz import visualize as visualize

__version__ = "0.1.0"

_MODULES = {
    module.rpartition(".")[2]: module
    for module in (
        "graphc.linalg", "graphc.nn", "graphc.ops", "graphc.optim", "graphc.train.callbacks",
        "graphc.train.data",
    )
}  # fmt: skip
_NAMES = {
    name: module
    for module, names in {
        "graphc.autodiff.adjoint": ("grad", "vjp"),
        "graphc.autodiff.functional": ("grad_of",),
        "graphc.autodiff.gradcheck": ("check_grads",),
        "graphc.autodiff.tangent": ("hessian", "hvp", "jacobian", "jvp"),
        "graphc.functions": ("Function", "function"),
        "graphc.ir.formula": ("formula",),
        "graphc.ir.graph": ("Graph",),
        "graphc.ir.source": ("constant", "input", "parameter"),
        "graphc.ir.tensor": ("Tensor",),
        "graphc.ops.associative": ("associative_scan",),
        "graphc.ops.branches": ("cond", "switch"),
        "graphc.ops.checkpoint": ("checkpoint",),
        "graphc.ops.control": ("scan", "while_loop"),
        "graphc.ops.vmap": ("vmap",),
        "graphc.train.model": ("Model",),
        "graphc.viz": ("visualize",),
    }.items()
    for name in names
}
"""Public modules, and names in modules, that are imported when they are first used; so are those
of `graphc.ops`. Where no bytecode is kept, a thousand lines take 10 ms, and NumPy ten times that.
"""


if not TYPE_CHECKING:  # type checkers would take any name for one that there is

    def __getattr__(name: str) -> object:
        if name == "__all__":
            found: object = sorted({"config", *_MODULES, *_NAMES, *imported("graphc.ops").__all__})
        elif name in _MODULES:
            found = imported(_MODULES[name])
        elif name in _NAMES:
            found = getattr(imported(_NAMES[name]), name)
        elif not name.startswith("_") and name in imported("graphc.ops").__all__:
            found = getattr(imported("graphc.ops"), name)
        else:
            raise AttributeError(f"graphc has no {name!r}{_advice(name)}", name=name)
        globals()[name] = found
        return found


def _advice(name: str) -> str:
    """Return what to use in place of a name that there is not."""
    if name.startswith("_"):
        return ""
    nn, optim = imported("graphc.nn"), imported("graphc.optim")
    known = {"gx": imported("graphc").__all__, "nn": nn.__all__, "optim": optim.__all__}
    return advice(name, [f"{module}.{n}" for module, names in known.items() for n in names])


def __dir__() -> list[str]:
    return sorted({*globals(), *imported("graphc").__all__})
