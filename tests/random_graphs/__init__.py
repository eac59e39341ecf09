"""Random graphs: what one implementation computes, another must compute as well.

``random_graph`` draws small training graphs for the tests of the passes. The driver,
``python -m tests.random_graphs --count 10000``, draws programs over every public function:
:mod:`.draw` makes them, :mod:`.check` compares compiled code with :mod:`.reference`,
:mod:`.derivatives` compares derivatives with finite differences and JAX, and :mod:`.shrink` finds
the smallest part of a program that still fails.
"""

from .training import random_graph

__all__ = ["random_graph"]
