"""Loops: a node whose body is a graph of its own, run once for each step.

``scan`` of a body ``(carry, x) -> (carry, y)`` is one node, however long it runs. Its operands are
the first carry, the sequences whose slices ``x`` are, and what the body takes from outside; its
results are the last carry and, stacked over the steps, *any value of the body*: which of them are
kept is decided by who asks. So a derivative asks the loop that was there for the values it needs,
and is itself a loop, the other way, over them (Griewank and Walther, 2008, chapter 12).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any, ClassVar, NamedTuple

import numpy as np

from graphc.errors import ArgumentError, VerificationError, user_location
from graphc.ir.graph import Graph, ancestors
from graphc.ir.interpret import evaluate
from graphc.ir.op import Array
from graphc.ir.results import Multiple, result
from graphc.ir.source import Constant
from graphc.ir.tensor import Tensor, apply
from graphc.ops.body import Body, copied, placeholder, zeros
from graphc.ops.state import Stateful
from graphc.types import INT64, AnyDim, Several, TensorType, dim_at, shape_at

UNBOUNDED = 1 << 62
"""The length of a loop that may take any number of steps."""

_PATIENCE = 100_000
"""Steps after which the interpreter gives up a loop that may take any number."""

_COUNT = TensorType(INT64, ())

Tensors = Sequence[Tensor]
Derivative = Callable[[Tensors, Tensors, Tensors], Mapping[Tensor, Tensor]]
"""How a body is differentiated: from ``(outputs, wrt, given)`` to adjoints or tangents by tensor,
for ``given`` cotangents of the outputs or tangents of ``wrt``; none where they are zero."""


class Steps:
    """The results of a loop in NumPy, stacked as they are asked for."""

    def __init__(
        self, op: Scan, last: Sequence[Array], steps: Mapping[int, Mapping[Tensor, Array]]
    ):
        self.op, self.last, self.steps = op, last, steps

    def __getitem__(self, number: int) -> Array:
        if number < len(self.last):
            return self.last[number]
        node = self.op.body.nodes[number - len(self.last)]
        shape = shape_at((self.op.length, *node.type.shape), self.op.sizes)
        stacked = np.zeros(shape, node.dtype)
        for at, values in self.steps.items():
            stacked[at] = values[node]
        return stacked


class Scan(Multiple, Stateful):
    """Runs a body ``length`` times, each time on the carry that it left and one slice more.

    Results are the last carries, then each value of the body, stacked over the steps. With
    ``reverse`` the last slices come first; a result is stacked where its slices stand.

    With ``counted`` the last operand says how many steps there are, at most ``length``: the first
    ones, whose last comes first with ``reverse``. Where there is none, stacked values are 0.
    """

    name = "scan"
    inside: ClassVar[str] = "step"
    """What its graph is called."""

    body: Body
    length: AnyDim
    reverse: bool = False
    counted: bool = False
    sizes: int = 1
    """The sizes left open, once they are known."""

    def parameters(self) -> str:
        shown = f"length<={self.length}" if self.counted else f"length={self.length}"
        shown += ", reverse" if self.reverse else ""
        return f"{shown}, {len(self.body.nodes)} nodes"

    def graphs(self) -> Mapping[str, Graph]:
        return {self.inside: self.body.graph_of(self.body.place[t] for t in self.body.others)}

    def origin(self, number: int) -> Tensor:
        body, count = self.body, len(self.body.carries)
        return body.following[number] if number < count else body.nodes[number - count]

    def bind(self, batch: int) -> Scan:
        return self.replaced(length=dim_at(self.length, batch), sizes=batch)

    def infer(self, *types: TensorType) -> TensorType:
        body = self.body
        sequences = range(len(body.carries), len(body.carries) + len(body.slices))
        if self.counted:
            if types[-1] != _COUNT:
                raise VerificationError(f"the number of a loop's steps is {types[-1]}")
            types = types[:-1]
        for place, (own, given) in enumerate(zip(body.inputs, types, strict=True)):
            shape = (self.length, *own.type.shape) if place in sequences else own.type.shape
            if given != TensorType(own.dtype, shape):
                raise VerificationError(f"a loop takes {own.describe()} from {given}")
        for carry, new in zip(body.carries, body.following, strict=True):
            if carry.type != new.type:
                raise VerificationError(f"a loop carries {carry.type} on as {new.type}")
        stacked = [t.type.with_shape((self.length, *t.type.shape)) for t in body.nodes]
        return Several.of([*(t.type for t in body.carries), *stacked])

    def numpy(self, *arrays: Array) -> Any:
        body, length = self.body, dim_at(self.length, self.sizes)
        first, second = len(body.carries), len(body.carries) + len(body.slices)
        carry, xs = list(arrays[:first]), arrays[first:second]
        captured = list(arrays[second:])
        taken = min(max(0, int(captured.pop())), length) if self.counted else length
        steps: dict[int, Mapping[Tensor, Array]] = {}
        for at in reversed(range(taken)) if self.reverse else range(taken):
            feeds = dict(zip(body.inputs, [*carry, *(x[at] for x in xs), *captured], strict=True))
            steps[at] = evaluate(body.nodes, feeds, self.sizes)
            carry = [steps[at][t] for t in body.following]
            if body.going is not None and not steps[at][body.going]:
                break
            if length == UNBOUNDED and at == _PATIENCE:
                raise ArgumentError(f"a while_loop did not end within {_PATIENCE} steps")
        return Steps(self, carry, steps)

    @property
    def derived(self) -> type[Scan]:
        """The kind of loop that its derivatives are."""
        return Scan

    def _check_bounded(self) -> None:
        """Raise unless there is memory for the values of all steps."""
        if self.length == UNBOUNDED:
            raise ArgumentError(
                "a while_loop has derivatives only with max_steps: they need memory for the values "
                f"of all steps\n  at {user_location()}"
            )

    def taken(self, out: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the operand by which a loop over this one's steps takes as many."""
        if self.body.going is not None:
            return [result(out, 0)]
        return [inputs[-1]] if self.counted else []

    def stacked(self, out: Tensor, node: Tensor) -> Tensor:
        """Return a value of the body, of all steps."""
        return result(out, len(self.body.carries) + self.body.place[node])

    def _given_by(self, inputs: Sequence[Tensor]) -> Mapping[Tensor, Tensor]:
        """Return the operand that each input of the body is."""
        return dict(zip(self.body.inputs, inputs, strict=False))

    def learned(self, *inputs: Tensor) -> Sequence[Tensor]:
        given = self._given_by(inputs)
        ops = [(node, node.op) for node in self.body.nodes if isinstance(node.op, Stateful)]
        return [given[x] for node, op in ops for x in op.learned(*node.inputs) if x in given]

    def chained(self, *inputs: Tensor) -> Sequence[Tensor]:
        given = self._given_by(inputs)
        return [given[carry] for carry in self.body.carries if carry in self.body.states]

    def moved(self, out: Tensor, operands: Sequence[Tensor]) -> Mapping[Tensor, Tensor]:
        body = self.body
        if not body.states:
            return {}
        node = out if all(map(is_, operands, out.inputs)) else apply(self, *operands)
        return {
            operands[number]: result(node, number)
            for number, carry in enumerate(body.carries)
            if carry in body.states
        }

    def vjps_by(
        self, pull: Derivative, gs: Mapping[int, Tensor], out: Tensor, *inputs: Tensor
    ) -> Sequence[Tensor | None]:
        """Return the cotangents of the operands: results of a loop the other way."""
        body, count = self.body, len(self.body.carries)
        self._check_bounded()
        loop = _Derived(self, out, inputs)
        outputs, cotangents, carried = [], [], []
        for k, (carry, new) in enumerate(zip(body.carries, body.following, strict=True)):
            if carry.dtype.kind == "f" and carry not in body.states:
                ct = loop.carry(gs[k] if k in gs else zeros(carry.type))
                outputs.append(new)
                cotangents.append(ct)
                carried.append((carry, ct))
        for number, g in gs.items():
            if number >= count:
                outputs.append(body.nodes[number - count])
                cotangents.append(loop.slice(g))
        wrt = [t for t in body.inputs if t.dtype.kind == "f" and t not in body.states]
        found = pull(outputs, wrt, cotangents)
        finals: dict[Tensor, int] = {}
        for carry, ct in carried:
            finals[carry] = loop.follow(ct, found.get(carry, zeros(carry.type)))
        for t in body.captured:
            if t in found:
                total = loop.carry(zeros(t.type))
                finals[t] = loop.follow(total, total + found[t])
        kept = [found[t] for t in body.slices if t in found]
        made = loop.finish(not self.reverse, kept)
        return [
            result(made.out, finals[t])
            if t in finals
            else made.stacked(found[t])
            if t in found and t in body.sliced
            else None
            for t in body.inputs
        ] + [None] * self.counted

    def jvps_by(
        self, push: Derivative, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor
    ) -> Mapping[int, Tensor]:
        """Return the tangents of the results: those of a loop beside this one."""
        body, count = self.body, len(self.body.carries)
        self._check_bounded()
        loop = _Derived(self, out, inputs)
        wrt, directions, carried = [], [], []
        for place, (own, t) in enumerate(zip(body.inputs, tangents, strict=False)):
            if own.dtype.kind != "f" or own in body.states:
                continue
            if place < count:
                direction = loop.carry(zeros(own.type) if t is None else t)
                carried.append((place, direction))
            elif t is None:
                continue
            else:
                direction = loop.slice(t) if own in body.sliced else loop.capture(t)
            wrt.append(own)
            directions.append(direction)
        found = push(body.nodes, wrt, directions)
        finals = {
            place: loop.follow(t, found.get(body.following[place], zeros(t.type)))
            for place, t in carried
        }
        values = {place: found[node] for node, place in body.place.items() if node in found}
        made = loop.finish(self.reverse, list(values.values()))
        results = {place: result(made.out, number) for place, number in finals.items()}
        return results | {count + place: made.stacked(t) for place, t in values.items()}


class While(Scan):
    """A loop whose steps tell whether there is another one."""

    name = "while_loop"


class Branch(Scan):
    """A loop of one step, or none: what is done only if a condition holds."""

    name = "branch"
    inside = "then"

    def parameters(self) -> str:
        return f"{len(self.body.nodes)} nodes"

    @property
    def derived(self) -> type[Scan]:
        return Branch


class _Made(NamedTuple):
    """A derived loop, and what became of the tensors it was made from."""

    out: Tensor
    images: Mapping[Tensor, Tensor]

    def stacked(self, value: Tensor) -> Tensor:
        op = self.out.op
        assert isinstance(op, Scan)
        return op.stacked(self.out, self.images[value])


class _Derived:
    """A loop in the making, over values of another one: ``op``, whose node is ``out``."""

    def __init__(self, op: Scan, out: Tensor, inputs: Sequence[Tensor]) -> None:
        self._op, self._out, self._inputs = op, out, inputs
        self._carries: dict[Tensor, Tensor] = {}
        self._numbers: dict[Tensor, int] = {}
        self._slices: dict[Tensor, Tensor] = {}
        self._captured: dict[Tensor, Tensor] = {}
        self._following: dict[Tensor, Tensor] = {}

    def carry(self, first: Tensor) -> Tensor:
        """Return a new carry that begins as ``first``."""
        own = placeholder("carry", first.type)
        self._numbers[own] = len(self._carries)
        self._carries[own] = first
        return own

    def follow(self, carry: Tensor, new: Tensor) -> int:
        """Say what the carry is next; return the number of the result that it leaves."""
        self._following[carry] = new
        return self._numbers[carry]

    def slice(self, sequence: Tensor) -> Tensor:
        own = placeholder("slice", sequence.type.with_shape(sequence.type.shape[1:]))
        self._slices[own] = sequence
        return own

    def capture(self, value: Tensor) -> Tensor:
        own = placeholder("captured", value.type)
        self._captured[own] = value
        return own

    def finish(self, reverse: bool, others: Sequence[Tensor]) -> _Made:
        """Return the loop: values of the other one's steps that it needs are read, stacked."""
        body = self._op.body
        given = dict(zip(body.inputs, self._inputs, strict=False))
        own = {**self._carries, **self._slices, **self._captured}
        roots = [*self._following.values(), *others]
        images: dict[Tensor, Tensor] = {}
        known = {
            t: None
            for t in (*body.nodes, *own)
            # A loop within the body runs again: of its values, more are needed than were there.
            if not (isinstance(t.op, Constant) or isinstance(t.type, Several))
        }
        for node in ancestors(roots, known):
            if node not in known or node in own:
                continue
            if node in body.taken:
                images[node] = self.capture(given[node])
            elif node in body.sliced:
                images[node] = self.slice(given[node])
            else:
                images[node] = self.slice(self._op.stacked(self._out, node))
        copied(roots, images)
        carries = list(self._carries)
        made = Body(
            carries,
            list(self._slices),
            list(self._captured),
            [images.get(t, t) for t in (self._following[c] for c in carries)],
            [images.get(t, t) for t in others],
        )
        operands = [*self._carries.values(), *self._slices.values(), *self._captured.values()]
        taken = self._op.taken(self._out, self._inputs)
        return _Made(
            apply(self._op.derived(made, self._op.length, reverse, bool(taken)), *operands, *taken),
            {t: images.get(t, t) for t in others},
        )
