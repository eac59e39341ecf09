"""Matrix products on raw pointers, ``C = A B``, ``C = C + A B`` or ``C = D + A B``.

One kernel serves all sizes, strides and batches, so that it is compiled once per machine. It
cuts K and the rows into pieces for the caches, as Goto and van de Geijn (2008) do, but reads
operands where they lie as long as that is fast, and copies columns of B into a panel only where
they are not contiguous or lie far apart. Blocks of rows can be computed by several threads.

Where C is narrow, or B is transposed and A is small, the kernel computes the transpose of C
(``flip``): a row of B is broadcast, A enters by columns, and tiles are transposed as they are stored.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.runtime.features import Isa, cache_bytes, host
from graphc.runtime.tiles import Tiles, shift

CFG = (384, 240)
PLAIN, FLIP, PACKED, AUTO = 0, 1, 2, 3
"""Forms of the kernel: B as it is, C transposed, B packed beforehand by ``pack_b``, or the
cheaper of the first two."""

TRANSPOSE = 0.3
"""Cycles to transpose an element; two multiply-adds of whole vectors pass in one."""


@dataclass(frozen=True)
class Kernels:
    """The kernels of one element type; ``pointer`` is the type of their pointers.

    gemm(lo, hi, m, n, k, form, a, a_b, a_i, a_k, b, b_b, b_k, b_j, c, c_b, c_i, add, d, d_b, d_i):
        For e in the batch, i < m, j < n: C[e, i, j] = start + sum_k A[e, i, k] B[e, k, j], where
        X[e, i, j] = x[e * x_b + i * x_i + j * x_j], and rows of C and D are contiguous. ``start``
        is 0 with ``add`` 0, C with 1, D with 2 (``d_i`` 0: one row, a bias). Rows of the whole
        batch are counted through: the call computes those with lo <= e * m + i < hi.
    pack_b(lo, hi, n, k, b, b_k, b_j, packed):
        Copy panels lo..hi (:attr:`width` columns each) of B for the form ``PACKED``, whose operand
        is ``packed`` with b_k = width and b_j = k.
    gemv(lo, hi, k, a, a_i, a_k, x, x_k, y, y_i, add, d, d_i):
        y[i] = start + sum_k A[i, k] x[k] for lo <= i < hi.
    """

    gemm: Callable[..., None]
    pack_b: Callable[..., None]
    gemv: Callable[..., None]
    pointer: Any
    tiles: Tiles

    @property
    def width(self) -> int:
        return self.tiles.width


@functools.cache
def kernels(dtype: str, isa: Isa | None = None) -> Kernels:
    """Return the kernels for ``"float32"`` or ``"float64"`` on ``isa``, by default the host."""
    tiles = Tiles(isa or host(), np.dtype(dtype))
    return Kernels(make_gemm(tiles), make_pack(tiles), make_gemv(tiles), tiles.pointer, tiles)


def make_gemm(tiles: Tiles) -> Callable[..., None]:
    width_bytes, item = tiles.width * tiles.dtype.itemsize, tiles.dtype.itemsize
    cache = cache_bytes(2, 512 * 1024)
    # A panel of B takes little of the second cache, and a block of A the rest of it.
    WIDTH, SQUARE = tiles.width, tiles.square
    DEPTH = min(1024, cache // 16 // width_bytes)
    ROWS = max(1, cache // (DEPTH * item) // SQUARE) * SQUARE
    LARGE = cache * 3 // 2 // item  # elements of B: copies pay where it overflows the cache,
    MANY = 4 * tiles.heights[0]  # and where each is read by this many rows
    LANES, LOW, UNIT = tiles.lanes, tiles.heights[1], tiles.heights[0] - tiles.heights[1]
    block, transpose, pack = tiles.block, tiles.transpose, tiles.pack
    DEPTH, ROWS = CFG
    ROWS = ROWS // SQUARE * SQUARE
    ablock = tiles.stack(DEPTH * ROWS)
    scratch, square = tiles.stack(DEPTH * WIDTH), tiles.stack(SQUARE * WIDTH)

    def gemm(
        lo: int, hi: int, m: int, n: int, k: int, form: int,
        a: Any, a_b: int, a_i: int, a_k: int, b: Any, b_b: int, b_k: int, b_j: int,
        c: Any, c_b: int, c_i: int, add: int, d: Any, d_b: int, d_i: int,
    ) -> None:  # fmt: skip
        if lo >= hi:
            return
        panel, tile, left = scratch(), square(), ablock()
        parts = (max(1, k) + DEPTH - 1) // DEPTH
        depth = (max(1, k) + parts - 1) // parts
        for e in range(lo // m, (hi - 1) // m + 1):
            # Rows y of R are broadcast; columns x of S enter as vectors.
            r, r_y, r_k, y0, y1 = shift(a, e * a_b), a_i, a_k, max(0, lo - e * m), min(m, hi - e * m)
            s, s_k, s_x, x0, x1 = shift(b, e * b_b), b_k, b_j, 0, n
            if form == FLIP:
                r, r_y, r_k, y0, y1, s, s_k, s_x, x0, x1 = s, s_x, s_k, x0, x1, r, r_k, r_y, y0, y1
            large = s_x != 1 or (y1 - y0 >= MANY and (x1 - x0) * k >= LARGE)
            for y in range(y0, y1, ROWS):
                rows = min(ROWS, y1 - y)
                for t in range(0, max(1, k), depth):
                    steps = min(depth, k - t)
                    out, seed, seed_i, seeded = shift(c, e * c_b), shift(c, e * c_b), c_i, 1
                    if t == 0 and add != 1:
                        seed, seed_i, seeded = shift(d, e * d_b), d_i, add
                    q, q_y, q_k = shift(r, y * r_y + t * r_k), r_y, r_k
                    if large and q_k == 1 and form != FLIP:
                        transpose(steps, rows, q, q_y, 0, q, 0, left, ROWS)
                        q, q_y, q_k = left, 1, ROWS
                    for x in range(x0, x1, WIDTH):
                        width = min(WIDTH, x1 - x)
                        p, p_k = shift(s, t * s_k + x * s_x), s_k
                        if form != PACKED and large:
                            if s_k == 1:
                                transpose(steps, width, p, s_x, 0, p, 0, panel, WIDTH)
                            else:
                                pack(steps, width, p, s_k, s_x, panel)
                            p, p_k = panel, WIDTH
                        if form != FLIP:
                            block(
                                rows, width, steps, q, q_y, q_k, p, p_k,
                                seeded, shift(seed, y * seed_i + x), seed_i,
                                shift(out, y * c_i + x), c_i,
                            )  # fmt: skip
                        else:
                            for h in range(y, y + rows, SQUARE):
                                height = min(SQUARE, y + rows - h)
                                block(
                                    height, width, steps, shift(r, h * r_y + t * r_k), r_y, r_k,
                                    p, p_k, 0, tile, WIDTH, tile, WIDTH,
                                )  # fmt: skip
                                transpose(
                                    width, height, tile, WIDTH,
                                    seeded, shift(seed, x * seed_i + h), seed_i,
                                    shift(out, x * c_i + h), c_i,
                                )  # fmt: skip

    return gemm


def make_pack(tiles: Tiles) -> Callable[..., None]:
    WIDTH, transpose, pack = tiles.width, tiles.transpose, tiles.pack

    def pack_b(lo: int, hi: int, n: int, k: int, b: Any, b_k: int, b_j: int, packed: Any) -> None:
        for panel in range(lo, hi):
            j = panel * WIDTH
            width = min(WIDTH, n - j)
            p, q = shift(b, j * b_j), shift(packed, j * k)
            if b_k == 1 and b_j != 1:
                transpose(k, width, p, b_j, 0, p, 0, q, WIDTH)
            else:
                pack(k, width, p, b_k, b_j, q)

    return pack_b


def make_gemv(tiles: Tiles) -> Callable[..., None]:
    real = tiles.dtype.type
    CHUNK = 2048

    def gemv(
        lo: int, hi: int, k: int, a: Any, a_i: int, a_k: int, x: Any, x_k: int,
        y: Any, y_i: int, add: int, d: Any, d_i: int,
    ) -> None:  # fmt: skip
        if a_i != 1 or y_i != 1:
            for i in range(lo, hi):
                total = real(0)
                if a_k == 1 and x_k == 1:
                    row = shift(a, i * a_i)
                    for t in range(k):
                        total += row[t] * x[t]
                else:
                    for t in range(k):
                        total += a[i * a_i + t * a_k] * x[t * x_k]
                if add == 1:
                    total += y[i * y_i]
                elif add == 2:
                    total += d[i * d_i]
                y[i * y_i] = total
            return
        for first in range(lo, hi, CHUNK):
            last = min(hi, first + CHUNK)
            if add != 1:
                for i in range(first, last):
                    y[i] = d[i * d_i] if add == 2 else real(0)
            # Four columns of A at a time: y is read and written a quarter as often.
            whole = k - k % 4
            for t in range(0, whole, 4):
                p, q, r, s = (x[t * x_k], x[(t + 1) * x_k], x[(t + 2) * x_k], x[(t + 3) * x_k])
                u = shift(a, t * a_k)
                v, w, z = shift(u, a_k), shift(u, 2 * a_k), shift(u, 3 * a_k)
                for i in range(first, last):
                    y[i] += u[i] * p + v[i] * q + w[i] * r + z[i] * s
            for t in range(whole, k):
                p, u = x[t * x_k], shift(a, t * a_k)
                for i in range(first, last):
                    y[i] += u[i] * p

    return gemv
