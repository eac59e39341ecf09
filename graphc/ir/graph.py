"""A graph: named outputs and parameter updates over the tensors they need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any

from graphc.cached import cached_property
from graphc.errors import ArgumentError, ShapeError
from graphc.ir.naming import parameter_names, scope_names
from graphc.ir.printer import format_graph
from graphc.ir.source import Input, Parameter
from graphc.ir.tensor import PHASES, Tensor
from graphc.lazy import lazy_module
from graphc.sealed import Sealed

if TYPE_CHECKING:
    import networkx as nx

    Dag = nx.DiGraph[str]
else:
    nx = lazy_module("networkx")


def ancestors(
    roots: Iterable[Tensor], known: Mapping[Tensor, object] | None = None
) -> list[Tensor]:
    """Return every tensor that ``roots`` need, operands before their users.

    What only the ``known`` ones need is left out.
    """
    seen: set[Tensor] = set()
    stack = list(roots)
    while stack:
        tensor = stack.pop()
        if tensor not in seen:
            seen.add(tensor)
            if known is None or tensor not in known:
                stack.extend(tensor.inputs)
    return sorted(seen, key=attrgetter("id"))


class Graph(Sealed):
    """An immutable computation: inputs, named outputs, and updates ``{parameter: new value}``.

    Iterating yields the tensors in creation order, which is topological. A whole training
    step is one graph without side effects: the updates take place after all else.
    """

    def __init__(
        self,
        inputs: Iterable[Tensor],
        outputs: Mapping[str, Tensor],
        updates: Mapping[Tensor, Tensor] | None = None,
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = dict(outputs)
        self.updates = dict(updates or {})
        self.nodes = tuple(ancestors([*self.inputs, *self.outputs.values(), *self.updates.values(),
                                      *self.updates]))  # fmt: skip
        fed = set(self.inputs)
        self.images: dict[Tensor, Tensor] = {n: n for n in self.nodes}
        """What became of each tensor of the graph that this one was rebuilt from."""
        for node in self.nodes:
            if not node.inputs and isinstance(node.op, Input) and node not in fed:
                raise ArgumentError(
                    f"input {node.describe()} is needed but is not among the inputs"
                    f" (made at {node.loc})"
                )
        for parameter, value in self.updates.items():
            if not isinstance(parameter.op, Parameter):
                raise ArgumentError(f"{parameter.describe()} is updated but is not a parameter")
            if parameter.type != value.type:
                raise ShapeError(
                    f"the update of {parameter.describe()} has another type: {value.describe()}"
                )

    def fixed(self, name: str) -> str | None:
        return "a graph is immutable; make another one"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle in topological order: nothing recurses, however deep the graph is."""
        return _remade, (self.nodes, self.inputs, self.outputs, tuple(self.updates.items()))

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        return format_graph(self)

    @cached_property
    def parameters(self) -> tuple[Tensor, ...]:
        """The parameters in creation order."""
        return tuple(n for n in self.nodes if isinstance(n.op, Parameter))

    @cached_property
    def roots(self) -> tuple[Tensor, ...]:
        """The tensors whose values leave the graph: outputs, then new parameter values."""
        return (*self.outputs.values(), *self.updates.values())

    @cached_property
    def users(self) -> dict[Tensor, list[Tensor]]:
        """For every tensor, the tensors that take it as operand, once each."""
        result: dict[Tensor, list[Tensor]] = {n: [] for n in self.nodes}
        for node in self.nodes:
            for operand in dict.fromkeys(node.inputs):
                result[operand].append(node)
        return result

    @cached_property
    def scopes(self) -> dict[str, str]:
        """What each layer's scope is called in this graph: ``linear_0``."""
        return scope_names((*self.parameters, *self.nodes))

    @cached_property
    def keys(self) -> dict[Tensor, str]:
        """A readable unique name for every tensor.

        A parameter's is that of :func:`~graphc.ir.naming.parameter_names`; another tensor's is
        the user's name, else op and number.
        """
        result = parameter_names(self.parameters)
        taken = set(result.values())
        counts: Counter[str] = Counter()
        for node in self.nodes:
            if node in result:
                continue
            base = node.label or node.op.name
            key = base if node.label is not None else f"{base}_{counts[base]}"
            while key in taken:
                counts[base] += 1
                key = f"{base}_{counts[base]}"
            taken.add(key)
            result[node] = key
        return result

    @cached_property
    def dag(self) -> Dag:
        """The graph as a ``networkx.DiGraph`` over :attr:`keys`, in creation order.

        Nodes carry ``op``, ``name``, ``shape``, ``dtype``, ``phase``, ``adjoint_of``, ``loc``,
        ``scope`` and ``tensor``. Edges go from operand to user; ``x * x`` has one edge with
        ``operands=(0, 1)``, the places at which the operand stands.
        """
        key, scopes = self.keys, self.scopes
        dag: Dag = nx.DiGraph()
        dag.add_nodes_from(
            (
                key[n],
                {
                    "op": n.op.name,
                    "name": key[n],
                    "shape": n.shape,
                    "dtype": n.dtype.name,
                    "phase": n.phase,
                    "adjoint_of": None if n.adjoint_of is None else key.get(n.adjoint_of),
                    "loc": n.loc,
                    "scope": tuple(scopes[part] for part in n.scope),
                    "tensor": n,
                },
            )
            for n in self.nodes
        )
        dag.add_edges_from(
            (key[x], key[n], {"operands": tuple(i for i, y in enumerate(n.inputs) if y is x)})
            for n in self.nodes
            for x in dict.fromkeys(n.inputs)
        )
        return dag

    def phase(self, name: str) -> tuple[Tensor, ...]:
        """Return the tensors of one phase."""
        assert name in PHASES
        return tuple(n for n in self.nodes if n.phase == name)

    def rebuild(self, rule: Callable[[Tensor, tuple[Tensor, ...]], Tensor]) -> Graph:
        """Return the graph in which each node is ``rule(node, new_operands)``: itself, if it is.

        The rule sees nodes in topological order; it may return a node of its own making, an
        operand, or the node itself. Marks of adjoints follow the nodes they refer to, and what
        replaces a node stands in its place: nodes after a new one are made anew.
        """
        new: dict[Tensor, Tensor] = {}
        copies: dict[Tensor, Tensor] = {}
        newest = -1
        for node in self.nodes:
            inputs, adjoint_of = node.inputs, node.adjoint_of
            result = rule(node, tuple([new[x] for x in inputs]))
            if result in copies:
                result = copies[result]
            primal = None if adjoint_of is None else new.get(adjoint_of)
            remarked = primal is not None and primal is not result.adjoint_of
            if result is node and inputs and (remarked or node.id < newest):
                result = Tensor(node.op, inputs, node.type, label=node.label, like=node)
                copies[node] = result
            if primal is not None and result.id > primal.id:
                result.mark_adjoint(primal)
            if result.id > newest:
                newest = result.id
            new[node] = result
        if all(map(is_, new.values(), self.nodes)):
            return self
        result_graph = Graph(
            self.inputs,
            {name: new[t] for name, t in self.outputs.items()},
            {new[p]: new[t] for p, t in self.updates.items()},
        )
        result_graph.images = {a: new[b] for a, b in self.images.items() if b in new}
        return result_graph


def _remade(
    nodes: tuple[Tensor, ...],
    inputs: tuple[Tensor, ...],
    outputs: dict[str, Tensor],
    updates: tuple[tuple[Tensor, Tensor], ...],
) -> Graph:
    return Graph(inputs, outputs, dict(updates))


def replace_inputs(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
    """Return ``node`` over other operands of the same types; itself if they are its own."""
    if all(map(is_, node.inputs, operands)):
        return node
    return Tensor(node.op, operands, node.type, label=node.label, like=node)
