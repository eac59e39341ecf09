"""The loops of attention: a block of scores at a time, in the first cache.

Forward, a *tile* is so many queries, one in each lane of a few vectors, and keys pass by in blocks,
with a running maximum and sum (Rabe and Staats, *Self-attention does not need O(n^2) memory*, 2021;
Dao et al., *FlashAttention*, 2022). Backward, a tile is so many keys, and queries pass by: scores
are computed again, with the logarithms of the sums at hand. Blocks that the causal mask, a window
or the lengths exclude are not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphc.ir.op import Access, Emitter
from graphc.kernel.value import Pointer, Value, least, most, select, vmath
from graphc.ops.attention_loops import ONE, ZERO, Place, Rows, ScoreLoops
from graphc.ops.attention_single import SingleQuery
from graphc.types import INT32

if TYPE_CHECKING:
    from graphc.ops.attention import Scores

_FORWARD, _BACKWARD = 128, 64
"""Keys of a block forward, queries of one backward: so scores stay in the first cache."""


class _Forward(ScoreLoops):
    """Writes the means of values, and the logarithms of sums."""

    def write(self, out: Sequence[Access]) -> None:
        e, self.out, self.lse = self.e, *out
        self.shape(self.q.dims[2], _FORWARD)
        lanes, length = self.lanes, self.length
        rooms = [self.room("xq", self.q, lanes)]
        rooms += [self.room(name, x, length) for name, x in (("xk", self.k), ("xv", self.v))]
        turned, self.s = self.block("turned", self.width * lanes), self.block("s", length * lanes)
        names = ("top", "total", "shift", "scale")
        self.top, self.total, self.shift, self.scale = (self.block(n, lanes) for n in names)
        queries, heads, dim = self.q.shape[2], self.q.shape[1], self.q.dims[2]
        tiles = -(-dim // lanes) if isinstance(dim, int) else 1
        with e.parallel("x", self.q.dims[0] * self.q.dims[1] * tiles) as x:
            n, h = e.let("n", x // tiles // heads), e.let("h", x // tiles % heads)
            hk, keys = e.let("hk", h // self.group), self.keys(n)
            begin: Value = x % tiles * lanes if isinstance(dim, int) else ZERO
            end = begin + 1 if isinstance(dim, int) else queries
            with e.loop("first", end, begin, lanes) as first:
                count = e.let("count", least(queries - first, lanes))
                rows = self.rows(self.q, n, h, first, count, rooms[0])
                self.transpose(turned, rows, count, self.width)
                start, stop = self._bounds(first, count, keys)
                target = self._begin(n, h, first, count, stop <= start)
                with e.loop("at", stop, start, length) as at:
                    many = e.let("many", least(stop - at, length))
                    a = self.rows(self.k, n, hk, at, many, rooms[1])
                    s, b = self.square(self.s), self.square(turned)
                    self.product(s, a, b, many, count, self.width)
                    self._soften(Place(n, h, first, at, count, many))
                    with e.when(at > start):
                        self._scale(n, h, first, count)
                    v = self.rows(self.v, n, hk, at, many, rooms[2])
                    add = select(at > start, ONE, ZERO)
                    self.product(target, s, v, count, self.depth, many, add, turned=True)
                self._end(n, h, first, count)

    def _bounds(self, first: Value, count: Value, keys: Value) -> tuple[Value, Value]:
        """Return the keys between which a tile of queries looks."""
        e, window = self.e, self.op.window
        start: Value = ZERO
        stop = keys
        if self.op.causal:
            stop = e.let("stop", least(keys, first + count))
        elif window is not None:
            stop = e.let("stop", least(keys, first + count + (window - 1)))
        if window is not None:
            start = e.let("start", most(first - (window - 1), 0))
        return start, stop

    def _begin(self, n: Value, h: Value, first: Value, count: Value, none: Value) -> Rows:
        """Write what there is before the first key, or without any; return the tile's means."""
        e, out = self.e, self.out
        with self.lane() as r:
            e.store(self.top[r], self.lit(-np.inf))
            e.store(self.total[r], self.lit(0.0))
        with e.when(none), e.loop("y", count) as y, e.loop("z", self.depth) as z:
            e.store(out.at(n, h, first + y, z), self.lit(0.0))
        return self.rows(out, n, h, first)

    def _soften(self, place: Place) -> None:
        """Write ``exp(score - greatest)`` over a block of products, and go on with the sums."""
        e, s, lanes = self.e, self.s, self.lanes
        n, h, first, at, _, many = place
        with self.lane() as r:
            e.store(self.shift[r], self.top[r])
        with e.loop("y", many) as y:
            key = e.let("key", at + y)
            base = e.let("base", (first - key).cast(INT32))
            with self.lane(self.read(place)) as r:
                own = s[y * lanes + r]
                score = self.score(own, n, h, first + r, key, base + r.cast(INT32))
                value = e.let("value", score)
                e.store(own, value)
                e.store(self.shift[r], vmath("maximum", value, self.shift[r]))
        with self.lane() as r:
            new = e.let("new", self.shift[r])
            safe = e.let("safe", select(new.equals(-np.inf), self.lit(0.0), new))
            factor = e.let("factor", vmath("exp", self.top[r] - safe))
            e.store(self.scale[r], factor)
            e.store(self.total[r], self.total[r] * factor)
            e.store(self.top[r], new)
            e.store(self.shift[r], safe)
        with e.loop("y", many) as y:
            key = e.let("key", at + y)
            with self.lane(self.read(place)) as r:
                own = s[y * lanes + r]
                weight = e.let("weight", vmath("exp", own - self.shift[r]))
                e.store(self.total[r], self.total[r] + weight)
                kept = self.kept(n, h, first + r, key)
                e.store(own, weight if kept is None else weight * kept)

    def _scale(self, n: Value, h: Value, first: Value, count: Value) -> None:
        e = self.e
        with e.loop("y", count) as y, e.loop("z", self.depth) as z:
            there = self.out.at(n, h, first + y, z)
            e.store(there, there * self.scale[y])

    def _end(self, n: Value, h: Value, first: Value, count: Value) -> None:
        """Write the means of a tile, and the logarithms of its sums."""
        e = self.e
        with self.lane() as r:
            total = e.let("all", self.total[r])
            none = e.let("none", total.equals(0.0))
            safe = e.let("safe", select(none, self.lit(1.0), total))
            e.store(self.scale[r], self.lit(1.0) / safe)
            log = self.top[r] + vmath("log", safe)
            e.store(self.shift[r], select(none, self.lit(np.inf), log))
        self._scale(n, h, first, count)
        with e.loop("y", count) as y:
            e.store(self.lse.at(n, h, first + y), self.shift[y])


class _Backward(ScoreLoops):
    """Writes the cotangents of queries, keys and values."""

    def write(self, out: Sequence[Access], lse: Access, delta: Access, g: Access) -> None:
        e, self.lse, self.delta, self.g = self.e, lse, delta, g
        dq, dk, dv = out
        self.shape(self.k.dims[2], _BACKWARD)
        lanes, length = self.lanes, self.length
        names = ((self.q, "xq"), (g, "xg"), (self.k, "xk"), (self.v, "xv"))
        self.rooms = [self.room(s, x, length if s in ("xq", "xg") else lanes) for x, s in names]
        kt, vt = self.block("kt", self.width * lanes), self.block("vt", self.depth * lanes)
        self.p, self.t = self.block("p", length * lanes), self.block("t", length * lanes)
        heads = self.k.shape[1]
        with e.parallel("x", self.k.dims[0] * self.k.dims[1]) as x:
            n, hk = e.let("n", x // heads), e.let("hk", x % heads)
            keys, head = self.keys(n), e.let("head", hk * self.group)
            with e.loop("h", head + self.group, head) as h:
                self._clear(dq, n, h)
            self._clear(dk, n, hk)
            self._clear(dv, n, hk)
            with e.loop("first", keys, 0, lanes) as first:
                count = e.let("count", least(keys - first, lanes))
                own = self.rows(self.k, n, hk, first, count, self.rooms[2])
                self.transpose(kt, own, count, self.width)
                values = self.rows(self.v, n, hk, first, count, self.rooms[3])
                self.transpose(vt, values, count, self.depth)
                start, stop = self._bounds(first, count)
                with (
                    e.loop("h", head + self.group, head) as h,
                    e.loop("at", stop, start, length) as at,
                ):
                    many = e.let("many", least(stop - at, length))
                    of_keys = [self.rows(x, n, hk, first) for x in (dk, dv)]
                    sums = (self.rows(dq, n, h, at), *of_keys)
                    self._add(sums, Place(n, h, first, at, count, many), own, (kt, vt))

    def _bounds(self, first: Value, count: Value) -> tuple[Value, Value]:
        """Return the queries between which a tile of keys is looked at."""
        e, window = self.e, self.op.window
        start: Value = ZERO
        stop = self.q.shape[2]
        if self.op.causal:
            start = first
        elif window is not None:
            start = e.let("start", most(first - (window - 1), 0))
        if window is not None:
            stop = e.let("stop", least(stop, first + count + (window - 1)))
        return start, stop

    def _add(
        self, sums: Sequence[Rows], place: Place, own: Rows, turned: Sequence[Pointer]
    ) -> None:
        """Add what a tile of keys and a block of queries contribute."""
        (dq, dk, dv), (kt, vt) = sums, turned
        n, h, _, at, count, many = place
        width, depth = self.width, self.depth
        a = self.rows(self.q, n, h, at, many, self.rooms[0])
        b = self.rows(self.g, n, h, at, many, self.rooms[1])
        p, t = self.square(self.p), self.square(self.t)
        self.product(p, a, self.square(kt), many, count, width)
        self.product(t, b, self.square(vt), many, count, depth)
        self._slope(place)
        self.product(dv, p, b, count, depth, many, 1, turned=True)
        self.product(dk, t, a, count, width, many, 1, turned=True)
        self.product(dq, t, own, many, width, count, 1)

    def _slope(self, place: Place) -> None:
        """Write weights over products of queries and keys, slopes over those of g and values."""
        e, p, t = self.e, self.p, self.t
        n, h, first, at, _, many = place
        with e.loop("y", many) as y:
            query = e.let("query", at + y)
            log = e.let("log", self.lse.at(n, h, query))
            mean = e.let("mean", self.delta.at(n, h, query))
            base = e.let("base", (query - first).cast(INT32))
            with self.lane(self.read(place)) as r:
                own = y * self.lanes + r
                value = self.score(p[own], n, h, query, first + r, base - r.cast(INT32))
                weight = e.let("weight", vmath("exp", value - log))
                slope: Value = t[own]
                kept = self.kept(n, h, query, first + r)
                if kept is not None:
                    kept = e.let("kept", kept)
                    slope = slope * kept
                e.store(t[own], weight * (slope - mean) * self.lit(self.op.scale))
                e.store(p[own], weight if kept is None else weight * kept)

    def _clear(self, x: Access, n: Value, h: Value) -> None:
        e = self.e
        with e.loop("y", x.shape[2]) as y, e.loop("z", x.shape[3]) as z:
            e.store(x.at(n, h, y, z), self.lit(0.0))


def write_forward(e: Emitter, op: Scores, out: Sequence[Access], ins: Sequence[Access]) -> None:
    """Write the loops of the means of values, and of the logarithm of each query's sum."""
    kind = SingleQuery if ins[0].dims[2] == 1 else _Forward
    kind(e, op, ins[:3], ins[3:]).write(out)


def write_backward(e: Emitter, op: Scores, out: Sequence[Access], ins: Sequence[Access]) -> None:
    """Write the loops of the cotangents of queries, keys and values."""
    _Backward(e, op, ins[:3], ins[6:]).write(out, *ins[3:6])
