"""graphc: a compiler of static graphs for neural networks."""
from graphc.config import config
from graphc.ir.tensor import Tensor
from graphc.ir.source import constant, input, parameter
from graphc.ops.arithmetic import *
from graphc.ops.linalg import matmul
from graphc.ops.reduce import sum
from graphc.ops.shape import broadcast_to, permute_dims, reshape
from graphc.autodiff.adjoint import grad, vjp
