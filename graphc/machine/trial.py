"""Trying a machine: short loops in LLVM's language, the best of several turns of each.

A third of a second on an idle machine. Other processes make figures worse, never better, so the
best is kept; and nothing but speed depends on them.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable

import numpy as np

from graphc.forks import whole
from graphc.jit.llvm import binding
from graphc.jit.processor import target
from graphc.machine.isa import Isa
from graphc.machine.record import Machine, Rates

_CHAINS = 10
"""Multiply-adds in flight: as many as two units of four to five cycles need."""

_SUMS = 8
"""Sums at once of what is read: as many additions in flight."""

_TURNS = 60_000
_MOVED = 16 << 20
"""Bytes that a turn moves at least, lest the call be a part of what is measured."""

_LARGEST = 24 << 20
"""Bytes of an operand that is taken to lie in memory: more would take long to fill."""

_PATIENCE = 1_000_000
"""Looks at a barrier before the other thread is taken to be asleep."""

_Call = Callable[..., int]


def try_machine(machine: Machine) -> Rates:
    """Return the rates of this machine; ``machine`` is what is known of it."""
    usual = machine.rates.meeting
    with whole(logs=False):
        engine, calls = _compiled(machine.isa)
    first, second, third = machine.first, machine.second, machine.third
    operands = (
        first // 4, max(first, second // 4), min(_LARGEST, max(second, third // 8)),
        min(_LARGEST, 2 * third),
    )  # fmt: skip
    moved = [_moved(calls["move"], nbytes) for nbytes in operands]
    read = [_read(calls["read"], 2 * nbytes) for nbytes in operands]
    rates = Rates(
        flops=_flops(calls["multiply"], machine.isa),
        first=moved[0], second=moved[1], third=moved[2], memory=moved[3],
        meeting=_meeting(calls["meet"], usual) if machine.processors > 1 else usual,
        read_first=read[0], read_second=read[1], read_third=read[2], read_memory=read[3],
        addition=_addition(calls["add"]),
    )  # fmt: skip
    del engine  # the calls live until here
    return rates


def _best(action: Callable[[], object], turns: int) -> float:
    """Return the shortest time of several, in nanoseconds."""
    times = []
    for _ in range(turns):
        start = time.perf_counter_ns()
        action()
        times.append(time.perf_counter_ns() - start)
    return float(max(1, min(times)))


def _flops(multiply: _Call, isa: Isa) -> float:
    memory = np.zeros(isa.vector_bytes, np.uint8)
    best = _best(lambda: multiply(_TURNS, memory.ctypes.data), 60)
    operations = (2 if isa.fma else 1) * _CHAINS * isa.vector_bytes / 4
    return operations * _TURNS / best


def _moved(move: _Call, nbytes: int) -> float:
    """Return bytes in a nanosecond of ``y = x + x`` where each operand takes ``nbytes``."""
    nbytes -= nbytes % 512
    source, result = np.ones(nbytes, np.uint8), np.ones(nbytes, np.uint8)
    times = max(1, _MOVED // nbytes)
    addresses = source.ctypes.data, result.ctypes.data
    best = _best(lambda: move(nbytes, times, *addresses), 5 if nbytes > _MOVED else 25)
    return 2 * nbytes * times / best


def _read(read: _Call, nbytes: int) -> float:
    """Return bytes in a nanosecond of the sum of an operand."""
    nbytes -= nbytes % 512
    source = np.ones(nbytes, np.uint8)
    times = max(1, _MOVED // nbytes)
    best = _best(lambda: read(nbytes, times, source.ctypes.data), 5 if nbytes > _MOVED else 25)
    return nbytes * times / best


def _addition(add: _Call) -> float:
    """Return how long an addition takes that waits for the one before, in nanoseconds."""
    memory = np.ones(1, np.float32)
    return _best(lambda: add(_TURNS, memory.ctypes.data), 60) / _TURNS


def _meeting(meet: _Call, usual: float) -> float:
    """Return how long a barrier takes, or what is usual where the threads hardly ever meet.

    The difference of many and few, since the first waits for a thread to start.
    """
    few, many = (_best_meetings(meet, rounds) for rounds in (300, 2300))
    return max(1.0, (many - few) / 2000) if few and many > few else usual


def _best_meetings(meet: _Call, rounds: int) -> float:
    """Return the nanoseconds that so many meetings take, or 0 if the threads did not meet."""
    times = []
    for _ in range(7):
        word = np.zeros(16, np.int64)
        other = threading.Thread(target=meet, args=(rounds, _PATIENCE, word.ctypes.data))
        other.start()
        while word[0] == 0:  # it has arrived: then the time is that of meeting
            os.sched_yield() if hasattr(os, "sched_yield") else time.sleep(0)
        start = time.perf_counter_ns()
        met = meet(rounds, _PATIENCE, word.ctypes.data)
        times.append((time.perf_counter_ns() - start) * bool(met))
        other.join()
    return min(filter(None, times), default=0.0)


def _compiled(isa: Isa) -> tuple[object, dict[str, _Call]]:
    """Return the functions, and what keeps their code."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    name, features = target()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=name, features=features, opt=2, jit=True
    )
    context = binding.create_context()
    module = binding.parse_assembly(_text(isa), context=context)
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()

    def call(name: str, arguments: int) -> _Call:
        kinds = [ctypes.c_int64] * arguments
        return ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(engine.get_function_address(name))

    return (engine, context), {
        "multiply": call("multiply", 2),
        "move": call("move", 4),
        "meet": call("meet", 3),
        "read": call("read", 3),
        "add": call("add", 2),
    }


def _text(isa: Isa) -> str:
    """Return the functions in LLVM's language.

    ``multiply(turns, memory)`` keeps chains of multiply-adds in registers, ``move(bytes, times,
    from, to)`` reads and writes, ``read(bytes, times, from)`` only reads, ``add(turns, memory)``
    is a chain of additions, and ``meet(rounds, patience, word)`` meets another thread.
    """
    lanes, lines = isa.vector_bytes // 4, "\n".join
    vector = f"<{lanes} x float>"
    chains = range(_CHAINS)
    if isa.fma:
        step = f"call {vector} @llvm.fma.v{lanes}f32({vector} %x{{0}}, {vector} %a, {vector} %a)"
    else:
        step = f"fmul {vector} %x{{0}}, %a"
    begin = [f"  %x{i} = phi {vector} [ %a, %entry ], [ %y{i}, %loop ]" for i in chains]
    steps = [f"  %y{i} = {step.format(i)}" for i in chains]
    sums = [f"  %s{i} = fadd {vector} %{f's{i - 1}' if i > 1 else 'y0'}, %y{i}" for i in chains[1:]]
    moves = [
        f"""
  %p{k} = getelementptr {vector}, {vector}* %pi, i64 {k}
  %q{k} = getelementptr {vector}, {vector}* %qi, i64 {k}
  %v{k} = load {vector}, {vector}* %p{k}, align 4
  %w{k} = fadd {vector} %v{k}, %v{k}
  store {vector} %w{k}, {vector}* %q{k}, align 4"""
        for k in range(4)
    ]
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
    return f"""
declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})

define i64 @multiply(i64 %turns, {vector}* %p) {{
entry:
  %a = load {vector}, {vector}* %p, align 4
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %j, %loop ]
{lines(begin)}
{lines(steps)}
  %j = add i64 %i, 1
  %more = icmp slt i64 %j, %turns
  br i1 %more, label %loop, label %end
end:
{lines(sums)}
  store {vector} %s{_CHAINS - 1}, {vector}* %p, align 4
  ret i64 0
}}

define i64 @move(i64 %bytes, i64 %times, {vector}* noalias %p, {vector}* noalias %q) {{
entry:
  %n = udiv i64 %bytes, {isa.vector_bytes}
  br label %again
again:
  %t = phi i64 [ 0, %entry ], [ %u, %done ]
  br label %loop
loop:
  %i = phi i64 [ 0, %again ], [ %j, %loop ]
  %pi = getelementptr {vector}, {vector}* %p, i64 %i
  %qi = getelementptr {vector}, {vector}* %q, i64 %i
{"".join(moves)}
  %j = add i64 %i, 4
  %more = icmp slt i64 %j, %n
  br i1 %more, label %loop, label %done
done:
  %u = add i64 %t, 1
  %repeat = icmp slt i64 %u, %times
  br i1 %repeat, label %again, label %end
end:
  ret i64 0
}}

define i64 @read(i64 %bytes, i64 %times, {vector}* %p) {{
entry:
  %n = udiv i64 %bytes, {isa.vector_bytes}
  br label %again
again:
  %t = phi i64 [ 0, %entry ], [ %u, %done ]
{lines(sums_again)}
  br label %loop
loop:
  %i = phi i64 [ 0, %again ], [ %j, %loop ]
{lines(sums_begin)}
  %pi = getelementptr {vector}, {vector}* %p, i64 %i
{"".join(loads)}
  %j = add i64 %i, {_SUMS}
  %more = icmp slt i64 %j, %n
  br i1 %more, label %loop, label %done
done:
  %u = add i64 %t, 1
  %repeat = icmp slt i64 %u, %times
  br i1 %repeat, label %again, label %end
end:
{lines(total)}
  store {vector} %t{_SUMS - 1}, {vector}* %p, align 4
  ret i64 0
}}

define i64 @add(i64 %turns, float* %p) {{
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
}}

define i64 @meet(i64 %rounds, i64 %patience, i64* %word) {{
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
}}
"""
