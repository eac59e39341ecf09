"""Nodes with several results: an op of the trait :class:`Multiple`, seen through :class:`Result`.

The node itself has the type :class:`~graphc.types.Several`, holds no memory, and is read by
``Result(number)`` nodes only, which are tensors like any other. So whatever walks a graph sees
one kind of edge, and a result that nobody asks for has no node.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphc.errors import VerificationError
from graphc.ir.op import CLOSED, Array, Notation, Op
from graphc.ir.tensor import Tensor, apply
from graphc.types import AnyDim, Several, TensorType

if TYPE_CHECKING:
    from graphc.ir.graph import Graph


class Multiple(Op):
    """Mixin of an op with several results; ``infer`` returns a :class:`Several`.

    ``numpy`` returns what ``[number]`` gives each result of. A :class:`Loops` of this kind gets
    the tuple of its results where others get one, and a :class:`Composite` expands to
    :func:`packed` results.
    """

    weak = False

    @abstractmethod
    def numpy(self, *arrays: Array) -> Any:
        """Compute with NumPy: results by number."""

    def graphs(self) -> Mapping[str, Graph]:
        """Return the graphs that stand in the node, by what they are called."""
        return {}

    def origin(self, number: int) -> Tensor | None:
        """Return the tensor of one of :meth:`graphs` whose value, or values, a result is."""
        return None

    def result_bounds(self, number: int, *types: TensorType) -> tuple[AnyDim, AnyDim] | None:
        """Return ``(low, high)`` if a result holds integers that surely lie in ``[low, high)``."""
        return None

    def vjps(
        self, gs: Mapping[int, Tensor], out: Tensor, *inputs: Tensor
    ) -> Sequence[Tensor | None]:
        """Return the cotangent of each operand, for those of the results that have one."""
        return (None,) * len(inputs)

    def jvps(
        self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor
    ) -> Mapping[int, Tensor]:
        """Return the tangents of the results that have one; ``tangents`` are the operands'."""
        return {}


class Result(Op):
    """One of the results of a node that has several."""

    name = "result"
    number: int
    weak = False

    def infer(self, *types: TensorType) -> TensorType:
        (several,) = types
        if not isinstance(several, Several) or not 0 <= self.number < len(several.parts):
            raise VerificationError(f"{several} has no result number {self.number}")
        return several.parts[self.number]

    def numpy(self, *arrays: Any) -> Array:
        found: Array = arrays[0][self.number]
        return found

    def notation(self, out: TensorType, *types: TensorType) -> Notation:
        return Notation(f"{{0}}[{self.number}]", f"{{0}}_{{{{{self.number}}}}}", CLOSED, (CLOSED,))


class Pack(Multiple):
    """Tensors as the results of one node: what a formula with several results expands to."""

    name = "pack"

    def infer(self, *types: TensorType) -> TensorType:
        return Several.of(types)

    def numpy(self, *arrays: Array) -> Any:
        return arrays

    def vjps(
        self, gs: Mapping[int, Tensor], out: Tensor, *inputs: Tensor
    ) -> Sequence[Tensor | None]:
        return [gs.get(number) for number in range(len(inputs))]

    def jvps(
        self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor
    ) -> Mapping[int, Tensor]:
        return {number: t for number, t in enumerate(tangents) if t is not None}


def packed(*tensors: Tensor) -> Tensor:
    """Return ``tensors`` as the results of one node."""
    return apply(Pack(), *tensors)


def result(node: Tensor, number: int) -> Tensor:
    """Return a result of ``node``: itself where one result is all it has."""
    if not isinstance(node.type, Several):
        return node
    return unpacked(apply(Result(number), node))


def results(node: Tensor) -> tuple[Tensor, ...]:
    """Return all results of ``node``."""
    count = len(node.type.parts) if isinstance(node.type, Several) else 1
    return tuple(result(node, number) for number in range(count))


def unpacked(node: Tensor) -> Tensor:
    """Return the tensor that ``node`` is a packed result of, or ``node``."""
    if isinstance(node.op, Result) and isinstance(node.inputs[0].op, Pack):
        return node.inputs[0].inputs[node.op.number]
    return node
