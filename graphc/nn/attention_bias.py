"""What is added to scores of attention by the places of a query and a key."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc import ops
from graphc.errors import ArgumentError, DTypeError
from graphc.ir.op import Elementwise
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor
from graphc.nn.module import count
from graphc.ops.body import Body, closed, placeholder
from graphc.ops.cast import cast
from graphc.ops.operands import as_tensor, floats_of
from graphc.types import FLOAT64, INT64, TensorType

Bias = Callable[[Tensor, Tensor], Any]


def formula_of(bias: Any, dtype: np.dtype[Any], where: str) -> tuple[Body, list[Tensor]]:
    """Return a bias as a formula of two places, and what else it is made of."""
    if not callable(bias):
        raise DTypeError(
            f"attention: bias must be a function of two places (i, j), not {bias!r}; pass a tensor "
            f"as mask{where}"
        )
    i, j = (placeholder(name, TensorType(INT64, ())) for name in "ij")
    with floats_of(dtype):
        made = cast(as_tensor(bias(i, j)), dtype)
    loop = closed([i, j], [], [], [made])
    for node in loop.body.nodes:
        simple = isinstance(node.op, Elementwise) and not node.op.indexed
        if node.inputs and not simple:
            raise ArgumentError(
                f"attention: bias(i, j) must be made of elementwise functions of i, j and tensors, "
                f"and {node.op.name} (made at {node.loc}) is none; compute it outside, or pass a "
                f"mask{where}"
            )
    return loop.body, loop.outside


def alibi(num_heads: int) -> Bias:
    """Return the bias of attention with linear biases: ``-slope |i - j|`` for each head.

    Slopes are ``2^(-8 h / heads)``, h from 1 on; where the number of heads is no power of 2, those
    of the next smaller one, and every second of those of the next greater (Press, Smith and Lewis,
    *Train Short, Test Long: Attention with Linear Biases Enables Input Length Extrapolation*, ICLR
    2022). Pass it to ``nn.scaled_dot_product_attention`` as ``bias``.
    """
    heads = count("alibi: num_heads", num_heads, 1)
    power = 2 ** int(math.log2(heads))

    def slopes(number: int) -> list[float]:
        return [2.0 ** (-8.0 * (h + 1) / number) for h in range(number)]

    values = [*slopes(power), *slopes(2 * power)[::2]][:heads]
    table = np.asarray(values).reshape(heads, 1, 1)

    def bias(i: Tensor, j: Tensor) -> Tensor:
        return constant(table, FLOAT64) * cast(-ops.abs(i - j), FLOAT64)

    return bias
