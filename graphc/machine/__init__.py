"""The machine: one record, from which every choice is made that depends on it.

:func:`known` is what can be looked up; :func:`this` adds what only trying tells, which is done once
a machine and kept beside the compiled kernels.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from graphc.config import available_cpus, options
from graphc.jit.choice import llvm_serves
from graphc.jit.processor import features, target
from graphc.jit.store import Store
from graphc.lazy import lazy_module
from graphc.machine.isa import isa_of
from graphc.machine.record import Machine, Rates, expected

if TYPE_CHECKING:
    from graphc.machine import trial
else:
    trial = lazy_module("graphc.machine.trial")  # it compiles

SYSFS = Path("/sys/devices/system/cpu/cpu0/cache")

_VERSION = 2
"""Of the trial: another finds other figures."""


@functools.cache
def known() -> Machine:
    """Return what is known of this machine, with the rates that are to be expected of it."""
    isa = isa_of(features())
    return Machine(target()[0], features(), isa, _caches(), available_cpus(), expected(isa))


def this() -> Machine:
    """Return this machine, tried if that may be."""
    return _tried() if may_try() else known()


def may_try() -> bool:
    """Tell whether the options let us: ``machine`` may describe another; and whether LLVM can."""
    return options().calibrate and not options().machine and llvm_serves()


def kept() -> tuple[Store, str, str]:
    """Return where the rates of this machine are kept, under which key, and what they are of."""
    machine = known()
    facts = (sorted(x) if isinstance(x, frozenset) else x for x in vars(machine).values())
    identity = repr((_VERSION, *facts))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return Store(options().cache_path(), ".json"), f"machine_{digest}", identity


def try_again() -> bool:
    """Try this machine, whether or not that was done before; return whether that could be kept."""
    found = _try()
    _tried.cache_clear()
    store, key, identity = kept()
    return _read(store.read(key, identity)) == found


@functools.cache
def _tried() -> Machine:
    store, key, identity = kept()
    rates = _read(store.read(key, identity)) or _try()
    return replace(known(), rates=rates, tried=True)


def _try() -> Rates:
    store, key, identity = kept()
    rates = trial.try_machine(known())
    store.write(key, identity, json.dumps(asdict(rates)).encode())
    return rates


def _read(content: bytes | None) -> Rates | None:
    """Return the rates that an entry holds, or None where it holds none."""
    if content is None:
        return None
    try:
        values = json.loads(content)
        rates = Rates(**{f.name: float(values[f.name]) for f in fields(Rates)})
    except (ValueError, KeyError, TypeError):
        return None
    sound = all(math.isfinite(v) and v > 0 for v in asdict(rates).values())
    return rates if sound else None


def _caches() -> tuple[int, int, int]:
    """Return the bytes of each cache for data, 0 where unknown, as ``options().machine`` says."""
    found = dict.fromkeys((1, 2, 3), 0)
    for index in SYSFS.glob("index*"):
        try:
            level, kind, size = ((index / f).read_text().strip() for f in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction" and size.endswith("K"):
            found[int(level)] = int(size[:-1]) << 10
    found |= options().caches()
    return found[1], found[2], found[3]
