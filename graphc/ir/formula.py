"""The composite formula of a tensor, as text or LaTeX."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from graphc.errors import ArgumentError
from graphc.ir.graph import ancestors
from graphc.ir.naming import parameter_names
from graphc.ir.op import CLOSED, SUM, Notation, Source, View
from graphc.ir.source import Constant, Parameter
from graphc.ir.tensor import Tensor

FORMATS = ("text", "latex")


def formula(tensor: Tensor, format: str = "text") -> str:
    """Return the formula of ``tensor`` in its inputs and parameters.

    ``format`` is ``"text"``, like ``W2^T relu(W1^T x + b1) + b2``, or ``"latex"``. A step that
    is used more than once stands on a line of its own before, as ``t1 = ...``: the formula
    grows with the graph, not with its paths. Reshapes between vectors and matrices of one
    column, casts and broadcasts are left out, and so are parameters of ops such as axes.
    """
    if format not in FORMATS:
        raise ArgumentError(f"formula: format is one of {', '.join(FORMATS)}, not {format!r}")
    return _Writer(tensor, latex=format == "latex").text()


class _Writer:
    def __init__(self, root: Tensor, latex: bool) -> None:
        self.root, self.latex = root, latex
        self.nodes = ancestors([root])
        self.names = parameter_names(n for n in self.nodes if isinstance(n.op, Parameter))
        self.written: dict[Tensor, tuple[str, int]] = {}
        """The formula of each tensor, and how tightly it binds."""

    def text(self) -> str:
        uses = Counter(x for node in self.nodes for x in node.inputs)
        symbols: set[str] = set()
        lines: list[str] = []
        for node in self.nodes:
            text, strength = self._write(node)
            if isinstance(node.op, Source):
                symbols.add(text)
            elif uses[node] > 1 and text not in symbols and not isinstance(node.op, View):
                symbol = self._symbol(f"t{len(lines) + 1}")
                symbols.add(symbol)
                lines.append(f"{symbol} = {text}")
                text, strength = symbol, CLOSED
            self.written[node] = text, strength
        return "\n".join([*lines, self.written[self.root][0]])

    def _write(self, node: Tensor) -> tuple[str, int]:
        if isinstance(node.op, Source):
            return self._source(node)
        note = node.op.notation(node.type, *(x.type for x in node.inputs))
        if note is None:
            operands = ", ".join(self.written[x][0] for x in node.inputs)
            name, left, right = node.op.name, "(", ")"
            if self.latex:
                name, left, right = _operator(name), r"\left(", r"\right)"
            return f"{name}{left}{operands}{right}", CLOSED
        parts = [self._operand(*self.written[x], need)
                 for x, need in zip(node.inputs, self._needs(note), strict=True)]  # fmt: skip
        strength = self.written[node.inputs[0]][1] if note.strength is None else note.strength
        return (note.latex if self.latex else note.text).format(*parts), strength

    def _needs(self, note: Notation) -> tuple[int, ...]:
        return note.latex_operands if self.latex and note.latex_operands else note.operands

    def _operand(self, text: str, strength: int, need: int) -> str:
        if strength >= need:
            return text
        return rf"\left({text}\right)" if self.latex else f"({text})"

    def _source(self, node: Tensor) -> tuple[str, int]:
        if isinstance(node.op, Constant):
            value = node.op.value.array
            if value.ndim:
                return self._symbol(node.label or "constant"), CLOSED
            number = f"{value[()]:g}" if np.isfinite(value) else str(value[()])
            return number, SUM if number.startswith("-") else CLOSED
        return self._symbol(self.names.get(node) or node.label or node.op.name), CLOSED

    def _symbol(self, name: str) -> str:
        """Return a name in LaTeX: ``W1`` as ``W_{1}``, longer words upright."""
        if not self.latex:
            return name
        if len(name) == 1:
            return name
        indexed = re.fullmatch(r"([A-Za-z])_?(\d+|[a-z])", name)
        if indexed is None:
            return rf"\mathrm{{{_escaped(name)}}}"
        return f"{indexed[1]}_{{{indexed[2]}}}"


def _operator(name: str) -> str:
    return rf"\operatorname{{{_escaped(name)}}}"


def _escaped(text: str) -> str:
    """Return ``text`` fit for LaTeX: characters that mean something there are escaped."""
    return re.sub(r"([_#$%&{}])", r"\\\1", re.sub(r"[\\^~]", "", text))
