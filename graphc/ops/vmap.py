"""Functions of one sample as functions of many: ``vmap``, after ``jax.vmap``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Protocol

from graphc.errors import ArgumentError, DTypeError, ShapeError, user_location
from graphc.ir.graph import ancestors
from graphc.ir.op import Composite
from graphc.ir.results import Result, results
from graphc.ir.tensor import FUNCTIONS, Tensor, apply, building
from graphc.ops.batched import Case, rule_of, spread
from graphc.ops.batched_loops import batched_loop
from graphc.ops.body import Body, placeholder
from graphc.ops.carries import tensor
from graphc.ops.scan import Scan
from graphc.tree import tree_leaves, tree_map
from graphc.types import AnyDim, Several

Sample = tuple[Tensor, bool]
"""A tensor, and whether it has an axis of samples in front."""


class Results(Protocol):
    """The results of a node with several, by number."""

    def __getitem__(self, number: int) -> Sample: ...


def vmap(f: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
    """Return the function that does what ``f`` does for each of many samples, all at once.

    ``f`` is called once, with symbols of one sample: what it is called with, without the axis
    ``in_axes``: a number for all arguments, or one for each, or for each tensor of one; None for
    what is the same for all samples. Results have the axis of samples at ``out_axes``. Samples
    broadcast, without a loop, but for draws whose seeds differ. It goes through loops and branches
    (a branch that samples choose is computed for all of them). Random draws of ``f`` are the same
    for all samples, masks of dropout are not. The gradient of each sample is
    ``gx.vmap(gx.grad_of(f))``. As ``jax.vmap``.

    Raises :class:`ShapeError` where samples differ in number or an axis does not exist,
    :class:`ArgumentError` where nothing has samples, or a result has and its ``out_axes`` is None.
    """
    if not callable(f):
        raise DTypeError(f"vmap: {f!r} is not a function\n  at {user_location()}")

    @wraps(f)
    def mapped(*args: Any) -> Any:
        where = f"\n  at {user_location()}"
        given = tree_map(lambda t: None if t is None else tensor("vmap", t, where), args)
        axes = _spelled("in_axes", in_axes, given, where)
        seeds: dict[Tensor, Tensor] = {}
        size = _size(given, axes, where)

        def one(t: Any, axis: Any) -> Any:
            if t is None or axis is None:
                return t
            place = _normal("in_axes", axis, t.ndim, t, where)
            rest = (*t.type.shape[:place], *t.type.shape[place + 1 :])
            sample = placeholder(t.label or "sample", t.type.with_shape(rest))
            seeds[sample] = FUNCTIONS["moveaxis"](t, place, 0) if place else t
            return sample

        out = f(*_together(one, given, axes))
        out = tree_map(lambda t: None if t is None else tensor("vmap", t, where), out)
        leaves = [t for t in tree_leaves(out) if t is not None]
        found = batched(leaves, {t: (x, True) for t, x in seeds.items()}, size)

        def placed(t: Any, axis: Any) -> Any:
            if t is None:
                return None
            made, has = found.get(t, (t, False))
            if axis is None:
                if has:
                    raise ArgumentError(
                        f"vmap: out_axes is None for {t.describe()}, which differs from sample to "
                        f"sample{where}"
                    )
                return made
            made = made if has else spread(made, size)
            place = _normal("out_axes", axis, made.ndim, made, where)
            return FUNCTIONS["moveaxis"](made, 0, place) if place else made

        return _together(placed, out, _spelled("out_axes", out_axes, out, where))

    return mapped


def batched(
    roots: Sequence[Tensor], seeds: Mapping[Tensor, Sample], size: AnyDim
) -> dict[Tensor, Sample]:
    """Return what tensors become for ``size`` samples, where that is something else."""
    found = dict(seeds)
    several: dict[Tensor, Results] = {}
    nodes = ancestors(roots, seeds)
    asked: dict[Tensor, set[int]] = {}
    for node in nodes:
        if isinstance(node.op, Result):
            asked.setdefault(node.inputs[0], set()).add(node.op.number)
    for node in nodes:
        if node in found:
            continue
        if isinstance(node.op, Result) and node.inputs[0] in several:
            found[node] = several[node.inputs[0]][node.op.number]
        elif any(found[x][1] or found[x][0] is not x for x in node.inputs if x in found):
            with building(phase=node.phase, loc=node.loc, scope=node.scope):
                made = _through(node, [found.get(x, (x, False)) for x in node.inputs],
                                asked.get(node, set()), size)  # fmt: skip
            if isinstance(node.type, Several):
                several[node] = made
            else:
                found[node] = made[0]
    return found


def _through(node: Tensor, samples: Sequence[Sample], asked: set[int], size: AnyDim) -> Results:
    """Return the results of ``node`` for other operands: by its rule, its formula, or a loop."""
    case = Case(size, node, [x for x, _ in samples], [has for _, has in samples])
    if not any(case.has):
        return [(t, False) for t in results(apply(node.op, *case.operands))]
    if isinstance(node.op, Scan):
        return batched_loop(case, asked, batched)
    rule = rule_of(type(node.op))
    made = None if rule is None else rule(case)
    if made is not None:
        return [(t, True) for t in ([made] if isinstance(made, Tensor) else made)]
    if isinstance(node.op, Composite):
        own = [placeholder("operand", x.type) for x in node.inputs]
        parts = results(node.op.expand(*own))
        inner = batched(parts, dict(zip(own, samples, strict=True)), size)
        return [_whole(inner.get(t, (t, False)), size) for t in parts]
    return [(t, True) for t in _one_by_one(case)]


def _whole(sample: Sample, size: AnyDim) -> Sample:
    made, has = sample
    return (made if has else spread(made, size)), True


def _one_by_one(case: Case) -> list[Tensor]:
    """Return the results of a loop over the samples."""
    own = [placeholder("operand", x.type) for x in case.node.inputs]
    slices = [x for x, has in zip(own, case.has, strict=True) if has]
    captured = [x for x, has in zip(own, case.has, strict=True) if not has]
    parts = results(apply(case.node.op, *own))
    body = Body((), slices, captured, (), parts)
    given = dict(zip(own, case.operands, strict=True))
    op = Scan(body, case.size)
    out = apply(op, *(given[x] for x in (*slices, *captured)))
    return [op.stacked(out, t) for t in parts]


# -- a user's axes ---------------------------------------------------------------------------------


def _spelled(name: str, axes: Any, tree: Any, where: str) -> list[int | None]:
    """Return an axis, or None, for each leaf of ``tree``, in order."""
    if axes is None or isinstance(axes, int):
        return [axes] * len(tree_leaves(tree))
    pairs: list[tuple[Any, Any]] | None = None
    if isinstance(tree, dict) and isinstance(axes, dict) and axes.keys() == tree.keys():
        pairs = [(axes[key], part) for key, part in tree.items()]
    sequences = isinstance(tree, (tuple, list)) and isinstance(axes, (tuple, list))
    if sequences and len(axes) == len(tree):
        pairs = list(zip(axes, tree, strict=True))
    if pairs is None:
        raise ArgumentError(
            f"vmap: {name} {axes!r} must be a number or None, or have the structure of what it is "
            f"for{where}"
        )
    return [axis for own, part in pairs for axis in _spelled(name, own, part, where)]


def _together(f: Callable[[Any, Any], Any], tree: Any, axes: Sequence[int | None]) -> Any:
    """Return ``tree`` with ``f(leaf, axis)`` for each leaf."""
    own = iter(axes)
    return tree_map(lambda leaf: f(leaf, next(own)), tree)


def _normal(name: str, axis: int, ndim: int, t: Tensor, where: str) -> int:
    if not -ndim <= axis < ndim:
        raise ShapeError(f"vmap: {name} is {axis}, and {t.describe()} has no such axis{where}")
    return axis % ndim


def _size(given: Any, axes: Sequence[int | None], where: str) -> AnyDim:
    """Return the number of samples, which all agree about."""
    found: list[tuple[AnyDim, Tensor]] = []

    def look(t: Any, axis: Any) -> None:
        if t is not None and axis is not None:
            found.append((t.type.shape[_normal("in_axes", axis, t.ndim, t, where)], t))

    _together(look, given, axes)
    if not found:
        raise ArgumentError(f"vmap: in_axes is None for all arguments: nothing has samples{where}")
    size, first = found[0]
    for other, t in found:
        if other != size:
            raise ShapeError(
                f"vmap: {first.describe()} has {size} samples along its axis, and {t.describe()} "
                f"has {other}{where}"
            )
    return size
