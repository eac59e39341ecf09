"""Reverse mode: append the adjoints of a scalar's ancestors, in reverse topological order.

The adjoint of a tensor is the derivative of the loss by it. Each depends only on the adjoints
of the tensor's users and on local values (Griewank and Walther, *Evaluating Derivatives*,
2008, section 3.2). The walk runs on its own output, so any order of derivative works.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from graphc.errors import DTypeError, ShapeError, user_location
from graphc.ir.graph import ancestors
from graphc.ir.op import add_all
from graphc.ir.source import constant
from graphc.ir.tensor import FUNCTIONS, Tensor, building
from graphc.types import show_shape
from graphc.tree import tree_leaves, tree_map

Unconnected = Literal["raise", "zero"]


def reaching(outputs: Sequence[Tensor], wrt: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors on a path from ``wrt`` to ``outputs``, in topological order."""
    sources = {t.id for t in wrt}
    on_path: set[int] = set()
    result = []
    for node in ancestors(outputs):
        if node.id in sources or any(x.id in on_path for x in node.inputs):
            on_path.add(node.id)
            result.append(node)
    return result


def adjoints(
    outputs: Sequence[Tensor], wrt: Sequence[Tensor], cotangents: Sequence[Tensor]
) -> dict[Tensor, Tensor]:
    """Return the adjoint of every tensor on a path from ``wrt`` to ``outputs``."""
    path = reaching(outputs, wrt)
    on_path = {t.id for t in path}
    contributions: dict[Tensor, list[Tensor]] = {t: [] for t in path}
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if output.id in on_path:
            contributions[output].append(cotangent)
    result: dict[Tensor, Tensor] = {}
    for node in reversed(path):
        with building(phase=_phase_of_adjoint(node), loc=node.loc, scope=node.scope):
            adjoint = add_all(contributions[node])
            if adjoint is None:
                continue
            if adjoint.phase != "forward":
                adjoint.mark_adjoint(node)
            result[node] = adjoint
            if not any(x.id in on_path for x in node.inputs):
                continue
            parts = node.op.vjp(adjoint, node, *node.inputs)
            for operand, part in zip(node.inputs, parts, strict=True):
                if part is not None and operand.id in on_path:
                    contributions[operand].append(part)
    return result


def _phase_of_adjoint(node: Tensor) -> str:
    return "update" if node.phase == "update" else "backward"


def require_differentiable(what: str, tensors: Sequence[Tensor]) -> None:
    """Raise :class:`DTypeError` unless every one is a floating-point tensor."""
    for t in tensors:
        if not isinstance(t, Tensor):
            raise DTypeError(f"{what}: expected a Tensor, got {type(t).__name__}"
                             f"\n  at {user_location()}")  # fmt: skip
        if t.dtype.kind != "f":
            raise DTypeError(
                f"{what}: {t.describe()} is not floating-point, so it has no derivative"
                f"\n  at {user_location()}"
            )


def vjp(
    outputs: Any, wrt: Any, cotangents: Any, *, unconnected: Unconnected = "raise"
) -> Any:
    """Return the vector-Jacobian products ``cotangents^T @ d outputs / d wrt``.

    ``outputs`` and ``cotangents`` have one structure (a Tensor, list, tuple or dict); the
    result has the structure of ``wrt``. A tensor of ``wrt`` that no output depends on raises
    :class:`ShapeError`, or gives zeros with ``unconnected="zero"``.
    """
    outs, ins = tree_leaves(outputs), tree_leaves(wrt)
    seeds = [FUNCTIONS["asarray"](c) for c in tree_leaves(cotangents)]
    require_differentiable("vjp", [*outs, *ins])
    if len(outs) != len(seeds):
        raise ShapeError(f"vjp: {len(outs)} outputs but {len(seeds)} cotangents"
                         f"\n  at {user_location()}")  # fmt: skip
    for out, seed in zip(outs, seeds, strict=True):
        if out.type.shape != seed.type.shape:
            raise ShapeError(
                f"vjp: the cotangent of {out.describe()} has shape {show_shape(seed.type.shape)}"
                f"\n  at {user_location()}"
            )
    seeds = [FUNCTIONS["astype"](s, o.dtype) for s, o in zip(seeds, outs, strict=True)]
    found = adjoints(outs, ins, seeds)
    return tree_map(lambda t: _adjoint_or_zero("vjp", found, t, unconnected), wrt)


def grad(loss: Tensor, wrt: Any, *, unconnected: Unconnected = "raise") -> Any:
    """Return the gradient of a scalar ``loss`` by ``wrt``.

    ``wrt`` is a Tensor, list, tuple or dict of Tensors; the result has its structure. A tensor
    that the loss does not depend on raises :class:`ShapeError` naming it, or gives zeros with
    ``unconnected="zero"``. The result is symbolic and can be differentiated again.
    """
    ins = tree_leaves(wrt)
    require_differentiable("grad", [loss, *ins])
    if loss.type.shape != ():
        raise ShapeError(
            f"grad: the loss must be a scalar, got {loss.describe()}; reduce it with mean or "
            f"sum, or use gx.vjp or gx.jacobian\n  at {user_location()}"
        )
    with building(phase=_phase_of_adjoint(loss), loc=loss.loc, scope=loss.scope):
        one = constant(np.ones((), loss.dtype))
    found = adjoints([loss], ins, [one])
    return tree_map(lambda t: _adjoint_or_zero("grad", found, t, unconnected), wrt)


def _adjoint_or_zero(
    what: str, found: Mapping[Tensor, Tensor], tensor: Tensor, unconnected: Unconnected
) -> Tensor:
    if tensor in found:
        return found[tensor]
    if unconnected == "zero":
        zeros: Tensor = FUNCTIONS["zeros_like"](tensor)
        return zeros
    if unconnected != "raise":
        raise ShapeError(f'{what}: unconnected is "raise" or "zero", not {unconnected!r}')
    raise ShapeError(
        f"{what}: the loss does not depend on {tensor.describe()} (made at {tensor.loc}); "
        f'leave it out, or pass unconnected="zero"\n  at {user_location()}'
    )
