"""How a sample of PyTorch's is computed here and there, and compared."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.ir.interpret import evaluate
from graphc.ir.tensor import Tensor

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")  # which PyTorch's own tests need
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal import common_methods_invocations, common_modules

OP_DB, MODULE_DB = common_methods_invocations.op_db, common_modules.module_db


class Left(Exception):  # no error: the sample is not for us
    """A sample that is left out; the argument says why."""


def inputs_of(tree: Any, found: dict[int, tuple[Any, Tensor]]) -> Any:
    """Return arguments with a graph's input for each tensor among them."""
    if isinstance(tree, torch.Tensor):
        if tree.is_complex() or tree.dtype in (torch.bfloat16, torch.float16):
            raise Left("complex numbers and half precision are not there")
        if id(tree) not in found:
            dtype = str(tree.dtype).rpartition(".")[2]
            if dtype in ("uint8", "int8", "int16"):
                raise Left(f"{dtype} is not there")
            found[id(tree)] = (tree, gx.input(f"x{len(found)}", tuple(tree.shape), dtype))
        return found[id(tree)][1]
    if isinstance(tree, (list, tuple)):
        return type(tree)(inputs_of(part, found) for part in tree) if type(tree) in (
            list, tuple) else [inputs_of(part, found) for part in tree]  # fmt: skip
    if isinstance(tree, dict):
        return {name: inputs_of(part, found) for name, part in tree.items()}
    return tree


def leaves(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in leaves(part)]
    return [] if value is None else [value]


def score(outputs: Iterable[Any], sin: Callable[[Any], Any]) -> Any:
    """Return a scalar with a slope of its own for each element."""
    total: Any = 0.0
    for y in outputs:
        total = total + (sin(y) * 0.7 + y * y).sum()
    return total


def compare(
    ours: Callable[..., Any], theirs: Callable[..., Any], args: Any, kwargs: Any,
    parameters: Iterable[tuple[Tensor, Any, Callable[[Any], Any]]] = (), *, compiled: bool = False,
    slopes: bool = True, tolerance: float = 1e-10,
) -> None:  # fmt: skip
    """Compare values, and gradients of floating inputs and parameters.

    ``parameters`` are ours, theirs, and what turns a gradient of theirs into one of ours.
    """
    found: dict[int, tuple[Any, Tensor]] = {}
    given = inputs_of((args, kwargs), found)
    outs = leaves(ours(*given[0], **given[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = leaves(theirs(*args, **kwargs))
    assert len(outs) == len(wanted), f"{len(outs)} results, not {len(wanted)}"
    smooth = [w.is_floating_point() and w.requires_grad for w in wanted]
    wrt = [
        (t, x) for t, x in found.values() if t.requires_grad and t.is_floating_point()
    ]  # fmt: skip
    results, expected = list(outs), [w.detach().numpy() for w in wanted]
    for y, w in zip(outs, expected, strict=True):
        shape = y.shape if isinstance(y, Tensor) else np.shape(y)
        assert tuple(shape) == w.shape, f"shape {tuple(shape)}, not {w.shape}"
    if slopes and any(smooth):
        loss = score([y for y, s in zip(outs, smooth, strict=True) if s], gx.sin)
        total = score([w for w, s in zip(wanted, smooth, strict=True) if s], torch.sin)
        own = [*(x for _, x in wrt), *(p for p, _, _ in parameters)]
        theirs_ = [*(t for t, _ in wrt), *(p for _, p, _ in parameters)]
        turns = [*(lambda g: g for _ in wrt), *(turn for _, _, turn in parameters)]
        if own:
            results += gx.grad(loss, own, unconnected="zero")
            slopes_ = torch.autograd.grad(total, theirs_, allow_unused=True)
            expected += [
                turn(np.zeros(t.shape) if g is None else g.numpy())
                for g, t, turn in zip(slopes_, theirs_, turns, strict=True)
            ]
    feeds = {x: t.detach().numpy() for t, x in found.values()}
    made = [r if isinstance(r, Tensor) else gx.constant(r) for r in results]
    if compiled and feeds:
        values = list(gx.function(list(feeds), made)(*feeds.values()))
    else:
        computed = evaluate(made, feeds)
        values = [computed[r] for r in made]
    for number, (a, b) in enumerate(zip(values, expected, strict=True)):
        where = "result" if number < len(outs) else "gradient"
        np.testing.assert_allclose(a, b, err_msg=f"{where} {number}", rtol=tolerance,
                                   atol=tolerance)  # fmt: skip


def refused(ours: Callable[..., Any], args: Any, kwargs: Any) -> str | None:
    """Return the message with which a call is refused, or None if it is not."""
    found: dict[int, tuple[Any, Tensor]] = {}
    try:
        given = inputs_of((args, kwargs), found)
        outs = leaves(ours(*given[0], **given[1]))
        gx.function([x for _, x in found.values()], outs)(
            *[t.detach().numpy() for t, _ in found.values()]
        )
    except (gx.errors.GraphcError, TypeError) as error:
        return str(error)
    return None
