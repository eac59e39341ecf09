"""What the functions of functions share: carries of any structure, whose types must stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import is_
from typing import Any, NamedTuple

from graphc.errors import DTypeError, GraphcError, ShapeError
from graphc.ir.tensor import FUNCTIONS, Tensor
from graphc.ops.body import placeholder
from graphc.ops.operands import as_tensor
from graphc.tree import tree_leaves, tree_map
from graphc.types import promote, show_shape

Tensors = Sequence[Tensor]


class Traced(NamedTuple):
    """A step as tensors: what the carries start from, and what they become."""

    firsts: Tensors
    carries: Tensors
    following: Tensors
    others: Tensors


def traced(
    firsts: Tensors, weak: Sequence[bool], step: Callable[[Tensors], tuple[Tensors, Tensors]]
) -> Traced:
    """Call a step with symbols; a ``weak`` number takes the type of what it becomes."""
    while True:
        carries = [placeholder(t.label or "carry", t.type) for t in firsts]
        following, others = step(carries)
        wider = [
            FUNCTIONS["astype"](old, new.dtype) if may and _yields(old, new) else old
            for old, new, may in zip(firsts, following, weak, strict=True)
        ]
        if all(map(is_, wider, firsts)):
            following = [weak_as(new, old) for new, old in zip(following, firsts, strict=True)]
            return Traced(firsts, carries, following, others)
        firsts = wider


def _yields(old: Tensor, new: Tensor) -> bool:
    """Tell whether a number takes the type of what it becomes: a wider one."""
    wider = new.dtype != old.dtype and promote(old.dtype, new.dtype) == new.dtype
    return wider and old.type.shape == new.type.shape


def weak_as(new: Tensor, old: Tensor) -> Tensor:
    """Return a Python float that a carry becomes in that carry's type, if it holds floats."""
    if new.weak and old.dtype.kind == "f" and new.type.shape == old.type.shape:
        cast: Tensor = FUNCTIONS["astype"](new, old.dtype)
        return cast
    return new


def check_carry(what: str, firsts: Tensors, following: Tensors, where: str) -> None:
    """Raise unless the carry has one type before and after a step."""
    for old, t in zip(firsts, following, strict=True):
        if t.dtype != old.dtype:
            raise DTypeError(
                f"{what}: the carry {old.describe()} becomes {t.type} (made at {t.loc}) in a step; "
                f'give init this type, or cast with .astype("{old.dtype.name}"){where}'
            )
        if t.type.shape != old.type.shape:
            raise ShapeError(
                f"{what}: the carry {old.describe()} becomes {show_shape(t.type.shape)} (made at "
                f"{t.loc}) in a step; its shape must stay, so give init that shape{where}"
            )


def tensor(what: str, value: Any, where: str) -> Tensor:
    """Return what a user gave, or a function of the user's returned, as a tensor."""
    try:
        return as_tensor(value)
    except GraphcError as error:
        raise type(error)(f"{what}: {error}{where}") from None


def leaves(tree: Any) -> list[Any]:
    """Return the leaves of ``tree`` but None."""
    return [leaf for leaf in tree_leaves(tree) if leaf is not None]


def filled(tree: Any, tensors: Iterable[Tensor]) -> Any:
    """Return ``tree`` with other leaves, in order; None stays."""
    remaining = iter(tensors)
    return tree_map(lambda leaf: None if leaf is None else next(remaining), tree)
