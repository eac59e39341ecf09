"""The random draws of a graph: their streams, their steps, and the rows they are for.

A draw is a pure function of its seed, stream, step and place. A user who gives no stream gets
the number of the draw within its graph, and one who gives no step that of the graph's own
steps. Both are settled when the graph of a function or model is declared.
"""

from __future__ import annotations

from graphc.ir.graph import Graph, replace_inputs
from graphc.ir.source import Constant, parameter
from graphc.ir.tensor import Tensor, building
from graphc.ops.random import RandomUniform, Stream
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
    return any(isinstance(node.op, RandomUniform) and node.op.counts for node in graph)


def settled(graph: Graph, clock: Tensor | None) -> Graph:
    """Return ``graph`` with a number for the stream of each draw, and ``clock`` as their step.

    Draws of one seed are numbered in the order in which they were made, past the streams that
    the user gave. Without a clock the step is 0, and the graph a pure function.
    """
    numbers = _streams(graph)
    if not numbers and not counts_steps(graph):
        return graph

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        op = node.op
        if not isinstance(op, RandomUniform):
            return replace_inputs(node, operands)
        stream = numbers[op.stream] if isinstance(op.stream, Stream) else op.stream
        if op.counts and clock is not None:
            operands = (operands[0], clock)
        new = op.replaced(stream=stream, counts=False)
        return Tensor(new, operands, node.type, label=node.label, like=node)

    return graph.rebuild(rule)


def _streams(graph: Graph) -> dict[Stream, int]:
    """Return a number for each stream that the user left open."""
    draws = [node for node in graph if isinstance(node.op, RandomUniform)]
    taken: dict[object, set[int]] = {}
    for node in draws:
        assert isinstance(node.op, RandomUniform)
        used = taken.setdefault(_seed_of(node), set())
        if isinstance(node.op.stream, int):
            used.add(node.op.stream)
    numbers: dict[Stream, int] = {}
    for node in draws:
        assert isinstance(node.op, RandomUniform)
        stream, used = node.op.stream, taken[_seed_of(node)]
        if isinstance(stream, Stream) and stream not in numbers:
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
    draws = [node for node in graph if isinstance(node.op, RandomUniform)]
    moving = [d.type.shape for d in draws if not all(isinstance(n, int) for n in d.type.shape)]
    return bool(moving), all(_row_size(shape) is not None for shape in moving)


def _row_size(shape: Shape) -> int | None:
    """Return the elements for each row of the batch, if they lie one row after the other."""
    times = divided(shape[0], BATCH) if shape and isinstance(shape[0], Dim) else None
    size = size_of(shape[1:])
    return times * size if isinstance(times, int) and isinstance(size, int) else None
