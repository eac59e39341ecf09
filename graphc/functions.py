"""Compiled functions of symbolic tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphc.errors import ArgumentError, DTypeError, ShapeError, user_location
from graphc.feeds import Feed
from graphc.ir.graph import Graph
from graphc.ir.op import Array
from graphc.ir.source import Input
from graphc.ir.tensor import Tensor
from graphc.lazy import lazy_module
from graphc.ops.draws import advanced, counts_steps, new_clock, settled
from graphc.ops.operands import as_tensor
from graphc.ops.state import state_updates
from graphc.sealed import Sealed
from graphc.tree import tree_fill, tree_leaves, tree_map

if TYPE_CHECKING:
    from graphc import compile as compiler
    from graphc.run.report import Report
else:
    compiler = lazy_module("graphc.compile")


class Function(Sealed):
    """A compiled function; call it by position or by the names of its inputs.

    The result has the structure of ``outputs``: an array, tuple, list or dict of new arrays;
    scalars come as NumPy scalars.
    """

    def __init__(self, graph: Graph, outputs: Any) -> None:
        self._outputs = outputs
        self._executable = compiler.compile_graph(graph)
        self._feeds = [Feed("input", t) for t in graph.inputs]
        names = [t.name for t in graph.inputs]
        self._names = {name: i for i, name in enumerate(names)}
        if len(self._names) != len(names):
            repeated = next(n for n in names if names.count(n) > 1)
            raise ArgumentError(f"function: two inputs are named {repeated!r}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the outputs for the given inputs, and replace the updated parameters."""
        plain = not kwargs and len(args) == len(self._feeds)
        values = args if plain else self._bind(args, kwargs)
        pairs = zip(self._feeds, values, strict=True)
        fed = [value if feed.fits(value) else feed.view(value) for feed, value in pairs]
        results = map(_unwrap, self._executable.call(fed).values())
        if isinstance(self._outputs, Tensor):
            return next(results)
        return tree_fill(self._outputs, results)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the graph with its values; the copy is compiled, from the cache."""
        return Function, (self.graph, self._outputs)

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        if len(args) + len(kwargs) != len(self._names):
            given, expected = len(args) + len(kwargs), ", ".join(self._names)
            raise DTypeError(
                f"function takes {len(self._names)} inputs ({expected}), got {given}"
                f"\n  at {user_location()}"
            )
        values = list(args) + [None] * len(kwargs)
        for name, value in kwargs.items():
            position = self._names.get(name)
            if position is None or position < len(args):
                problem = "no input" if position is None else "two values for input"
                raise DTypeError(
                    f"function: {problem} {name!r}; its inputs are {', '.join(self._names)}"
                    f"\n  at {user_location()}"
                )
            values[position] = value
        return values

    @property
    def graph(self) -> Graph:
        """The graph as declared."""
        return self._executable.graph

    @property
    def optimized_graph(self) -> Graph:
        """The graph after the passes."""
        return self._executable.optimized_graph

    @property
    def source(self) -> str:
        """The generated module's text."""
        return self._executable.source

    @property
    def c_source(self) -> str:
        """The generated kernels as C11, for programs of your own; of those by hand, the names."""
        return self._executable.c_source

    @property
    def source_path(self) -> Path:
        """The file that holds :attr:`source`."""
        return self._executable.source_path

    @property
    def kernel_texts(self) -> dict[str, str]:
        """For each node of :attr:`graph`, by its key, the text of the kernel that computes it."""
        return self._executable.kernel_texts

    @property
    def report(self) -> Report:
        """What the program is made of, and what it costs for the last batch size."""
        return self._executable.report


def _unwrap(value: Array) -> Any:
    return value[()] if value.ndim == 0 else value


def function(
    inputs: Sequence[Tensor] | Tensor,
    outputs: Any,
    updates: Mapping[Tensor, Any] | None = None,
) -> Function:
    """Compile ``outputs`` as a function of ``inputs``.

    ``outputs`` is a Tensor, tuple, list or dict; ``updates`` maps parameters to the values that
    replace theirs after each call (all computed from the old values).

    A function with updates takes a step at each call: its dropout and its random draws move on.
    One without is pure: equal calls give equal results.
    """
    where = f"\n  at {user_location()}"
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    for t in given:
        if not isinstance(t, Tensor) or not isinstance(t.op, Input):
            raise DTypeError(f"function: {t!r} is not an input made by gx.input{where}")
    tree = tree_map(as_tensor, outputs)
    leaves = {f"output {i}": t for i, t in enumerate(tree_leaves(tree))}
    new = {p: as_tensor(v) for p, v in (updates or {}).items()}
    try:
        graph = Graph(given, leaves, new)
    except (ArgumentError, ShapeError) as error:
        raise type(error)(f"function: {error}{where}") from None
    return Function(_stepping(graph), tree)


def _stepping(graph: Graph) -> Graph:
    """Return ``graph`` with its random draws settled and, if it has updates, moving on."""
    if not graph.updates:
        return settled(graph, None)
    moved = state_updates(graph.roots)
    clock = new_clock() if counts_steps(graph) else None
    if clock is not None:
        moved |= advanced(clock)
    return settled(Graph(graph.inputs, graph.outputs, moved | graph.updates), clock)
