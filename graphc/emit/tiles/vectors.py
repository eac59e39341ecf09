"""Vectors of one element type in LLVM: load, store, mask, broadcast, prefetch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphc.emit import shape
from graphc.emit.tiles.code import INT, Code, Int, declared
from graphc.jit.llvm import ir, mark

LANE = ir.IntType(32)
VOID = ir.VoidType()


@functools.cache
def _numbers(*values: int) -> Any:
    """Return a vector of constants, whose text llvmlite then writes but once."""
    return ir.Constant(ir.VectorType(LANE, len(values)), list(values))


@functools.cache
def _zeros(kind: Any, lanes: int) -> Any:
    """Return a vector of zeros."""
    return ir.Constant(ir.VectorType(kind, lanes), [0.0] * lanes)


@functools.cache
def _blank(kind: Any, lanes: int) -> Any:
    """Return a vector of any values."""
    return ir.Constant(ir.VectorType(kind, lanes), ir.Undefined)


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
        return _zeros(self.real, self.lanes)

    def part(self, module: Any, name: str, kinds: str, emit: Callable[[Vectors, Any], None]) -> Any:
        """Return the function ``name`` of ``module``, which ``emit`` fills if it is not there yet.

        Its arguments are integers ``i``, pointers ``p``, and tables of integers ``t``.
        """
        name = f"{name}_{self.name}"
        if name in module.globals:
            return module.globals[name]
        known = {"i": INT, "p": self.real.as_pointer(), "t": INT.as_pointer()}
        types = [known[kind] for kind in kinds]
        function = ir.Function(module, ir.FunctionType(VOID, types), name)
        function.linkage = "internal"
        mark(function, "nounwind", "noinline", "optsize")  # unrolled by hand as far as it pays
        emit(self, function)
        return function

    def call(self, builder: Any, name: str, result: Any, *args: Any) -> Any:
        """Call LLVM's intrinsic ``name``, whose types are part of the name."""
        kind = ir.FunctionType(result, [a.type for a in args])
        return builder.call(declared(builder.module, name, kind), args)

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
        blank = _blank(value.type, self.lanes)
        first = builder.insert_element(blank, value, LANE(0))
        return builder.shuffle_vector(first, blank, _numbers(*[0] * self.lanes))

    def shuffle(self, builder: Any, x: Any, y: Any, order: list[int]) -> Any:
        """Return the lanes ``order`` of ``x`` and ``y`` laid end to end."""
        return builder.shuffle_vector(x, y, _numbers(*order))

    def mask(self, builder: Any, count: Any) -> Any:
        """Return a mask of the first ``count`` lanes."""
        order = _numbers(*range(self.lanes))
        return builder.icmp_signed("<", order, self.spread(builder, builder.trunc(count, LANE)))

    def prefetch(self, builder: Any, p: Any) -> None:
        """Bring the line at ``p`` into the first cache. Any address will do."""
        p = builder.bitcast(p, ir.IntType(8).as_pointer())
        self.call(builder, "llvm.prefetch.p0", VOID, p, LANE(0), LANE(3), LANE(1))

    def log2(self, code: Code, n: Int) -> Int:
        """Return the logarithm of n > 0, rounded down."""
        known = ir.Constant(ir.IntType(1), 1)
        return 63 - Int(code.builder, self.call(code.builder, "llvm.ctlz.i64", INT, n.ir, known))

    def sum(self, builder: Any, vector: Any) -> Any:
        """Return the sum of a vector's elements, of halves of halves."""
        name = f"llvm.vector.reduce.fadd.{self.name}"
        kind = ir.FunctionType(self.real, [self.real, self.type])
        function = declared(builder.module, name, kind)
        return builder.call(function, [self.real(-0.0), vector], fastmath=("reassoc",))
