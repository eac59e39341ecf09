"""Derivatives of functions of tensors, as functions of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from graphc.autodiff.adjoint import grad
from graphc.errors import ArgumentError, DTypeError, ShapeError, user_location
from graphc.ir.tensor import Tensor
from graphc.ops.body import placeholder, substituted
from graphc.ops.carries import tensor
from graphc.tree import tree_fill, tree_leaves, tree_map


def grad_of(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Return the function whose result is the gradient of ``f``'s scalar by its arguments.

    ``argnums`` says by which: a number, or several for a tuple; each is a tensor or a structure of
    tensors. ``f`` is called with symbols that stand for those, so that only what it makes of its
    arguments counts. An argument that it does not use has the gradient 0. As ``jax.grad``;
    ``gx.vmap(gx.grad_of(f))`` has a gradient for each sample. :func:`gx.grad` takes tensors.
    """
    if not callable(f):
        raise DTypeError(f"grad_of: {f!r} is not a function\n  at {user_location()}")

    @wraps(f)
    def gradient(*args: Any) -> Any:
        where = f"\n  at {user_location()}"
        many = isinstance(argnums, Sequence)
        places = list(argnums) if isinstance(argnums, Sequence) else [argnums]
        for place in places:
            if not isinstance(place, int) or not -len(args) <= place < len(args):
                raise ArgumentError(
                    f"grad_of: argnums is {argnums!r}, and there are {len(args)} arguments{where}"
                )
        given, own = list(args), dict[Tensor, Tensor]()
        for place in places:
            outside = tree_map(lambda t: tensor("grad_of", t, where), args[place])
            given[place] = tree_map(lambda t: placeholder(t.label or "argument", t.type), outside)
            own.update(zip(tree_leaves(given[place]), tree_leaves(outside), strict=True))
        loss = f(*given)
        if not isinstance(loss, Tensor) or loss.type.shape:
            shown = loss.describe() if isinstance(loss, Tensor) else repr(loss)
            raise ShapeError(f"grad_of: the function must return a scalar, not {shown}{where}")
        found = grad(loss, [given[place] for place in places], unconnected="zero")
        inside = tree_leaves(found)
        result = tree_fill(found, iter(substituted(inside, own)))
        return tuple(result) if many else result[0]

    return gradient
