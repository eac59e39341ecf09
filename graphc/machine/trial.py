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
from graphc.machine.loops import CHAINS, text
from graphc.machine.record import Machine, Rates

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
    operations = (2 if isa.fma else 1) * CHAINS * isa.vector_bytes / 4
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
    module = binding.parse_assembly(text(isa), context=context)
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
