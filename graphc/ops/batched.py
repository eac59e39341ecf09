"""How an op is computed for many samples at once: the rules by which ``gx.vmap`` goes through it.

An op's rule stands beside it: :func:`grown`, :func:`merged`, or a function entered by
:func:`batching`. Of elementwise ops, reductions and contractions the trait says it, and a
:class:`~graphc.ir.op.Composite` without a rule is taken by its formula.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from graphc.ir.op import Contraction, Elementwise, Op, Reduction
from graphc.ir.results import results
from graphc.ir.tensor import FUNCTIONS, Tensor, apply
from graphc.types import AnyDim


class Case(NamedTuple):
    """A node, operands of which have an axis of samples in front: those of which ``has`` tells."""

    size: AnyDim
    node: Tensor
    operands: Sequence[Tensor]
    has: Sequence[bool]

    def whole(self, place: int) -> Tensor:
        """Return an operand with the axis of samples, along which it may be the same."""
        x = self.operands[place]
        return x if self.has[place] else spread(x, self.size)

    def aligned(self, ndim: int) -> list[Tensor]:
        """Return the operands such that they broadcast as those of ``ndim`` axes did."""
        pairs = zip(self.operands, self.has, strict=True)
        return [behind(x, ndim) if has else x for x, has in pairs]


Rule: TypeAlias = Callable[[Case], "Tensor | Sequence[Tensor] | None"]
"""Returns the result, or all of them, with the axis of samples in front; None: sample by sample."""

_RULES: dict[type[Any], Rule] = {}

Kind = TypeVar("Kind", bound=type[Any])

SIZE = object()
"""Stands for the number of samples in :func:`grown`."""


def spread(x: Tensor, size: AnyDim) -> Tensor:
    """Return ``x`` for each of ``size`` samples."""
    grown: Tensor = FUNCTIONS["broadcast_to"](x, (size, *x.type.shape))
    return grown


def behind(x: Tensor, ndim: int) -> Tensor:
    """Return samples of ``ndim`` axes: those missing stand between that of samples and others."""
    missing = ndim + 1 - x.ndim
    if missing <= 0:
        return x
    shape = (x.type.shape[0], *(1,) * missing, *x.type.shape[1:])
    grown: Tensor = FUNCTIONS["reshape"](x, shape)
    return grown


def rule_of(kind: type[Op]) -> Rule | None:
    """Return the rule of ops of a class, or of its traits."""
    return next((_RULES[base] for base in kind.__mro__ if base in _RULES), None)


def batching(*kinds: type[Any]) -> Callable[[Rule], Rule]:
    """Enter a function as the rule of ops of these classes."""

    def enter(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return enter


def grown(**fields: Any) -> Callable[[Kind], Kind]:
    """Enter a class of ops that do the same with an axis in front of all operands.

    Its ``axis`` or ``axes`` are one further behind, and what ``fields`` say stands before other
    parameters, :data:`SIZE` for the number of samples.
    """

    def rule(case: Case) -> Tensor | Sequence[Tensor]:
        op = case.node.op
        changes = {n: getattr(op, n) for n in op.fields if n in ("axis", "axes")}
        for name, value in changes.items():
            changes[name] = value + 1 if name == "axis" else tuple(a + 1 for a in value)
        for name, value in fields.items():
            own = changes.get(name, getattr(op, name))
            changes[name] = (case.size if value is SIZE else value, *own)
        out = apply(op.replaced(**changes), *map(case.whole, range(len(case.operands))))
        return results(out)

    def enter(kind: Kind) -> Kind:
        _RULES[kind] = rule
        return kind

    return enter


def merged(*places: int) -> Callable[[Kind], Kind]:
    """Enter a class of ops that do the same for each of what their first axis counts.

    Samples are more of these: of the operands at ``places``, of all if none is given. Others must
    be the same for all samples, or it is done sample by sample.
    """

    def rule(case: Case) -> Sequence[Tensor] | None:
        many = places or tuple(range(len(case.operands)))
        if any(has for place, has in enumerate(case.has) if place not in many):
            return None
        return one_axis(case, many)

    def enter(kind: Kind) -> Kind:
        _RULES[kind] = rule
        return kind

    return enter


def one_axis(case: Case, places: Sequence[int]) -> list[Tensor]:
    """Return the results for samples that are merged into the first axis of these operands."""
    operands = list(case.operands)
    for place in places:
        x = case.whole(place)
        first, second, *rest = x.type.shape
        operands[place] = FUNCTIONS["reshape"](x, (second * first, *rest))
    made = results(apply(case.node.op, *operands))
    return [FUNCTIONS["reshape"](t, (case.size, *own.type.shape))
            for t, own in zip(made, results(case.node), strict=True)]  # fmt: skip


@batching(Elementwise)
def _elementwise(case: Case) -> Tensor | None:
    op = case.node.op
    if getattr(op, "shape", None) is not None:  # operands say less than the op does
        return None
    return apply(op, *case.aligned(case.node.ndim))


@batching(Contraction)
def _contraction(case: Case) -> Tensor:
    return apply(case.node.op, *case.aligned(case.node.ndim))


grown()(Reduction)
