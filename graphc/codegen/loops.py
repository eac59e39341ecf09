"""Fused loop nests as text.

A row kernel walks its outer axes and, for each of their points, runs its inner loops one
after the other: a reduction is finished by one inner loop and used from the next on. Values
that an earlier loop computed are read back if they were stored, else computed again.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from graphc.codegen.kernel import KernelCall, KernelWriter, literal_of, merge_axes
from graphc.ir.op import Elementwise, Layout, Reduction
from graphc.ir.source import Constant
from graphc.ir.tensor import Tensor
from graphc.plan.program import Access, LoopNest
from graphc.types import AnyDim, Shape, size_of

_NAMED = 3  # operations named in a kernel's name


def loop_kernel(nest: LoopNest) -> KernelCall:
    """Return the kernel of a fused group."""
    printer = _Printer(nest)
    if nest.group.column is None:
        printer.rows()
    else:
        printer.columns()
    names = [n.op.name for n in nest.group.nodes if n.inputs]
    shown = names[:1] + names[-2:] if len(names) > _NAMED else names
    return printer.writer.finish("_".join(shown) or nest.group.nodes[0].op.name)


@dataclass(frozen=True)
class _Axis:
    """A loop: the domain axes it covers, its length and the name of its index."""

    covers: tuple[int, ...]
    dim: AnyDim
    index: str


class _Printer:
    def __init__(self, nest: LoopNest) -> None:
        self.nest = nest
        self.group = nest.group
        self.writer = KernelWriter()
        self.members = set(self.group.nodes)
        self.axes = self._axes()
        self.depth_of = self._depths()
        self.names = self._names()
        self.stage = self._stage_table()

    # -- loops --------------------------------------------------------------------------------

    def _axes(self) -> list[_Axis]:
        """Merge neighbouring domain axes that every operand walks as one."""
        dims, group = self.group.dims, self.group
        walks = [a.layout.strides for a in (*self.nest.loads.values(), *self.nest.stores.values())]
        for node in group.nodes:
            if isinstance(node.op, Elementwise) and node.op.indexed:
                walks.extend(self._index_strides(node))
        borders = {group.inner, *(group.column or ())}
        merged = merge_axes(range(len(dims)), dims, walks, borders)
        return [
            _Axis(tuple(covers), size_of(dims[d] for d in covers), f"i{number}")
            for number, covers in enumerate(merged)
        ]

    def _index_strides(self, node: Tensor) -> list[tuple[AnyDim, ...]]:
        """Return the strides by which an indexed op's place moves along the domain."""
        where = self.group.maps[node]
        if isinstance(node.op, Elementwise) and node.op.indexed == "flat":
            layouts = [Layout.contiguous(node.type.shape).strides]
        else:
            layouts = [tuple(int(k == a) for k in range(node.ndim)) for a in range(node.ndim)]
        result = []
        for strides in layouts:
            walk: list[AnyDim] = [0] * len(self.group.dims)
            for domain, stride in zip(where, strides, strict=True):
                if domain is not None:
                    walk[domain] = stride
            result.append(tuple(walk))
        return result

    def _depths(self) -> dict[int, int]:
        """Return for every domain axis the number of loops that are open where it has moved."""
        return {d: n + 1 for n, axis in enumerate(self.axes) for d in axis.covers}

    def _names(self) -> dict[Tensor, str]:
        counts: dict[str, int] = {}
        names = {}
        for node in self.group.nodes:
            number = counts.get(node.op.name, 0)
            counts[node.op.name] = number + 1
            names[node] = f"{node.op.name}_{number}"
        return names

    def _indices(self) -> list[str]:
        """Return the index of each loop, as the layouts over the loops want them."""
        return [axis.index for axis in self.axes]

    def _element(self, access: Access, written: bool = False) -> str:
        strides = tuple(access.layout.strides[axis.covers[-1]] for axis in self.axes)
        shape: Shape = tuple(axis.dim for axis in self.axes)
        over = Access(access.buffer, Layout(access.layout.offset, strides), shape)
        return self.writer.element(over, self._indices(), written)

    # -- values ---------------------------------------------------------------------------------

    def _level(self, node: Tensor) -> int:
        """Return how many loops must be open for the value of ``node`` to be known."""
        moving = [self.depth_of[m] for m in self.group.maps[node] if m is not None]
        return max(moving, default=0)

    def _operand(self, node: Tensor, position: int) -> str:
        """Return one operand of ``node`` as an expression."""
        tensor = node.inputs[position]
        base = self.nest.places.place[tensor].base
        if base in self.members:
            return self.names[base]
        if (node, position) in self.nest.loads:
            access = self.nest.loads[node, position]
            return self.writer.load(self._element(access), tensor.dtype)
        if isinstance(base.op, Constant):
            return literal_of(base.dtype)(base.op.value.array.item())
        return f"{base.dtype.name}({self.writer.integer(base.op.dim)})"  # type: ignore[attr-defined]

    def _compute(self, node: Tensor) -> None:
        """Write ``name = expression`` for an elementwise node."""
        op = node.op
        assert isinstance(op, Elementwise)
        args = [self._operand(node, i) for i in range(len(node.inputs))]
        if op.indexed:
            indices = self._indices()
            places = []
            for walk in self._index_strides(node):
                strides = [walk[axis.covers[-1]] for axis in self.axes]
                places.append(self.writer.linear(indices, strides))
            args = [*places, *args]
        dtype = node.inputs[0].dtype if node.inputs else node.dtype
        value = op.scalar(literal_of(_literal_dtype(node, dtype)), *args)
        if node.dtype.kind == "i":
            value = f"{node.dtype.name}({value})"
        self.writer.line(f"{self.names[node]} = {value}")

    def _save(self, node: Tensor) -> None:
        element = self._element(self.nest.stores[node], written=True)
        self.writer.store(element, self.names[node], node.dtype)

    # -- row kernels -----------------------------------------------------------------------------

    def rows(self) -> None:
        """Write the loops of a group whose folds, if any, run innermost."""
        inner = len(self.axes)
        if self.group.folds:
            inner = min(n for n, a in enumerate(self.axes) if a.covers[0] >= self.group.inner)
        hoisted = [n for n in self.group.nodes if self._level(n) < inner and self.stage[n] == 0]
        outer, folded = self.axes[:inner], self.axes[inner:]
        with ExitStack() as loops:
            for level in range(inner + 1):
                if level == 1:
                    loops.enter_context(self.writer.parallel(outer[0].index, outer[0].dim))
                elif level > 1:
                    axis = outer[level - 1]
                    extent = self.writer.integer(axis.dim)
                    loops.enter_context(self.writer.loop(axis.index, extent))
                if level < inner:
                    self._block([n for n in hoisted if self._level(n) == level])
            if not inner:
                loops.enter_context(self.writer.parallel("_", 1))
            done = set(hoisted)
            if not folded:
                self._block([n for n in self.group.nodes if n not in done])
            else:
                self._stages(inner, folded, done)

    def _block(self, nodes: list[Tensor]) -> None:
        """Compute ``nodes``, then store: a new value may replace one that others read here."""
        for node in nodes:
            if isinstance(node.op, Reduction):
                self._fold_of_one(node)
            else:
                self._compute(node)
        for node in nodes:
            if node in self.nest.stores:
                self._save(node)

    def _fold_of_one(self, node: Tensor) -> None:
        """Write a reduction over axes of length 1."""
        assert isinstance(node.op, Reduction)
        lit = literal_of(node.dtype)
        x = self._converted(node)
        value = node.op.combine(node.op.initial(lit, node.dtype), x)
        self.writer.line(f"{self.names[node]} = {value}")

    def _converted(self, node: Tensor) -> str:
        x = self._operand(node, 0)
        same = node.inputs[0].dtype == node.dtype
        return x if same else f"{node.dtype.name}({x})"

    def _stage_table(self) -> dict[Tensor, int]:
        """Return for each node how many inner loops must have run before it is computable."""
        table: dict[Tensor, int] = {}
        for node in self.group.nodes:
            stage = 0
            for base in self._inside(node):
                fold = isinstance(base.op, Reduction) and self.group.folds
                stage = max(stage, table[base] + int(fold))
            table[node] = stage
        return table

    def _stages(self, inner: int, folded: list[_Axis], done: set[Tensor]) -> None:
        """Write the sequence of inner loops for one point of the outer axes."""
        nodes = [n for n in self.group.nodes if n not in done]
        last = max(self.stage[n] for n in nodes)
        stored: set[Tensor] = set()
        for stage in range(last + 1):
            now = [n for n in nodes if self.stage[n] == stage]
            outer = [n for n in now if self._level(n) <= inner and isinstance(n.op, Elementwise)]
            self._block(outer)
            folds = [n for n in now if isinstance(n.op, Reduction)]
            rest = set(now) - {*outer, *folds}
            saves = [n for n in now if n in self.nest.stores and n in rest]
            if folds or saves:
                self._inner_loop(inner, folded, folds, saves, stored)
                stored.update(saves)

    def _inner_loop(
        self,
        inner: int,
        folded: list[_Axis],
        folds: list[Tensor],
        saves: list[Tensor],
        stored: set[Tensor],
    ) -> None:
        saved = set(saves)
        for node in folds:
            assert isinstance(node.op, Reduction)
            first = node.op.initial(literal_of(node.dtype), node.dtype)
            self.writer.line(f"{self.names[node]} = {first}")
        with ExitStack() as loops:
            for axis in folded:
                loops.enter_context(self.writer.loop(axis.index, self.writer.integer(axis.dim)))
            for node in self._needed([*folds, *saves], inner, stored):
                if node in stored:
                    element = self._element(self.nest.stores[node], written=True)
                    self.writer.line(
                        f"{self.names[node]} = {self.writer.load(element, node.dtype)}"
                    )
                else:
                    self._compute(node)
                    if node in saved:
                        self._save(node)
            for node in folds:
                assert isinstance(node.op, Reduction)
                value = node.op.combine(self.names[node], self._converted(node))
                self.writer.line(f"{self.names[node]} = {value}")
        for node in folds:
            if node in self.nest.stores:
                self._save(node)

    def _needed(self, targets: list[Tensor], inner: int, stored: set[Tensor]) -> list[Tensor]:
        """Return the elementwise nodes inside the inner loops that ``targets`` need."""
        found: set[Tensor] = set()
        stack = [t for t in targets if isinstance(t.op, Elementwise)]
        stack += [x for t in targets if isinstance(t.op, Reduction) for x in self._inside(t)]
        while stack:
            node = stack.pop()
            if node in found or self._level(node) <= inner or isinstance(node.op, Reduction):
                continue
            found.add(node)
            if node not in stored:
                stack.extend(self._inside(node))
        return [n for n in self.group.nodes if n in found]

    def _inside(self, node: Tensor) -> list[Tensor]:
        bases = [self.nest.places.place[x].base for x in node.inputs]
        return [b for b in bases if b in self.members]

    # -- column kernels ----------------------------------------------------------------------------

    def columns(self) -> None:
        """Write a fold whose kept last axes run innermost: ``out[j] += x[r, j]``."""
        assert self.group.column is not None
        start, stop = self.group.column
        (fold,) = [n for n in self.group.nodes if isinstance(n.op, Reduction)]
        assert isinstance(fold.op, Reduction)
        before = [a for a in self.axes if a.covers[-1] < start]
        folded = [a for a in self.axes if start <= a.covers[0] < stop]
        after = [a for a in self.axes if a.covers[0] >= stop]
        out = self._element(self.nest.stores[fold], written=True)
        first = fold.op.initial(literal_of(fold.dtype), fold.dtype)
        with ExitStack() as loops:
            for number, axis in enumerate(before):
                opener = self.writer.parallel(axis.index, axis.dim) if number == 0 else (
                    self.writer.loop(axis.index, self.writer.integer(axis.dim)))  # fmt: skip
                loops.enter_context(opener)
            with ExitStack() as stack:
                self._kept_loops(stack, after, not before)
                self.writer.store(out, first, fold.dtype)
            with ExitStack() as stack:
                for axis in folded:
                    stack.enter_context(self.writer.loop(axis.index, self.writer.integer(axis.dim)))
                self._kept_loops(stack, after, not before)
                for node in self.group.nodes:
                    if node is not fold:
                        self._block([node])
                acc = self.writer.load(out, fold.dtype)
                value = fold.op.combine(acc, self._converted(fold))
                self.writer.store(out, value, fold.dtype)

    def _kept_loops(self, stack: ExitStack, axes: list[_Axis], parallel: bool) -> None:
        for number, axis in enumerate(axes):
            opener = (
                self.writer.parallel(axis.index, axis.dim)
                if parallel and number == 0
                else self.writer.loop(axis.index, self.writer.integer(axis.dim))
            )
            stack.enter_context(opener)


def _literal_dtype(node: Tensor, operand: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """Return the type in which the expression of ``node`` writes its numbers."""
    return node.dtype if node.dtype.kind != "b" and operand.kind == "b" else operand
