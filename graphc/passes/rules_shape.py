"""Equalities of views, of broadcasting and of sums over axes."""

from __future__ import annotations

from graphc.ir.op import Contraction, Elementwise, Reduction
from graphc.ir.rewrite import RuleSet
from graphc.ir.source import constant
from graphc.ir.tensor import Tensor, apply
from graphc.ops.along import Place
from graphc.ops.arithmetic import Add, Multiply
from graphc.ops.cast import cast
from graphc.ops.gradient import StopGradient
from graphc.ops.manipulation import Concat
from graphc.ops.reduce import Max, Min, Sum
from graphc.ops.shape import BroadcastTo, PermuteDims, Reshape, broadcast_to, permute_dims, reshape
from graphc.ops.slices import Embed, Slice
from graphc.types import AnyDim, size_of

SHAPES = RuleSet()

_TERMS = 64
"""The terms of a sum among which parts of a whole are looked for."""


@SHAPES.on(StopGradient)
def stop_gradient(node: Tensor) -> Tensor | None:
    """``stop_gradient(x) = x``: the derivatives have been taken."""
    return node.inputs[0]


@SHAPES.on(Reshape, BroadcastTo)
def same_shape(node: Tensor) -> Tensor | None:
    """``reshape(x, its own shape) = x``; so for broadcast_to."""
    (x,) = node.inputs
    return x if x.type == node.type else None


@SHAPES.on(Reshape)
def reshape_of_reshape(node: Tensor) -> Tensor | None:
    """``reshape(reshape(x, a), b) = reshape(x, b)``."""
    match node.inputs:
        case (Tensor(op=Reshape(), inputs=(x,)),):
            return reshape(x, node.type.shape)
    return None


@SHAPES.on(PermuteDims)
def permute_of_permute(node: Tensor) -> Tensor | None:
    """``permute(permute(x, p), q) = permute(x, p[q])``."""
    match node:
        case Tensor(op=PermuteDims(axes=q), inputs=(Tensor(op=PermuteDims(axes=p), inputs=(x,)),)):
            return permute_dims(x, tuple(p[a] for a in q))
    return None


@SHAPES.on(PermuteDims)
def permute_of_ones(node: Tensor) -> Tensor | None:
    """``permute(x, p) = reshape(x)`` where only axes of length 1 change places."""
    match node:
        case Tensor(op=PermuteDims(axes=axes), inputs=(x,)):
            moved = [a for a in axes if x.type.shape[a] != 1]
            return reshape(x, node.type.shape) if moved == sorted(moved) else None
    return None


@SHAPES.on(BroadcastTo)
def broadcast_of_broadcast(node: Tensor) -> Tensor | None:
    """``broadcast(broadcast(x, a), b) = broadcast(x, b)``."""
    match node.inputs:
        case (Tensor(op=BroadcastTo(), inputs=(x,)),):
            return broadcast_to(x, node.type.shape)
    return None


@SHAPES.on(Elementwise)
def broadcast_operand(node: Tensor) -> Tensor | None:
    """``f(broadcast(x), y) = f(x, y)`` where the shape of the result stays the same."""
    for place, t in enumerate(node.inputs):
        if isinstance(t.op, BroadcastTo):
            operands = (*node.inputs[:place], *t.inputs, *node.inputs[place + 1 :])
            if node.op.infer(*[x.type for x in operands]) == node.type:
                return apply(node.op, *operands)
    return None


@SHAPES.on(Elementwise)
def broadcast_result(node: Tensor) -> Tensor | None:
    """``f(broadcast(x)) = broadcast(f(x))``: the function sees each element once."""
    grown = [t for t in node.inputs if isinstance(t.op, BroadcastTo)]
    if not grown or not isinstance(node.op, Elementwise) or node.op.indexed:
        return None
    operands = [t.inputs[0] if isinstance(t.op, BroadcastTo) else t for t in node.inputs]
    if node.op.infer(*[x.type for x in operands]) == node.type:
        return None
    return broadcast_to(apply(node.op, *operands), node.type.shape)


@SHAPES.on(Reshape)
def reshape_of_repeated(node: Tensor) -> Tensor | None:
    """``reshape(broadcast(c)) = broadcast(c)``, where c is one element."""
    match node.inputs:
        case (Tensor(op=BroadcastTo(), inputs=(x,)),) if x.size == 1:
            return broadcast_to(reshape(x, ()), node.type.shape)
    return None


@SHAPES.on(Slice)
def slice_of_slice(node: Tensor) -> Tensor | None:
    """``x[a:][b:] = x[a+b:]``, with steps multiplied."""
    match node:
        case Tensor(op=Slice() as outer, inputs=(Tensor(op=Slice() as inner, inputs=(x,)),)):
            starts = tuple(
                s + t * k for s, k, t in zip(inner.starts, inner.steps, outer.starts, strict=True)
            )
            steps = tuple(j * k for j, k in zip(inner.steps, outer.steps, strict=True))
            return apply(Slice(starts, steps, outer.lengths), x)
    return None


@SHAPES.on(Add)
def sum_of_parts(node: Tensor) -> Tensor | None:
    """``embed(x) + embed(y) + z = concat(x, y) + z``, where x and y cover all of the result.

    Such sums are what becomes of a tensor that was cut into parts, in its derivative.
    """
    if not any(isinstance(x.op, Embed) for x in node.inputs):
        return None
    terms = _terms(node)
    whole = [t for t in terms if t.type.shape == node.type.shape]
    parts = [t for t in whole if isinstance(t.op, Embed) and t.op.value == 0]
    for axis in range(node.ndim) if len(parts) > 1 else ():
        found = _tiling(parts, axis)
        if found:
            total = apply(Concat(axis), *[t.inputs[0] for t in found])
            done = set(map(id, found))
            for t in terms:
                if id(t) in done:
                    done.remove(id(t))  # a second time, it is one more
                else:
                    total = apply(Add(), total, t)
            return total
    return None


def _terms(node: Tensor) -> list[Tensor]:
    """Return what is added up to ``node``: some of them, if they are many."""
    terms, found = [node], 0
    while found < len(terms) < _TERMS:
        t = terms[found]
        if isinstance(t.op, Add) and t.type == node.type:
            terms[found : found + 1] = t.inputs
        else:
            found += 1
    return terms


def _tiling(parts: list[Tensor], axis: int) -> list[Tensor]:
    """Return those of ``parts`` that fill their whole, one after another along an axis."""
    whole = parts[0].type.shape
    at: dict[AnyDim, Tensor] = {}
    for t in parts:
        op = t.op
        assert isinstance(op, Embed)
        own = zip(op.starts, op.steps, t.inputs[0].type.shape, whole, strict=True)
        if all(k == 1 and (a == axis or n == d) for a, (_, k, n, d) in enumerate(own)):
            at.setdefault(op.starts[axis], t)
    found: list[Tensor] = []
    end: AnyDim = 0
    while end in at and end != whole[axis]:
        found.append(at.pop(end))
        end = end + found[-1].inputs[0].type.shape[axis]
    return found if end == whole[axis] else []


@SHAPES.on(Slice)
def slice_of_sum(node: Tensor) -> Tensor | None:
    """``(x @ w + y)[a:b] = (x @ w)[a:b] + y[a:b]``: a part, such as a gate, is added where it goes.

    Only sums of a product: what slices of other sums overlap in would be added up anew.
    """
    (total,) = node.inputs
    op = node.op
    assert isinstance(op, Slice)
    if not isinstance(total.op, Add) or not _has_product(total):
        return None
    parts = []
    for x in total.inputs:
        away = total.ndim - x.ndim
        own = [(s, k, n) if d != 1 or w == 1 else (0, 1, 1) for s, k, n, d, w in
               zip(op.starts[away:], op.steps[away:], op.lengths[away:], x.type.shape,
                   total.type.shape[away:], strict=True)]  # fmt: skip
        starts, steps, lengths = zip(*own, strict=True) if own else ((), (), ())
        whole = not any(starts) and set(steps) <= {1} and lengths == x.type.shape
        parts.append(x if whole else apply(Slice(starts, steps, lengths), x))
    return apply(Add(), *parts)


def _has_product(total: Tensor) -> bool:
    """Tell whether a product is among the terms of a sum."""
    return any(isinstance(x.op, Contraction) for x in _terms(total))


@SHAPES.on(Reduction)
def reduce_nothing(node: Tensor) -> Tensor | None:
    """``sum(x, axes of length 1) = reshape(x)``; so for max and min."""
    (x,) = node.inputs
    op = node.op
    if not isinstance(op, Reduction) or not isinstance(op, (Sum, Max, Min)):
        return None
    if any(x.type.shape[a] != 1 for a in op.axes):
        return None
    return reshape(cast(x, node.dtype), node.type.shape)


@SHAPES.on(Sum, Max, Min)
def reduce_of_reduce(node: Tensor) -> Tensor | None:
    """``sum(sum(x, a), b) = sum(x, a and b)``; so for max and min."""
    (y,) = node.inputs
    outer, inner = node.op, y.op
    if type(outer) is not type(inner) or not isinstance(outer, Sum | Max | Min):
        return None
    assert isinstance(inner, Sum | Max | Min)
    (x,) = y.inputs
    covered = inner.keepdims and set(inner.axes) <= set(outer.axes)
    if x.dtype != y.dtype or (outer.keepdims != inner.keepdims and not covered):
        return None
    left = [a for a in range(x.ndim) if inner.keepdims or a not in inner.axes]
    axes = {*inner.axes, *(left[a] for a in outer.axes)}
    return apply(type(outer)(tuple(sorted(axes)), outer.keepdims), x)


@SHAPES.on(Reshape)
def reshape_of_kept(node: Tensor) -> Tensor | None:
    """``reshape(sum(x, keepdims)) = sum(x)``, where it drops those axes; so for max and min."""
    (y,) = node.inputs
    if not isinstance(y.op, Sum | Max | Min) or not y.op.keepdims:
        return None
    (x,), op = y.inputs, y.op.replaced(keepdims=False)
    return apply(op, x) if op.infer(x.type) == node.type else None


@SHAPES.on(Sum)
def sum_of_placed(node: Tensor) -> Tensor | None:
    """``sum(place(x, i)) = sum(x)`` along the axis that has one element and zeros else."""
    match node:
        case Tensor(op=Sum(axes=axes), inputs=(Tensor(op=Place(axis=axis), inputs=(x, _)),)):
            return apply(node.op, x) if axis in axes else None
    return None


@SHAPES.on(Sum)
def sum_of_broadcast(node: Tensor) -> Tensor | None:
    """``sum(broadcast(x, n)) = n * sum(x)``, where n is known."""
    match node:
        case Tensor(op=Sum() as op, inputs=(Tensor(op=BroadcastTo(), inputs=(x,)) as y,)):
            pass
        case _:
            return None
    own = (1,) * (y.ndim - x.ndim) + x.type.shape
    grown = [a for a in range(y.ndim) if own[a] != y.type.shape[a]]
    lengths = [y.type.shape[a] for a in grown]
    if node.dtype.kind != "f" or not grown or not set(grown) <= set(op.axes):
        return None
    if not all(isinstance(n, int) and n > 0 for n in lengths):
        return None
    count = constant(size_of(lengths), node.dtype)
    return apply(Multiply(), apply(op, reshape(x, own)), count)
