"""Compare symbolic derivatives with finite differences along random directions.

One random direction ``v`` of a variable and one random cotangent ``u`` of the results turn a
whole Jacobian into the number ``u^T J v``, which both modes and a central difference give
(the idea of HIPS autograd's ``check_grads``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.autodiff.adjoint import differentiable, vjp
from graphc.autodiff.tangent import jvp
from graphc.convert import converted
from graphc.errors import ArgumentError, DTypeError, GradientError, user_location
from graphc.ir.graph import ancestors
from graphc.ir.interpret import batch_size, evaluate
from graphc.ir.op import Array
from graphc.ir.source import Input
from graphc.ir.tensor import Tensor, errors_of
from graphc.types import FLOAT32, shape_at

MODES = ("forward", "reverse")


def check_grads(
    loss: Any,
    wrt: Any,
    feeds: Mapping[Any, Any] | None = None,
    *,
    order: int = 2,
    modes: Sequence[str] = MODES,
    eps: float | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
) -> None:
    """Raise :class:`GradientError` if a derivative differs from a central difference.

    ``loss`` may be any structure of tensors. ``feeds`` gives the inputs' values, by Tensor or
    name; parameters have the values that they have. Derivatives up to ``order`` are checked by
    each tensor of ``wrt`` in turn, in both ``modes``, and in every mix of them at order 2. The
    step is ``eps`` (1e-5, and 1e-2 where a float32 takes part), and ``a`` and ``b`` are equal if
    ``|a - b| <= atol + rtol * max(|a|, |b|)`` (both 1e-5, and 3e-2 in float32).
    """
    outs, ins = differentiable("check_grads", loss), differentiable("check_grads", wrt)
    for mode in modes:
        if mode not in MODES:
            raise ArgumentError(f"check_grads: modes are {MODES}, not {mode!r}")
    values = _named(feeds or {}, [*outs, *ins])
    single = any(t.dtype == FLOAT32 for t in [*outs, *ins])
    step = eps if eps is not None else (1e-2 if single else 1e-5)
    slack = 3e-2 if single else 1e-5
    relative = slack if rtol is None else rtol
    absolute = slack if atol is None else atol
    rng = np.random.default_rng(seed)
    for level in range(1, order + 1):
        cotangents = [_random("cotangent", t, values, rng) for t in outs]
        derived: list[Tensor] = []
        for x in ins:
            direction = _random("tangent", x, values, rng)
            expected = _difference(outs, cotangents, x, values[direction], values, step)
            for mode in modes:
                if mode == "forward":
                    results = jvp(outs, [x], [direction], unconnected="zero")
                    weights = cotangents
                else:
                    results = vjp(outs, [x], cotangents, unconnected="zero")
                    weights = [direction]
                derived += results
                found = _inner(results, weights, values)
                error = abs(found - expected)
                limit = absolute + relative * max(abs(found), abs(expected))
                if not error <= limit:
                    raise GradientError(
                        f"check_grads: the derivative of order {level} by {x.describe()} (made at "
                        f"{x.loc}) is {found:.9g} in {mode} mode but {expected:.9g} by finite "
                        f"differences: an error of {error:.3g}, where {limit:.3g} is allowed"
                        f"\n  at {user_location()}"
                    )
        outs = derived


def _named(feeds: Mapping[Any, Any], roots: Sequence[Tensor]) -> dict[Tensor, Array]:
    """Return ``feeds`` by tensor, as arrays of the inputs' types."""
    inputs = [t for t in ancestors(roots) if isinstance(t.op, Input)]
    by_name = {t.name: t for t in inputs}
    values = {}
    for key, value in feeds.items():
        tensor = key if isinstance(key, Tensor) else by_name.get(key)
        if tensor is None:
            raise DTypeError(f"check_grads: no input is named {key!r}\n  at {user_location()}")
        with errors_of(f"check_grads: {tensor.name}"):
            values[tensor] = converted(value, tensor.dtype)
    for tensor in inputs:
        if tensor not in values:
            raise DTypeError(f"check_grads: {tensor.describe()} is not fed\n  at {user_location()}")
    return values


def _random(
    label: str, like: Tensor, values: dict[Tensor, Array], rng: np.random.Generator
) -> Tensor:
    """Return an input of the type of ``like``, fed with normal deviates from now on."""
    tensor = Tensor(Input(label, like.type, object()), (), like.type, label=label)
    shape = shape_at(like.type.shape, batch_size(values))
    values[tensor] = np.asarray(rng.standard_normal(shape), like.dtype)
    return tensor


def _difference(
    outs: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    x: Tensor,
    direction: Array,
    values: Mapping[Tensor, Array],
    step: float,
) -> float:
    """Return ``u^T (f(x + step v) - f(x - step v)) / (2 step)``."""
    at = evaluate([x], values, batch_size(values))[x]
    ends = []
    for sign in (1.0, -1.0):
        moved = np.asarray(at + sign * step * direction, x.dtype)
        ends.append(_inner(outs, cotangents, {**values, x: moved}))
    return (ends[0] - ends[1]) / (2.0 * step)


def _inner(a: Sequence[Tensor], b: Sequence[Tensor], values: Mapping[Tensor, Array]) -> float:
    """Return the inner product of the values of ``a`` and ``b``, summed in double precision."""
    found = evaluate([*a, *b], values, batch_size(values))
    return float(
        sum(
            np.vdot(found[s].astype(np.float64), found[t].astype(np.float64))
            for s, t in zip(a, b, strict=True)
        )
    )
