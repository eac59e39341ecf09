"""Attention: weighted means of values, the weights softmax of products of queries and keys.

Neither weights nor scores lie in memory: what the gradient needs of them it computes again from the
operands and the logarithm of each query's sum (Dao et al., *FlashAttention*, NeurIPS 2022;
Rabe and Staats, *Self-attention does not need O(n^2) memory*, 2021). Derivatives of the gradient,
and tangents, are formulas over all scores (:mod:`graphc.ops.attention_formula`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.op import Access, Array, Emitter, Loops, register, require_float
from graphc.ir.results import Multiple, result, results
from graphc.ir.tensor import FUNCTIONS, Tensor, apply
from graphc.ops.attention_formula import Formula
from graphc.ops.attention_tiles import write_backward, write_forward
from graphc.ops.batched import Case, batching
from graphc.ops.body import Body
from graphc.ops.random import RandomUniform
from graphc.ops.reduce import sum
from graphc.types import AnyDim, Several, TensorType, size_of

_EXPONENTIAL = 20
"""Cost of a score, in multiplications: an exponential and what surrounds it."""


class Scores(Multiple, Loops):
    """What attention and its gradient share: what becomes of the products of queries and keys.

    Operands are queries (N, H, L, E), keys (N, K, S, E) and values (N, K, S, V), where H is a
    multiple of K, and as many as there are of: a mask that broadcasts to (N, H, L, S), numbers of
    keys (N,), the seed and the step of dropout, and what the formula of the bias captures, which
    broadcasts to (N, H, 1, 1).
    """

    scale: float
    causal: bool = False
    window: int | None = None
    """Keys less than so many places from the query have weights."""
    p: float = 0.0
    """The probability that a weight is dropped."""
    masked: bool = False
    mask_is_bool: bool = False
    counted: bool = False
    bias: Body | None = None
    """A formula of the places of a query and a key, which is added to the score."""

    def parameters(self) -> str:
        shown = {name: getattr(self, name) for name in self.fields}
        shown["bias"] = self.bias is not None
        return ", ".join(f"{n}={v}" for n, v in shown.items() if v not in (False, None, 0.0))

    def _checked(self, q: TensorType, k: TensorType, v: TensorType) -> None:
        require_float(self.name, q, k, v)
        if len({t.dtype for t in (q, k, v)}) > 1 or q.shape[3] != k.shape[3]:
            raise ShapeError(f"attention: queries {q}, keys {k} and values {v} do not fit together")

    @property
    def grown(self) -> float:
        """What dropout multiplies the weights by that it keeps."""
        return 1.0 / (1.0 - self.p) if self.p < 1.0 else 0.0

    def _products(self, count: int, *types: TensorType) -> AnyDim:
        """Return the operations of so many products of queries and keys."""
        q, k, *_ = types
        width = q.shape[3]
        assert isinstance(width, int)
        of_each = 2 * count * width + _EXPONENTIAL
        return size_of((*q.shape[:3], k.shape[2], of_each // 2 if self.causal else of_each))

    # -- NumPy ----------------------------------------------------------------------------------

    def weights(self, *arrays: Array) -> tuple[Array, Array, Array, Array, Array]:
        """Return grown keys and values, weights, factors of dropout and logarithms of sums."""
        q, k, v, *rest = arrays
        n, heads, queries, _ = q.shape
        k, v = (np.repeat(x, heads // max(x.shape[1], 1), axis=1) for x in (k, v))
        keys = k.shape[2]
        mask = rest.pop(0) if self.masked else None
        lengths = rest.pop(0) if self.counted else None
        drawn = (rest.pop(0), rest.pop(0)) if self.p else None
        i, j = np.arange(queries)[:, None], np.arange(keys)[None]
        allowed = np.ones((n, heads, queries, keys), bool)
        if lengths is not None:
            inside = j < lengths[:, None, None, None]
            allowed &= inside
            k, v = (np.where(inside.swapaxes(2, 3), x, x.dtype.type(0)) for x in (k, v))
        s = q @ k.swapaxes(2, 3) * q.dtype.type(self.scale)
        if self.bias is not None:
            values = dict(zip(self.bias.inputs, [i, j, *rest], strict=True))
            for node in self.bias.nodes:
                if node not in values:
                    values[node] = node.op.numpy(*(values[x] for x in node.inputs))
            s = s + values[self.bias.others[0]]
        if mask is not None and self.mask_is_bool:
            allowed &= mask
        elif mask is not None:
            s = s + mask
        if self.causal:
            allowed &= i >= j
        if self.window is not None:
            allowed &= np.abs(i - j) < self.window
        s = np.where(allowed, s, -np.inf).astype(q.dtype)
        top = np.max(s, axis=-1, keepdims=True, initial=-np.inf)
        top = np.where(np.isneginf(top), 0, top)
        e = np.exp(s - top)
        total = e.sum(-1, keepdims=True)
        safe = np.where(total == 0, 1, total)
        kept = np.ones_like(e)
        if drawn is not None:
            draw = RandomUniform(e.shape, 0, q.dtype).numpy(*drawn)
            kept = np.where(draw >= self.p, self.grown, 0).astype(q.dtype)
        log = np.where(total == 0, np.inf, top + np.log(safe))[..., 0]
        return k, v, (e / safe).astype(q.dtype), kept, log.astype(q.dtype)


@register
class Attention(Scores):
    """The weighted means of values, (N, H, L, V), and the logarithms of sums, (N, H, L).

    A query without a key, where all of its scores are -inf, has the mean 0.
    """

    def infer(self, *types: TensorType) -> TensorType:
        q, k, v, *_ = types
        self._checked(q, k, v)
        return Several.of([q.with_shape((*q.shape[:3], v.shape[3])), q.with_shape(q.shape[:3])])

    def numpy(self, *arrays: Array) -> Any:
        _, v, p, kept, log = self.weights(*arrays)
        return (p * kept) @ v, log

    def loops(self, e: Emitter, out: Any, *ins: Access) -> None:
        write_forward(e, self, out, ins)

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return self._products(2, *types)

    def vjps(
        self, gs: Mapping[int, Tensor], out: Tensor, *inputs: Tensor
    ) -> Sequence[Tensor | None]:
        q, k, v, *extras = inputs
        g = gs[0]
        mean = sum(g * result(out, 0), -1)
        op = AttentionGradient(*self.values())
        found = apply(op, q, k, v, result(out, 1), mean, g, *extras)
        others: list[Tensor | None] = [None] * len(extras)
        if (self.masked and not self.mask_is_bool) or (self.bias and self.bias.captured):
            formula = Formula(self, q, k, v, extras)
            others = formula.by_scores(formula.slopes(g)[1])
        return [*(result(found, number) for number in range(3)), *others]

    def jvps(
        self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor
    ) -> Mapping[int, Tensor]:
        q, k, v, *extras = inputs
        moved = Formula(self, q, k, v, extras).tangent(tangents)
        return {} if moved is None else {0: moved}


@register
class AttentionGradient(Scores):
    """The cotangents of queries, keys and values.

    Operands are these three, what attention left of the logarithms of sums, the products of each
    output and its cotangent, the cotangents, and the others of attention. The second and third are
    functions of the rest; derivatives are total, and so by the rest alone.
    """

    def infer(self, *types: TensorType) -> TensorType:
        self._checked(*types[:3])
        return Several.of(types[:3])

    def numpy(self, *arrays: Array) -> Any:
        q, k, v, _, _, g, *extras = arrays
        many, values, p, kept, _ = self.weights(q, k, v, *extras)
        a = g @ values.swapaxes(2, 3) * kept
        ds = p * (a - (p * a).sum(-1, keepdims=True)) * q.dtype.type(self.scale)

        def shrunk(x: Array, like: Array) -> Array:
            n, heads, length, width = like.shape
            return x.reshape(n, heads, -1, length, width).sum(2) if x.size else np.zeros_like(like)

        return (
            ds @ many,
            shrunk(ds.swapaxes(2, 3) @ q, k),
            shrunk((p * kept).swapaxes(2, 3) @ g, v),
        )

    def loops(self, e: Emitter, out: Any, *ins: Access) -> None:
        write_backward(e, self, out, ins)

    def flops(self, out: TensorType, *types: TensorType) -> AnyDim:
        return self._products(5, *types)

    def vjps(
        self, gs: Mapping[int, Tensor], out: Tensor, *inputs: Tensor
    ) -> Sequence[Tensor | None]:
        q, k, v, _, _, g, *extras = inputs
        formula = Formula(self, q, k, v, extras)
        dq, dk, dv, dg, *others = formula.second(g, [gs.get(number) for number in range(3)])
        return [dq, dk, dv, None, None, dg, *others]

    def jvps(
        self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor
    ) -> Mapping[int, Tensor]:
        q, k, v, _, _, g, *extras = inputs
        formula = Formula(self, q, k, v, extras)
        tq, tk, tv, _, _, *rest = tangents
        return formula.gradient_tangents(g, [tq, tk, tv, *rest])


@batching(Attention, AttentionGradient)
def _batched(case: Case) -> Sequence[Tensor] | None:
    op = case.node.op
    assert isinstance(op, Scores)
    return more_samples(case, op)


def more_samples(case: Case, op: Scores) -> Sequence[Tensor] | None:
    """Return the results for samples that are merged into the first axis, or None."""
    count = case.node.inputs[0].type.shape[0]
    many = (6 if isinstance(op, AttentionGradient) else 3) + op.masked
    drawn = range(many + op.counted, many + op.counted + (2 if op.p else 0))
    if any(case.has[place] for place in drawn):
        return None
    operands = list(case.operands)
    for place, own in enumerate(case.node.inputs):
        first, *rest = own.type.shape or (None,)
        if place in drawn or (first != count and not case.has[place]):
            continue  # the same for all samples
        x = case.whole(place)
        if first != count:
            x = FUNCTIONS["broadcast_to"](x, (case.size, count, *rest))
        operands[place] = FUNCTIONS["reshape"](x, (size_of((case.size, count)), *rest))
    made = results(apply(case.node.op, *operands))
    return [FUNCTIONS["reshape"](t, (case.size, *own.type.shape))
            for t, own in zip(made, results(case.node), strict=True)]  # fmt: skip
