"""Matrix products on raw pointers, ``C = A B``, ``C = C + A B`` or ``C = D + A B``.

One kernel serves all sizes, strides and batches, so it is compiled once per machine. It cuts K
and the rows into pieces for the caches, as Goto and van de Geijn (2008) do, but reads operands
where they lie as long as that is fast, and copies columns of B into a panel only where they are
not contiguous or lie far apart. Threads compute different rows.

Where C is narrow, or B is transposed and A is small, the kernel computes the transpose of C: rows
of B^T are broadcast, columns of A^T enter as vectors, and tiles are turned as they are stored.
"""

from __future__ import annotations

from typing import Any

from graphc.runtime import tiles
from graphc.runtime.tiles import ceildiv, least, most, shift

PLAIN, FLIP, PACKED, AUTO = 0, 1, 2, 3
"""Forms: C as it is, its transpose, B packed beforehand by :func:`pack_b`, or the cheaper of the
first two."""

MANY = 48
"""Rows that read a panel from which it pays to copy it together, if B overflows the cache."""

CHUNK = 2048
"""Elements of a vector that stay in the first cache."""


def gemm(
    lo: int, hi: int, m: int, n: int, k: int, form: int,
    a: Any, a_b: int, a_i: int, a_k: int, b: Any, b_b: int, b_k: int, b_j: int,
    c: Any, c_b: int, c_i: int, add: int, d: Any, d_b: int, d_i: int,
) -> None:  # fmt: skip
    """C[e, i, j] = start + sum_k A[e, i, k] B[e, k, j] for i < m, j < n and e in the batch.

    X[e, i, j] = x[e * x_b + i * x_i + j * x_j]; rows of C and D are contiguous. ``start`` is 0 with
    ``add`` 0, C with 1, D with 2 (a bias with ``d_i`` 0). Rows of the whole batch are counted
    through: the call computes those with lo <= e * m + i < hi.
    """
    if lo >= hi:
        return
    WIDTH, SQUARE, ROWS = tiles.width(a), tiles.square(a), tiles.rows(a)
    panel, turned = tiles.panel(a), tiles.turned(a)
    depth = ceildiv(k, most(1, ceildiv(k, tiles.depth(a))))
    if form == AUTO:
        # Tenths of cycles: two multiply-adds of a vector a cycle, an element turned in 0.3.
        rows, lanes, unit = least(m, hi - lo), tiles.lanes(a), tiles.unit(a)
        plain = 5 * k * unit * ceildiv(rows, unit) * ceildiv(n, lanes)
        if b_j != 1:
            plain += 3 * n * k
        flip = 5 * k * unit * ceildiv(n, unit) * ceildiv(rows, lanes) + 3 * rows * n
        if a_i != 1:
            flip += 3 * rows * k
        form = FLIP if flip < plain else PLAIN
    e = lo // m
    while e * m < hi:
        # Rows y of R are broadcast; columns x of S enter as vectors.
        top, end = most(0, lo - e * m), least(m, hi - e * m)
        if form == FLIP:
            r, r_y, r_k = shift(b, e * b_b), b_j, b_k
            s, s_k, s_x = shift(a, e * a_b), a_k, a_i
            y0, y1 = 0, n
            x0, x1 = top, end
        else:
            r, r_y, r_k = shift(a, e * a_b), a_i, a_k
            s, s_k, s_x = shift(b, e * b_b), b_k, b_j
            y0, y1 = top, end
            x0, x1 = 0, n
        large = y1 - y0 >= MANY and (x1 - x0) * k >= tiles.large(a)
        copied = form != PACKED and (large or s_x != 1)
        for y in range(y0, y1, ROWS):
            rows = least(ROWS, y1 - y)
            t = 0
            while t < most(k, 1):
                steps = least(depth, k - t)
                out = shift(c, e * c_b)
                start, start_i, added = out, c_i, 1
                if t == 0 and add != 1:
                    start, start_i, added = shift(d, e * d_b), d_i, add
                for x in range(x0, x1, WIDTH):
                    width = least(WIDTH, x1 - x)
                    p, p_k = shift(s, t * s_k + x * s_x), s_k
                    if copied:
                        if s_k == 1:
                            tiles.transpose(steps, width, p, s_x, 0, p, 0, panel, WIDTH)
                        else:
                            tiles.pack(steps, width, p, s_k, s_x, panel)
                        p, p_k = panel, WIDTH
                    if form != FLIP:
                        tiles.block(
                            rows, width, steps, shift(r, y * r_y + t * r_k), r_y, r_k, p, p_k,
                            added, shift(start, y * start_i + x), start_i,
                            shift(out, y * c_i + x), c_i,
                        )  # fmt: skip
                        continue
                    for h in range(y, y + rows, SQUARE):
                        height = least(SQUARE, y + rows - h)
                        tiles.block(
                            height, width, steps, shift(r, h * r_y + t * r_k), r_y, r_k, p, p_k,
                            0, turned, WIDTH, turned, WIDTH,
                        )  # fmt: skip
                        tiles.transpose(
                            width, height, turned, WIDTH,
                            added, shift(start, x * start_i + h), start_i,
                            shift(out, x * c_i + h), c_i,
                        )  # fmt: skip
                t += most(depth, 1)
        e += 1


def pack_b(lo: int, hi: int, n: int, k: int, b: Any, b_k: int, b_j: int, packed: Any) -> None:
    """Copy panels lo..hi of B (k, n), of :func:`tiles.width` columns each, one after another.

    In the form ``PACKED`` the operand is ``packed`` with b_k = width and b_j = k. This pays where
    B overflows the cache and several hundred rows of A meet it.
    """
    WIDTH = tiles.width(b)
    for panel in range(lo, hi):
        j = panel * WIDTH
        width = min(WIDTH, n - j)
        p, q = shift(b, j * b_j), shift(packed, j * k)
        if b_k == 1 and b_j != 1:
            tiles.transpose(k, width, p, b_j, 0, p, 0, q, WIDTH)
        else:
            tiles.pack(k, width, p, b_k, b_j, q)


def gemv(
    lo: int, hi: int, k: int, a: Any, a_i: int, a_k: int, x: Any, x_k: int,
    y: Any, y_i: int, add: int, d: Any, d_i: int,
) -> None:  # fmt: skip
    """y[i] = start + sum_k A[i, k] x[k] for lo <= i < hi; ``start`` as in :func:`gemm`."""
    if add != 1:
        for i in range(lo, hi):
            y[i * y_i] = d[i * d_i] if add == 2 else 0
    if a_i != 1 or y_i != 1:
        for i in range(lo, hi):
            total = y[i * y_i]
            row = shift(a, i * a_i)
            if a_k == 1 and x_k == 1:
                for t in range(k):
                    total += row[t] * x[t]
            else:
                for t in range(k):
                    total += row[t * a_k] * x[t * x_k]
            y[i * y_i] = total
        return
    for first in range(lo, hi, CHUNK):
        last = min(hi, first + CHUNK)
        # Four columns of A at a time: y is read and written a quarter as often.
        whole = k - k % 4
        for t in range(0, whole, 4):
            p, q, r, s = x[t * x_k], x[(t + 1) * x_k], x[(t + 2) * x_k], x[(t + 3) * x_k]
            u = shift(a, t * a_k)
            v, w, z = shift(u, a_k), shift(u, 2 * a_k), shift(u, 3 * a_k)
            for i in range(first, last):
                y[i] += u[i] * p + v[i] * q + w[i] * r + z[i] * s
        for t in range(whole, k):
            p, u = x[t * x_k], shift(a, t * a_k)
            for i in range(first, last):
                y[i] += u[i] * p
