"""The garbage collector, which costs a compiler a third of its time and finds nothing."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

MANY = 20_000
"""New objects that take milliseconds to walk."""

_pausing = 0
"""The thread that put collections off; 0 if they are on."""


@contextmanager
def paused() -> Iterator[None]:
    """Put off collections inside this block, where many objects are made and all are kept.

    A collection walks every object there is: 1.1 s of the 4.7 that a network of 1,000 layers takes.
    What is new at the end counts as old, or the first collection would walk it (0.4 s).
    """
    global _pausing
    enabled = gc.isenabled()
    if enabled:
        _pausing = threading.get_ident()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            age()
            gc.enable()
            _pausing = 0


def age() -> None:
    """Put all objects into the oldest generation, if many are new.

    Not if the user has set some aside, which would come back.
    """
    if gc.get_count()[0] >= MANY and not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()


def _after_fork() -> None:
    """Collect again in a forked process: the thread that would end the pause may not be here."""
    global _pausing
    if _pausing and _pausing != threading.get_ident():
        _pausing = 0
        gc.enable()


if os.name == "posix":
    os.register_at_fork(after_in_child=_after_fork)
