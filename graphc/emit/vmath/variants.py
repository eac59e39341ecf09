"""Functions that a loop calls and the vectoriser widens all the same.

A formula with a rare slow path, or with instructions that have no scalar form, cannot be part of
a loop that LLVM vectorises. So it stays a call, marked with the names of its versions for
vectors (LLVM's ``vector-function-abi-variant``), which the vectoriser calls instead; they are
inlined afterwards (see :mod:`graphc.build.native`). A version is told from other functions by
its linkage, which also keeps it until then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphc.emit.vmath.trace import Bool, Real, select
from graphc.jit.llvm import ir, mark
from graphc.jit.processor import features
from graphc.machine import known
from graphc.machine.isa import AVX512

Formula = Callable[..., Any]
Within = Callable[[Real], Bool]
Body = Callable[[Any, list[Real]], Real]

VERSION = "weak_odr"
"""The linkage of functions that no call names until LLVM has made vectors of loops."""

PURE = ("nounwind", "readnone", "willreturn")
_INDEX = ir.IntType(32)


def has_wide() -> bool:
    """Whether formulas for whole AVX-512 registers can run here."""
    return known().isa == AVX512 and features() >= {"avx512dq", "avx512vl"}


def call_guarded(builder: Any, name: str, formula: Formula, within: Within, x: Real) -> Any:
    """Call ``formula(x) if within(x) else libm's name(x)``; define it where it is not yet.

    A version for vectors computes all lanes by the formula and branches only if some lane is
    outside its range; those lanes then go through libm one by one.
    """
    module = builder.module
    slow = _libm(module, name, x.ir.type)
    widest = 8 * known().isa.vector_bytes
    bits = (widest, 256) if widest > 256 else (widest,)

    def scalar(builder: Any, args: list[Real]) -> Real:
        with builder.if_then(builder.not_(within(args[0]).ir), likely=False):
            builder.ret(builder.call(slow, [args[0].ir]))
        result: Real = formula(args[0])
        return result

    def vector(builder: Any, args: list[Real]) -> Real:
        return _with_rare_lanes(builder, formula, within, slow, args[0])

    counts = sorted({b // size for b in bits for size in (x.width, 64)})
    return _call(builder, name, [x], scalar, dict.fromkeys(counts, vector))


def call_wide(builder: Any, name: str, formula: Formula, args: list[Real]) -> Any:
    """Call ``formula(*args)``, which is for whole registers; define it where it is not yet.

    Fewer lanes, and one, are computed as part of a register: the same bits in every loop.
    """
    most = 512 // args[0].width

    def whole(builder: Any, args: list[Real]) -> Real:
        result: Real = formula(*args)
        return result

    def part(builder: Any, args: list[Real]) -> Real:
        lanes = getattr(args[0].ir.type, "count", 1)
        full = [Real(builder, _resized(builder, a.ir, most)) for a in args]
        widest = builder.module.get_global(f"{_symbol(name, args[0].width)}.v{most}")
        return Real(builder, _resized(builder, builder.call(widest, [a.ir for a in full]), lanes))

    versions = {most: whole}
    versions |= {most >> i: part for i in range(1, most.bit_length() - 1)}
    return _call(builder, name, args, part, versions)


def unless_any(condition: Bool, usual: Formula, rare: Formula, args: list[Real]) -> Real:
    """``usual(*args)``, but ``rare`` for all lanes of a vector if the condition holds in one.

    The rare formula is a function of its own, which leaves the registers to the other.
    """
    builder, kind = condition.builder, args[0].ir.type
    name = f"graphc.{rare.__name__}.f{args[0].width}.v{kind.count}"

    def body(builder: Any, args: list[Real]) -> Real:
        result: Real = rare(*args)
        return result

    function = builder.module.globals.get(name)
    if function is None:
        function = _define(builder.module, name, kind, len(args), body)
        function.linkage = "internal"
        mark(function, "noinline", "cold")
    mask = builder.bitcast(condition.ir, ir.IntType(kind.count))
    none = builder.icmp_unsigned("==", mask, ir.Constant(mask.type, 0))
    with builder.if_else(none, likely=True) as (then, otherwise):
        with then:
            found, found_in = usual(*args).ir, builder.block
        with otherwise:
            other, other_in = builder.call(function, [a.ir for a in args]), builder.block
    result = builder.phi(kind)
    result.add_incoming(found, found_in)
    result.add_incoming(other, other_in)
    return Real(builder, result)


def _symbol(name: str, width: int) -> str:
    return f"graphc.{name}.f{width}"


def _call(
    builder: Any, name: str, args: list[Real], scalar: Body, versions: Mapping[int, Body]
) -> Any:
    """Call the function of this name; at first, write its body and those of its versions."""
    module, kind, symbol = builder.module, args[0].ir.type, _symbol(name, args[0].width)
    function = module.globals.get(symbol)
    if function is None:
        known = [
            _define(module, f"{symbol}.v{lanes}", ir.VectorType(kind, lanes), len(args), body)
            for lanes, body in versions.items()
        ]
        function = _define(module, symbol, kind, len(args), scalar)
        function.linkage = "internal"
        for version in known:
            mark(version, "alwaysinline")
        masks = [f"_ZGV_LLVM_N{lanes}{'v' * len(args)}_{symbol}" for lanes in versions]
        pairs = ",".join(f"{m}({v.name})" for m, v in zip(masks, known, strict=True))
        mark(function, "noinline", f'"vector-function-abi-variant"="{pairs}"')
    return builder.call(function, [a.ir for a in args])


def _define(module: Any, name: str, kind: Any, arity: int, body: Body) -> Any:
    """Write a function of values of one type."""
    function = ir.Function(module, ir.FunctionType(kind, [kind] * arity), name)
    function.linkage = VERSION
    mark(function, *PURE)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    result = body(builder, [Real(builder, a) for a in function.args])
    builder.ret(result.ir)
    return function


def _resized(builder: Any, value: Any, lanes: int) -> Any:
    """Return the first of the lanes of ``value``, or all repeated; one lane is a number."""
    if not isinstance(value.type, ir.VectorType):
        one = ir.Constant(ir.VectorType(value.type, 1), ir.Undefined)
        value = builder.insert_element(one, value, ir.Constant(_INDEX, 0))
    if lanes == 1:
        return builder.extract_element(value, ir.Constant(_INDEX, 0))
    chosen = [i % value.type.count for i in range(lanes)]
    mask = ir.Constant(ir.VectorType(_INDEX, lanes), chosen)
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)


def _libm(module: Any, name: str, kind: Any) -> Any:
    full = f"{name}f" if isinstance(kind, ir.FloatType) else name
    known = module.globals.get(full)
    if known is not None:
        return known
    function = ir.Function(module, ir.FunctionType(kind, [kind]), full)
    mark(function, *PURE)
    return function


def _with_rare_lanes(builder: Any, formula: Formula, within: Within, slow: Any, x: Real) -> Real:
    """The formula for all lanes; where some are not ``within``, those by ``slow``."""
    entry, lanes = builder.block, x.ir.type.count
    fast, good = formula(x), within(x).ir
    mask = builder.bitcast(good, ir.IntType(lanes))
    rare, done = builder.append_basic_block("rare"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_unsigned("==", mask, ir.Constant(mask.type, -1)), done, rare)
    builder.position_at_end(rare)
    repaired = builder.call(_repair(builder.module, slow, lanes), [x.ir, fast.ir, mask])
    builder.branch(done)
    builder.position_at_end(done)
    result = builder.phi(x.ir.type)
    result.add_incoming(fast.ir, entry)
    result.add_incoming(repaired, rare)
    return Real(builder, result)


def _repair(module: Any, slow: Any, lanes: int) -> Any:
    """Return a function of ``x``, results and the mask of those to keep; others are computed."""
    name, kind = f"graphc.{slow.name}.rare.v{lanes}", slow.function_type.return_type
    known = module.globals.get(name)
    if known is not None:
        return known
    wide, bits = ir.VectorType(kind, lanes), ir.IntType(lanes)
    function = ir.Function(module, ir.FunctionType(wide, [wide, wide, bits]), name)
    function.linkage = "internal"
    mark(function, *PURE, "noinline", "cold")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    x, results, mask = function.args
    entry, loop = builder.block, builder.append_basic_block("lane")
    keep = builder.bitcast(mask, ir.VectorType(ir.IntType(1), lanes))
    builder.branch(loop)
    builder.position_at_end(loop)
    lane, done = builder.phi(_INDEX), builder.phi(wide)
    lane.add_incoming(ir.Constant(_INDEX, 0), entry)
    done.add_incoming(results, entry)
    number = Real(builder, builder.extract_element(x, lane))
    kept = Bool(builder, builder.extract_element(keep, lane))
    # an ordinary argument in the place of those already done: libm is slow for huge ones
    exact = Real(builder, builder.call(slow, [select(kept, 0.0, number).ir]))
    before = Real(builder, builder.extract_element(done, lane))
    after = builder.insert_element(done, select(kept, before, exact).ir, lane)
    following = builder.add(lane, ir.Constant(_INDEX, 1))
    lane.add_incoming(following, loop)
    done.add_incoming(after, loop)
    end = builder.append_basic_block("end")
    builder.cbranch(builder.icmp_unsigned("<", following, ir.Constant(_INDEX, lanes)), loop, end)
    builder.position_at_end(end)
    builder.ret(after)
    return function
