"""Stable forms: equal formulas that neither overflow nor cancel.

Users write ``log(softmax(x))``; for far apart logits that is ``log(0)``, and its derivative
``0 / 0``. Each rule here names an equal op that is exact there, value and derivative. The
values are brought to these forms by the pass ``stabilize``, and derivatives are taken of these
forms from the start (:func:`stable_form`), as no rewriting of a derivative finds back from
``0 / 0``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import TypeAlias

from graphc.ir.op import Op, View, reduced_shape
from graphc.ir.rewrite import RuleSet, is_number, scalar_value
from graphc.ir.tensor import Tensor, apply
from graphc.ops.activation import LogSigmoid, Softplus
from graphc.ops.along import Pick, TakeAlongAxis
from graphc.ops.arithmetic import Add, Divide, Negative, Subtract
from graphc.ops.comparison import Where
from graphc.ops.exponential import Exp, Expm1, Log, Log1p, Sigmoid
from graphc.ops.gather import Take
from graphc.ops.gradient import StopGradient
from graphc.ops.manipulation import Concat
from graphc.ops.reduce import Max, Sum
from graphc.ops.shape import Reshape
from graphc.ops.softmax import LogSoftmax, Logsumexp, Softmax

LOGARITHMS = RuleSet()
"""Stable forms of the logarithm of one formula."""

_LONGEST = 256
"""Most tensors that a rule may step over."""

_DEEPEST = 4
"""Choices of elements within choices, and parts within parts, that a logarithm looks into."""


def stable_form(node: Tensor, keep: Collection[int]) -> tuple[Tensor, list[Tensor]] | None:
    """Return an equal tensor that steps over what ``node`` is made of, and its new nodes.

    None where no rule applies, or where it would step over one of the tensors ``keep`` (by
    id): they are variables, and the form would not depend on them.
    """
    found = STABLE.apply(node)
    if found is None:
        return None
    form = found[0]
    steps: dict[int, Tensor] = {}
    operands: set[int] = set()
    stack = [form]
    while stack:
        t = stack.pop()
        if t.id < node.id:
            operands.add(t.id)
        elif t.id not in steps:
            steps[t.id] = t
            stack.extend(t.inputs)
    stack = list(node.inputs)
    for _ in range(_LONGEST):
        if not stack:
            return form, [steps[i] for i in sorted(steps)]
        t = stack.pop()
        if t.id in operands:
            continue
        if t.id in keep:
            return None
        operands.add(t.id)
        stack.extend(t.inputs)
    return None


# -- choices of elements -------------------------------------------------------------------------

_Choice: TypeAlias = View | Take | TakeAlongAxis | Pick


def _choices(t: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return what ``t`` chooses elements of, and the choices, the last one first."""
    chosen: list[Tensor] = []
    while isinstance(t.op, _Choice) and not isinstance(t.op, StopGradient):
        if len(chosen) == _DEEPEST:
            break
        chosen.append(t)
        t = t.inputs[0]
    return t, chosen


def _choose(t: Tensor, chosen: list[Tensor]) -> Tensor:
    """Return those elements of ``t``."""
    for step in reversed(chosen):
        t = apply(step.op, t, *step.inputs[1:])
    return t


_Pattern: TypeAlias = Callable[[Tensor], Tensor | None]


def _elementwise(pattern: _Pattern) -> _Pattern:
    """Let a pattern see through choices: as of ``exp(x)`` x, of ``exp(x)[i]`` it finds ``x[i]``.

    For formulas whose elements depend on those of the operand in the same place.
    """

    @functools.wraps(pattern)
    def find(t: Tensor) -> Tensor | None:
        whole, chosen = _choices(t)
        x = pattern(whole)
        return None if x is None else _choose(x, chosen)

    return find


# -- patterns ------------------------------------------------------------------------------------


@_elementwise
def _one_plus(t: Tensor) -> Tensor | None:
    """Return x of ``1 + x`` or ``x + 1``."""
    match t:
        case Tensor(op=Add(), inputs=(x, y)) if x.type == t.type and is_number(y, 1):
            return x
        case Tensor(op=Add(), inputs=(y, x)) if x.type == t.type and is_number(y, 1):
            return x
    return None


@_elementwise
def _one_minus(t: Tensor) -> Tensor | None:
    """Return x of ``1 - x``."""
    match t:
        case Tensor(op=Subtract(), inputs=(one, x)) if x.type == t.type and is_number(one, 1):
            return x
    return None


@_elementwise
def _exponent(t: Tensor) -> Tensor | None:
    """Return x of ``exp(x)``."""
    return t.inputs[0] if isinstance(t.op, Exp) else None


@_elementwise
def _negated(t: Tensor) -> Tensor | None:
    """Return x of ``-x``."""
    return t.inputs[0] if isinstance(t.op, Negative) else None


def _negative(x: Tensor) -> Tensor:
    """Return ``-x``, without a node if ``x`` is a negative itself."""
    return x.inputs[0] if isinstance(x.op, Negative) else apply(Negative(), x)


@_elementwise
def _sigmoid(t: Tensor) -> Tensor | None:
    """Return x of ``sigmoid(x)``, ``1 / (1 + exp(-x))`` or ``exp(x) / (1 + exp(x))``."""
    match t:
        case Tensor(op=Sigmoid(), inputs=(x,)):
            return x
        case Tensor(op=Divide(), inputs=(over, under)):
            added = _one_plus(under)
            power = None if added is None else _exponent(added)
            if power is None or power.type != t.type:
                return None
            if is_number(over, 1):
                return _negative(power)
            return power if over is added or _exponent(over) is power else None
    return None


def _softmax(t: Tensor) -> tuple[Tensor, tuple[int, ...]] | None:
    """Return x and axes of ``softmax(x)`` or ``exp(x) / sum(exp(x))``."""
    match t:
        case Tensor(op=Softmax(axes=axes), inputs=(x,)):
            return x, axes
        case Tensor(op=Divide(), inputs=(over, under)):
            power = _exponent(over)
            total = under.inputs[0] if isinstance(under.op, Reshape) else under
            if power is None or power.type != t.type or not isinstance(total.op, Sum):
                return None
            axes = total.op.axes
            kept = reduced_shape(power.type.shape, axes, True)
            lead = len(kept) - under.ndim
            aligned = under.type.shape == kept[lead:] and all(d == 1 for d in kept[:lead])
            return (power, axes) if aligned and _exponent(total.inputs[0]) is power else None
    return None


# -- logarithms ----------------------------------------------------------------------------------


@LOGARITHMS.on(Log)
def log_of_exp(node: Tensor) -> Tensor | None:
    """``log(exp(x)) = x``."""
    return _exponent(node.inputs[0])


@LOGARITHMS.on(Log)
def log_of_softmax(node: Tensor) -> Tensor | None:
    """``log(softmax(x)) = log_softmax(x)``."""
    found = _softmax(node.inputs[0])
    return None if found is None else apply(LogSoftmax(found[1]), found[0])


@LOGARITHMS.on(Log)
def log_of_sigmoid(node: Tensor) -> Tensor | None:
    """``log(sigmoid(x)) = log_sigmoid(x)``."""
    x = _sigmoid(node.inputs[0])
    return None if x is None else apply(LogSigmoid(), x)


@LOGARITHMS.on(Log)
def log_of_complement(node: Tensor) -> Tensor | None:
    """``log(1 - sigmoid(x)) = log_sigmoid(-x)``."""
    p = _one_minus(node.inputs[0])
    x = None if p is None else _sigmoid(p)
    return None if x is None else apply(LogSigmoid(), _negative(x))


@LOGARITHMS.on(Log1p)
def log1p_of_negative(node: Tensor) -> Tensor | None:
    """``log1p(-sigmoid(x)) = log_sigmoid(-x)``."""
    p = _negated(node.inputs[0])
    x = None if p is None else _sigmoid(p)
    return None if x is None else apply(LogSigmoid(), _negative(x))


@LOGARITHMS.on(Log)
def log_of_sum_of_exp(node: Tensor) -> Tensor | None:
    """``log(sum(exp(x))) = logsumexp(x)``."""
    match node.inputs:
        case (Tensor(op=Sum(axes=axes, keepdims=keepdims), inputs=(e,)),):
            x = _exponent(e)
            return None if x is None else apply(Logsumexp(axes, keepdims), x)
    return None


@LOGARITHMS.on(Log)
def log_of_one_plus_exp(node: Tensor) -> Tensor | None:
    """``log(1 + exp(x)) = softplus(x)``."""
    added = _one_plus(node.inputs[0])
    x = None if added is None else _exponent(added)
    return None if x is None else apply(Softplus(), x)


@LOGARITHMS.on(Log1p)
def log1p_of_exp(node: Tensor) -> Tensor | None:
    """``log1p(exp(x)) = softplus(x)``."""
    x = _exponent(node.inputs[0])
    return None if x is None else apply(Softplus(), x)


@LOGARITHMS.on(Log)
def log_of_one_plus(node: Tensor) -> Tensor | None:
    """``log(1 + x) = log1p(x)``."""
    x = _one_plus(node.inputs[0])
    return None if x is None else apply(Log1p(), x)


# -- logarithms of choices and of parts ----------------------------------------------------------

STABLE = RuleSet(LOGARITHMS)
"""All stable forms."""


@STABLE.on(Log, Log1p)
def log_of_choice(node: Tensor) -> Tensor | None:
    """``log(y[i]) = log(y)[i]``, ``log(concat([x, y])) = concat([log(x), log(y)])``, so for where.

    For any choice of elements, where there is a stable form of what is chosen or joined.
    """
    return _within(node.op, node.inputs[0], _DEEPEST, False)


def _within(op: Op, t: Tensor, depth: int, everywhere: bool) -> Tensor | None:
    """Return a stable form of ``op(t)`` by those of what ``t`` chooses or joins.

    What is not chosen gets a derivative of zero, times that of the form: it must be finite
    ``everywhere`` then, as the derivative of a logarithm is not.
    """
    whole, chosen = _choices(t)
    if chosen:
        form = _form(op, whole, depth, True)
        return None if form is None else _choose(form, chosen)
    match t.op:
        case Where():
            condition, *parts = t.inputs
            forms = [_form(op, x, depth, True) for x in parts]
            found = [x for x in forms if x is not None]
            return apply(t.op, condition, *found) if len(found) == len(parts) else None
        case Concat():
            distinct = {x: _form(op, x, depth, everywhere) for x in dict.fromkeys(t.inputs)}
            missing = [x for x, form in distinct.items() if form is None]
            if len(missing) == len(distinct) or (missing and everywhere):
                return None
            distinct |= {x: apply(op, x) for x in missing}
            return apply(t.op, *(form for x in t.inputs if (form := distinct[x]) is not None))
    return None


def _form(op: Op, t: Tensor, depth: int, everywhere: bool) -> Tensor | None:
    """Return a stable form of ``op(t)``, which may be within ``depth`` choices and joins."""
    node = apply(op, t)
    if scalar_value(t) is not None:
        return node
    found = LOGARITHMS.apply(node)
    if found is not None:
        return None if everywhere and isinstance(found[0].op, Log1p) else found[0]
    return _within(op, t, depth - 1, everywhere) if depth else None


# -- exponentials --------------------------------------------------------------------------------


@STABLE.on(Divide)
def quotient_is_sigmoid(node: Tensor) -> Tensor | None:
    """``1 / (1 + exp(-x)) = exp(x) / (1 + exp(x)) = sigmoid(x)``."""
    x = _sigmoid(node)
    return None if x is None else apply(Sigmoid(), x)


@STABLE.on(Divide)
def quotient_is_softmax(node: Tensor) -> Tensor | None:
    """``exp(x) / sum(exp(x)) = softmax(x)``."""
    found = _softmax(node)
    return None if found is None else apply(Softmax(found[1]), found[0])


@STABLE.on(Softmax, LogSoftmax)
def softmax_of_shifted(node: Tensor) -> Tensor | None:
    """``softmax(x - max(x)) = softmax(x)``, which shifts by itself; so for log_softmax."""
    match node:
        case Tensor(
            op=Softmax(axes=axes) | LogSoftmax(axes=axes),
            inputs=(Tensor(op=Subtract(), inputs=(x, Tensor(op=Max() as top, inputs=(y,)))),),
        ) if x is y and top.keepdims and top.axes == axes:
            return apply(node.op, x)
    return None


@STABLE.on(Subtract)
def complement_of_sigmoid(node: Tensor) -> Tensor | None:
    """``1 - sigmoid(x) = sigmoid(-x)``, in the forward phase.

    In sigmoid's own derivative, p (1 - p), the error of 1 - p does not count.
    """
    match node.inputs:
        case (one, p) if is_number(one, 1) and node.phase == "forward":
            x = _sigmoid(p)
            return None if x is None else apply(Sigmoid(), _negative(x))
    return None


@STABLE.on(Subtract)
def exp_minus_one(node: Tensor) -> Tensor | None:
    """``exp(x) - 1 = expm1(x)``."""
    match node.inputs:
        case (e, one) if is_number(one, 1):
            x = _exponent(e)
            return None if x is None or x.type != node.type else apply(Expm1(), x)
    return None


@STABLE.on(Negative)
def negative_log_sigmoid(node: Tensor) -> Tensor | None:
    """``-log_sigmoid(-x) = softplus(x)``."""
    match node.inputs:
        case (Tensor(op=LogSigmoid(), inputs=(Tensor(op=Negative(), inputs=(x,)),)),):
            return apply(Softplus(), x)
    return None
