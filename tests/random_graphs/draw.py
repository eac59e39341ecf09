"""Draw programs over every public function, by the functions' own samples and type rules.

Each step is tried on values as it is drawn, in double precision and moved a little: it stays
only if all is finite, of moderate size and well conditioned, so that what is compared later is
not noise. A function's sample says what arguments look like; its arrays become tensors that the
program has, of a kind and rank that fit, or new leaves with the sample's range of values.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

import graphc as gx
from graphc.errors import GraphcError
from graphc.ir.graph import ancestors
from graphc.ir.op import ENTRIES, Sample
from graphc.ir.tensor import Tensor
from graphc.types import shape_at
from tests.thresholds import SWEPT

from .families import FAMILIES, Proposal
from .program import LAYOUTS, Call, Leaf, Node, Program, Step
from .reference import wide_evaluate
from .sizes import sizes

LARGEST = 1e3
"""Of the magnitude of a tensor's elements."""
MOVED = 1e-6
"""By which operands are moved to see how well conditioned a step is ..."""
AMPLIFIED = 300.0
"""... and by how much more its result may move."""


@cache
def samples_of(name: str) -> tuple[Sample, ...]:
    """Return the samples of a function whose arguments can be written down."""
    found = []
    for sample in ENTRIES[name].samples():
        given = dict(sample.kwargs)
        if name.startswith("random") and "step" not in given:
            continue  # those move on with every call
        found.append(sample)
    return tuple(found)


def show(value: Any) -> str:
    """Return an argument as an expression."""
    if isinstance(value, np.dtype):
        return f'"{value.name}"'
    if isinstance(value, np.ndarray):
        return f'np.array({value.tolist()!r}, "{value.dtype.name}")'
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, tuple):
        return "(" + "".join(f"{show(v)}, " for v in value) + ")"
    if isinstance(value, list):
        return "[" + ", ".join(show(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {show(v)}" for k, v in value.items()) + "}"
    if isinstance(value, float) and not np.isfinite(value):
        return f'float("{value}")'
    return repr(value)


@dataclass
class Drawing:
    """A program in the making, with the values of its tensors."""

    seed: int
    rng: np.random.Generator
    dtype: str
    batch: int
    open: bool
    limit: int
    nodes: list[Node] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    values: dict[Tensor, np.ndarray] = field(default_factory=dict)
    near: dict[Tensor, np.ndarray] = field(default_factory=dict)

    # -- choices ------------------------------------------------------------------------------

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def pick(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def late(self, fits: Any = None) -> int | None:
        """Return a tensor that ``fits``, of late ones more often."""
        known = [i for i, t in enumerate(self.tensors) if fits is None or fits(t)]
        if not known:
            return None
        return known[min(int(len(known) * self.rng.beta(3.0, 1.0)), len(known) - 1)]

    # -- growth -------------------------------------------------------------------------------

    def add(self, node: Node, tensor: Tensor, value: np.ndarray, near: np.ndarray) -> int:
        self.nodes.append(node)
        self.tensors.append(tensor)
        self.values[tensor], self.near[tensor] = value, near
        return len(self.nodes) - 1

    def leaf(
        self, shape: Any, dtype: str, low: float = -2.0, high: float = 2.0, kind: str = ""
    ) -> int:
        """Add a leaf and return its number."""
        if not kind:
            kind = self.pick(("input", "input", "parameter", "constant"))
        if None in shape:
            kind = "input"
        if kind == "parameter" and not dtype.startswith("float"):
            kind = "input"
        layout = self.pick(LAYOUTS)
        seed = int(self.rng.integers(1 << 20)) * 100
        leaf = Leaf(kind, tuple(shape), dtype, round(float(low), 3), round(float(high), 3), seed,
                    layout)  # fmt: skip
        name = f"t{len(self.nodes)}"
        scope = {"gx": gx, "np": np, "B": self.batch}
        tensor = eval(leaf.declaration(name), scope)
        value = leaf.values(self.batch)
        wide = value.astype("float64") if value.dtype.kind == "f" else value
        near = wide
        if value.dtype.kind == "f":
            near = wide * (1 + MOVED * self.rng.uniform(-1, 1, wide.shape))
        return self.add(leaf, tensor, wide, near)

    def propose(self, proposal: Proposal) -> bool:
        """Add a step if it is valid, well conditioned and of moderate size."""
        text, operands, function = proposal
        scope: dict[str, Any] = {"gx": gx, "np": np}
        names = [f"t{o}" for o in operands]
        scope.update({f"t{o}": self.tensors[o] for o in operands})
        try:
            tensor = eval(text.format(*names), scope)
        except (GraphcError, OverflowError):
            return False
        if isinstance(tensor, list | tuple):
            if not tensor:
                return False
            part = int(self.rng.integers(len(tensor)))
            text, tensor = f"{text}[{part}]", tensor[part]
        if not isinstance(tensor, Tensor) or tensor in self.values or tensor.ndim > 5:
            return False
        if any(np.prod(shape_at(t.type.shape, self.batch), dtype=float) > self.limit
               for t in ancestors([tensor], self.values)):  # fmt: skip
            return False
        try:
            value = wide_evaluate([tensor], self.values, self.batch)[tensor]
            near = wide_evaluate([tensor], self.near, self.batch)[tensor]
        except (ValueError, IndexError, MemoryError):
            return False
        if value.shape != near.shape:
            return False
        if value.size:
            if value.dtype.kind == "f":
                if not (np.isfinite(value).all() and np.abs(value).max() <= LARGEST):
                    return False
                scale = MOVED * AMPLIFIED * (np.abs(value).max() + 1e-3)
                if not np.abs(value - near).max() <= scale:
                    return False
            elif not np.array_equal(value, near) or np.abs(value.astype(float)).max() > 1 << 20:
                return False
        self.add(Step(text, tuple(operands), function), tensor, value, near)
        return True

    def sampled(self, name: str) -> Proposal | None:
        """Return a call of a function as one of its samples has it, on tensors of the program."""
        options = samples_of(name)
        if not options:
            return None
        sample = self.pick(options)
        operands: list[int] = []
        before = len(self.nodes)
        reuse = self.chance(0.9)
        shapes: dict[tuple[int, ...], Any] = {}

        def place(value: Any) -> str:
            if isinstance(value, np.ndarray):
                operands.append(self.stand_in(value, reuse, shapes))
                return f"{{{len(operands) - 1}}}"
            if isinstance(value, list) and any(isinstance(v, np.ndarray) for v in value):
                return "[" + ", ".join(place(v) for v in value) + "]"
            return show(value).replace("{", "{{").replace("}", "}}")

        arguments = [place(v) for v in sample.args]
        arguments += [f"{k}={place(v)}" for k, v in sample.kwargs]
        if len(self.nodes) - before > 4:
            return None
        return f"gx.{name}({', '.join(arguments)})", operands, name

    def stand_in(self, value: np.ndarray, reuse: bool, shapes: dict[Any, Any]) -> int:
        """Return a tensor for a sample's array: one of the program, or a new leaf like it."""
        kind = value.dtype.kind
        wanted = shapes.get(value.shape)

        def fits(t: Tensor) -> bool:
            if t.dtype.kind != kind or t.ndim != value.ndim:
                return False
            return wanted is None or t.shape == wanted

        found = self.late(fits) if reuse else None
        if found is None:
            dtype = {"f": self.dtype, "b": "bool"}.get(kind, value.dtype.name)
            finite = value[np.isfinite(value)] if kind == "f" else value
            low, high = (finite.min(), finite.max()) if finite.size else (0, 0)
            low, high = (max(-LARGEST, min(v, LARGEST)) for v in (low, high))
            if kind == "f" and low == high:
                low, high = low - 0.5, high + 0.5
            shape = value.shape if wanted is None or None in wanted else wanted
            found = self.leaf(shape, dtype, low, high)
        shapes.setdefault(value.shape, self.tensors[found].shape)
        return found


def draw(seed: int, *, steps: int | None = None) -> Program:
    """Return the program of a seed: 3 to 60 nodes, or ``steps`` at most."""
    rng = np.random.default_rng(seed)
    plan = sizes(rng)
    d = Drawing(seed, rng, "float32" if rng.random() < 0.6 else "float64", plan.batch,
                plan.open, plan.limit)  # fmt: skip
    count = int(min(55, 3 + rng.geometric(1 / plan.steps)))
    if plan.small and d.chance(0.08):
        count = int(rng.integers(40, 56))
    count = min(count, steps or 60)
    for i, shape in enumerate(plan.shapes):
        kind = "input" if i == 0 else ""
        other = {"float32": "float64", "float64": "float32"}[d.dtype]
        dtype = d.dtype if d.chance(0.85) else d.pick((other, "int64", "int32", "bool"))
        if np.prod([d.batch if n is None else n for n in shape]) <= plan.limit:
            d.leaf(shape, dtype, kind=kind)
    names = sorted(ENTRIES)
    tries = 0
    while len(d.nodes) < count and tries < 40 * count:
        tries += 1
        before = len(d.nodes)
        if d.chance(0.5):
            proposal = d.pick(FAMILIES)(d)
        else:
            proposal = d.sampled(d.pick(names))
        if proposal is None or not d.propose(proposal):
            for tensor in d.tensors[before:]:  # leaves of a step that was not taken
                del d.values[tensor], d.near[tensor]
            del d.nodes[before:], d.tensors[before:]
    return _finished(d, plan)


def _finished(d: Drawing, plan: Any) -> Program:
    """Return the drawing as a program, with its outputs, derivatives and calls chosen."""
    used = {o for n in d.nodes if isinstance(n, Step) for o in n.operands}
    ends = [i for i in range(len(d.nodes)) if i not in used and isinstance(d.nodes[i], Step)]
    most = 60 if len(d.nodes) >= 40 else int(d.rng.integers(2, 10))
    outputs = ends[::-1][:most]
    for _ in range(int(d.rng.integers(0, 4))):  # inputs, parameters, constants, views among them
        outputs.append(int(d.rng.integers(len(d.nodes))))
    outputs = outputs or [len(d.nodes) - 1]
    if d.chance(0.1):
        outputs.append(d.pick(outputs))
    leaves = [i for i, n in enumerate(d.nodes) if isinstance(n, Leaf)]
    floats = [i for i in leaves if d.tensors[i].dtype.kind == "f"
              and d.nodes[i].kind != "constant"]  # fmt: skip
    mode = d.pick(("values", "values", "grad", "vjp", "jvp", "second"))
    wrt: tuple[int, ...] = ()
    if mode != "values" and floats:
        chosen = [i for i in floats if d.chance(0.6)] or [d.pick(floats)]
        wrt = tuple(chosen[:3])
    if not wrt or not any(d.tensors[o].dtype.kind == "f" for o in outputs):
        mode, wrt = "values", ()
    updates = []
    for i in leaves:
        if d.nodes[i].kind == "parameter" and d.chance(0.3):
            new = d.late(lambda t, i=i: t.type == d.tensors[i].type)
            if new is not None:
                updates.append((i, new))
    batches = [d.batch]
    if d.open:
        batches += [int(b) for b in d.rng.choice([0, 1, 2, d.batch + 1, 3], 2)]
    else:
        batches += [d.batch]
    calls = [Call(b, int(d.rng.integers(1, 3)), d.chance(0.5), k) for k, b in enumerate(batches)]
    plain = plan.small and d.chance(0.3)
    for i in range(len(d.nodes)):
        if len(Program(d.seed, tuple(d.nodes), tuple(outputs)).needed()) >= 3:
            break
        outputs.append(i)
    program = Program(d.seed, tuple(d.nodes), tuple(outputs), wrt, tuple(updates), mode,
                      tuple(calls), plain, _thresholds(d)).pruned()  # fmt: skip
    if program.mode == "vjp" and not all(_declarable(program.types[o]) for o in program.floating):
        program = replace(program, mode="grad")
    return program


def _thresholds(d: Drawing) -> tuple[tuple[str, int], ...]:
    """Return numbers to put on one side, so that small programs take what large ones take."""
    if d.chance(0.6):
        return ()
    names = sorted(SWEPT)
    return tuple({d.pick(names): int(d.rng.integers(2)) for _ in range(3)}.items())


def _declarable(t: Tensor) -> bool:
    """Tell whether an input can have the tensor's shape: none of its sizes depends on a batch."""
    return all(isinstance(s, int) or (s is None and a == 0) for a, s in enumerate(t.shape))
