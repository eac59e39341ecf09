"""Folds along rows, pass by pass.

A fold is finished by one turn over the row and used from the next on, so what depends on it has a
higher *stage*. Each stage is a pass: what is known before it, folded by it and stored in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.codegen.nest import NestPrinter
from graphc.ir.op import Elementwise, Reduction
from graphc.ir.tensor import Tensor
from graphc.plan.program import LoopNest

DEAR = 8.0
"""Cost of an element, in multiplications, beyond that of roots and quotients."""


@dataclass
class Pass:
    """One turn over a row: what is known before it, folded by it and stored in it."""

    before: list[Tensor] = field(default_factory=list)
    folds: list[Tensor] = field(default_factory=list)
    saves: list[Tensor] = field(default_factory=list)


class FoldPrinter(NestPrinter):
    """Writes a group whose folds, if any, run innermost."""

    def __init__(self, nest: LoopNest, generic: bool = False) -> None:
        super().__init__(nest, generic)
        self.stage = self._stage_table()
        self.inner = len(self.axes)
        if self.group.folds:
            borders = (n for n, a in enumerate(self.axes) if a.covers[0] >= self.group.inner)
            self.inner = min(borders)
        self.folded = self.axes[self.inner :]
        floats = [n.dtype.itemsize for n in self.group.nodes if n.dtype.kind == "f"]
        self.widest = max(floats, default=4)
        """Bytes of the widest floats."""

    def _stage_table(self) -> dict[Tensor, int]:
        """Return for each node how many inner loops must have run before it is computable."""
        table: dict[Tensor, int] = {}
        for node in self.group.nodes:
            stage = 0
            for base in self.inside(node):
                fold = isinstance(base.op, Reduction) and self.group.folds
                stage = max(stage, table[base] + int(fold))
            table[node] = stage
        return table

    def hoisted(self) -> list[Tensor]:
        """Return the nodes that do not move along the rows and need no fold."""
        return [n for n in self.group.nodes if self.level(n) < self.inner and self.stage[n] == 0]

    def loops(self) -> int:
        """Return how many loops along a row compute it."""
        return sum(bool(turn.folds or turn.saves) for turn in self.passes(self.group.nodes))

    def is_dear(self, within: bool) -> bool:
        """Tell whether some value is dear: of each element ``within`` rows, or of each row."""
        return any(
            isinstance(n.op, Elementwise) and n.op.cost > DEAR
            for n in self.group.nodes
            if self.level(n) >= self.inner and (self.level(n) > self.inner) == within
        )

    def passes(self, nodes: list[Tensor]) -> list[Pass]:
        """Return the passes that compute ``nodes``."""
        passes = [Pass() for _ in range(1 + max(self.stage[n] for n in nodes))]
        for node in nodes:
            turn = passes[self.stage[node]]
            if isinstance(node.op, Reduction):
                turn.folds.append(node)
            elif self.level(node) <= self.inner:
                turn.before.append(node)
            elif node in self.nest.stores:
                turn.saves.append(node)
        return passes
