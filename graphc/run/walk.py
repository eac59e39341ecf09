"""The code of the loops that run tables; see :mod:`graphc.run.replay`."""

from __future__ import annotations

import sys
from typing import Any

from graphc.emit.tiles.code import INT, Address, Code, Int, Variable, declared, least
from graphc.jit.llvm import ir
from graphc.run.replay import ARRIVED, AWAKE, BASE, JOB, SEEN, TABLE, TIMES, WORDS
from graphc.schedule.levels import (
    BARRIER,
    CHAIN,
    CHECK,
    FACTOR,
    GUARD,
    RECORD_HEAD,
    SHARED,
    SPLIT,
    START,
    TURN,
)

PATIENCE = 200
"""Turns that a barrier spins before it gives way to other threads at each further turn."""

_GRAIN = 16
"""Shares are multiples of this many iterations, so that no cache line has two writers."""

_ALIGN = 8
_YIELD = ir.Constant(ir.IntType(32), 1)
_PAUSES: dict[str, tuple[str, list[Any]]] = {
    "x86_64": ("llvm.x86.sse2.pause", []),
    "aarch64": ("llvm.aarch64.hint", [_YIELD]),
    "arm64": ("llvm.aarch64.hint", [_YIELD]),
}
"""Instructions for loops that wait, by the architecture that begins LLVM's triple."""


class _Team:
    """The words through which threads talk, all seen in one order."""

    def __init__(self, code: Code, words: Address) -> None:
        self.code = code
        self.words = words

    def add(self, at: int, value: int) -> None:
        place = (self.words + at).ir
        self.code.builder.atomic_rmw("add", place, ir.Constant(INT, value), "seq_cst")

    def load(self, at: Int | int) -> Int:
        builder = self.code.builder
        return Int(builder, builder.load_atomic((self.words + at).ir, "seq_cst", _ALIGN))

    def store(self, at: Int | int, value: int) -> None:
        place = (self.words + at).ir
        self.code.builder.store_atomic(ir.Constant(INT, value), place, "seq_cst", _ALIGN)

    def meet(self, arrivals: Int) -> None:
        """Arrive, and wait until there were so many arrivals."""
        self.add(ARRIVED, 1)
        turns = self.code.variable(0)
        with self.code.while_(lambda: self.load(ARRIVED) < arrivals):
            turns.set(turns.value + 1)
            with self.code.either(turns.value < PATIENCE) as (soon, late):
                with soon:
                    spin(self.code)
                with late:
                    give_way(self.code)


def emit_replay(function: Any) -> None:
    """Fill ``replay``."""
    code = Code(function)
    lo, hi, table, words, threads, shared_words, scratch = code.arguments
    team, several = _Team(code, shared_words), threads > 1
    arrivals = code.variable(0)
    with code.when(several):
        arrivals.set((shared_words + BASE).load())
    guard = code.variable(-1)  # the last guard passed: all of a table share one verdict
    with code.loop(0, hi):
        at = code.variable(0)
        with code.while_(lambda: at.value < words):
            record = table + at.value
            rows, sharing = (record + 2).load(), (record + 3).load()
            looping = (sharing & (SPLIT | TURN | START | CHECK)).differs(0)
            with code.when(several & (sharing & BARRIER).differs(0)):
                arrivals.set(arrivals.value + threads)
                team.meet(arrivals.value)
            start, stop = _share(code, lo, threads, rows, sharing)
            with code.when(guard.value >= 0):
                verdict = (table + guard.value + RECORD_HEAD).load()
                told = Address(code.builder, code.builder.inttoptr(verdict.ir, INT.as_pointer()))
                found = Int(code.builder, code.builder.load_atomic(told.ir, "seq_cst", _ALIGN))
                # go on to the barriers, at which the others wait
                stop.set(found.differs(0).choose(0, stop.value))
            with code.when((sharing & GUARD).differs(0)):
                guard.set(at.value)
            with code.either(looping) as (loop, work):
                with loop:
                    following = _looped(code, table, at.value, lo, sharing)
                    looks = (sharing & (START | CHECK)).differs(0)
                    with code.when(several & looks & (sharing & BARRIER).differs(0)):
                        arrivals.set(arrivals.value + threads)
                        team.meet(arrivals.value)  # nobody writes before all have looked
                    at.set(following)
                with work, code.either((sharing & CHAIN).differs(0)) as (chain, single):
                    with chain:
                        at.set(_chain(code, table, at.value, start, stop.value, scratch))
                    with single:
                        with code.when(start.value < stop.value):
                            _run(code, record, start.value, stop.value, scratch)
                        at.set(at.value + record.load())
    with code.when(several):
        team.meet(arrivals.value + threads)
        with code.when(lo.equals(0)):
            (shared_words + SEEN).store((shared_words + JOB).load())
    code.end()


def _looped(code: Code, table: Address, at: Int, thread: Int, sharing: Int) -> Int:
    """Lead a thread to its copy of a loop, or end a step of it; return where the next record is."""
    head = table + at
    own = head + RECORD_HEAD
    following = code.variable(at + head.load())
    with code.when((sharing & SPLIT).differs(0)):
        following.set(following.value + least(thread, (own + 1).load()) * own.load())
    with code.when((sharing & START).differs(0)):
        _start(code, table, at, following)
    with code.when((sharing & CHECK).differs(0)):
        _check(code, table, at)
    with code.when((sharing & TURN).differs(0)):
        left = own.load() - 1
        again, count = left > 0, (own + 1).load()
        own.store(again.choose(left, count))
        _move(code, head, again.choose(code.number(1), 1 - count))
        on = following.value + (own + 3).load()
        following.set(again.choose(at - (own + 2).load(), on))
    return following.value


def _move(code: Code, turn: Address, times: Int) -> None:
    """Move the words of a loop by their strides, so many times."""
    own = turn + RECORD_HEAD
    with code.loop(0, (own + 4).load()) as move:
        pair = own + (move * 2 + 5)
        word = turn + (0 - pair.load())
        word.store(word.load() + (pair + 1).load() * times)


def _start(code: Code, table: Address, at: Int, following: Variable) -> None:
    """Read how many steps a loop has, and make it ready for as many."""
    own = table + (at + RECORD_HEAD)
    place, most = at + (own + 1).load(), (own + 2).load()
    turn = table + place
    left = turn + RECORD_HEAD
    told = _told(code, own, INT)
    count = least((told > 0).choose(told, 0), most)
    with code.either(count > 0) as (some, none):
        with some:
            left.store(count)
            with code.either((own + 3).load().differs(0)) as (backwards, forwards):
                with backwards:  # the last step there may be stands first
                    (left + 1).store(most)
                    _move(code, turn, most - count)
                with forwards:
                    (left + 1).store(count)
        with none:
            following.set(place + turn.load() + (left + 3).load())


def _check(code: Code, table: Address, at: Int) -> None:
    """Read whether a loop goes on, and let this step be the last if not."""
    own = table + (at + RECORD_HEAD)
    left = table + (at + (own + 1).load() + RECORD_HEAD)
    with code.when(_told(code, own, ir.IntType(8)).equals(0)):
        (left + 1).store((left + 1).load() - left.load() + 1)
        left.store(1)


def _told(code: Code, own: Address, kind: ir.Type) -> Int:
    """Return the integer whose address a record has first."""
    builder = code.builder
    value = builder.load(builder.inttoptr(own.load().ir, kind.as_pointer()))
    return Int(builder, value if kind == INT else builder.zext(value, INT))


def _share(
    code: Code, thread: Int, threads: Int, rows: Int, sharing: Int
) -> tuple[Variable, Variable]:
    """Return the range of the rows of a record that a thread takes."""
    start, stop = code.variable(0), code.variable(rows)
    with code.when(threads > 1), code.either((sharing & SHARED).differs(0)) as (shared, alone):
        with shared:
            share = (rows + (threads - 1)) // threads
            whole = (share + (_GRAIN - 1)) // _GRAIN * _GRAIN
            share = (share >= 4 * _GRAIN).choose(whole, share)
            first = least(thread * share, rows)
            start.set(first)
            stop.set(least(first + share, rows))
        with alone:
            stop.set((thread > 0).choose(0, rows))
    return start, stop


def _chain(code: Code, table: Address, at: Int, start: Variable, stop: Int, scratch: Int) -> Int:
    """Run the records of a chain block by block; return where the next record is."""
    head = table + at
    block, first = (head + RECORD_HEAD).load(), at + head.load()
    end = first + (head + (RECORD_HEAD + 1)).load()
    with code.while_(lambda: start.value < stop):
        last, place = least(start.value + block, stop), code.variable(first)
        with code.while_(lambda: place.value < end):
            record = table + place.value
            _run(code, record, start.value, last, scratch)
            place.set(place.value + record.load())
        start.set(last)
    return end


def _run(code: Code, record: Address, start: Int, stop: Int, scratch: Int) -> None:
    """Call the kernel of a record for these of its rows, as often as it says."""
    factor = (record + 3).load() >> FACTOR
    pitch = (record + 5).load()
    with code.loop(0, (record + 4).load()) as time:
        further = time * pitch
        _invoke(code, record, start * factor + further, stop * factor + further, scratch)


def _invoke(code: Code, record: Address, lo: Int, hi: Int, scratch: Int) -> None:
    builder = code.builder
    kind = ir.FunctionType(ir.VoidType(), [INT.as_pointer(), INT, INT, INT])
    entry = builder.inttoptr((record + 1).load().ir, kind.as_pointer())
    builder.call(entry, [(record + RECORD_HEAD).ir, lo.ir, hi.ir, scratch.ir])


def emit_serve(function: Any) -> None:
    """Fill ``serve``."""
    code = Code(function)
    lo, hi, words, record = code.arguments
    team, seen, awake = _Team(code, words), lo * 8 + SEEN, lo * 8 + AWAKE
    idle, on = code.variable(0), code.variable(1)

    def posted() -> Int:
        return team.load(JOB).differs((words + seen).load())

    with code.while_(lambda: on.value.differs(0)), code.either(posted()) as (job, none):
        with job:
            (words + seen).store((words + seen).load() + 1)
            (record + RECORD_HEAD).store((words + TABLE).load())
            (record + (RECORD_HEAD + 1)).store((words + WORDS).load())
            _invoke(code, record, lo, (words + TIMES).load(), code.number(0))
            idle.set(0)
        with none:
            idle.set(idle.value + 1)
            with code.either(idle.value < hi) as (watch, rest):
                with watch:
                    spin(code)
                with rest:
                    team.store(awake, 0)
                    with code.either(posted()) as (after_all, still_none):
                        with after_all:
                            team.store(awake, 1)
                        with still_none:
                            on.set(0)
    code.end()


def spin(code: Code) -> None:
    """Tell the processor that this thread is waiting in a loop."""
    module = code.builder.module
    name, operands = _PAUSES.get(module.triple.partition("-")[0], ("", []))
    if name:
        kind = ir.FunctionType(ir.VoidType(), [o.type for o in operands])
        code.builder.call(declared(module, name, kind), operands)


def give_way(code: Code) -> None:
    """Let another thread have this processor: the waited-for one may need it."""
    name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
    kind = ir.FunctionType(ir.IntType(32), [])
    code.builder.call(declared(code.builder.module, name, kind), [])
