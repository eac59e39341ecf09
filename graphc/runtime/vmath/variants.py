"""Functions with a rare slow path, which the loop vectoriser still widens.

A loop with a conditional call does not vectorise. So the function stays a call, marked with the
names of its versions for whole registers (LLVM's ``vector-function-abi-variant``), and the
vectoriser calls those. Each version computes all lanes by the formula and branches only if some
lane is outside its range; those lanes then go through libm one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from graphc.runtime.features import features
from graphc.runtime.vmath.trace import Bool, Real, select

Formula = Callable[[Real], Real]
Within = Callable[[Real], Bool]

PURE = ("nounwind", "readnone", "willreturn")


def _register_bits() -> tuple[int, ...]:
    """The vector widths the vectoriser may choose on this host."""
    if features().get("avx512f"):
        return 512, 256
    return (256,) if features().get("avx2") else (128,)


def _mark(function: Any, *attributes: str) -> None:
    """Add attributes, some of which llvmlite has no name for."""
    for attribute in attributes:
        set.add(function.attributes, attribute)


def _libm(module: Any, name: str, kind: Any) -> Any:
    full = f"{name}f" if isinstance(kind, ir.FloatType) else name
    known = module.globals.get(full)
    if known is not None:
        return known
    function = ir.Function(module, ir.FunctionType(kind, [kind]), full)
    _mark(function, *PURE)
    return function


def _scalar(function: Any, formula: Formula, within: Within, slow: Any) -> None:
    """Write ``formula(x) if within(x) else slow(x)``."""
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    x = Real(builder, function.args[0])
    with builder.if_then(builder.not_(within(x).ir), likely=False):
        builder.ret(builder.call(slow, [x.ir]))
    builder.ret(formula(x).ir)


def _vector(function: Any, formula: Formula, within: Within, slow: Any) -> None:
    """Write the formula for all lanes, then ``slow`` for each lane that is not ``within``."""
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    x = Real(builder, function.args[0])
    lanes, index = x.ir.type.count, ir.IntType(32)
    fast = formula(x)
    good = within(x).ir
    mask = builder.bitcast(good, ir.IntType(lanes))
    rare, done = function.append_basic_block("rare"), function.append_basic_block("done")
    entry = builder.block
    builder.cbranch(builder.icmp_unsigned("==", mask, ir.Constant(mask.type, -1)), done, rare)
    builder.position_at_end(done)
    result = builder.phi(x.ir.type)
    result.add_incoming(fast.ir, entry)
    builder.ret(result)

    builder.position_at_end(rare)
    lane, acc = builder.phi(index), builder.phi(x.ir.type)
    lane.add_incoming(ir.Constant(index, 0), entry)
    acc.add_incoming(fast.ir, entry)
    number = Real(builder, builder.extract_element(x.ir, lane))
    keep = Bool(builder, builder.extract_element(good, lane))
    # an ordinary argument in the place of those already done: libm is slow for huge ones
    exact = Real(builder, builder.call(slow, [select(keep, 0.0, number).ir]))
    before = Real(builder, builder.extract_element(acc, lane))
    after = builder.insert_element(acc, select(keep, before, exact).ir, lane)
    following = builder.add(lane, ir.Constant(index, 1))
    lane.add_incoming(following, rare)
    acc.add_incoming(after, rare)
    result.add_incoming(after, rare)
    builder.cbranch(builder.icmp_unsigned("<", following, ir.Constant(index, lanes)), rare, done)


def call_guarded(builder: Any, name: str, formula: Formula, within: Within, x: Real) -> Any:
    """Call ``formula(x) if within(x) else libm's name(x)``; define it where it is not yet."""
    module, kind = builder.module, x.ir.type
    full = f"graphc.{name}.f{x.width}"
    function = module.globals.get(full)
    if function is not None:
        return builder.call(function, [x.ir])
    slow = _libm(module, name, kind)
    function = ir.Function(module, ir.FunctionType(kind, [kind]), full)
    function.linkage = "internal"
    _scalar(function, formula, within, slow)
    counts = {bits // size for bits in _register_bits() for size in (x.width, 64)}
    variants = []
    for lanes in sorted(counts):
        wide = ir.VectorType(kind, lanes)
        version = ir.Function(module, ir.FunctionType(wide, [wide]), f"{full}.v{lanes}")
        version.linkage = "weak_odr"  # kept although nothing calls it before vectorisation
        _mark(version, *PURE)
        _vector(version, formula, within, slow)
        variants.append(f"_ZGV_LLVM_N{lanes}v_{full}({version.name})")
    _mark(function, *PURE, "noinline", f'"vector-function-abi-variant"="{",".join(variants)}"')
    return builder.call(function, [x.ir])
