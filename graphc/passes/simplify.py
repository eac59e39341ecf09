"""Algebra, shapes and lookups: the rules of ``rules_*`` to a fixed point."""

from __future__ import annotations

from collections import Counter

from graphc.ir.graph import Graph
from graphc.ir.rewrite import RuleSet
from graphc.passes.rewrite import rewrite
from graphc.passes.rules_algebra import ALGEBRA
from graphc.passes.rules_lookup import LOOKUPS
from graphc.passes.rules_shape import SHAPES

SIMPLIFY = RuleSet(ALGEBRA, SHAPES, LOOKUPS)


def simplify(graph: Graph, hits: Counter[str]) -> Graph:
    """Return ``graph`` without the steps that change nothing."""
    return rewrite(graph, SIMPLIFY, hits)
