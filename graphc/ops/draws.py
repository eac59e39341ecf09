"""The random draws of a graph: their streams, their steps, and the rows they are for.

A draw is a pure function of its seed, stream, step and place. A user who gives no stream gets
the number of the draw within its graph, and one who gives no step that of the graph's own
steps. Both are settled when the graph of a function or model is declared.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

from graphc.ir.graph import Graph, replace_inputs
from graphc.ir.results import Multiple
from graphc.ir.source import Constant, constant, parameter
from graphc.ir.tensor import Tensor, building
from graphc.ops.bodies import in_bodies
from graphc.ops.random import Clock, RandomUniform, Stream, Turn
from graphc.types import BATCH, INT64, Dim, Shape, divided, size_of


def new_clock() -> Tensor:
    """Return a parameter that counts the steps of one function or model."""
    return parameter(0, (), name="random.step", dtype=INT64, trainable=False)


def advanced(clock: Tensor) -> dict[Tensor, Tensor]:
    """Return the update of a clock after a step."""
    with building(phase="update", scope=()):
        return {clock: clock + 1}


def counts_steps(graph: Graph) -> bool:
    """Tell whether a draw of ``graph`` changes with the graph's steps."""
    return any(isinstance(node.op, Clock) for node in graph)


def settled(graph: Graph, clock: Tensor | None) -> Graph:
    """Return ``graph`` with a number for the stream of each draw, and ``clock`` as their step.

    Draws of one seed are numbered in the order in which they were made, past the streams that
    the user gave. Without a clock the step is 0, and the graph a pure function.
    """
    numbers = _streams(graph)
    if not numbers and not any(isinstance(node.op, (Clock, Turn)) for node in graph):
        return graph

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        op = node.op
        if isinstance(op, (Clock, Turn)):
            now = isinstance(op, Clock) and clock is not None
            return clock if clock is not None and now else constant(0, INT64)
        if isinstance(op, RandomUniform) and isinstance(op.stream, Stream):
            new = op.replaced(stream=numbers[op.stream])
            return Tensor(new, operands, node.type, label=node.label, like=node)
        return replace_inputs(node, operands)

    def within(part: Graph) -> Graph:
        return in_bodies(part.rebuild(rule), within, whole=True)

    return within(graph)


def draws_of(graph: Graph) -> Iterator[Tensor]:
    """Yield the draws of ``graph``, those in loops and branches too."""
    for node in graph:
        if isinstance(node.op, RandomUniform):
            yield node
        if isinstance(node.op, Multiple):
            for inner in node.op.graphs().values():
                yield from draws_of(inner)


def _streams(graph: Graph) -> dict[Stream, int]:
    """Return a number for each stream that the user left open."""
    taken: dict[object, set[int]] = {}
    own: dict[Stream, object] = {}
    for node in draws_of(graph):
        assert isinstance(node.op, RandomUniform)
        used = taken.setdefault(_seed_of(node), set())
        if isinstance(node.op.stream, int):
            used.add(node.op.stream)
        else:
            own[node.op.stream] = _seed_of(node)
    numbers: dict[Stream, int] = {}
    for stream in sorted(own, key=attrgetter("order")):
        used = taken[own[stream]]
        numbers[stream] = next(n for n in range(len(used) + 1) if n not in used)
        used.add(numbers[stream])
    return numbers


def _seed_of(node: Tensor) -> object:
    """Return what draws of one seed have in common; seeds that are computed count as one."""
    seed = node.inputs[0].op
    return seed if isinstance(seed, Constant) else None


def by_row(graph: Graph, first: Tensor) -> Graph:
    """Return ``graph`` with draws for the rows from number ``first`` on, a scalar of int64.

    So rows that go through a graph in several batches get what they would get in one.
    """

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        size = _row_size(node.type.shape)
        if not isinstance(node.op, RandomUniform) or size is None or len(operands) > 2:
            return replace_inputs(node, operands)
        with building(phase=node.phase, loc=node.loc, scope=node.scope):
            numbered = (*operands, first * size)
        return Tensor(node.op, numbered, node.type, label=node.label, like=node)

    return graph.rebuild(rule)


def depends_on_rows(graph: Graph) -> tuple[bool, bool]:
    """Return whether draws of ``graph`` depend on the batch, and whether all go row by row."""
    own = {node for node in graph if isinstance(node.op, RandomUniform)}
    moving = [d for d in draws_of(graph) if not all(isinstance(n, int) for n in d.type.shape)]
    return bool(moving), all(d in own and _row_size(d.type.shape) is not None for d in moving)


def _row_size(shape: Shape) -> int | None:
    """Return the elements for each row of the batch, if they lie one row after the other."""
    times = divided(shape[0], BATCH) if shape and isinstance(shape[0], Dim) else None
    size = size_of(shape[1:])
    return times * size if isinstance(times, int) and isinstance(size, int) else None
