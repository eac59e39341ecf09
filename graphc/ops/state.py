"""What a step moves by itself: the masks of dropout and the steps of random draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from graphc.ir.graph import ancestors
from graphc.ir.op import Op
from graphc.ir.results import Result
from graphc.ir.tensor import Tensor, building


class Stateful(Op):
    """An op among whose operands are parameters that a step of training moves."""

    def updates(self, *inputs: Tensor) -> Mapping[Tensor, Tensor]:
        """Return the new values, after a step of training, of the state among ``inputs``."""
        return {}

    def learned(self, *inputs: Tensor) -> Sequence[Tensor]:
        """Return the state that inference goes by: a part of the model, as its parameters are."""
        return ()

    def chained(self, *inputs: Tensor) -> Sequence[Tensor]:
        """Return the state that goes on from what an earlier node of the same step made of it."""
        return self.learned(*inputs)

    def moved(self, out: Tensor, operands: Sequence[Tensor]) -> Mapping[Tensor, Tensor]:
        """Return the :meth:`updates` of the node ``out``, some of whose operands may be others."""
        return self.updates(*operands)


def state_updates(roots: Iterable[Tensor], since: int | None = None) -> dict[Tensor, Tensor]:
    """Return the updates that a step of training makes besides the optimiser's.

    ``roots`` are what the step computes: the loss is enough. Dropout draws a new mask after
    each of these updates, and the same one without them; a parameter that is the ``step`` of
    a random draw counts them. Models make these updates, and functions that have others.
    Of nodes that were made ``since`` a tensor of this number only, the updates stand among them.
    """
    result: dict[Tensor, Tensor] = {}
    with building(phase="update", scope=()) if since is None else building():
        for node in ancestors(roots):
            if not isinstance(node.op, Stateful) or node.phase != "forward":
                continue
            if since is not None and node.id <= since:
                continue
            # What is learned twice in a step, by a layer called twice, goes on from the first.
            chained, operands, of = set(node.op.chained(*node.inputs)), [], {}
            for x in node.inputs:
                state = _origin(x) if x in chained else x
                latest = result.get(state, x) if x in chained else x
                operands.append(x if _are_one(latest, x) else latest)
                of[operands[-1]] = state
            with building(scope=node.scope):
                new = node.op.moved(node, operands)
            result |= {of.get(operand, operand): value for operand, value in new.items()}
    return result


def _origin(x: Tensor) -> Tensor:
    """Return the state that ``x`` is what loops or branches before made of."""
    while isinstance(x.op, Result) and isinstance(x.inputs[0].op, Stateful):
        x = x.inputs[0].inputs[x.op.number]
    return x


def _are_one(a: Tensor, b: Tensor) -> bool:
    """Tell whether ``a`` and ``b`` are one tensor, or the same result of one node."""
    both = isinstance(a.op, Result) and a.op == b.op
    return a is b or (both and a.inputs[0] is b.inputs[0])


def learned_state(roots: Iterable[Tensor]) -> set[Tensor]:
    """Return the state that steps of training move and inference goes by."""
    return {
        state
        for node in ancestors(roots)
        if isinstance(node.op, Stateful)
        for state in map(_origin, node.op.learned(*node.inputs))
    }
