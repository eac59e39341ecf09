"""What is done to a graph is done to the bodies of loops in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.ir.graph import Graph, ancestors, replace_inputs
from graphc.ir.results import Result
from graphc.ir.tensor import Tensor
from graphc.ops.body import Body
from graphc.ops.scan import Scan


def in_bodies(
    graph: Graph, run: Callable[[Graph], Graph], *, whole: bool = False, still: bool = False
) -> Graph:
    """Return ``graph`` with ``run`` done to the body of each loop, without what none asks for.

    With ``whole`` all carries and operands stay. With ``still`` steps move no state of layers.
    """
    asked: dict[Tensor, set[int]] = {n: set() for n in graph.nodes if isinstance(n.op, Scan)}
    if not asked:
        return graph
    for node in graph.nodes:
        if isinstance(node.op, Result) and node.inputs[0] in asked:
            asked[node.inputs[0]].add(node.op.number)
    bodies: dict[Tensor, Body] = {}
    numbers: dict[Tensor, dict[int, int]] = {}
    made: dict[tuple[Body, tuple[int, ...]], tuple[Body, dict[int, int]]] = {}
    for node, wanted in asked.items():
        assert isinstance(node.op, Scan)
        key = node.op.body, tuple(sorted(wanted))
        if key not in made:
            made[key] = _remade(*key, run, whole, still)
        if made[key][0] is not node.op.body:
            bodies[node], numbers[node] = made[key]
    if not bodies:
        return graph

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        if node in bodies:
            assert isinstance(node.op, Scan)
            before, new = node.op.body.inputs, bodies[node]
            given = dict(zip(before, operands, strict=False))
            kept = (*(given[x] for x in new.inputs), *operands[len(before) :])
            op = node.op.replaced(body=new)
            type = op.infer(*[x.type for x in kept])
            return Tensor(op, kept, type, label=node.label, like=node)
        if isinstance(node.op, Result) and node.inputs[0] in bodies:
            number = numbers[node.inputs[0]][node.op.number]
            return Tensor(Result(number), operands, node.type, label=node.label, like=node)
        return replace_inputs(node, operands)

    return graph.rebuild(rule)


def _remade(
    given: Body, asked: Sequence[int], run: Callable[[Graph], Graph], whole: bool, still: bool
) -> tuple[Body, dict[int, int]]:
    """Return a body after ``run``, and the new numbers of the results ``asked`` for."""
    count = len(given.carries)
    wanted = [number for number in asked if number >= count]
    values = [given.nodes[number - count] for number in wanted]
    body = given.still(values) if still and given.states else given
    places = [body.place[t] for t in values]
    before = body.graph_of(places)
    after = run(before)
    new = body
    if after is not before or len(before) != len(body.nodes):
        following = [after.outputs[f"next {k}"] for k in range(count)]
        values = [after.outputs[f"value {place}"] for place in places]
        states, going = body.states, after.outputs.get("go on")
        new = Body(body.carries, body.slices, body.captured, following, values, going, states)
    if not whole:
        new = _pruned(new, [body.carries[number] for number in asked if number < count], values)
    own = {carry: number for number, carry in enumerate(new.carries)}
    numbers = {number: own[body.carries[number]] for number in asked if number < count}
    first = len(new.carries)
    numbers |= {n: first + new.place[v] for n, v in zip(wanted, values, strict=True)}
    return new, numbers


def _pruned(body: Body, finals: Sequence[Tensor], values: Sequence[Tensor]) -> Body:
    """Return ``body`` without carries and operands that neither ``finals`` nor ``values`` need."""
    following = dict(zip(body.carries, body.following, strict=True))
    live = dict.fromkeys(finals)
    if body.going is not None:
        live[body.carries[0]] = None
    while True:
        roots = [*values, *(following[c] for c in live)]
        roots += [] if body.going is None else [body.going]
        needed = set(ancestors(roots)).union(live)
        more = [c for c in body.carries if c in needed and c not in live]
        if not more:
            break
        live.update(dict.fromkeys(more))
    if all(x in needed for x in body.inputs):
        return body
    carries, slices, captured = (
        [x for x in part if x in needed] for part in (body.carries, body.slices, body.captured)
    )
    return Body(carries, slices, captured, [following[c] for c in carries], values, body.going)
