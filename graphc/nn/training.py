"""What differs between training and inference."""

from __future__ import annotations

from abc import abstractmethod

from graphc.ir.graph import Graph, replace_inputs
from graphc.ir.op import Composite
from graphc.ir.tensor import Tensor, building
from graphc.ops.bodies import in_bodies
from graphc.ops.state import Stateful


class TrainingOp(Stateful, Composite):
    """A formula of training that inference replaces by another one, such as dropout.

    Its operands may be parameters that hold its state.
    """

    @abstractmethod
    def inference(self, *inputs: Tensor) -> Tensor:
        """Return what stands in the node's place outside training."""


def inference_form(graph: Graph) -> Graph:
    """Return the graph as evaluation and prediction compute it: without dropout."""

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        if isinstance(node.op, TrainingOp):
            with building(phase=node.phase, loc=node.loc, scope=node.scope):
                return node.op.inference(*operands)
        return replace_inputs(node, operands)

    return in_bodies(graph.rebuild(rule), inference_form, whole=True, still=True)
