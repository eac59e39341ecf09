"""The record as text, for ``graphc machine``."""

from __future__ import annotations

from graphc.machine import kept
from graphc.machine.record import Machine


def show(machine: Machine) -> str:
    """Return what is known, what was tried, and where that is kept."""
    isa, rates = machine.isa, machine.rates
    wide = f"{8 * isa.vector_bytes}-bit vectors, {isa.registers} registers"
    extras = [name for name, has in (("masks", isa.masks), ("multiply-add", isa.fma)) if has]
    caches = ", ".join(_size(c) for c in machine.caches)
    origin = "expected of such a machine, not tried"
    if machine.tried:
        store, key, identity = kept()
        there = store.read(key, identity) is not None
        origin = f"tried, kept in {store.path(key)}" if there else "tried, kept nowhere"
    lines = [
        f"processor     {machine.processor or 'unknown'}, {machine.processors} for this process",
        f"instructions  {', '.join([wide, *extras])}",
        f"caches        {caches}",
        f"rates         {origin}",
        f"  multiply-adds  {rates.flops:7.1f} operations/ns in float32",
        f"  first cache    {rates.first:7.1f} bytes/ns moved, {rates.read_first:7.1f} read",
        f"  second cache   {rates.second:7.1f} {rates.read_second:20.1f}",
        f"  third cache    {rates.third:7.1f} {rates.read_third:20.1f}",
        f"  memory         {rates.memory:7.1f} {rates.read_memory:20.1f}",
        f"  addition       {rates.addition:7.2f} ns after the one before",
        f"  barrier        {rates.meeting:7.0f} ns for two threads",
    ]
    return "\n".join(lines)


def _size(nbytes: int) -> str:
    if not nbytes:
        return "unknown"
    whole = nbytes >> 20
    return f"{whole} MB" if whole and whole << 20 == nbytes else f"{nbytes >> 10} KB"
