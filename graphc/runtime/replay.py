"""The loop that runs a captured table: itself a kernel.

Its range ``lo, hi`` is read as *thread number* and *repetitions*.
"""

from __future__ import annotations

from typing import Any

from graphc.runtime.invoke import invoke
from graphc.runtime.kernel import kernel


@kernel("table: int64*, words: int64")
def replay(lo: int, hi: int, table: Any, words: int) -> None:
    """Run every record of ``table``, in order, ``hi`` times."""
    for _ in range(hi):
        at = 0
        while at < words:
            invoke(table, at)
            at += table[at]
