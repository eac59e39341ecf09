"""Loops: a node whose body is a graph of its own, run once for each step.

``scan`` of a body ``(carry, x) -> (carry, y)`` is one node, however long it runs. Its operands are
the first carry, the sequences whose slices ``x`` are, and what the body takes from outside; its
results are the last carry and, stacked over the steps, *any value of the body*: which of them are
kept is decided by who asks. So a derivative asks the loop that was there for the values it needs,
and is itself a loop, the other way, over them (Griewank and Walther, 2008, chapter 12).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.errors import ArgumentError, DTypeError, ShapeError, VerificationError, user_location
from graphc.ir.graph import Graph, ancestors
from graphc.ir.interpret import evaluate
from graphc.ir.op import Array, Source
from graphc.ir.results import Multiple, result
from graphc.ir.source import Constant, Input, Parameter, constant
from graphc.ir.tensor import FUNCTIONS, Tensor, apply
from graphc.ops.operands import as_tensor
from graphc.tree import tree_leaves, tree_map
from graphc.types import AnyDim, Several, TensorType, as_dim, dim_at, shape_at, show_shape

Tensors = Sequence[Tensor]
Derivative = Callable[[Tensors, Tensors, Tensors], Mapping[Tensor, Tensor]]
"""How a body is differentiated: from ``(outputs, wrt, given)`` to adjoints or tangents by tensor,
for ``given`` cotangents of the outputs or tangents of ``wrt``; none where they are zero."""


class Body:
    """What a loop does in a step: a graph that stands for itself, equal to itself only."""

    def __init__(
        self,
        carries: Sequence[Tensor],
        slices: Sequence[Tensor],
        captured: Sequence[Tensor],
        following: Sequence[Tensor],
        others: Sequence[Tensor] = (),
    ) -> None:
        """``following`` are the next carries; ``others`` more values that may be asked for."""
        self.carries, self.slices, self.captured = map(tuple, (carries, slices, captured))
        self.sliced, self.taken = frozenset(slices), frozenset(captured)
        self.following, self.others = tuple(following), tuple(others)
        roots = [*self.inputs, *following, *others]
        self.nodes = tuple(ancestors(roots))
        self.place = {node: place for place, node in enumerate(self.nodes)}

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The operands of the loop, as the body sees them."""
        return (*self.carries, *self.slices, *self.captured)

    def graph_of(self, places: Iterable[int]) -> Graph:
        """Return the graph of the next carries and of the values at ``places``."""
        outputs = {f"next {k}": t for k, t in enumerate(self.following)}
        outputs |= {f"value {place}": self.nodes[place] for place in places}
        return Graph(self.inputs, outputs)


class Steps:
    """The results of a loop in NumPy, stacked as they are asked for."""

    def __init__(self, op: Scan, last: Sequence[Array], steps: Sequence[Mapping[Tensor, Array]]):
        self.op, self.last, self.steps = op, last, steps

    def __getitem__(self, number: int) -> Array:
        if number < len(self.last):
            return self.last[number]
        node = self.op.body.nodes[number - len(self.last)]
        shape = (len(self.steps), *shape_at(node.type.shape, self.op.sizes))
        stacked = np.zeros(shape, node.dtype)
        for at, values in enumerate(self.steps):
            stacked[at] = values[node]
        return stacked


class Scan(Multiple):
    """Runs a body ``length`` times, each time on the carry that it left and one slice more.

    Results are the last carries, then each value of the body, stacked over the steps. With
    ``reverse`` the last slices come first; a result is stacked where its slices stand.
    """

    name = "scan"

    body: Body
    length: AnyDim
    reverse: bool = False
    sizes: int = 1
    """The sizes left open, once they are known."""

    def parameters(self) -> str:
        shown = f"length={self.length}" + (", reverse" if self.reverse else "")
        return f"{shown}, {len(self.body.nodes)} nodes"

    def bind(self, batch: int) -> Scan:
        return self.replaced(length=dim_at(self.length, batch), sizes=batch)

    def infer(self, *types: TensorType) -> TensorType:
        body = self.body
        sequences = range(len(body.carries), len(body.carries) + len(body.slices))
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
        carry, xs, captured = list(arrays[:first]), arrays[first:second], arrays[second:]
        steps: list[Mapping[Tensor, Array]] = [{}] * length
        for at in reversed(range(length)) if self.reverse else range(length):
            feeds = dict(zip(body.inputs, [*carry, *(x[at] for x in xs), *captured], strict=True))
            steps[at] = evaluate(body.nodes, feeds, self.sizes)
            carry = [steps[at][t] for t in body.following]
        return Steps(self, carry, steps)

    def stacked(self, out: Tensor, node: Tensor) -> Tensor:
        """Return a value of the body, of all steps."""
        return result(out, len(self.body.carries) + self.body.place[node])

    def vjps_by(
        self, pull: Derivative, gs: Mapping[int, Tensor], out: Tensor, *inputs: Tensor
    ) -> Sequence[Tensor | None]:
        """Return the cotangents of the operands: results of a loop the other way."""
        body, count = self.body, len(self.body.carries)
        loop = _Derived(self, out, inputs)
        outputs, cotangents, carried = [], [], []
        for k, (carry, new) in enumerate(zip(body.carries, body.following, strict=True)):
            if carry.dtype.kind == "f":
                ct = loop.carry(gs[k] if k in gs else _zeros(carry.type))
                outputs.append(new)
                cotangents.append(ct)
                carried.append((carry, ct))
        for number, g in gs.items():
            if number >= count:
                outputs.append(body.nodes[number - count])
                cotangents.append(loop.slice(g))
        wrt = [t for t in body.inputs if t.dtype.kind == "f"]
        found = pull(outputs, wrt, cotangents)
        finals: dict[Tensor, int] = {}
        for carry, ct in carried:
            finals[carry] = loop.follow(ct, found.get(carry, _zeros(carry.type)))
        for t in body.captured:
            if t in found:
                total = loop.carry(_zeros(t.type))
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
        ]

    def jvps_by(
        self, push: Derivative, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor
    ) -> Mapping[int, Tensor]:
        """Return the tangents of the results: those of a loop beside this one."""
        body, count = self.body, len(self.body.carries)
        loop = _Derived(self, out, inputs)
        wrt, directions, carried = [], [], []
        for place, (own, t) in enumerate(zip(body.inputs, tangents, strict=True)):
            if own.dtype.kind != "f":
                continue
            if place < count:
                direction = loop.carry(_zeros(own.type) if t is None else t)
                carried.append((place, direction))
            elif t is None:
                continue
            else:
                direction = loop.slice(t) if own in body.sliced else loop.capture(t)
            wrt.append(own)
            directions.append(direction)
        found = push(body.nodes, wrt, directions)
        finals = {
            place: loop.follow(t, found.get(body.following[place], _zeros(t.type)))
            for place, t in carried
        }
        values = {place: found[node] for node, place in body.place.items() if node in found}
        made = loop.finish(self.reverse, list(values.values()))
        results = {place: result(made.out, number) for place, number in finals.items()}
        return results | {count + place: made.stacked(t) for place, t in values.items()}


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
        own = _placeholder("carry", first.type)
        self._numbers[own] = len(self._carries)
        self._carries[own] = first
        return own

    def follow(self, carry: Tensor, new: Tensor) -> int:
        """Say what the carry is next; return the number of the result that it leaves."""
        self._following[carry] = new
        return self._numbers[carry]

    def slice(self, sequence: Tensor) -> Tensor:
        own = _placeholder("slice", sequence.type.with_shape(sequence.type.shape[1:]))
        self._slices[own] = sequence
        return own

    def capture(self, value: Tensor) -> Tensor:
        own = _placeholder("captured", value.type)
        self._captured[own] = value
        return own

    def finish(self, reverse: bool, others: Sequence[Tensor]) -> _Made:
        """Return the loop: values of the other one's steps that it needs are read, stacked."""
        body = self._op.body
        given = dict(zip(body.inputs, self._inputs, strict=True))
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
        _copied(roots, images)
        carries = list(self._carries)
        made = Body(
            carries,
            list(self._slices),
            list(self._captured),
            [images.get(t, t) for t in (self._following[c] for c in carries)],
            [images.get(t, t) for t in others],
        )
        operands = [*self._carries.values(), *self._slices.values(), *self._captured.values()]
        return _Made(
            apply(Scan(made, self._op.length, reverse), *operands),
            {t: images.get(t, t) for t in others},
        )


def _placeholder(label: str, type: TensorType) -> Tensor:
    return Tensor(Input(label, type, object()), (), type, label=label)


def _copied(roots: Sequence[Tensor], images: dict[Tensor, Tensor]) -> None:
    """Copy what ``roots`` need, over the images of the tensors that have one; add the copies."""
    for node in ancestors(roots, images):
        if node in images or not node.inputs:
            continue
        new = tuple(images.get(x, x) for x in node.inputs)
        images[node] = Tensor(node.op, new, node.type, label=node.label, like=node)


def _zeros(type: TensorType) -> Tensor:
    zeros: Tensor = FUNCTIONS["broadcast_to"](constant(np.zeros((), type.dtype)), type.shape)
    return zeros


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: Any = None,
    *,
    axis: int = 0,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Return ``(carry, ys)``: the last carry, and what every step leaves, along ``axis``.

    ``step(carry, x) -> (carry, y)`` is called once, with symbols: carry has the structure, shapes
    and data types of ``init``, ``x`` is a slice of each of ``xs`` along ``axis``, ``y`` any
    structure of tensors, or None. The body is compiled once, whatever the ``length``, which is
    that of ``xs`` unless there are none. With ``reverse`` the last slices come first. As
    ``jax.lax.scan``.
    """
    where = f"\n  at {user_location()}"
    firsts = [as_tensor(t) for t in _leaves(init)]
    sequences = [_front(as_tensor(t), axis, where) for t in _leaves(xs)]
    count = _length(sequences, length, where)
    carries = [_placeholder(t.label or "carry", t.type) for t in firsts]
    slices = [
        _placeholder(t.label or "slice", t.type.with_shape(t.type.shape[1:])) for t in sequences
    ]
    carry = _filled(init, carries)
    try:
        new, y = step(carry, _filled(xs, slices))
    except (TypeError, ValueError) as error:
        if isinstance(error, (ShapeError, DTypeError, ArgumentError)):
            raise
        raise DTypeError(
            f"scan: step(carry, x) must return a pair (carry, y): {error}{where}"
        ) from error
    following = [as_tensor(t) for t in _leaves(new)]
    _check_carry(init, new, firsts, following, where)
    ys = [as_tensor(t) for t in _leaves(y)]
    loop = _closed(carries, slices, following, ys)
    operands = [*firsts, *sequences, *loop.outside]
    out = apply(Scan(loop.body, count, reverse), *operands)
    finals = [result(out, k) for k in range(len(firsts))]
    places = [len(firsts) + loop.body.place[t] for t in loop.values]
    stacked = [_back(result(out, place), axis) for place in places]
    return _filled(init, finals), _filled(y, stacked)


class _Closed(NamedTuple):
    body: Body
    outside: list[Tensor]
    values: list[Tensor]


def _closed(
    carries: Sequence[Tensor],
    slices: Sequence[Tensor],
    following: Sequence[Tensor],
    ys: Sequence[Tensor],
) -> _Closed:
    """Return the body of a step: what it does not change from step to step comes from outside."""
    roots = [*following, *ys]
    inside = {*carries, *slices}
    for node in ancestors(roots):
        if not inside.isdisjoint(node.inputs):
            inside.add(node)
    images: dict[Tensor, Tensor] = {}
    outside: dict[Tensor, Tensor] = {}
    used = [x for node in ancestors(roots) if node in inside for x in node.inputs]
    for x in dict.fromkeys([*used, *roots]):
        if x in inside or isinstance(x.type, Several):
            continue
        if not _stays_inside(x):
            outside[x] = images[x] = _placeholder(x.label or "captured", x.type)
    _copied([t for t in roots if t in inside], images)
    body = Body(
        carries, slices, list(outside.values()),
        [images.get(t, t) for t in following], [images.get(t, t) for t in ys],
    )  # fmt: skip
    return _Closed(body, list(outside), [images.get(t, t) for t in ys])


def _stays_inside(x: Tensor) -> bool:
    """Tell whether a body makes a value that is always the same itself, as kernels do."""
    if isinstance(x.op, Constant):
        return x.size == 1
    return isinstance(x.op, Source) and not isinstance(x.op, (Input, Parameter))


def _check_carry(
    init: Any, new: Any, firsts: Sequence[Tensor], following: list[Tensor], where: str
) -> None:
    """Raise unless the carry has one structure and type before and after a step."""
    if _structure(init) != _structure(new):
        raise ArgumentError(
            f"scan: the carry begins as {_structure(init)} and step returns {_structure(new)}; "
            f"both must have one structure{where}"
        )
    for k, (old, t) in enumerate(zip(firsts, following, strict=True)):
        if t.weak and t.type.shape == old.type.shape and t.dtype != old.dtype:
            following[k] = t = FUNCTIONS["astype"](t, old.dtype)
        if t.dtype != old.dtype:
            raise DTypeError(
                f"scan: the carry {old.describe()} becomes {t.type} (made at {t.loc}) in a step; "
                f'give init this type, or cast with .astype("{old.dtype.name}"){where}'
            )
        if t.type.shape != old.type.shape:
            raise ShapeError(
                f"scan: the carry {old.describe()} becomes {show_shape(t.type.shape)} (made at "
                f"{t.loc}) in a step; its shape must stay, so give init that shape{where}"
            )


def _length(sequences: Sequence[Tensor], length: Any, where: str) -> AnyDim:
    if length is not None:
        count = as_dim(length)
        if isinstance(count, int) and count < 0:
            raise ArgumentError(f"scan: length is {count}; it cannot be negative{where}")
    elif sequences:
        count = sequences[0].type.shape[0]
    else:
        raise ArgumentError(f"scan: pass xs, or a length{where}")
    for t in sequences:
        if t.type.shape[0] != count:
            raise ShapeError(
                f"scan: {t.describe()} has {t.type.shape[0]} slices where {count} are needed; xs "
                f"must have one length{where}"
            )
    return count


def _front(t: Tensor, axis: int, where: str) -> Tensor:
    if not t.ndim:
        raise ShapeError(f"scan: {t.describe()} has no axis to take slices along{where}")
    moved: Tensor = t if axis == 0 else FUNCTIONS["moveaxis"](t, axis, 0)
    return moved


def _back(t: Tensor, axis: int) -> Tensor:
    moved: Tensor = t if axis == 0 else FUNCTIONS["moveaxis"](t, 0, axis)
    return moved


def _leaves(tree: Any) -> list[Any]:
    return [leaf for leaf in tree_leaves(tree) if leaf is not None]


def _filled(tree: Any, tensors: Iterable[Tensor]) -> Any:
    remaining = iter(tensors)
    return tree_map(lambda leaf: None if leaf is None else next(remaining), tree)


def _structure(tree: Any) -> str:
    return str(tree_map(lambda leaf: None if leaf is None else _Leaf(), tree))


class _Leaf:
    def __repr__(self) -> str:
        return "*"
