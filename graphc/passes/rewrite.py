"""Apply a set of rules to a graph until none applies."""

from __future__ import annotations

from collections import Counter

from graphc.ir.graph import Graph, replace_inputs
from graphc.ir.rewrite import RuleSet
from graphc.ir.tensor import Tensor, building

_ROUNDS = 20
"""Sweeps after which rewriting stops, should rules undo one another."""

_TURNS = 20
"""Rules that may follow one another at one node in one sweep."""


def rewrite(graph: Graph, rules: RuleSet, hits: Counter[str]) -> Graph:
    """Return ``graph`` with ``rules`` applied at every node, operands first, to a fixed point.

    A node never changes, so one to which no rule applies is not looked at again, nor is a copy.
    """
    settled: dict[tuple[int, ...], Tensor] = {}

    def applies(node: Tensor) -> bool:
        if not rules.of[type(node.op)] or (seen := _seen(node)) in settled:
            return False
        if rules.apply(node):
            return True
        settled[seen] = node
        return False

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        new = replace_inputs(node, operands)
        if not rules.of[type(new.op)] or _seen(new) in settled:
            return new
        with building(phase=node.phase, loc=node.loc, scope=node.scope):
            for _ in range(_TURNS):
                found = rules.apply(new)
                if found is None:
                    settled[_seen(new)] = new
                    break
                new, name = found
                hits[name] += 1
        return named_like(new, node, operands)

    for _ in range(_ROUNDS):
        if not any(map(applies, graph.nodes)):
            break
        graph = graph.rebuild(rule)
    return graph


def _seen(node: Tensor) -> tuple[int, ...]:
    """Return the identities of what rules look at, which live as long as the node."""
    return (id(node.op), *map(id, node.inputs))


def named_like(new: Tensor, node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
    """Return ``new``, made of ``operands`` in the place of ``node``, under the user's name for it.

    A tensor that was there before is returned as it is: a second one would be computed twice.
    """
    if node.label is None or new.label is not None or any(x.id >= new.id for x in operands):
        return new
    return Tensor(new.op, new.inputs, new.type, label=node.label, like=new)
