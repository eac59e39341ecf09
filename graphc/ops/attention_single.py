"""The loops of attention of one query, such as the token that is being generated.

Lanes are keys: a tile of queries would compute fifteen of sixteen in vain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.ir.op import Access
from graphc.kernel.value import Integer, Name, Pointer, Value, least, select, vmath
from graphc.ops.attention_loops import ONE, ZERO, Rows, ScoreLoops
from graphc.types import INT32

_KEYS = 512
"""Keys of a block, whose scores stay in the first cache."""


class SingleQuery(ScoreLoops):
    """Writes the means of values of one query, and the logarithms of sums."""

    def write(self, out: Sequence[Access]) -> None:
        e, (means, logs) = self.e, out
        e.reassociate = True
        self.lanes, self.length = 1, _KEYS
        rooms = [self.room(n, x, _KEYS if n != "xq" else 1)
                 for n, x in (("xq", self.q), ("xk", self.k), ("xv", self.v))]  # fmt: skip
        s = self.block("s", _KEYS)
        heads = self.q.shape[1]
        with e.parallel("x", self.q.dims[0] * self.q.dims[1]) as x:
            n, h = e.let("n", x // heads), e.let("h", x % heads)
            hk = e.let("hk", h // self.group)
            stop: Value = self.keys(n)
            for most in (1 if self.op.causal else None, self.op.window):
                if most is not None:
                    stop = e.let("stop", least(stop, most))
            q = self.rows(self.q, n, h, ZERO, ONE, rooms[0])
            column = Rows(q.pointer, q.at, self.q.stride(3) if rooms[0] is None else ONE)
            top, total = Name("top", self.dtype), Name("total", self.dtype)
            e.let(top.name, self.lit(-np.inf))
            e.let(total.name, self.lit(0.0))
            with e.loop("z", self.depth) as z:
                e.store(means.at(n, h, ZERO, z), self.lit(0.0))
            with e.loop("at", stop, 0, _KEYS) as at:
                many = e.let("many", least(stop - at, _KEYS))
                k = self.rows(self.k, n, hk, at, many, rooms[1])
                self.product(Rows(s, ZERO, ONE), k, column, many, 1, self.width)
                factor = self._soften(s, n, h, at, many, top, total)
                with e.loop("z", self.depth) as z:
                    there = means.at(n, h, ZERO, z)
                    e.store(there, there * factor)
                v = self.rows(self.v, n, hk, at, many, rooms[2])
                self.product(self.rows(means, n, h, ZERO), Rows(s, ZERO, ONE), v, ONE, self.depth,
                             many, 1, turned=True)  # fmt: skip
            none = e.let("none", total.equals(0.0))
            safe = e.let("safe", select(none, self.lit(1.0), total))
            with e.loop("z", self.depth) as z:
                there = means.at(n, h, ZERO, z)
                e.store(there, there / safe)
            log = top + vmath("log", safe)
            e.store(logs.at(n, h, ZERO), select(none, self.lit(np.inf), log))

    def _soften(
        self, s: Pointer, n: Value, h: Value, at: Value, many: Value, top: Name, total: Name
    ) -> Value:
        """Write weights over a block of products; return what those before are multiplied by."""
        e, zero = self.e, Integer(0)
        before = e.let("before", top)
        with e.loop("y", many) as y:
            key = at + y
            score = self.score(s[y], n, h, zero, key, (zero - key).cast(INT32))
            value = e.let("value", score)
            e.store(s[y], value)
            e.let(top.name, vmath("maximum", value, top))
        shift = e.let("shift", select(top.equals(-np.inf), self.lit(0.0), top))
        factor = e.let("factor", vmath("exp", before - shift))
        e.let(total.name, total * factor)
        with e.loop("y", many) as y:
            e.store(s[y], vmath("exp", s[y] - shift))
        with e.loop("y", many) as y:
            e.let(total.name, total + s[y])
        if self.drawn is not None:
            with e.loop("y", many) as y:
                share = self.kept(n, h, zero, at + y)
                assert share is not None
                e.store(s[y], s[y] * share)
        return factor
