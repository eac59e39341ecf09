"""Pictures of graphs: ``visualize(thing, path)``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from graphc.errors import ArgumentError, DTypeError
from graphc.files import write_whole
from graphc.ir.graph import Graph, ancestors
from graphc.ir.source import Input
from graphc.ir.tensor import Tensor
from graphc.lazy import lazy_module

if TYPE_CHECKING:
    from graphc.viz import boxes, dot, html, picture
else:
    dot, html = lazy_module("graphc.viz.dot"), lazy_module("graphc.viz.html")
    boxes = lazy_module("graphc.viz.boxes")

SUFFIXES = (".dot", ".svg", ".png", ".pdf", ".html")


@runtime_checkable
class HasGraph(Protocol):
    """What a Function and a Model have in common here."""

    @property
    def graph(self) -> Graph: ...


@runtime_checkable
class HasKernels(Protocol):
    """What a compiled thing knows of its nodes."""

    @property
    def kernel_texts(self) -> Mapping[str, str]: ...


def visualize(thing: Tensor | Graph | HasGraph, path: str | os.PathLike[str]) -> Path:
    """Draw a Tensor, Graph, Function or Model into a file and return its path.

    The suffix tells the format: ``.svg``, ``.png``, ``.pdf``, ``.dot``, or ``.html``, one page
    that works offline, with search, zoom and the details of every node, for a Function or Model
    with the generated code that computes it (which compiles the model). A loop, a branch and a
    checkpoint are boxes in which their steps stand; on the page they open and close. The file is
    replaced in one step, never half written; the same graph gives the same bytes.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        raise ArgumentError(f"visualize: {target.name!r} must end in one of {', '.join(SUFFIXES)}")
    if not target.parent.is_dir():
        raise ArgumentError(f"visualize: there is no folder {str(target.parent)!r}; make it first")
    drawing = placed(graph_of(thing))
    if suffix == ".html":
        code = thing.kernel_texts if isinstance(thing, HasKernels) else {}
        data = html.to_html(drawing, code).encode()
    elif suffix == ".dot":
        data = dot.to_dot(drawing).encode()
    else:
        data = dot.render(drawing, suffix[1:])
    write_whole(target, data)
    return target


def graph_of(thing: object) -> Graph:
    """Return the graph of a Tensor, Graph, Function or Model."""
    if isinstance(thing, Graph):
        return thing
    if isinstance(thing, Tensor):
        inputs = [n for n in ancestors([thing]) if isinstance(n.op, Input)]
        return Graph(inputs, {thing.name: thing})
    if isinstance(thing, HasGraph) and isinstance(thing.graph, Graph):
        return thing.graph
    raise DTypeError(f"expected a Tensor, Graph, Function or Model, got {type(thing).__name__}")


def placed(graph: Graph) -> picture.Picture:
    """Return the picture of ``graph``, laid out."""
    return boxes.placed(graph)
