"""Vectors of one element type in LLVM: load, store, mask, broadcast, prefetch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from graphc.runtime.tiles import shape

INT = ir.IntType(64)
LANE = ir.IntType(32)
VOID = ir.VoidType()
LINE = 64
"""Bytes of a cache line."""


def const(value: int) -> Any:
    return ir.Constant(INT, value)


def least(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.icmp_signed("<", x, y), x, y)


def most(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.icmp_signed(">", x, y), x, y)


def ceildiv(builder: Any, x: Any, y: Any) -> Any:
    return builder.udiv(builder.add(x, builder.sub(y, const(1))), y)


def element(builder: Any, p: Any, i: Any, stride: Any, j: Any) -> Any:
    """Return the address of ``p[i * stride + j]``."""
    return builder.gep(p, [builder.add(builder.mul(i, stride), j)])


@dataclass(frozen=True)
class Vectors:
    """Vectors of floats of ``itemsize`` bytes, on :data:`shape.TARGET`."""

    itemsize: int

    @property
    def lanes(self) -> int:
        return shape.lanes(self.itemsize)

    @property
    def real(self) -> Any:
        return ir.FloatType() if self.itemsize == 4 else ir.DoubleType()

    @property
    def type(self) -> Any:
        return ir.VectorType(self.real, self.lanes)

    @property
    def name(self) -> str:
        """LLVM's name of the type, as it ends the names of its intrinsics."""
        return f"v{self.lanes}f{8 * self.itemsize}"

    @property
    def zero(self) -> Any:
        return ir.Constant(self.type, [0.0] * self.lanes)

    def function(self, module: Any, name: str, kinds: Sequence[Any]) -> Any:
        """Return the function ``name`` of ``module``, declared where it is not there yet."""
        name = f"{name}_{self.name}"
        if name in module.globals:
            return module.globals[name]
        function = ir.Function(module, ir.FunctionType(VOID, kinds), name)
        function.linkage = "internal"
        for attribute in ("nounwind", "noinline", "optsize"):  # unrolled by hand as far as it pays
            function.attributes.add(attribute)
        return function

    def call(self, builder: Any, name: str, result: Any, *args: Any) -> Any:
        """Call LLVM's intrinsic ``name``, whose types are part of the name."""
        kind = ir.FunctionType(result, [a.type for a in args])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    def load(self, builder: Any, p: Any, mask: Any = None) -> Any:
        """Load a vector from any address of an element; lanes not in ``mask`` are 0."""
        p = builder.bitcast(p, self.type.as_pointer())
        if mask is None:
            return builder.load(p, align=self.itemsize)
        name = f"llvm.masked.load.{self.name}.p0"
        return self.call(builder, name, self.type, p, LANE(self.itemsize), mask, self.zero)

    def store(self, builder: Any, value: Any, p: Any, mask: Any = None) -> None:
        p = builder.bitcast(p, self.type.as_pointer())
        if mask is None:
            builder.store(value, p, align=self.itemsize)
            return
        name = f"llvm.masked.store.{self.name}.p0"
        self.call(builder, name, VOID, value, p, LANE(self.itemsize), mask)

    def fma(self, builder: Any, x: Any, y: Any, z: Any) -> Any:
        """Return ``x * y + z``, fused where the processor can."""
        return self.call(builder, f"llvm.fmuladd.{self.name}", self.type, x, y, z)

    def spread(self, builder: Any, value: Any) -> Any:
        """Return a vector with ``value`` in every lane."""
        blank = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        first = builder.insert_element(blank, value, LANE(0))
        zeros = ir.Constant(ir.VectorType(LANE, self.lanes), [0] * self.lanes)
        return builder.shuffle_vector(first, blank, zeros)

    def shuffle(self, builder: Any, x: Any, y: Any, order: list[int]) -> Any:
        """Return the lanes ``order`` of ``x`` and ``y`` laid end to end."""
        return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(LANE, self.lanes), order))

    def mask(self, builder: Any, count: Any) -> Any:
        """Return a mask of the first ``count`` lanes."""
        order = ir.Constant(ir.VectorType(LANE, self.lanes), list(range(self.lanes)))
        return builder.icmp_signed("<", order, self.spread(builder, builder.trunc(count, LANE)))

    def prefetch(self, builder: Any, p: Any, write: bool) -> None:
        """Bring the line at ``p`` into the first cache. Any address will do."""
        p = builder.bitcast(p, ir.IntType(8).as_pointer())
        self.call(builder, "llvm.prefetch.p0", VOID, p, LANE(int(write)), LANE(3), LANE(1))


def opaque(builder: Any, value: Any) -> Any:
    """Return ``value`` in a register, as if nothing were known of how it was computed.

    LLVM would replace dozens of pointers by chains of additions, or keep them all in memory.
    """
    return builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], False)
