"""Linear algebra of matrices, ``gx.linalg``: on the last two axes, batched over the others.

Values and derivatives of any order. What has no solution, a singular matrix among them, is NaN,
where NumPy raises: a graph is compiled before its data are known.
"""

from graphc.ops.determinant import det, logdet, slogdet
from graphc.ops.linalg import matmul, outer, tensordot, trace, vecdot
from graphc.ops.lu import inv, matrix_power, solve
from graphc.ops.matrix_exp import matrix_exp
from graphc.ops.norms import vector_norm
from graphc.ops.products import cross
from graphc.ops.qr import lstsq, qr
from graphc.ops.shape import matrix_transpose
from graphc.ops.slices import diagonal
from graphc.ops.spectral import eigh, eigvalsh, norm, svd, svdvals
from graphc.ops.triangular import cholesky, solve_triangular

__all__ = [
    "cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "logdet", "lstsq", "matmul",
    "matrix_exp", "matrix_power", "matrix_transpose", "norm", "outer", "qr", "slogdet", "solve",
    "solve_triangular", "svd", "svdvals", "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip
