"""Stable forms of what overflows or cancels as the user wrote it."""

from __future__ import annotations

from collections import Counter

from graphc.ir.graph import Graph
from graphc.ops.stable import STABLE
from graphc.passes.rewrite import rewrite


def stabilize(graph: Graph, hits: Counter[str]) -> Graph:
    """Return ``graph`` with the forms of :mod:`graphc.ops.stable`.

    The derivatives have gone through those forms already: this brings the values there too,
    and with them what both have in common.
    """
    return rewrite(graph, STABLE, hits)
