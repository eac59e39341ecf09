"""The loops by which a machine is tried, in LLVM's language."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.machine.isa import Isa

CHAINS = 10
"""Multiply-adds in flight: as many as two units of four to five cycles need."""

_SUMS = 8
"""Sums at once of what is read: as many additions in flight."""

_lines = "\n".join


def text(isa: Isa) -> str:
    """Return all loops.

    ``multiply(turns, memory)`` keeps chains of multiply-adds in registers, ``move(bytes, times,
    from, to)`` reads and writes, ``read(bytes, times, from)`` only reads, ``add(turns, memory)``
    is a chain of additions, and ``meet(rounds, patience, word)`` meets another thread.
    """
    lanes = isa.vector_bytes // 4
    vector = f"<{lanes} x float>"
    return "\n".join(
        [_multiply(isa, lanes, vector), _move(isa, vector), _read(isa, vector), _ADD, _MEET]
    )


def _multiply(isa: Isa, lanes: int, vector: str) -> str:
    chains = range(CHAINS)
    if isa.fma:
        step = f"call {vector} @llvm.fma.v{lanes}f32({vector} %x{{0}}, {vector} %a, {vector} %a)"
    else:
        step = f"fmul {vector} %x{{0}}, %a"
    begin = [f"  %x{i} = phi {vector} [ %a, %entry ], [ %y{i}, %loop ]" for i in chains]
    steps = [f"  %y{i} = {step.format(i)}" for i in chains]
    sums = [f"  %s{i} = fadd {vector} %{f's{i - 1}' if i > 1 else 'y0'}, %y{i}" for i in chains[1:]]
    return f"""
declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})

define i64 @multiply(i64 %turns, {vector}* %p) {{
entry:
  %a = load {vector}, {vector}* %p, align 4
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %j, %loop ]
{_lines(begin)}
{_lines(steps)}
  %j = add i64 %i, 1
  %more = icmp slt i64 %j, %turns
  br i1 %more, label %loop, label %end
end:
{_lines(sums)}
  store {vector} %s{CHAINS - 1}, {vector}* %p, align 4
  ret i64 0
}}
"""


def _move(isa: Isa, vector: str) -> str:
    moves = [
        f"""
  %p{k} = getelementptr {vector}, {vector}* %pi, i64 {k}
  %q{k} = getelementptr {vector}, {vector}* %qi, i64 {k}
  %v{k} = load {vector}, {vector}* %p{k}, align 4
  %w{k} = fadd {vector} %v{k}, %v{k}
  store {vector} %w{k}, {vector}* %q{k}, align 4"""
        for k in range(4)
    ]
    operands = [("p", "noalias"), ("q", "noalias")]
    return _passing(isa, "move", vector, operands, "".join(moves), 4)


def _read(isa: Isa, vector: str) -> str:
    loads = [
        f"""
  %p{k} = getelementptr {vector}, {vector}* %pi, i64 {k}
  %v{k} = load {vector}, {vector}* %p{k}, align 4
  %b{k} = fadd {vector} %a{k}, %v{k}"""
        for k in range(_SUMS)
    ]
    sums_begin = [
        f"  %a{k} = phi {vector} [ %z{k}, %again ], [ %b{k}, %loop ]" for k in range(_SUMS)
    ]
    sums_again = [
        f"  %z{k} = phi {vector} [ zeroinitializer, %entry ], [ %b{k}, %done ]"
        for k in range(_SUMS)
    ]
    total = [f"  %t{k} = fadd {vector} %{f't{k - 1}' if k > 1 else 'b0'}, %b{k}"
             for k in range(1, _SUMS)]  # fmt: skip
    total.append(f"  store {vector} %t{_SUMS - 1}, {vector}* %p, align 4")
    return _passing(
        isa, "read", vector, [("p", "")], "".join(loads), _SUMS,
        again=_lines(sums_again), begin=_lines(sums_begin), end=_lines(total),
    )  # fmt: skip


def _passing(
    isa: Isa, name: str, vector: str, operands: Sequence[tuple[str, str]], body: str, step: int,
    *, again: str = "", begin: str = "", end: str = "",
) -> str:  # fmt: skip
    """Return a function (bytes, times, operands) that goes over its operands so many times.

    ``body`` is for ``step`` vectors of each, which begin at ``%pi`` of ``%p``; ``again`` and
    ``begin`` open a pass and its loop, and ``end`` stands behind all.
    """
    given = ", ".join(f"{vector}* {attribute} %{x}".replace("  ", " ") for x, attribute in operands)
    places = [f"  %{x}i = getelementptr {vector}, {vector}* %{x}, i64 %i" for x, _ in operands]
    return f"""
define i64 @{name}(i64 %bytes, i64 %times, {given}) {{
entry:
  %n = udiv i64 %bytes, {isa.vector_bytes}
  br label %again
again:
  %t = phi i64 [ 0, %entry ], [ %u, %done ]
{again}
  br label %loop
loop:
  %i = phi i64 [ 0, %again ], [ %j, %loop ]
{begin}
{_lines(places)}
{body}
  %j = add i64 %i, {step}
  %more = icmp slt i64 %j, %n
  br i1 %more, label %loop, label %done
done:
  %u = add i64 %t, 1
  %repeat = icmp slt i64 %u, %times
  br i1 %repeat, label %again, label %end
end:
{end}
  ret i64 0
}}
"""


_ADD = """
define i64 @add(i64 %turns, float* %p) {
entry:
  %a = load float, float* %p, align 4
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %j, %loop ]
  %x = phi float [ %a, %entry ], [ %y, %loop ]
  %y = fadd float %x, %a
  %j = add i64 %i, 1
  %more = icmp slt i64 %j, %turns
  br i1 %more, label %loop, label %end
end:
  store float %y, float* %p, align 4
  ret i64 0
}
"""

_MEET = """
define i64 @meet(i64 %rounds, i64 %patience, i64* %word) {
entry:
  br label %round
round:
  %r = phi i64 [ 0, %entry ], [ %s, %met ]
  %before = atomicrmw add i64* %word, i64 1 seq_cst
  %s = add i64 %r, 1
  %all = mul i64 %s, 2
  br label %look
look:
  %k = phi i64 [ 0, %round ], [ %l, %look ]
  %l = add i64 %k, 1
  %now = load atomic i64, i64* %word seq_cst, align 8
  %here = icmp sge i64 %now, %all
  %late = icmp sge i64 %l, %patience
  %go = or i1 %here, %late
  br i1 %go, label %met, label %look
met:
  %more = icmp slt i64 %s, %rounds
  %on = and i1 %more, %here
  br i1 %on, label %round, label %end
end:
  %result = zext i1 %here to i64
  ret i64 %result
}
"""
