"""Reverse mode: append the adjoints of a scalar's ancestors, in reverse topological order.

The adjoint of a tensor is the derivative of the loss by it. Each depends only on the adjoints
of the tensor's users and on local values (Griewank and Walther, *Evaluating Derivatives*,
2008, section 3.2). The walk runs on its own output, so any order of derivative works.

Two conventions hold for every transform:

* A tensor of ``wrt`` is a variable wherever it stands, also in the middle of the graph, and
  derivatives are total: with ``h`` made from ``x``, that by ``x`` includes the path through ``h``.
* A tensor that no output depends on is an error (a forgotten parameter), unless
  ``unconnected="zero"`` or ``"none"``. Integers and booleans carry no derivative, so a path
  through them does not count. Where the path exists and the derivative is zero everywhere
  (``floor``, ``stop_gradient``), the result is zeros; with ``"none"`` it is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from graphc.errors import ArgumentError, DTypeError, ShapeError, user_location
from graphc.ir.graph import ancestors
from graphc.ir.op import add_all
from graphc.ir.results import Multiple, Result
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor, building
from graphc.ops.cast import cast
from graphc.ops.operands import as_tensor
from graphc.ops.scan import Scan
from graphc.ops.shape import broadcast_to
from graphc.ops.stable import stable_form
from graphc.tree import tree_leaves, tree_map
from graphc.types import Several, show_shape

Unconnected: TypeAlias = Literal["raise", "zero"]
UnconnectedOrNone: TypeAlias = Literal["raise", "zero", "none"]


def reaching(outputs: Sequence[Tensor], wrt: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors on floating-point paths from ``wrt`` to ``outputs``, in order."""
    reached = set(wrt)
    after = []
    for node in ancestors(outputs):
        depends = node in reached or not reached.isdisjoint(node.inputs)
        if depends and (node.dtype.kind == "f" or isinstance(node.type, Several)):
            reached.add(node)
            after.append(node)
    needed = set(outputs)
    path = []
    for node in reversed(after):
        if node in needed:
            needed.update(node.inputs)
            path.append(node)
    path.reverse()
    return path


def adjoints(
    path: Sequence[Tensor],
    wrt: Sequence[Tensor],
    outputs: Sequence[Tensor],
    cotangents: Sequence[Tensor],
) -> dict[Tensor, Tensor]:
    """Return the adjoints along ``path``, the tensors that reach from ``wrt`` to ``outputs``.

    Where the derivative is zero everywhere there is no entry. A formula with a stable form is
    differentiated in that form, which steps over the tensors inside it.
    """
    keep = {t.id for t in wrt}
    contributions: dict[Tensor, list[Tensor]] = {t: [] for t in path}
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if output in contributions:
            contributions[output].append(cotangent)
    result: dict[Tensor, Tensor] = {}
    of_results: dict[Tensor, dict[int, Tensor]] = {}
    todo = list(path)
    while todo:
        node = todo.pop()
        with building(phase=_phase_of_adjoint(node), loc=node.loc, scope=node.scope):
            if isinstance(node.op, Multiple):
                if node in of_results:
                    _contribute(contributions, node, _of_several(node, of_results[node]))
                continue
            adjoint = add_all(contributions[node])
            if adjoint is None:
                continue
            if adjoint.phase != "forward":
                adjoint.mark_adjoint(node)
            result[node] = adjoint
            if not any(x in contributions for x in node.inputs):
                continue
            stable = stable_form(node, keep)
            if stable is not None:
                form, steps = stable
                contributions.update((step, []) for step in steps)
                contributions[form].append(adjoint)
                todo.extend(steps)
                continue
            if isinstance(node.op, Result):
                own, number = of_results.setdefault(node.inputs[0], {}), node.op.number
                own[number] = own[number] + adjoint if number in own else adjoint
                continue
            _contribute(contributions, node, node.op.vjp(adjoint, node, *node.inputs))
    return result


def _of_several(node: Tensor, gs: Mapping[int, Tensor]) -> Sequence[Tensor | None]:
    """Return the cotangents of the operands of a node with several results."""
    assert isinstance(node.op, Multiple)
    if isinstance(node.op, Scan):
        return node.op.vjps_by(pull, gs, node, *node.inputs)
    return node.op.vjps(gs, node, *node.inputs)


def pull(
    outputs: Sequence[Tensor], wrt: Sequence[Tensor], cotangents: Sequence[Tensor]
) -> Mapping[Tensor, Tensor]:
    """Return the adjoints, for ``cotangents`` of ``outputs``, of all tensors from ``wrt`` on."""
    return adjoints(reaching(outputs, wrt), wrt, outputs, cotangents)


def _contribute(
    contributions: Mapping[Tensor, list[Tensor]], node: Tensor, parts: Sequence[Tensor | None]
) -> None:
    """Note the parts of the operands' adjoints that come from ``node``."""
    for operand, part in zip(node.inputs, parts, strict=True):
        if part is not None and operand in contributions:
            contributions[operand].append(part)


def _phase_of_adjoint(node: Tensor) -> str:
    return "update" if node.phase == "update" else "backward"


def vjp(
    outputs: Any, wrt: Any, cotangents: Any, *, unconnected: UnconnectedOrNone = "raise"
) -> Any:
    """Return the vector-Jacobian products ``cotangents^T @ d outputs / d wrt``.

    ``outputs`` and ``cotangents`` have one structure (a Tensor, list, tuple or dict); the
    result has the structure of ``wrt``.
    """
    outs, ins = differentiable("vjp", outputs), differentiable("vjp", wrt)
    seeds = companions("vjp", "cotangent", outs, cotangents)
    check_unconnected("vjp", unconnected, ("raise", "zero", "none"))
    path = reaching(outs, ins)
    require_connected("vjp", ins, path, unconnected)
    found = adjoints(path, ins, outs, seeds)
    return _filled(found, wrt, unconnected)


def grad(loss: Tensor, wrt: Any, *, unconnected: UnconnectedOrNone = "raise") -> Any:
    """Return the gradient of a scalar ``loss`` by ``wrt``.

    ``wrt`` is a Tensor, list, tuple or dict of Tensors; the result has its structure. A tensor
    that the loss does not depend on raises :class:`ArgumentError` naming it, gives zeros with
    ``unconnected="zero"``, and None with ``"none"``, as does one whose gradient is zero
    everywhere: optimisers leave what has None alone. The result is symbolic and can be
    differentiated again.
    """
    (out,), ins = differentiable("grad", [loss]), differentiable("grad", wrt)
    require_scalar("grad", out)
    with building(phase=_phase_of_adjoint(out), loc=out.loc, scope=out.scope):
        one = constant(np.ones((), out.dtype))
    check_unconnected("grad", unconnected, ("raise", "zero", "none"))
    path = reaching([out], ins)
    require_connected("grad", ins, path, unconnected)
    found = adjoints(path, ins, [out], [one])
    return _filled(found, wrt, unconnected)


def _filled(found: Mapping[Tensor, Tensor], wrt: Any, unconnected: str) -> Any:
    """Return what was found in the structure of ``wrt``, zeros or None for the others."""
    empty = (lambda t: None) if unconnected == "none" else zeros_like
    return tree_map(lambda t: found[t] if t in found else empty(t), wrt)


# -- what every transform asks of its arguments ----------------------------------------------


def differentiable(what: str, tree: Any) -> list[Tensor]:
    """Return the leaves of ``tree``; :class:`DTypeError` unless all are floating-point."""
    leaves = tree_leaves(tree)
    for t in leaves:
        if not isinstance(t, Tensor):
            raise DTypeError(
                f"{what}: expected a Tensor, got {type(t).__name__}\n  at {user_location()}"
            )
        if t.dtype.kind != "f":
            raise DTypeError(
                f"{what}: {t.describe()} is not floating-point, so it has no derivative"
                f"\n  at {user_location()}"
            )
    return leaves


def require_scalar(what: str, loss: Tensor) -> None:
    """Raise :class:`ShapeError` unless ``loss`` has shape ``()``."""
    if loss.type.shape != ():
        raise ShapeError(
            f"{what}: the loss must be a scalar, got {loss.describe()}; reduce it with mean or "
            f"sum, or use gx.vjp or gx.jacobian\n  at {user_location()}"
        )


def companions(what: str, role: str, tensors: Sequence[Tensor], tree: Any) -> list[Tensor]:
    """Return the leaves of ``tree`` as tensors of the types of ``tensors``, one for each."""
    leaves = tree_leaves(tree)
    if len(leaves) != len(tensors):
        raise ArgumentError(
            f"{what}: {len(tensors)} tensors but {len(leaves)} {role}s\n  at {user_location()}"
        )
    result = []
    for tensor, leaf in zip(tensors, leaves, strict=True):
        t = as_tensor(leaf)
        if t.type.shape != tensor.type.shape:
            raise ShapeError(
                f"{what}: the {role} of {tensor.describe()} has shape "
                f"{show_shape(t.type.shape)}\n  at {user_location()}"
            )
        result.append(cast(t, tensor.dtype))
    return result


def zeros_like(t: Tensor) -> Tensor:
    """Return zeros of the type of ``t``."""
    return broadcast_to(constant(np.zeros((), t.dtype)), t.type.shape)


def check_unconnected(
    what: str, unconnected: str, allowed: Sequence[str] = ("raise", "zero")
) -> None:
    if unconnected not in allowed:
        known = " or ".join(f'"{one}"' for one in allowed)
        raise ArgumentError(
            f"{what}: unconnected is {known}, not {unconnected!r}\n  at {user_location()}"
        )


def require_connected(
    what: str, tensors: Sequence[Tensor], path: Sequence[Tensor], unconnected: str
) -> None:
    """Raise :class:`ArgumentError` unless all ``tensors`` lie on ``path`` or may be unconnected."""
    connected = {t.id for t in path}
    for t in tensors:
        if t.id not in connected and unconnected == "raise":
            raise ArgumentError(
                f"{what}: the result does not depend on {t.describe()} (made at {t.loc}); "
                f'leave it out, or pass unconnected="zero"\n  at {user_location()}'
            )
