"""Attention as a formula, with all scores in memory: what its further derivatives are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphc.ir.op import Elementwise, add_all, unbroadcast
from graphc.ir.tensor import Tensor, apply
from graphc.ops.body import Body
from graphc.ops.cast import cast
from graphc.ops.comparison import where
from graphc.ops.creation import iota
from graphc.ops.exponential import exp
from graphc.ops.gradient import stop_gradient
from graphc.ops.linalg import matmul
from graphc.ops.random import RandomUniform
from graphc.ops.reduce import max, sum
from graphc.ops.rounding import isfinite
from graphc.ops.shape import broadcast_to, expand_dims, matrix_transpose, reshape
from graphc.types import INT64

if TYPE_CHECKING:
    from graphc.ops.attention import Scores

Tangents = Sequence[Tensor | None]


class Formula:
    """The weights of attention, and derivatives by what they are made of."""

    def __init__(self, op: Scores, q: Tensor, k: Tensor, v: Tensor, extras: Sequence[Tensor]):
        self.op, self.q, self.scale = op, q, op.scale
        self.heads = k.type.shape[1]
        self.k, self.v = self._grown(k), self._grown(v)
        self.extras = list(extras)
        rest = list(extras)
        self.mask = rest.pop(0) if op.masked else None
        lengths = rest.pop(0) if op.counted else None
        drawn = (rest.pop(0), rest.pop(0)) if op.p else None
        self.captured = rest
        n, h, queries, _ = q.type.shape
        keys = k.type.shape[2]
        i, j = iota((queries, 1), 0, INT64), iota((1, keys), 1, INT64)
        self.images = {} if op.bias is None else _images(op.bias, [i, j, *rest])
        s = self.times(q, self.k) * self.scale
        if op.bias is not None:
            s = s + self.images[op.bias.others[0]]
        if self.mask is not None:
            s = where(self.mask, s, -np.inf) if op.mask_is_bool else s + self.mask
        if op.causal:
            s = where(i >= j, s, -np.inf)
        if op.window is not None:
            s = where(i - j < op.window, s, -np.inf)
            s = where(j - i < op.window, s, -np.inf)
        if lengths is not None:
            last = reshape(cast(lengths, INT64), (n, 1, 1, 1))
            s = where(j < last, s, -np.inf)
            # What lies behind the end is not looked at: 0 times NaN would be.
            self.v = where(matrix_transpose(j) < last, self.v, 0.0)
            self.k = where(matrix_transpose(j) < last, self.k, 0.0)
        top = stop_gradient(max(s, -1, keepdims=True))
        e = exp(s - where(isfinite(top), top, 0.0))
        total = sum(e, -1, keepdims=True)
        self.p = e / where(total == 0.0, 1.0, total)
        self.w: Tensor | None = None
        if drawn is not None:
            draw = apply(RandomUniform((n, h, queries, keys), 0, q.dtype), *drawn)
            self.w = cast(where(draw >= op.p, op.grown, 0.0), q.dtype)

    # -- parts ----------------------------------------------------------------------------------

    def _grown(self, x: Tensor) -> Tensor:
        """Return keys or values for each head of the queries."""
        n, heads, length, width = x.type.shape
        all_heads = self.q.type.shape[1]
        if all_heads == heads:
            return x
        group = all_heads // heads  # type: ignore[operator]
        wide = broadcast_to(expand_dims(x, 2), (n, heads, group, length, width))
        return reshape(wide, (n, all_heads, length, width))

    def _shrunk(self, x: Tensor) -> Tensor:
        """Return the sum over the heads that share keys and values."""
        n, all_heads, length, width = x.type.shape
        if all_heads == self.heads:
            return x
        group = all_heads // self.heads  # type: ignore[operator]
        return sum(reshape(x, (n, self.heads, group, length, width)), 2)

    @staticmethod
    def times(x: Tensor, y: Tensor) -> Tensor:
        return matmul(x, matrix_transpose(y))

    @staticmethod
    def back(x: Tensor, y: Tensor) -> Tensor:
        return matmul(matrix_transpose(x), y)

    def kept(self, x: Tensor) -> Tensor:
        return x if self.w is None else x * self.w

    def centred(self, x: Tensor) -> Tensor:
        """Return the derivative of the weights, which is symmetric, times ``x``."""
        return self.p * (x - sum(self.p * x, -1, keepdims=True))

    def by_scores(self, ds: Tensor) -> list[Tensor | None]:
        """Return the cotangents of the extra operands for those of scores."""
        result: list[Tensor | None] = [None] * len(self.extras)
        if self.mask is not None and not self.op.mask_is_bool:
            result[0] = unbroadcast(ds, self.mask.type.shape)
        if self.op.bias is not None:
            found = _pulled(self.op.bias, self.images, ds)
            for place, x in enumerate(self.op.bias.captured):
                if x in found:
                    own = self.captured[place]
                    total = unbroadcast(found[x], own.type.shape)
                    result[len(result) - len(self.captured) + place] = total
        return result

    def moved(self, tq: Tensor | None, tk: Tensor | None, extras: Tangents) -> Tensor | None:
        """Return the tangent of the scores."""
        terms = [] if tq is None else [self.times(tq, self.k) * self.scale]
        if tk is not None:
            terms.append(self.times(self.q, self._grown(tk)) * self.scale)
        if self.mask is not None and extras[0] is not None:
            terms.append(extras[0])
        if self.op.bias is not None:
            given = extras[len(extras) - len(self.captured) :]
            pushed = _pushed(self.op.bias, self.images, given)
            terms += [] if pushed is None else [pushed]
        return add_all(terms)

    # -- derivatives ----------------------------------------------------------------------------

    def slopes(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cotangents of the weights and of the scores."""
        a = self.kept(self.times(g, self.v))
        return a, self.centred(a)

    def tangent(self, tangents: Tangents) -> Tensor | None:
        """Return the tangent of the outputs for those of the operands."""
        tq, tk, tv, *extras = tangents
        ts = self.moved(tq, tk, extras)
        terms = [] if ts is None else [matmul(self.kept(self.centred(ts)), self.v)]
        if tv is not None:
            terms.append(matmul(self.kept(self.p), self._grown(tv)))
        return add_all(terms)

    def second(self, g: Tensor, by: Tangents) -> list[Tensor | None]:
        """Return the cotangents of q, k, v, g and the extras for those of the first three's."""
        gq, gk, gv = (
            x if x is None or place == 0 else self._grown(x) for place, x in enumerate(by)
        )
        a, ds = self.slopes(g)
        terms = [] if gq is None else [self.times(gq, self.k) * self.scale]
        if gk is not None:
            terms.append(self.times(self.q, gk) * self.scale)
        b = add_all(terms)
        weights, f = [], None
        if b is not None:
            mean, slope = (sum(self.p * x, -1, keepdims=True) for x in (a, b))
            weights.append(b * (a - mean) - slope * a)
            f = self.kept(self.p * (b - slope))
        if gv is not None:
            weights.append(self.kept(self.times(g, gv)))
        by_p = add_all(weights)
        if by_p is None:
            return [None] * (4 + len(self.extras))
        cs = self.centred(by_p)
        dq, dk = [matmul(cs, self.k)], [self.back(cs, self.q)]
        if gk is not None:
            dq.append(matmul(ds, gk))
        if gq is not None:
            dk.append(self.back(ds, gq))
        dg = [] if f is None else [matmul(f, self.v)]
        if gv is not None:
            dg.append(matmul(self.kept(self.p), gv))
        total_q, total_k, total_g = add_all(dq), add_all(dk), add_all(dg)
        assert total_q is not None
        assert total_k is not None
        return [
            total_q * self.scale, self._shrunk(total_k * self.scale),
            None if f is None else self._shrunk(self.back(f, g)), total_g,
            *self.by_scores(cs),
        ]  # fmt: skip

    def gradient_tangents(self, g: Tensor, tangents: Tangents) -> dict[int, Tensor]:
        """Return the tangents of the cotangents of q, k and v; the operands' are q, k, v, g, ..."""
        tq, tk, tv, tg, *extras = tangents
        a, ds = self.slopes(g)
        ts = self.moved(tq, tk, extras)
        moved = [] if tg is None else [self.times(tg, self.v)]
        if tv is not None:
            moved.append(self.times(g, self._grown(tv)))
        ta = add_all(moved)
        ta = None if ta is None else self.kept(ta)
        tp = None if ts is None else self.centred(ts)
        parts = [] if ta is None else [self.centred(ta)]
        if tp is not None:
            mean, slope = (sum(x * a, -1, keepdims=True) for x in (self.p, tp))
            parts.append(tp * (a - mean) - self.p * slope)
        tds = add_all(parts)
        dq = [] if tds is None else [matmul(tds, self.k)]
        dk = [] if tds is None else [self.back(tds, self.q)]
        if tk is not None:
            dq.append(matmul(ds, self._grown(tk)))
        if tq is not None:
            dk.append(self.back(ds, tq))
        dv = [] if tp is None else [self.back(self.kept(tp), g)]
        if tg is not None:
            dv.append(self.back(self.kept(self.p), tg))
        found = (add_all(dq), add_all(dk), add_all(dv))
        result: dict[int, Tensor] = {}
        for number, total in enumerate(found):
            if total is not None:
                scaled = total * self.scale if number < 2 else total
                result[number] = scaled if number == 0 else self._shrunk(scaled)
        return result


def _images(body: Body, given: Sequence[Tensor]) -> dict[Tensor, Tensor]:
    """Return the values of a formula of two places for tensors of places."""
    images = dict(zip(body.inputs, given, strict=True))
    for node in body.nodes:
        if node not in images:
            known = [images[x] for x in node.inputs]
            images[node] = apply(node.op, *known) if known else node
    return images


def _pulled(body: Body, images: dict[Tensor, Tensor], g: Tensor) -> dict[Tensor, Tensor]:
    """Return the cotangents of what a formula is made of."""
    out = images[body.others[0]]
    totals = {body.others[0]: unbroadcast(g, out.type.shape)}
    for node in reversed(body.nodes):
        if node not in totals or not node.inputs or not isinstance(node.op, Elementwise):
            continue
        operands = [images[x] for x in node.inputs]
        parts = node.op.vjp(totals[node], images[node], *operands)
        for x, part in zip(node.inputs, parts, strict=True):
            if part is not None:
                totals[x] = totals[x] + part if x in totals else part
    return totals


def _pushed(body: Body, images: dict[Tensor, Tensor], tangents: Tangents) -> Tensor | None:
    """Return the tangent of a formula."""
    moved = dict(zip(body.captured, tangents, strict=True))
    for node in body.nodes:
        if node.inputs:
            given = [moved.get(x) for x in node.inputs]
            if any(t is not None for t in given):
                operands = [images[x] for x in node.inputs]
                moved[node] = node.op.jvp(given, images[node], *operands)
    return moved.get(body.others[0])
