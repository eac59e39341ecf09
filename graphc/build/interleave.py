"""Let the vectors of a loop take turns: the instructions of its body in a better order.

LLVM's vectoriser takes four vectors at a time, but it writes their calls one after the other, and
so their formulas stand once they are inlined. A processor looks ahead for about a hundred
instructions, which is one or two vectors of a long formula; then it mostly waits for one result.
So the body is sorted by how long each instruction's results still need to the end of the body,
the priority of list scheduling (Gibbons and Muchnick, *Efficient instruction scheduling for a
pipelined architecture*, 1986): like instructions of the four vectors come side by side, each as
late as it can be, so that few registers are full at a time.
"""

from __future__ import annotations

import re

from graphc.machine.record import CYCLES

_BODY = re.compile(
    r"^(?P<label>(?P<name>vector\.body[\w.]*):.*\n)(?P<lines>(?:  .*\n)+?)"
    r"(?P<end>  br i1 .*label %(?P=name)\b)",
    re.M,
)
_NUMBER = re.compile(r"%(\d+)\b|^(\d+):", re.M)
_NAME = re.compile(r'%[\w.$-]+|%"[^"]+"')
_MEMORY = re.compile(r"load |store |(tail )?call .*@(?!llvm\.)|.*@llvm\.(masked|mem)")
_BEFORE_ALL = 1_000_000


def interleaved(text: str) -> str:
    """Return a module in LLVM's language, with the bodies of its vector loops in turn."""
    named = _NUMBER.sub(lambda m: f"%n.{m[1]}" if m[1] else f"n.{m[2]}:", text)  # these must rise
    return _BODY.sub(lambda m: m["label"] + _in_turn(m["lines"].splitlines()) + m["end"], named)


def _in_turn(lines: list[str]) -> str:
    """Sort a block by the cycles that are left; what touches memory keeps its order."""
    left: dict[str, int] = {}
    priorities = []
    memory = 0
    for line in reversed(lines):
        name, _, operation = line.strip().rpartition(" = ")
        cycles = left.get(name, 0) + _cycles(operation)
        if operation.startswith("phi "):
            cycles = _BEFORE_ALL
        elif _MEMORY.match(operation):
            cycles = memory = max(cycles, memory)
        for operand in _NAME.findall(operation):
            left[operand] = max(left.get(operand, 0), cycles)
        priorities.append(-cycles)
    order = sorted(zip(reversed(priorities), lines, strict=True), key=lambda pair: pair[0])
    return "".join(f"{line}\n" for _, line in order)


def _cycles(operation: str) -> int:
    return next((cycles for word, cycles in CYCLES.items() if word in operation), 1)
