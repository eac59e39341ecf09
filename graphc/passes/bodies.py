"""Passes look inside loops: what is done to a graph is done to the bodies in it."""

from __future__ import annotations

from collections.abc import Callable

from graphc.ir.graph import Graph, replace_inputs
from graphc.ir.results import Result
from graphc.ir.tensor import Tensor
from graphc.ops.body import Body
from graphc.ops.scan import Scan


def in_bodies(graph: Graph, run: Callable[[Graph], Graph]) -> Graph:
    """Return ``graph`` with ``run`` done to the body of each loop, without what none asks for."""
    asked: dict[Tensor, set[int]] = {n: set() for n in graph.nodes if isinstance(n.op, Scan)}
    if not asked:
        return graph
    for node in graph.nodes:
        if isinstance(node.op, Result) and node.inputs[0] in asked:
            asked[node.inputs[0]].add(node.op.number)
    ops: dict[Tensor, Scan] = {}
    numbers: dict[Tensor, dict[int, int]] = {}
    made: dict[tuple[Body, tuple[int, ...]], Body] = {}
    for node, wanted in asked.items():
        assert isinstance(node.op, Scan)
        body = node.op.body
        count = len(body.carries)
        places = tuple(sorted(n - count for n in wanted if n >= count))
        before = body.graph_of(places)
        key = body, places
        if key not in made:
            after = run(before)
            if after is before and len(before) == len(body.nodes):
                made[key] = body
            else:
                made[key] = _body(body, after, places)
        new = made[key]
        if new is body:
            continue
        values = zip(places, new.others, strict=True)
        numbers[node] = {k: k for k in range(count)}
        numbers[node] |= {count + place: count + new.place[value] for place, value in values}
        ops[node] = node.op.replaced(body=new)
    if not ops:
        return graph

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        if node in ops:
            op = ops[node]
            type = op.infer(*[x.type for x in operands])
            return Tensor(op, operands, type, label=node.label, like=node)
        if isinstance(node.op, Result) and node.inputs[0] in ops:
            number = numbers[node.inputs[0]][node.op.number]
            return Tensor(Result(number), operands, node.type, label=node.label, like=node)
        return replace_inputs(node, operands)

    return graph.rebuild(rule)


def _body(body: Body, graph: Graph, places: tuple[int, ...]) -> Body:
    """Return ``body`` with the values that ``graph`` computes in the place of its own."""
    following = [graph.outputs[f"next {k}"] for k in range(len(body.carries))]
    values = [graph.outputs[f"value {place}"] for place in places]
    going = graph.outputs.get("go on")
    return Body(body.carries, body.slices, body.captured, following, values, going)
