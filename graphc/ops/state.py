"""What a step moves by itself: the masks of dropout and the steps of random draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from graphc.ir.graph import ancestors
from graphc.ir.op import Op
from graphc.ir.tensor import Tensor, building


class Stateful(Op):
    """An op among whose operands are parameters that a step of training moves."""

    def updates(self, *inputs: Tensor) -> Mapping[Tensor, Tensor]:
        """Return the new values, after a step of training, of the state among ``inputs``."""
        return {}

    def learned(self, *inputs: Tensor) -> Sequence[Tensor]:
        """Return the state that inference goes by: a part of the model, as its parameters are."""
        return ()


def state_updates(roots: Iterable[Tensor]) -> dict[Tensor, Tensor]:
    """Return the updates that a step of training makes besides the optimiser's.

    ``roots`` are what the step computes: the loss is enough. Dropout draws a new mask after
    each of these updates, and the same one without them; a parameter that is the ``step`` of
    a random draw counts them. Models make these updates, and functions that have others.
    """
    result: dict[Tensor, Tensor] = {}
    with building(phase="update", scope=()):
        for node in ancestors(roots):
            if isinstance(node.op, Stateful) and node.phase == "forward":
                # What is learned twice in a step, by a layer called twice, goes on from the first.
                learned = set(node.op.learned(*node.inputs))
                operands = [result.get(x, x) if x in learned else x for x in node.inputs]
                of = dict(zip(operands, node.inputs, strict=True))
                with building(scope=node.scope):
                    new = node.op.updates(*operands)
                result |= {of.get(state, state): value for state, value in new.items()}
    return result


def learned_state(roots: Iterable[Tensor]) -> set[Tensor]:
    """Return the state that steps of training move and inference goes by."""
    return {
        state
        for node in ancestors(roots)
        if isinstance(node.op, Stateful)
        for state in node.op.learned(*node.inputs)
    }
