"""Tile kernels as LLVM vector code: the inner loops of matrix products, of any width.

A *tile* is ``height`` rows by ``vectors`` vectors of C kept in registers while K passes by: one
vector load of B and one broadcast of A feed several fused multiply-adds. A *block* is a column
of tiles, any number of rows high and up to :attr:`Tiles.width` columns wide.

Sources: Goto and van de Geijn, *Anatomy of High-Performance Matrix Multiplication* (2008), for
the register tile and the panel of B that stays in cache; Van Zee and van de Geijn, *BLIS*
(2015), for its shape from the vector width and the number of registers; SimpleChains.jl for
reading small matrices where they lie.

The functions made here are called from kernels that Numba compiles. In plain Python, where a
pointer is a flat array that starts at the address, they compute the same with NumPy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin

from graphc.runtime.features import Isa

INT = ir.IntType(64)
LANE = ir.IntType(32)
GROUP = 4
LONG = 64
VECTORS = 2
"""Vectors in a row of a tile: two broadcasts' worth of work for every load of A."""


def primitive(plain: Callable[..., Any], typed: Callable[..., Any], emit: Callable[..., Any]) -> None:
    """Let Numba compile calls of ``plain``: ``typed(*types)`` types them, ``emit`` lowers them."""

    class Template(AbstractTemplate):  # type: ignore[misc]
        key = plain

        def generic(self, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
            return typed(*args)

    infer_global(plain, types.Function(Template))
    lower_builtin(plain, types.VarArg(types.Any))(emit)


def shift(p: Any, n: int) -> Any:
    """Return the pointer ``n`` elements after ``p``."""
    return p[n:]


primitive(
    shift,
    lambda p, n: signature(p, p, types.int64),
    lambda context, builder, sig, args: builder.gep(args[0], [args[1]]),
)


def const(value: int) -> Any:
    return ir.Constant(INT, value)


def strided(p: Any, shape: tuple[int, int], strides: tuple[int, int]) -> Any:
    """Return the matrix at ``p``; a plain array stands for a pointer here."""
    size = p.itemsize
    return np.lib.stride_tricks.as_strided(p, shape, (strides[0] * size, strides[1] * size))


@dataclass(frozen=True)
class Tiles:
    """The tile kernels of one element type on one instruction set."""

    isa: Isa
    dtype: np.dtype[Any]

    @property
    def lanes(self) -> int:
        return self.isa.lanes(self.dtype.itemsize)

    @property
    def width(self) -> int:
        """Columns of a block."""
        return VECTORS * self.lanes

    @property
    def heights(self) -> tuple[int, int]:
        """Rows of the two kinds of tile: every number of rows is nearly a sum of such.

        Registers hold the tile, a row of B and a broadcast: 12x2 and 8x2 of 32, 6x2 and 4x2 of 16.
        """
        unit = (self.isa.registers - VECTORS - 1) // (3 * VECTORS)
        return 3 * unit, 2 * unit

    @property
    def square(self) -> int:
        """Rows that are whole tiles as well as whole vectors."""
        return lcm(self.heights[0], self.lanes)

    @functools.cached_property
    def pointer(self) -> Any:
        return types.CPointer(types.float32 if self.dtype.itemsize == 4 else types.float64)

    @functools.cached_property
    def real(self) -> Any:
        return ir.FloatType() if self.dtype.itemsize == 4 else ir.DoubleType()

    @functools.cached_property
    def vector(self) -> Any:
        return ir.VectorType(self.real, self.lanes)

    @property
    def name(self) -> str:
        return f"v{self.lanes}f{8 * self.dtype.itemsize}"

    # ---------------------------------------------------------------- lanes and vectors

    def call(self, builder: Any, name: str, result: Any, *args: Any) -> Any:
        """Call LLVM's intrinsic ``name``; its type is part of the name."""
        kind = ir.FunctionType(result, [a.type for a in args])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    def spread(self, builder: Any, value: Any) -> Any:
        """Return a vector with ``value`` in every lane."""
        vector = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        first = builder.insert_element(vector, value, LANE(0))
        zeros = ir.Constant(ir.VectorType(LANE, self.lanes), [0] * self.lanes)
        return builder.shuffle_vector(first, vector, zeros)

    def prefetch(self, builder: Any, p: Any) -> None:
        """Bring the line at ``p`` into the first cache, to be written."""
        byte = builder.bitcast(p, ir.IntType(8).as_pointer())
        args = (byte, LANE(1), LANE(3), LANE(1))
        self.call(builder, "llvm.prefetch.p0", ir.VoidType(), *args)

    def opaque(self, builder: Any, value: Any) -> Any:
        """Return ``value`` in a register, as if nothing were known of how it was computed."""
        kind = ir.FunctionType(value.type, [value.type])
        return builder.asm(kind, "", "=r,0", [value], False)

    def mask(self, builder: Any, count: Any) -> Any:
        """Return a mask of the first ``count`` lanes."""
        iota = ir.Constant(ir.VectorType(LANE, self.lanes), list(range(self.lanes)))
        return builder.icmp_signed("<", iota, self.spread(builder, builder.trunc(count, LANE)))

    def load(self, builder: Any, p: Any, mask: Any = None) -> Any:
        p = builder.bitcast(p, self.vector.as_pointer())
        if mask is None:
            return builder.load(p, align=self.dtype.itemsize)
        zero = ir.Constant(self.vector, [0.0] * self.lanes)
        name = f"llvm.masked.load.{self.name}.p0"
        return self.call(builder, name, self.vector, p, LANE(self.dtype.itemsize), mask, zero)

    def store(self, builder: Any, value: Any, p: Any, mask: Any = None) -> None:
        p = builder.bitcast(p, self.vector.as_pointer())
        if mask is None:
            builder.store(value, p, align=self.dtype.itemsize)
            return
        name = f"llvm.masked.store.{self.name}.p0"
        self.call(builder, name, ir.VoidType(), value, p, LANE(self.dtype.itemsize), mask)

    # ---------------------------------------------------------------- tiles

    def tile(self, module: Any, height: int, vectors: int, masked: bool, clamped: bool) -> Any:
        """Return the function of a tile: ``C = start + sum_k A[:, k] B[k, :]``.

        ``masked``: only ``width`` columns exist. ``clamped``: only ``rows`` rows exist; the rest
        repeat the last one, with the same result, because all is read before C is written.
        """
        name = f"tile_{height}x{vectors}{'m' * masked}{'c' * clamped}"
        function = self.function(module, name)
        if not function.is_declaration:
            return function
        rows, width, k, a, a_i, a_k, b, b_k, add, d, d_i, c, c_i = function.args
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        grid = [(i, v) for i in range(height) for v in range(vectors)]
        last = self.mask(builder, builder.sub(width, const((vectors - 1) * self.lanes)))
        masks = [last if masked and v == vectors - 1 else None for v in range(vectors)]
        index = [const(i) for i in range(height)]
        if clamped:
            final = builder.sub(rows, const(1))
            index = [builder.select(builder.icmp_signed("<", i, final), i, final) for i in index]

        def at(p: Any, stride: Any, i: int, v: int = 0) -> Any:
            offset = builder.add(builder.mul(index[i], stride), const(v * self.lanes))
            return builder.gep(p, [offset])

        zero = ir.Constant(self.vector, [0.0] * self.lanes)
        with builder.if_then(builder.icmp_signed(">=", k, const(LONG))):
            for i, v in grid:
                self.prefetch(builder, at(c, c_i, i, v))
        # One pointer for every four rows, opaque to LLVM, which would walk a single pointer through
        # all rows and wait for each of the additions.
        heads = [self.opaque(builder, at(a, a_i, i)) for i in range(0, height, GROUP)]
        before = builder.block
        head, body, after = (builder.append_basic_block(n) for n in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        t = builder.phi(INT)
        sums = [builder.phi(self.vector) for _ in grid]
        builder.cbranch(builder.icmp_signed("<", t, k), body, after)
        builder.position_at_end(body)
        line = builder.gep(b, [builder.mul(t, b_k)])
        right = [
            self.load(builder, builder.gep(line, [const(v * self.lanes)]), masks[v])
            for v in range(vectors)
        ]
        along = builder.mul(t, a_k)
        left = []
        for i in range(height):
            start = builder.sub(index[i], index[i - i % GROUP])
            place = builder.gep(heads[i // GROUP], [builder.add(along, builder.mul(start, a_i))])
            left.append(self.spread(builder, builder.load(place)))
        fma = f"llvm.fmuladd.{self.name}"
        nexts = [
            self.call(builder, fma, self.vector, left[i], right[v], total)
            for (i, v), total in zip(grid, sums, strict=True)
        ]
        following = builder.add(t, const(1))
        for phi, first, new in zip(
            [t, *sums], [const(0)] + [zero] * len(grid), [following, *nexts], strict=True
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(new, body)
        builder.branch(head)
        builder.position_at_end(after)
        with builder.if_then(builder.icmp_signed("!=", add, const(0))):
            old = [self.load(builder, at(d, d_i, i, v), masks[v]) for i, v in grid]
            totals = [builder.fadd(total, o) for total, o in zip(sums, old, strict=True)]
            added = builder.block
        ends = [builder.phi(self.vector) for _ in grid]
        for phi, total, other in zip(ends, sums, totals, strict=True):
            phi.add_incoming(total, after)
            phi.add_incoming(other, added)
        sums = ends
        for (i, v), total in zip(grid, sums, strict=True):
            self.store(builder, total, at(c, c_i, i, v), masks[v])
        builder.ret_void()
        return function

    def function(self, module: Any, name: str, kinds: Sequence[Any] = ()) -> Any:
        """Return the function ``name`` of the module, declared where it is not there yet.

        Without ``kinds`` it takes (rows, width, k, A, B, start, C), as :attr:`block` does.
        """
        name = f"{name}_{self.name}"
        if name in module.globals:
            return module.globals[name]
        p = self.real.as_pointer()
        kinds = kinds or [INT, INT, INT, p, INT, INT, p, INT, INT, p, INT, p, INT]
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
        function.linkage = "internal"
        function.attributes.add("nounwind")
        function.attributes.add("noinline")
        function.attributes.add("optsize")  # no unrolling: these loops are full as they are
        return function

    def band(self, module: Any, vectors: int, masked: bool) -> Any:
        """Return the function of a column of tiles: the highest that fit, one after another."""
        function = self.function(module, f"band_{vectors}{'m' * masked}")
        if not function.is_declaration:
            return function
        rows, width, k, a, a_i, a_k, b, b_k, add, d, d_i, c, c_i = function.args
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        # Rows in units of which a high tile has three and a low one two: as many high tiles as
        # leave an even number of units. Only the last low tile can lack rows.
        high, low = self.heights
        unit = const(high - low)
        units = builder.sdiv(builder.add(rows, const(high - low - 1)), unit)
        twos = builder.srem(builder.mul(units, const(2)), const(3))
        highest = builder.mul(builder.sub(units, builder.mul(twos, const(2))), unit)
        less = builder.sub(highest, const(high))
        highest = builder.select(builder.icmp_signed(">", highest, rows), less, highest)
        done = cgutils.alloca_once_value(builder, const(0))
        for height, end in ((high, highest), (low, rows)):
            head, body, after = (builder.append_basic_block() for _ in range(3))
            builder.branch(head)
            builder.position_at_end(head)
            i = builder.load(done)
            builder.cbranch(builder.icmp_signed("<", i, end), body, after)
            builder.position_at_end(body)
            pa, pd, pc = (
                builder.gep(p, [builder.mul(i, stride)])
                for p, stride in ((a, a_i), (d, d_i), (c, c_i))
            )
            args = (builder.sub(rows, i), width, k, pa, a_i, a_k, b, b_k, add, pd, d_i, pc, c_i)
            builder.call(self.tile(module, height, vectors, masked, height == low), args)
            builder.store(builder.add(i, const(height)), done)
            builder.branch(head)
            builder.position_at_end(after)
        builder.ret_void()
        return function

    @functools.cached_property
    def block(self) -> Callable[..., None]:
        """``block(rows, width, k, a, a_i, a_k, b, b_k, add, d, d_i, c, c_i)``: C = [D +] A B.

        C is (rows, width) with width <= :attr:`width`; A[i, k] = a[i * a_i + k * a_k], rows of B,
        C and D are contiguous. D is read where ``add`` is not 0, and may be C.
        """

        def block(
            rows: int, width: int, k: int, a: Any, a_i: int, a_k: int, b: Any, b_k: int,
            add: int, d: Any, d_i: int, c: Any, c_i: int,
        ) -> None:  # fmt: skip
            product = strided(a, (rows, k), (a_i, a_k)) @ strided(b, (k, width), (b_k, 1))
            if add:
                product += strided(d, (rows, width), (d_i, 1))
            strided(c, (rows, width), (c_i, 1))[...] = product

        n, p = types.int64, self.pointer
        self.register(block, self.emit_block, n, n, n, p, n, n, p, n, n, p, n, p, n)
        return block

    def emit_block(self, function: Any) -> None:
        rows, width, k, a, a_i, a_k, b, b_k, add, d, d_i, c, c_i = function.args
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        module, lanes = function.module, const(self.lanes)
        wide = const(self.lanes + 1 if self.isa.masks else self.width)
        with builder.if_else(builder.icmp_signed(">=", width, wide)) as (two, one):
            with two:
                builder.call(self.band(module, VECTORS, self.isa.masks), function.args)
            with one:
                if self.isa.masks:
                    builder.call(self.band(module, 1, True), function.args)
                else:
                    # Without masks a part of a vector costs a branch a lane: only the rest pays.
                    whole = builder.icmp_signed(">=", width, lanes)
                    with builder.if_then(whole):
                        builder.call(self.band(module, 1, False), function.args)
                    at = builder.select(whole, lanes, const(0))
                    rest = builder.sub(width, at)
                    b, d, c = (builder.gep(q, [at]) for q in (b, d, c))
                    with builder.if_then(builder.icmp_signed(">", rest, const(0))):
                        args = (rows, rest, k, a, a_i, a_k, b, b_k, add, d, d_i, c, c_i)
                        builder.call(self.band(module, 1, True), args)
        builder.ret_void()

    # ---------------------------------------------------------------- transposition

    @functools.cached_property
    def transpose(self) -> Callable[..., None]:
        """``transpose(rows, width, a, a_j, add, d, d_i, c, c_i)``: C[i, j] = [D[i, j] +] A[j, i].

        C is (rows, width); rows of A, C and D are contiguous. D is read where ``add`` is not 0.
        """

        def transpose(
            rows: int, width: int, a: Any, a_j: int, add: int, d: Any, d_i: int, c: Any, c_i: int
        ) -> None:
            value = strided(a, (rows, width), (1, a_j))
            start = strided(d, (rows, width), (d_i, 1)) if add else 0
            strided(c, (rows, width), (c_i, 1))[...] = value + start

        n, p = types.int64, self.pointer
        self.register(transpose, self.emit_transpose, n, n, p, n, n, p, n, p, n)
        return transpose

    def register(self, plain: Callable[..., None], emit: Callable[[Any], None], *kinds: Any) -> None:
        """Compile calls of ``plain`` as a function that ``emit`` fills with code."""
        sig = signature(types.void, *kinds)

        def lower(context: Any, builder: Any, sig: Any, args: Sequence[Any]) -> Any:
            function = self.function(builder.module, plain.__name__, [a.type for a in args])
            if function.is_declaration:
                emit(function)
            builder.function.attributes.add("optsize")  # the time passes in the callee
            builder.call(function, args)
            return context.get_dummy_value()

        primitive(plain, lambda *args: sig, lower)

    def emit_transpose(self, function: Any) -> None:
        rows, width, a, a_j, add, d, d_i, c, c_i = function.args
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        seeded = builder.icmp_signed("!=", add, const(0))
        step = const(self.lanes)

        def at(p: Any, stride: Any, i: Any, j: Any) -> Any:
            return builder.gep(p, [builder.add(builder.mul(i, stride), j)])

        def least(x: Any, y: Any) -> Any:
            return builder.select(builder.icmp_signed("<", x, y), x, y)

        def scalar(i: Any, j: Any, height: Any, breadth: Any) -> None:
            with (
                cgutils.for_range(builder, height) as y,
                cgutils.for_range(builder, breadth) as x,
            ):
                i, j = builder.add(i, y.index), builder.add(j, x.index)
                value = builder.load(at(a, a_j, j, i))
                with builder.if_else(seeded) as (yes, no):
                    with yes:
                        total = builder.fadd(value, builder.load(at(d, d_i, i, j)))
                        builder.store(total, at(c, c_i, i, j))
                    with no:
                        builder.store(value, at(c, c_i, i, j))

        def vector(i: Any, j: Any, height: Any, breadth: Any) -> None:
            ins, outs = (self.mask(builder, e) if self.isa.masks else None for e in (height, breadth))
            place, lines = at(a, a_j, j, i), []
            for x in range(self.lanes):
                lines.append(self.load(builder, place, ins))
                exists = builder.icmp_signed("<", const(x + 1), breadth)
                step_ = builder.select(exists, a_j, const(0))
                place = self.opaque(builder, builder.gep(place, [step_]))
            lines = self.transposed(builder, lines)
            new, old = at(c, c_i, i, j), at(d, d_i, i, j)
            done = builder.append_basic_block()
            with builder.if_else(seeded) as (yes, no):
                for branch, added in ((yes, True), (no, False)):
                    with branch:
                        p, q = new, old
                        for y, line in enumerate(lines):
                            if added:
                                line = builder.fadd(line, self.load(builder, q, outs))
                                q = self.opaque(builder, builder.gep(q, [d_i]))
                            self.store(builder, line, p, outs)
                            p = self.opaque(builder, builder.gep(p, [c_i]))
                            if self.isa.masks and y < self.lanes - 1:
                                more = builder.append_basic_block()
                                exists = builder.icmp_signed("<", const(y + 1), height)
                                builder.cbranch(exists, more, done)
                                builder.position_at_end(more)
            builder.branch(done)
            builder.position_at_end(done)

        with (
            cgutils.for_range_slice(builder, const(0), rows, step, INT) as (i, _),
            cgutils.for_range_slice(builder, const(0), width, step, INT) as (j, _),
        ):
            extent = least(step, builder.sub(rows, i)), least(step, builder.sub(width, j))
            if self.isa.masks:
                vector(i, j, *extent)
            else:
                whole = builder.and_(*(builder.icmp_signed("==", e, step) for e in extent))
                with builder.if_else(whole) as (yes, no):
                    with yes:
                        vector(i, j, *extent)
                    with no:
                        scalar(i, j, *extent)
        builder.ret_void()

    def transposed(self, builder: Any, lines: list[Any]) -> list[Any]:
        """Return the columns of the square matrix whose rows are ``lines``.

        First within pieces of 16 bytes, then the pieces: each shuffle is one instruction.
        """
        piece = 16 // self.dtype.itemsize
        small = [self.unzip(builder, lines[i : i + piece], 1, piece)
                 for i in range(0, self.lanes, piece)]  # fmt: skip
        large = [self.unzip(builder, list(group), piece, self.lanes)
                 for group in zip(*small, strict=True)]  # fmt: skip
        return [line for row in zip(*large, strict=True) for line in row]

    def unzip(self, builder: Any, lines: list[Any], unit: int, span: int) -> list[Any]:
        """Transpose ``lines`` as a matrix of units, in every span: log2(n) rounds of unzipping."""
        half = len(lines) // 2
        if not half:
            return lines
        spans = range(0, self.lanes, span)
        for _ in range(half.bit_length()):
            parts = []
            for odd in (0, 1):
                lane = [line + start + first + u for start in spans for line in (0, self.lanes)
                        for first in range(odd * unit, span, 2 * unit) for u in range(unit)]  # fmt: skip
                mask = ir.Constant(ir.VectorType(LANE, self.lanes), lane)
                parts += [
                    builder.shuffle_vector(lines[2 * i], lines[2 * i + 1], mask)
                    for i in range(half)
                ]
            lines = parts
        return lines

    # ---------------------------------------------------------------- packing

    @functools.cached_property
    def pack(self) -> Callable[..., None]:
        """``pack(k, width, b, b_k, b_j, panel)``: copy columns of B into contiguous rows.

        Columns are not contiguous (``b_j`` is not 1) or far apart in memory.
        """
        breadth = self.width

        def pack(k: int, width: int, b: Any, b_k: int, b_j: int, panel: Any) -> None:
            strided(panel, (k, width), (breadth, 1))[...] = strided(b, (k, width), (b_k, b_j))

        n, p = types.int64, self.pointer
        self.register(pack, self.emit_pack, n, n, p, n, n, p)
        return pack

    def emit_pack(self, function: Any) -> None:
        k, width, b, b_k, b_j, panel = function.args
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        whole = builder.icmp_signed("==", width, const(self.width))
        rows = builder.and_(whole, builder.icmp_signed("==", b_j, const(1)))
        with builder.if_else(rows) as (yes, no):
            with yes, cgutils.for_range(builder, k) as t:
                for v in range(VECTORS):
                    p, q = (
                        builder.gep(p, [builder.add(builder.mul(t.index, s), const(v * self.lanes))])
                        for p, s in ((b, b_k), (panel, const(self.width)))
                    )
                    self.store(builder, self.load(builder, p), q)
            with (
                no,
                cgutils.for_range(builder, k) as t,
                cgutils.for_range(builder, width) as j,
            ):
                p, q = (
                    builder.gep(p, [builder.add(builder.mul(t.index, s), builder.mul(j.index, o))])
                    for p, s, o in ((b, b_k, b_j), (panel, const(self.width), const(1)))
                )
                builder.store(builder.load(p), q)
        builder.ret_void()

    # ---------------------------------------------------------------- scratch

    def stack(self, count: int) -> Callable[[], Any]:
        """Return a function that gives a kernel ``count`` elements on its stack."""

        def scratch() -> Any:
            return np.empty(count, self.dtype)

        def lower(context: Any, builder: Any, sig: Any, args: Sequence[Any]) -> Any:
            with builder.goto_entry_block():
                block = builder.alloca(ir.ArrayType(self.real, count))
            block.align = 64
            return builder.bitcast(block, self.real.as_pointer())

        primitive(scratch, lambda: signature(self.pointer), lower)
        return scratch
