"""From a graph to a program: fuse, choose buffers, order the calls."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.ir.graph import Graph
from graphc.ir.layout import Layout
from graphc.ir.op import Assembly, Contraction, Loops, Source
from graphc.ir.results import Result
from graphc.ir.source import Constant, Input, Parameter
from graphc.ir.tensor import PHASES, Tensor
from graphc.ops.body import Body
from graphc.ops.scan import Scan
from graphc.passes.bounds import IndexBounds, unsure_indices
from graphc.plan import contraction
from graphc.plan.division import divided
from graphc.plan.fusion import Fusion, stored_nodes
from graphc.plan.group import AxisMap, Group
from graphc.plan.places import Places
from graphc.plan.program import (
    Access,
    Buffer,
    Call,
    Copy,
    Guard,
    Loop,
    LoopNest,
    OwnLoops,
    Program,
    Work,
)
from graphc.types import INT64, AnyDim, Several, Shape, size_of

_KINDS = {Input: "input", Parameter: "parameter", Constant: "constant"}
_PREFIXES = {"input": "x", "parameter": "p", "constant": "c", "gradient": "g"}


def plan(
    graph: Graph,
    gradients: Mapping[Tensor, Tensor] | None = None,
    guarded: Sequence[tuple[Tensor, IndexBounds]] = (),
    *,
    fuse: bool = True,
) -> Program:
    """Return the program of ``graph``, whose ops must be of the computable traits.

    ``gradients`` maps parameters to tensors that get a place in the flat gradient buffer.
    ``guarded`` are outputs that hold indices, with what is asked of them.
    """
    return _Planner(graph, gradients or {}, guarded, fuse).program()


class _Planner:
    def __init__(
        self,
        graph: Graph,
        gradients: Mapping[Tensor, Tensor],
        guarded: Sequence[tuple[Tensor, IndexBounds]],
        fuse: bool,
        loops: tuple[Loop, ...] = (),
        phase: int = PHASES.index("forward"),
    ) -> None:
        self.graph = graph
        self.fuse = fuse
        self.loops, self.phase = loops, phase
        self.starts: dict[Tensor, AnyDim] = {}
        """Where in its buffer a tensor begins, if that is not its first element."""
        self.count = itertools.count()
        """Numbers of loops."""
        self.places = Places(graph, gradients.values())
        hosts = self.places.hosts
        self.shared = {*hosts, *(whole for whole, _ in hosts.values())}
        """What lies in one buffer with others."""
        self.fusion = Fusion(graph, self.places, fuse)
        self.order = {g: i for i, g in enumerate(self.fusion.groups)}
        self.gradient_of: dict[Tensor, Tensor] = {}
        for parameter, gradient in gradients.items():
            base = self.places.place[gradient].base
            own = self.places.place[gradient].layout.is_contiguous(gradient.type.shape)
            if own and not isinstance(base.op, Source) and base not in self.gradient_of:
                self.gradient_of[base] = parameter
        self.gradients = gradients
        self.kept = self.fusion.kept | set(self.gradient_of)
        self.buffers: dict[Tensor, Buffer] = {}
        self.extra: list[Buffer] = []
        self.counts: Counter[str] = Counter()
        self.calls: list[Call] = []
        self.guards: list[Guard] = []
        self.guarded: dict[Group | None, list[tuple[Tensor, IndexBounds]]] = {}
        """What is asked of the indices that each group computes; None computes none."""
        for indices, bounds in guarded:
            maker = self.fusion.group.get(self.places.place[indices].base)
            self.guarded.setdefault(maker, []).append((indices, bounds))

    def program(self) -> Program:
        in_place = self._updates_in_place()
        self._guard(None)
        for group in self.fusion.groups:
            self._emit(group, in_place)
            self._guard(group)
        outputs = {name: self._output(name, t) for name, t in self.graph.outputs.items()}
        gradients = {p: self._gradient(p, t) for p, t in self.gradients.items()}
        self._copy_updates(in_place)
        inputs = [self._buffer(t) for t in self.graph.inputs]
        buffers = list(dict.fromkeys([*self.buffers.values(), *self.extra]))
        program = Program(buffers, self.calls, inputs, outputs, gradients, self.guards)
        program.find_lifetimes()
        program.verify()
        return program

    # -- buffers -------------------------------------------------------------------------------

    def _buffer(self, base: Tensor, target: Buffer | None = None) -> Buffer:
        """Return the buffer of a tensor that is no view."""
        if base not in self.buffers:
            if base in self.places.hosts:
                whole, region = self.places.hosts[base]
                target = self._buffer(whole)
                self.starts[base] = self.starts.get(whole, 0) + region.offset
            if target is None:
                kind = _KINDS.get(type(base.op), "arena")
                if base in self.gradient_of:
                    kind = "gradient"
                name = self._name(base, _PREFIXES.get(kind, ""))
                target = self._new(name, kind, base.dtype, base.type.shape, base)
            self.buffers[base] = target
        return self.buffers[base]

    def _name(self, base: Tensor, prefix: str) -> str:
        """Return an identifier that owes nothing to the user's strings."""
        number = self.counts[prefix or base.op.name]
        self.counts[prefix or base.op.name] += 1
        return f"{prefix}{number}" if prefix else f"{base.op.name}_{number}"

    def _access(self, tensor: Tensor) -> Access:
        place = self.places.place[tensor]
        return self._part(place.base, place.layout, tensor.type.shape)

    def _new(
        self, name: str, kind: str, dtype: np.dtype[Any], shape: Shape, tensor: Tensor
    ) -> Buffer:
        home = self.loops if kind == "arena" else ()
        return Buffer(name, kind, dtype, shape, tensor, home=home)

    def _own(self, base: Tensor) -> Access:
        """Return where all of a tensor lies that is no view."""
        return self._part(base, self.places.own_layout(base), base.type.shape)

    def _part(self, base: Tensor, layout: Layout, shape: Shape) -> Access:
        """Return where, in the place of a tensor that is no view, ``layout`` says."""
        buffer, start = self._buffer(base), self.starts.get(base, 0)
        return Access(buffer, Layout(start + layout.offset, layout.strides), shape)

    # -- updates and outputs ---------------------------------------------------------------------

    def _updates_in_place(self) -> dict[Tensor, Tensor]:
        """Return ``{new value: parameter}`` where the value may be written over the old one.

        Every reader of the old value must run before the writer, or in the same loops at the
        same element. Where gradients are asked for, phases run by themselves, and only the last
        may replace a parameter. None is replaced before the last guard.
        """
        phases = PHASES[-1:] if self.gradients else PHASES
        result: dict[Tensor, Tensor] = {}
        guarding = {g for g in self.guarded if g is not None}
        guarding |= {g for g in self.fusion.groups if not g.is_loop and _guards_inside(g.nodes[0])}
        last_guard = max((self.order[g] for g in guarding), default=-1)
        read_at_end = {self.places.place[t].base for t in self.graph.outputs.values()}
        read_at_end |= {
            self.places.place[t].base for t in self.graph.updates.values()
            if isinstance(self.places.place[t].base.op, Parameter)
        }  # fmt: skip
        for parameter, value in self.graph.updates.items():
            group = self.fusion.group.get(value)
            if group is None or value in result or parameter in read_at_end:
                continue
            if PHASES[group.phase] not in phases or value in self.gradient_of:
                continue
            if not self._can_replace(group, value) or self.order[group] <= last_guard:
                continue
            if self._is_last_user(group, parameter, value):
                result[value] = parameter
        return result

    def _can_replace(self, group: Group, value: Tensor) -> bool:
        return (group.is_loop and group.column is None) or value.op.changes

    def _same_element(self, group: Group, user: Tensor, position: int, value: Tensor) -> bool:
        """Tell whether ``user`` reads its operand at the element at which ``value`` is written."""
        operand = user.inputs[position]
        if self.places.place[operand].base is not operand or group.folds:
            return False
        if not group.is_loop:
            return user is value and position == 0
        aligned = group.operand_maps[user][-operand.ndim :] if operand.ndim else ()
        return aligned == group.maps[value]

    def _output(self, name: str, tensor: Tensor) -> Access:
        """Return where an output lies; one that an update would overwrite is copied before."""
        base = self.places.place[tensor].base
        if base in self.graph.updates:
            return self._copy(
                tensor, PHASES.index("forward"), f"output_{len(self.extra)}", front=True
            )
        return self._access(tensor)

    def _gradient(self, parameter: Tensor, gradient: Tensor) -> Buffer:
        base = self.places.place[gradient].base
        if self.gradient_of.get(base) is parameter:
            return self._buffer(base)
        access = self._copy(gradient, PHASES.index("backward"), f"gradient_{len(self.extra)}")
        access.buffer.kind = "gradient"
        return access.buffer

    def _copy(self, tensor: Tensor, phase: int, name: str, front: bool = False) -> Access:
        """Copy a tensor into a buffer of its own; ``front`` puts the copy before all calls."""
        target = self._new(name, "arena", tensor.dtype, tensor.type.shape, tensor)
        self.extra.append(target)
        access = Access(target, Layout.contiguous(tensor.type.shape), tensor.type.shape)
        source = self._access(tensor)
        reads = (source.buffer,)
        call = Call(Copy(source, access), phase, (tensor,), reads, (target,), 0, self.loops)
        if front:
            self.calls.insert(0, call)
        else:
            last = [i for i, c in enumerate(self.calls) if c.phase <= phase]
            self.calls.insert(last[-1] + 1 if last else 0, call)
        return access

    def _copy_updates(self, in_place: Mapping[Tensor, Tensor]) -> None:
        """Write the new values that could not be computed in place."""
        phase = PHASES.index("update")
        pending = [(p, v) for p, v in self.graph.updates.items() if in_place.get(v) is not p]
        values = []
        for _, value in pending:
            base = self.places.place[value].base
            if base in self.graph.updates:  # another parameter's old value: take it before
                values.append(self._copy(value, 0, f"old_{len(self.extra)}", front=True))
            else:
                values.append(self._access(value))
        for (parameter, value), source in zip(pending, values, strict=True):
            target = self._access(parameter)
            if source.buffer is not target.buffer:
                self.calls.append(
                    Call(
                        Copy(source, target), phase, (value,), (source.buffer,), (target.buffer,), 0
                    )
                )

    # -- calls -----------------------------------------------------------------------------------

    def _guard(self, group: Group | None) -> None:
        """Check the indices that ``group`` has computed, or those that no group computes."""
        for indices, bounds in self.guarded.get(group, ()):
            if not self.guards:
                verdict = Buffer("verdict", "verdict", INT64, (1,), indices)
                self.extra.append(verdict)
            else:
                verdict = self.guards[0].verdict
            number = len(self.guards) + 1
            guard = Guard(
                self._access(indices), bounds.low, bounds.high, number, verdict,
                bounds.node, bounds.indices,
            )  # fmt: skip
            self.guards.append(guard)
            phase = self.phase if group is None else group.phase
            reads = (guard.indices.buffer,)
            call = Call(guard, phase, (bounds.node,), reads, (verdict,), 0, self.loops)
            self.calls.append(call)

    def _emit(self, group: Group, in_place: Mapping[Tensor, Tensor]) -> None:
        if group.is_loop:
            self._emit_loops(group, in_place)
            return
        (node,) = group.nodes
        flops = node.op.flops(node.type, *(x.type for x in node.inputs))
        if isinstance(node.op, Contraction):
            self._emit_product(group, node, flops)
        elif isinstance(node.op, Loops):
            operands = tuple(self._access(x) for x in node.inputs)
            if node.op.changes and not self._replaces(group, node, in_place):
                target = self._own(node)
                self._call(Copy(operands[0], target), group, operands[:1], (target,), 0)
            outs = tuple([self._own(t) for t in self._results(node)])
            reads = (*outs, *operands[1:]) if node.op.changes else operands
            self._call(OwnLoops(node, operands, outs), group, reads, outs, flops)
        elif isinstance(node.op, Assembly):
            self._emit_assembly(group, node)
        elif isinstance(node.op, Scan):
            self._emit_scan(group, node, node.op)
        else:  # a view that no strides can express
            (x,) = node.inputs
            source = self._access(x)
            target = self._part(node, Layout.contiguous(x.type.shape), x.type.shape)
            self._call(Copy(source, target), group, (source,), (target,), 0)

    def _replaces(self, group: Group, node: Tensor, in_place: Mapping[Tensor, Tensor]) -> bool:
        """Let ``node`` lie where an operand does, if it may; tell whether it does."""
        replaced = in_place.get(node, self._outlived(group, node))
        if replaced is None:
            return False
        self.buffers[node] = self._buffer(replaced)
        self.starts[node] = self.starts.get(replaced, 0)
        return True

    def _results(self, node: Tensor) -> list[Tensor]:
        """Return the results of ``node``, those that nobody asks for among them."""
        if not isinstance(node.type, Several):
            return [node]
        asked = self.fusion.results.get(node, {})
        return [
            asked[number] if number in asked else Tensor(Result(number), (node,), part, like=node)
            for number, part in enumerate(node.type.parts)
        ]

    def _call(
        self,
        work: Work,
        group: Group,
        reads: tuple[Access, ...],
        writes: tuple[Access, ...],
        flops: AnyDim,
    ) -> None:
        read, written = (tuple(dict.fromkeys(a.buffer for a in x)) for x in (reads, writes))
        nodes = tuple(group.nodes)
        self.calls.append(Call(work, group.phase, nodes, read, written, flops, self.loops))

    def _emit_loops(self, group: Group, in_place: Mapping[Tensor, Tensor]) -> None:
        stores: dict[Tensor, Access] = {}
        loads: dict[tuple[Tensor, int], Access] = {}
        members = set(group.nodes)
        flops: AnyDim = 0
        for node in group.nodes:
            flops = node.op.flops(node.type, *(x.type for x in node.inputs)) + flops
            for position, x in enumerate(node.inputs):
                base = self.places.place[x].base
                if base not in members and not is_inline(base):
                    loads[node, position] = _in_domain(
                        self._access(x), group.operand_maps[node], group
                    )
        for node in stored_nodes(group, self.fusion.users, self.kept):
            self._replaces(group, node, in_place)
            stores[node] = _in_domain(self._own(node), group.maps[node], group)
        for work in divided(LoopNest(group, self.places, loads, stores), self._scratch):
            reads, writes = tuple(work.reads()), tuple(work.writes())
            call = Call(work, group.phase, work.nodes, reads, writes, flops, self.loops)
            self.calls.append(call)
            flops = 0

    def _outlived(self, group: Group, value: Tensor) -> Tensor | None:
        """Return an operand that only ``group`` reads, so that ``value`` can take its place.

        To wait for other readers would keep calls apart that can run side by side.
        """
        if value in self.kept or value in self.shared or not self._can_replace(group, value):
            return None
        taken = {self.buffers[n] for n in group.nodes if n in self.buffers}
        operands = (x for node in group.nodes for x in node.inputs)
        for x in dict.fromkeys(self.places.place[x].base for x in operands):
            buffer = self.buffers.get(x)
            if buffer is None or buffer.kind != "arena" or buffer in taken or x in self.kept:
                continue
            if x in self.starts or x in self.shared:  # a part of what others read
                continue
            if x.type == value.type and all(
                self.fusion.group[user] is group
                and self._same_element(group, user, position, value)
                for user, position in self.fusion.users[x]
            ):
                return x
        return None

    def _is_last_user(self, group: Group, x: Tensor, value: Tensor) -> bool:
        """Tell whether ``x`` is read before ``group``, or in it where ``value`` is written."""
        return all(
            self.order[self.fusion.group[user]] < self.order[group]
            or (
                self.fusion.group[user] is group
                and self._same_element(group, user, position, value)
            )
            for user, position in self.fusion.users[x]
        )

    def _scratch(self, tensor: Tensor, dtype: np.dtype[Any], shape: Shape) -> Buffer:
        """Return memory for what a kernel needs on the way to ``tensor``."""
        scratch = self._new(f"scratch_{len(self.extra)}", "arena", dtype, shape, tensor)
        self.extra.append(scratch)
        return scratch

    def _emit_assembly(self, group: Group, node: Tensor) -> None:
        assert isinstance(node.op, Assembly)
        fill, types = node.op.fill(), [x.type for x in node.inputs]
        if fill is not None:
            boxes = node.op.outside(node.type, *types)
            if boxes is None:
                boxes = [(Layout.contiguous(node.type.shape), node.type.shape)]
            for layout, shape in boxes:
                target = self._part(node, layout, shape)
                self._call(Copy(None, target, fill), group, (), (target,), 0)
        regions = node.op.regions(node.type, *types)
        for x, region in zip(node.inputs, regions, strict=True):
            host, own = self.places.hosts.get(x, (None, None))
            if host is node and own == region:
                continue  # computed there
            source = self._access(x)
            target = self._part(node, region, x.type.shape)
            self._call(Copy(source, target), group, (source,), (target,), 0)

    def _emit_scan(self, group: Group, node: Tensor, op: Scan) -> None:
        """Plan the body once, over buffers of which sequences and results move with the step."""
        body = op.body
        asked = self.fusion.results.get(node, {})
        operands = [self._gathered(x, group) for x in node.inputs]
        taken = operands[-1] if op.counted else None
        count, loop = len(body.carries), Loop(next(self.count), op.length, op.reverse, taken)
        places = sorted(n - count for n in asked if n >= count)
        graph, guarded = _guarded_body(body, places)
        inner = _Planner(graph, {}, guarded, self.fuse, (*self.loops, loop), group.phase)
        inner.counts, inner.extra, inner.calls = self.counts, self.extra, self.calls
        inner.count, inner.guards = self.count, self.guards
        inner.kept = inner.kept | set(body.inputs)
        histories = {} if op.counted else self._histories(body, asked, inner, loop)
        carries: list[tuple[Tensor, Access]] = []
        for k, (own, first) in enumerate(zip(body.carries, operands, strict=False)):
            if k in histories:
                target = histories[k]
            elif k in asked:
                target = self._own(asked[k])
            else:
                carried = self._scratch(own, own.dtype, own.type.shape)
                target = Access(carried, Layout.contiguous(own.type.shape), own.type.shape)
            self._call(Copy(first, target), group, (first,), (target,), 0)
            if k not in histories:
                inner.buffers[own], inner.starts[own] = target.buffer, target.layout.offset
                carries.append((body.following[k], target))
        for own, access in zip(body.inputs[count:], operands[count:], strict=False):
            inner.buffers[own] = access.buffer
            step = loop.step * size_of(own.type.shape) if own in body.sliced else 0
            inner.starts[own] = step + access.layout.offset
        copied = []
        for place in places:
            value, whole = body.nodes[place], self._own(asked[count + place])
            if whole.buffer in {access.buffer for access in histories.values()}:
                continue
            if op.counted:
                self._call(Copy(None, whole), group, (), (whole,), 0)
            copied += inner._stacked(value, whole, loop)
        inner._guard(None)
        in_place = inner._carries_in_place(body)
        for part in inner.fusion.groups:
            part.phase = group.phase
            inner._emit(part, in_place)
            inner._guard(part)
        if body.going is not None:
            loop.going.append(inner._gathered(body.going, group))
        inner._carry_on(group, copied, carries)
        for k, first in histories.items():
            if k in asked and asked[k] not in self.buffers:
                end = loop.count * size_of(first.shape) - first.layout.offset
                last = Access(first.buffer, Layout(end, first.layout.strides), first.shape)
                final = self._own(asked[k])
                self._call(Copy(last, final), group, (last,), (final,), 0)
        known = set(self.buffers.values())
        self.extra += [b for b in inner.buffers.values() if b not in known]

    def _stacked(self, value: Tensor, whole: Access, loop: Loop) -> list[tuple[Tensor, Access]]:
        """Let a value lie where its steps are kept; return it with its place if that cannot be."""
        step = whole.layout.offset + loop.step * size_of(value.type.shape)
        base = self.places.place[value].base
        if base is value and value in self.fusion.group and value not in self.buffers:
            self.buffers[value], self.starts[value] = whole.buffer, step
            return []
        layout = Layout(step, Layout.contiguous(value.type.shape).strides)
        return [(value, Access(whole.buffer, layout, value.type.shape))]

    def _histories(
        self, body: Body, asked: Mapping[int, Tensor], inner: _Planner, loop: Loop
    ) -> dict[int, Access]:
        """Return, for carries of which all steps are kept, where the first one lies.

        Before each step and after the last there is one: each is computed in its place, and the
        results are parts of one buffer. What leaves the program has a buffer of its own.
        """
        count, found = len(body.carries), {}
        for k, (own, new) in enumerate(zip(body.carries, body.following, strict=True)):
            before, after = (asked.get(count + body.place[t]) for t in (own, new))
            computed = new in inner.fusion.group and inner.places.place[new].base is new
            taken = new in inner.buffers or any(t in self.kept for t in (before, after))
            if before is None or not computed or taken:
                continue
            size, last = size_of(own.type.shape), loop.count * size_of(own.type.shape)
            every = self._scratch(own, own.dtype, (loop.count + 1, *own.type.shape))
            early, late = (size, 0) if loop.reverse else (0, size)
            inner.buffers[own] = inner.buffers[new] = every
            inner.starts[own], inner.starts[new] = (loop.step * size + s for s in (early, late))
            starts = {before: early, after: late}
            final = asked.get(k)
            if final is not None and final not in self.kept:
                starts[final] = 0 if loop.reverse else last
            for result, start in starts.items():
                if result is not None:
                    self.buffers[result], self.starts[result] = every, start
            layout = Layout(last if loop.reverse else 0, Layout.contiguous(own.type.shape).strides)
            found[k] = Access(every, layout, own.type.shape)
        return found

    def _carries_in_place(self, body: Body) -> dict[Tensor, Tensor]:
        """Return ``{next carry: carry}`` where one may be written over the other."""
        result: dict[Tensor, Tensor] = {}
        outputs = {self.places.place[t].base for t in self.graph.outputs.values()}
        for carry, new in zip(body.carries, body.following, strict=True):
            group = self.fusion.group.get(new)
            if group is None or carry in outputs or new in self.buffers or new in result:
                continue
            own = self.places.place[new].base is new and self._can_replace(group, new)
            if own and self._is_last_user(group, carry, new):
                result[new] = carry
        return result

    def _carry_on(
        self,
        group: Group,
        values: list[tuple[Tensor, Access]],
        carries: list[tuple[Tensor, Access]],
    ) -> None:
        """End a step: write what is not computed in its place, then the next carries."""
        for value, target in values:
            source = self._access(value)
            self._call(Copy(source, target), group, (source,), (target,), 0)
        own = {target.buffer for _, target in carries}
        moves = []
        for new, target in carries:
            source = self._access(new)
            if source.buffer is target.buffer and source.layout == target.layout:
                continue
            if source.buffer in own:  # another carry, or a view of this one: take it before
                source = self._packed(source, group)
            moves.append((source, target))
        for source, target in moves:
            self._call(Copy(source, target), group, (source,), (target,), 0)

    def _gathered(self, x: Tensor, group: Group) -> Access:
        """Return ``x``, as it lies if its elements follow one another."""
        access = self._access(x)
        own = Layout(access.layout.offset, Layout.contiguous(x.type.shape).strides)
        return access if access.layout == own else self._packed(access, group)

    def _emit_product(self, group: Group, node: Tensor, flops: AnyDim) -> None:
        assert isinstance(node.op, Contraction)
        out = self._access(node)
        operands = []
        flags = (node.op.transpose_a, node.op.transpose_b)
        for x, flag in zip(node.inputs, flags, strict=True):
            operand = self._operand(x)
            operand = operand.swapped() if flag else operand
            operand = operand.broadcast(out.shape[:-2])
            operands.append(operand if operand.is_forward else self._copied(operand, group))
        a, b = operands
        work = contraction.product(a, b, out)
        if work is None:
            a, b = (self._copied(x, group) for x in operands)
            work = contraction.product(a, b, out)
        assert work is not None, "operands that no loops walk have been copied"
        self._call(work, group, (work.left, work.right), (out,), flops)

    def _operand(self, x: Tensor) -> contraction.Operand:
        place = self.places.place[x]
        if place.groups is None:
            return contraction.Operand.of(self._access(x))
        whole = self._part(place.base, place.layout, x.type.shape)
        return contraction.Operand(whole.buffer, whole.layout.offset, place.groups)

    def _copied(self, x: contraction.Operand, group: Group) -> contraction.Operand:
        """Return a row-major copy of ``x``."""
        packed = self._packed(x.access(), group)
        return contraction.Operand.of(Access(packed.buffer, Layout.contiguous(x.shape), x.shape))

    def _packed(self, x: Access, group: Group) -> Access:
        """Return a row-major copy of ``x``."""
        tensor = x.buffer.tensor
        target = self._new(f"packed_{len(self.extra)}", "arena", tensor.dtype, x.shape, tensor)
        self.extra.append(target)
        packed = Access(target, Layout.contiguous(x.shape), x.shape)
        nodes, reads = tuple(group.nodes), (x.buffer,)
        call = Call(Copy(x, packed), group.phase, nodes, reads, (target,), 0, self.loops)
        self.calls.append(call)
        return packed


def _guarded_body(
    body: Body, places: Sequence[int]
) -> tuple[Graph, list[tuple[Tensor, IndexBounds]]]:
    """Return the graph of a loop's step, and the indices in it that are to be checked."""
    graph = body.graph_of(places)
    guarded = [(bounds.indices, bounds) for bounds in unsure_indices(graph)]
    kept = {f"indices {k}": indices for k, (indices, _) in enumerate(guarded)}
    return Graph(graph.inputs, {**graph.outputs, **kept}), guarded


def _guards_inside(node: Tensor) -> bool:
    """Tell whether ``node`` is a loop that may stop the program."""
    if not isinstance(node.op, Scan):
        return False
    body = node.op.body
    return any(map(_guards_inside, body.nodes)) or any(
        unsure_indices(body.graph_of(range(len(body.nodes))))
    )


def is_inline(base: Tensor) -> bool:
    """Tell whether a source is written into the kernel's text: a number, or an extent."""
    if isinstance(base.op, Constant):
        return base.type.size == 1
    return isinstance(base.op, Source) and type(base.op) not in _KINDS


def _in_domain(access: Access, where: AxisMap, group: Group) -> Access:
    """Return ``access`` with one stride for each axis of the group's domain."""
    strides: list[AnyDim] = [0] * len(group.dims)
    aligned = where[len(where) - len(access.shape) :]
    for domain, stride, dim in zip(aligned, access.layout.strides, access.shape, strict=True):
        if domain is not None and dim != 1:
            strides[domain] = stride
    return Access(access.buffer, Layout(access.layout.offset, tuple(strides)), group.dims)
