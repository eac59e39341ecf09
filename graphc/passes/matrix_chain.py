"""The order in which a chain of matrix products costs the fewest multiplications.

The dynamic programme of Cormen, Leiserson, Rivest and Stein, *Introduction to Algorithms*,
section 14.2. For 10 x 128 x 128 x 784 the two orders differ by a factor of a hundred.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TypeAlias

from graphc.ir.graph import Graph, replace_inputs
from graphc.ir.tensor import Tensor, building
from graphc.ops.linalg import Matmul, product
from graphc.passes.rewrite import named_like
from graphc.types import dim_at

_BATCH = 1024
"""What a batch counts for: large, since weights are combined once however large it is."""

_LONGEST = 50
"""Factors of a chain that is reordered: the programme is cubic in them."""

Factor: TypeAlias = tuple[Tensor, bool]
"""A matrix, and whether it is taken transposed."""


def matrix_chain(graph: Graph, hits: Counter[str]) -> Graph:
    """Reorder chains of products of matrices whose inner results nothing else needs."""
    inner = _inner_products(graph)
    if not inner:
        return graph
    within: set[int] = set()  # the inner products of the new graph

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        new = replace_inputs(node, operands)
        found = {y.id for x, y in zip(node.inputs, operands, strict=True) if x.id in inner}
        within.update(found)
        if not found or node.id in inner:
            return new
        factors, cost = _factors(new, within)
        if len(factors) > _LONGEST:
            return new
        splits, least = _best_order([_sizes(f) for f in factors])
        if least >= cost:
            return new
        hits["chain"] += 1
        with building(phase=node.phase, loc=node.loc, scope=node.scope):
            return named_like(_multiply(factors, splits), node, operands)

    return graph.rebuild(rule)


def _is_product(node: Tensor) -> bool:
    return isinstance(node.op, Matmul) and all(x.ndim == 2 for x in node.inputs)


def _inner_products(graph: Graph) -> set[int]:
    """Return the products that serve as one operand of one other product, and for nothing else."""
    roots = {t.id for t in graph.roots}
    result = set()
    for node in graph.nodes:
        users = graph.users[node]
        if _is_product(node) and node.id not in roots and len(users) == 1:
            (user,) = users
            if _is_product(user) and user.inputs[0] is not user.inputs[1]:
                result.add(node.id)
    return result


def _factors(root: Tensor, inner: Collection[int]) -> tuple[list[Factor], int]:
    """Return the factors of the chain that ends in ``root``, and what it costs as it is."""
    result: list[Factor] = []
    cost = 0
    stack: list[Factor] = [(root, False)]
    while stack:
        t, flipped = stack.pop()
        if t is not root and t.id not in inner:
            result.append((t, flipped))
            continue
        assert isinstance(t.op, Matmul)
        left, right = (t.inputs[0], t.op.transpose_a), (t.inputs[1], t.op.transpose_b)
        (rows, depth), (_, columns) = _sizes(left), _sizes(right)
        cost += rows * depth * columns
        if flipped:  # (A B)^T = B^T A^T
            left, right = (right[0], not right[1]), (left[0], not left[1])
        stack += [right, left]
    return result, cost


def _sizes(factor: Factor) -> tuple[int, int]:
    rows, columns = (dim_at(d, _BATCH) for d in factor[0].type.shape)
    return (columns, rows) if factor[1] else (rows, columns)


def _best_order(sizes: list[tuple[int, int]]) -> tuple[dict[tuple[int, int], int], int]:
    """Return where to split each run of factors, and the multiplications of the whole."""
    count = len(sizes)
    cost = {(i, i): 0 for i in range(count)}
    splits = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            cost[i, j], splits[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i][0] * sizes[k][1] * sizes[j][1], k)
                for k in range(i, j)
            )
    return splits, cost[0, count - 1]


def _multiply(factors: list[Factor], splits: dict[tuple[int, int], int]) -> Tensor:
    """Return the product of ``factors``, associated as ``splits`` says."""

    def between(i: int, j: int) -> Factor:  # at most _LONGEST deep
        if i == j:
            return factors[i]
        k = splits[i, j]
        (a, transpose_a), (b, transpose_b) = between(i, k), between(k + 1, j)
        return product(a, b, transpose_a, transpose_b), False

    return between(0, len(factors) - 1)[0]
