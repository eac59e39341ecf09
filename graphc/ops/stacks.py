"""What the ops on stacks of matrices share: operands of three axes, and finite elements or NaN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import Access, Array, Emitter
from graphc.ir.tensor import Tensor
from graphc.kernel.value import Name, Value
from graphc.ops.operands import common
from graphc.ops.shape import broadcast_to, reshape
from graphc.types import AnyDim, Shape, broadcast_shapes, size_of

SECTION = "Linear algebra of matrices"


def floats(what: str, *values: Any) -> tuple[Tensor, ...]:
    """Return operands of one floating-point type, matrices on their last two axes."""
    tensors = common(what, *values, floating=True)
    for t in tensors:
        if t.ndim < 2:
            raise ShapeError(f"{what}: {t.describe()} has fewer than the 2 axes of a matrix")
    return tensors


def square_matrices(what: str, value: Any) -> Tensor:
    """Return square matrices on the last two axes."""
    (t,) = floats(what, value)
    check_square(what, t)
    return t


def check_square(what: str, t: Tensor) -> None:
    """Raise :class:`ShapeError` unless the last two axes of ``t`` are of one length."""
    if t.type.shape[-1] != t.type.shape[-2]:
        raise ShapeError(f"{what}: the matrices {t.describe()} must be square in their last 2 axes")


def stacked(t: Tensor, lead: Shape | None = None) -> Tensor:
    """Return the matrices of ``t``, broadcast to leading axes ``lead``, as a stack of 3 axes."""
    shape, own = t.type.shape[-2:], t.type.shape[:-2]
    lead = own if lead is None else lead
    if lead != own:
        t = broadcast_to(t, (*lead, *shape))
    return reshape(t, (size_of(lead), *shape))


def unstacked(t: Tensor, lead: Shape) -> Tensor:
    """Return a stack with ``lead`` in place of its first axis."""
    return reshape(t, (*lead, *t.type.shape[1:]))


def together(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Shape]:
    """Return two stacks of matrices, and their leading axes, broadcast."""
    lead = broadcast_shapes(a.type.shape[:-2], b.type.shape[:-2])
    return stacked(a, lead), stacked(b, lead), lead


def each(f: Callable[..., Any], shapes: Sequence[Any], *stacks: Array) -> list[Array]:
    """Return the results of NumPy's ``f`` for each matrix of stacks.

    NaN where it gives up, and where an element is not finite.
    """
    found: list[Array] = [np.full(tuple(s), np.nan, stacks[0].dtype) for s in shapes]
    for k, matrices in enumerate(zip(*stacks, strict=True)):
        if not all(np.isfinite(m).all() for m in matrices):
            continue
        try:
            parts = f(*matrices)
        except np.linalg.LinAlgError:
            continue
        for target, value in zip(found, parts, strict=True):
            target[k] = value
    return found


def reference_stacks(*values: Any) -> tuple[Any, ...]:
    """Return arrays of matrices broadcast to stacks of 3 axes of one type, and the leading axes."""
    arrays = [v * np.float32(1) for v in values]
    lead = np.broadcast_shapes(*[a.shape[:-2] for a in arrays])
    dtype = np.result_type(*arrays)
    stacks = [np.broadcast_to(a, (*lead, *a.shape[-2:])).astype(dtype) for a in arrays]
    count = int(np.prod(lead))
    return *(a.reshape((count, *a.shape[-2:])) for a in stacks), lead


def solution(f: Callable[..., Any], a: Any, b: Any) -> Any:
    """Return what ``f`` gives for each system: NaN in columns of ``b`` that are not finite."""
    if np.ndim(b) == 1:
        return solution(f, a, b[:, None])[..., 0]
    left, right, lead = reference_stacks(a, b)
    shape = (len(left), left.shape[2], right.shape[2])
    wrong = ~np.isfinite(right).all(1, keepdims=True)
    clean = np.where(np.isfinite(right), right, 0)
    found = each(lambda a, b: (f(a, b),), [shape], left, clean)[0]
    return np.where(wrong, np.nan, found).astype(left.dtype).reshape((*lead, *shape[1:]))


def of_each(f: Callable[..., Any], *shapes: str) -> Callable[..., Any]:
    """Return the reference that applies NumPy's ``f`` to each square matrix.

    ``shapes`` are the axes of its results: ``"nn"``, ``"n"`` or none.
    """

    def reference(x: Any) -> Any:
        stack, lead = reference_stacks(x)
        sides = [stack.shape[2:] * len(s) for s in shapes]
        found = each(f, [(len(stack), *s) for s in sides], stack)
        parts = [v.reshape((*lead, *s)) for v, s in zip(found, sides, strict=True)]
        return parts[0] if len(parts) == 1 else tuple(parts)

    return reference


def poison(e: Emitter, x: Access, stack: Value, start: Value | None = None) -> Name:
    """Write the sum of ``x - x`` over a matrix: 0, or NaN if an element is not finite.

    Added to all elements of what is computed it makes the result NaN, whatever the steps skip.
    """
    total = e.let("poison", e.lit(0, x.dtype) if start is None else start)
    with e.loop("i", x.shape[1]) as i, e.loop("j", x.shape[2]) as j:
        element = x.at(stack, i, j)
        e.let(total.name, total + (element - element))
    return total


def least_dim(a: AnyDim, b: AnyDim) -> AnyDim:
    """Return the smaller of two lengths that are known now."""
    if not isinstance(a, int) or not isinstance(b, int):
        raise ShapeError("matrices that are not square need axes of known lengths")
    return min(a, b)
