"""Forward mode, and the derivatives built from both modes.

The tangent of a tensor is the derivative of its value along a direction of ``wrt``; it is
computed with the values, in the same order (Griewank and Walther, *Evaluating Derivatives*,
2008, section 3.1). The conventions are those of :mod:`graphc.autodiff.adjoint`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.autodiff.adjoint import (
    Unconnected,
    adjoints,
    check_unconnected,
    companions,
    differentiable,
    grad,
    reaching,
    require_connected,
    require_scalar,
    zeros_like,
)
from graphc.errors import ShapeError, user_location
from graphc.ir.op import add_all
from graphc.ir.results import Multiple, Result
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor, building
from graphc.ops.manipulation import stack
from graphc.ops.scan import Scan
from graphc.ops.shape import broadcast_to, reshape
from graphc.ops.stable import stable_form
from graphc.tree import tree_fill, tree_map


def tangents_along(
    path: Sequence[Tensor], wrt: Sequence[Tensor], directions: Sequence[Tensor]
) -> dict[Tensor, Tensor]:
    """Return the tangents along ``path`` for ``directions`` of ``wrt``; none where it is zero."""
    keep = {t.id for t in wrt}
    result: dict[Tensor, Tensor] = {}
    of_results: dict[Tensor, Mapping[int, Tensor]] = {}
    seeds: dict[Tensor, list[Tensor]] = {}
    for tensor, direction in zip(wrt, directions, strict=True):
        seeds.setdefault(tensor, []).append(direction)
    for node in path:
        with building(phase=node.phase, loc=node.loc, scope=node.scope):
            if isinstance(node.op, Multiple):
                tangents = [result.get(x) for x in node.inputs]
                if isinstance(node.op, Scan):
                    found = node.op.jvps_by(push, tangents, node, *node.inputs)
                else:
                    found = node.op.jvps(tangents, node, *node.inputs)
                of_results[node] = found
                continue
            if isinstance(node.op, Result) and node.inputs[0] in of_results:
                tangent = of_results[node.inputs[0]].get(node.op.number)
                if tangent is not None:
                    result[node] = tangent
            form, steps = stable_form(node, keep) or (node, [node])
            for step in steps:
                tangents = [result.get(x) for x in step.inputs]
                if any(t is not None for t in tangents):
                    tangent = step.op.jvp(tangents, step, *step.inputs)
                    if tangent is not None:
                        result[step] = tangent
            terms = [*seeds.get(node, ()), *([result[form]] if form in result else ())]
            total = add_all(terms)
            if total is not None:
                result[node] = total
    return result


def push(
    outputs: Sequence[Tensor], wrt: Sequence[Tensor], directions: Sequence[Tensor]
) -> Mapping[Tensor, Tensor]:
    """Return the tangents of all tensors from ``wrt`` to ``outputs``."""
    return tangents_along(reaching(outputs, wrt), wrt, directions)


def jvp(outputs: Any, wrt: Any, tangents: Any, *, unconnected: Unconnected = "raise") -> Any:
    """Return the Jacobian-vector products ``d outputs / d wrt @ tangents``.

    ``wrt`` and ``tangents`` have one structure (a Tensor, list, tuple or dict); the result has
    the structure of ``outputs``. An output that depends on no tensor of ``wrt`` raises
    :class:`ArgumentError`, or gives zeros with ``unconnected="zero"``. This is the transpose of
    :func:`vjp`: the tangent of a tensor of ``wrt`` that depends on another adds to what comes
    from there.
    """
    outs, ins = differentiable("jvp", outputs), differentiable("jvp", wrt)
    directions = companions("jvp", "tangent", ins, tangents)
    path = reaching(outs, ins)
    check_unconnected("jvp", unconnected)
    require_connected("jvp", outs, path, unconnected)
    found = tangents_along(path, ins, directions)
    return tree_map(lambda t: found[t] if t in found else zeros_like(t), outputs)


def hvp(loss: Tensor, wrt: Any, vectors: Any, *, unconnected: Unconnected = "raise") -> Any:
    """Return the Hessian of a scalar ``loss`` by ``wrt`` times ``vectors``.

    Forward over reverse: the tangent of the gradient along ``vectors``, which has the structure
    of ``wrt``, as has the result. Costs a small multiple of a gradient; no Hessian is built.
    """
    (out,) = differentiable("hvp", [loss])
    require_scalar("hvp", out)
    check_unconnected("hvp", unconnected)
    gradient = grad(out, wrt, unconnected=unconnected)
    return jvp(gradient, wrt, vectors, unconnected="zero")


def jacobian(outputs: Any, wrt: Any, *, unconnected: Unconnected = "raise") -> Any:
    """Return the derivatives of every element of ``outputs`` by every element of ``wrt``.

    The result has the structure of ``outputs`` with that of ``wrt`` at each leaf, as in JAX; a
    block has shape ``(*output.shape, *tensor.shape)``. All sizes must be fixed.

    Cost: one adjoint sweep for each element of ``outputs``, or one tangent sweep for each
    element of ``wrt``, whichever are fewer; the graph grows by as many copies of the network.
    Use it for up to some hundred of them, and :func:`vjp`, :func:`jvp` or :func:`hvp` beyond.
    """
    outs, ins = differentiable("jacobian", outputs), differentiable("jacobian", wrt)
    return _jacobian("jacobian", outputs, outs, wrt, ins, unconnected)


def hessian(loss: Tensor, wrt: Any, *, unconnected: Unconnected = "raise") -> Any:
    """Return the second derivatives of a scalar ``loss`` by ``wrt``: shape ``(*a, *b)`` a block.

    For a list or dict the result is nested twice, as in JAX: ``h["W"]["b"]``. All sizes must
    be fixed. Cost: one Hessian-vector product (forward over reverse) for each element of
    ``wrt``; the graph grows by as many copies of the gradient.
    """
    (out,), ins = differentiable("hessian", [loss]), differentiable("hessian", wrt)
    require_scalar("hessian", out)
    _fixed_sizes("hessian", ins)
    check_unconnected("hessian", unconnected)
    gradient = grad(out, wrt, unconnected=unconnected)
    return _jacobian("hessian", gradient, differentiable("hessian", gradient), wrt, ins, "zero")


def _jacobian(
    what: str,
    outputs: Any,
    outs: list[Tensor],
    wrt: Any,
    ins: list[Tensor],
    unconnected: Unconnected,
) -> Any:
    heights, widths = _fixed_sizes(what, outs), _fixed_sizes(what, ins)
    path = reaching(outs, ins)
    check_unconnected(what, unconnected)
    require_connected(what, ins, path, unconnected)
    rowwise = sum(heights) < sum(widths)
    if rowwise:
        rows = [[adjoints(path, ins, [y], [e]) for e in _basis(y)] for y in outs]
    else:
        columns = [[tangents_along(path, [x], [e]) for e in _basis(x)] for x in ins]

    def block(i: int, j: int) -> Tensor:
        y, x = outs[i], ins[j]
        part, sweeps = (x, rows[i]) if rowwise else (y, columns[j])
        parts = [found[part] if part in found else zeros_like(part) for found in sweeps]
        shape = (*y.type.shape, *x.type.shape)
        if not parts:
            return broadcast_to(constant(np.zeros((), y.dtype)), shape)
        return reshape(stack(parts, axis=0 if rowwise else -1), shape)

    lines = (tree_fill(wrt, iter([block(i, j) for j in range(len(ins))])) for i in range(len(outs)))
    return tree_fill(outputs, lines)


def _basis(t: Tensor) -> list[Tensor]:
    """Return the unit vectors of the space of ``t``."""
    (size,) = _fixed_sizes("basis", [t])
    result = []
    for index in range(size):
        unit = np.zeros(size, t.dtype)
        unit[index] = 1
        result.append(constant(unit.reshape(t.type.shape)))
    return result


def _fixed_sizes(what: str, tensors: Sequence[Tensor]) -> list[int]:
    """Return the sizes of ``tensors``; :class:`ShapeError` if one depends on the batch."""
    for t in tensors:
        if not isinstance(t.size, int):
            raise ShapeError(
                f"{what}: the size of {t.describe()} depends on the batch, and a {what} has one "
                f"row for each element; declare the input with a fixed size, reduce over the "
                f"batch first, or use gx.vjp, gx.jvp or gx.hvp\n  at {user_location()}"
            )
    return [t.size for t in tensors if isinstance(t.size, int)]
