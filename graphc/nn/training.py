"""What differs between training and inference, and the state that training alone moves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping

from graphc.ir.graph import Graph, ancestors, replace_inputs
from graphc.ir.op import Composite
from graphc.ir.tensor import Tensor, building


class TrainingOp(Composite):
    """A formula of training that inference replaces by another one, such as dropout.

    Its operands may be parameters that hold its state.
    """

    @abstractmethod
    def inference(self, *inputs: Tensor) -> Tensor:
        """Return what stands in the node's place outside training."""

    def updates(self, *inputs: Tensor) -> Mapping[Tensor, Tensor]:
        """Return the new values, after a step of training, of the state among ``inputs``."""
        return {}


def inference_form(graph: Graph) -> Graph:
    """Return the graph as evaluation and prediction compute it: without dropout."""

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        if isinstance(node.op, TrainingOp):
            with building(phase=node.phase, loc=node.loc, scope=node.scope):
                return node.op.inference(*operands)
        return replace_inputs(node, operands)

    return graph.rebuild(rule)


def state_updates(roots: Iterable[Tensor]) -> dict[Tensor, Tensor]:
    """Return the updates that a step of training makes besides the optimiser's.

    ``roots`` are what the step computes: the loss is enough. Dropout draws a new mask after
    each of these updates, and the same one without them.
    """
    result: dict[Tensor, Tensor] = {}
    with building(phase="update", scope=()):
        for node in ancestors(roots):
            if isinstance(node.op, TrainingOp) and node.phase == "forward":
                with building(scope=node.scope):
                    result.update(node.op.updates(*node.inputs))
    return result
