"""A graph as data: it can be built, printed as a program that runs, and made smaller."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

import graphc as gx
from graphc.ir.tensor import Tensor

MODES = ("values", "grad", "vjp", "jvp", "second")
LAYOUTS = ("C", "F", "strided", "reversed", "unaligned")


@dataclass(frozen=True)
class Leaf:
    """An input, parameter or constant, its values uniform from ``low`` to ``high``."""

    kind: str
    shape: tuple[int | None, ...]
    dtype: str
    low: float
    high: float
    seed: int
    layout: str = "C"

    def draw_text(self, batch: str, again: int = 0) -> str:
        """Return the expression of its values; ``batch`` stands for None."""
        sizes = "".join(f"{batch if d is None else d}, " for d in self.shape)
        rng = f"np.random.default_rng({self.seed + again})"
        if self.dtype.startswith("float"):
            text = f"{rng}.uniform({self.low!r}, {self.high!r}, ({sizes}))"
        else:
            text = f"{rng}.integers({int(self.low)}, {int(self.high) + 1}, ({sizes}))"
        return f'np.asarray({text}).astype("{self.dtype}")'

    def declaration(self, name: str) -> str:
        if self.kind == "input":
            return f'gx.input("{name}", {self.shape!r}, "{self.dtype}")'
        if self.kind == "parameter":
            return f'gx.parameter({self.draw_text("B")}, name="{name}", dtype="{self.dtype}")'
        return f"gx.constant({self.draw_text('B')})"

    def values(self, batch: int, again: int = 0) -> np.ndarray:
        """Return its values for a batch; ``again`` counts calls with other values."""
        return eval(self.draw_text(str(batch), again), {"np": np})


@dataclass(frozen=True)
class Step:
    """A call of a public function; ``{0}`` in its text stands for the first operand."""

    text: str
    operands: tuple[int, ...]
    function: str = ""


Node = Leaf | Step


@dataclass(frozen=True)
class Call:
    """One call of the compiled program: its batch, threads, and whether arrays lie oddly."""

    batch: int
    threads: int
    odd: bool
    again: int


@dataclass(frozen=True)
class Program:
    """Nodes in order, the outputs, what is differentiated, and the calls that are tried."""

    seed: int
    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    wrt: tuple[int, ...] = ()
    updates: tuple[tuple[int, int], ...] = ()
    mode: str = "values"
    calls: tuple[Call, ...] = (Call(3, 1, False, 0),)
    plain: bool = False
    thresholds: tuple[tuple[str, int], ...] = ()
    """Numbers of the register (tests/thresholds.py) and the side that they are put on."""

    @property
    def small(self) -> bool:
        """Whether its leaves are small enough for plain Python."""
        shapes = [[self.calls[0].batch if d is None else d for d in n.shape]
                  for n in self.nodes if isinstance(n, Leaf)]  # fmt: skip
        return all(np.prod(shape) <= 300 for shape in shapes)

    # -- text ---------------------------------------------------------------------------------

    def line(self, i: int) -> str:
        node = self.nodes[i]
        if isinstance(node, Leaf):
            return node.declaration(f"t{i}")
        return node.text.format(*[f"t{o}" for o in node.operands])

    @cached_property
    def floating(self) -> tuple[int, ...]:
        """The outputs that are differentiated: the floating-point ones, each once."""
        types = self.types
        return tuple(o for o in dict.fromkeys(self.outputs) if types[o].dtype.kind == "f")

    @cached_property
    def types(self) -> dict[int, Tensor]:
        """The nodes' tensors, of a build for their types only."""
        scope = self._scope()
        return {i: scope[f"t{i}"] for i in range(len(self.nodes))}

    def _scope(self) -> dict[str, Any]:
        scope: dict[str, Any] = {"np": np, "gx": gx, "B": self.calls[0].batch}
        for i in range(len(self.nodes)):
            scope[f"t{i}"] = eval(self.line(i), scope)
        return scope

    def derivative_lines(self) -> list[str]:
        """Return the lines that append the derivatives to ``outputs``."""
        if self.mode == "values":
            return []
        wrt = f"[{', '.join(f't{i}' for i in self.wrt)}]"
        outs = f"[{', '.join(f't{i}' for i in self.floating)}]"
        lines = []
        if self.mode in ("jvp", "second"):
            for i in self.wrt:
                leaf = self.nodes[i]
                assert isinstance(leaf, Leaf)
                lines.append(f'd{i} = gx.input("d{i}", {leaf.shape!r}, "{leaf.dtype}")')
        tangents = f"[{', '.join(f'd{i}' for i in self.wrt)}]"
        if self.mode == "vjp":
            for i in self.floating:
                t = self.types[i]
                lines.append(f'w{i} = gx.input("w{i}", {t.shape!r}, "{t.dtype.name}")')
            cotangents = f"[{', '.join(f'w{i}' for i in self.floating)}]"
            lines.append(f'outputs += gx.vjp({outs}, {wrt}, {cotangents}, unconnected="zero")')
        elif self.mode == "jvp":
            lines.append(f'outputs += gx.jvp({outs}, {wrt}, {tangents}, unconnected="zero")')
        else:
            loss = " + ".join(f'gx.sum(t{i}).astype("float64")' for i in self.floating)
            if len({self.types[i].dtype for i in self.floating}) == 1:
                loss = " + ".join(f"gx.sum(t{i})" for i in self.floating)
            lines.append(f'gradients = gx.grad({loss}, {wrt}, unconnected="zero")')
            if self.mode == "grad":
                lines.append("outputs += gradients")
            else:
                lines.append(f'outputs += gx.jvp(gradients, {wrt}, {tangents}, unconnected="zero")')
        return lines

    def lines(self) -> list[str]:
        """Return the lines that declare the graph."""
        lines = [f"t{i} = {self.line(i)}" for i in range(len(self.nodes))]
        lines.append(f"outputs = [{', '.join(f't{o}' for o in self.outputs)}]")
        lines += self.derivative_lines()
        pairs = ", ".join(f"t{p}: t{new}" for p, new in self.updates)
        lines.append(f"updates = {{{pairs}}}")
        return lines

    @cached_property
    def extra(self) -> dict[str, Leaf]:
        """The inputs of directions: tangents ``d`` and cotangents ``w``."""
        found: dict[str, Leaf] = {}
        if self.mode in ("jvp", "second"):
            for i in self.wrt:
                leaf = self.nodes[i]
                assert isinstance(leaf, Leaf)
                found[f"d{i}"] = replace(leaf, kind="input", low=-1.0, high=1.0,
                                         seed=leaf.seed + 50)  # fmt: skip
        if self.mode == "vjp":
            for i in self.floating:
                t = self.types[i]
                found[f"w{i}"] = Leaf("input", t.shape, t.dtype.name, -1.0, 1.0, self.seed + i)  # type: ignore[arg-type]
        return found

    @cached_property
    def inputs(self) -> dict[str, Leaf]:
        """What is fed, by name."""
        named = {f"t{i}": n for i, n in enumerate(self.nodes)
                 if isinstance(n, Leaf) and n.kind == "input"}  # fmt: skip
        return {**named, **self.extra}

    def text(self) -> str:
        """Return the graph as a program that runs and shows how far off compiled code is."""
        call = self.calls[-1]
        names = ", ".join(self.inputs)
        laid = [f'laid({leaf.draw_text("B", call.again)}, "{leaf.layout if call.odd else "C"}")'
                for leaf in self.inputs.values()]  # fmt: skip
        forced = ["import pytest", "from tests.thresholds import SWEPT, put",
                  "numbers = pytest.MonkeyPatch()",
                  *[f'put(numbers, "{name}", SWEPT["{name}"][{side}])'
                    for name, side in self.thresholds]] if self.thresholds else []  # fmt: skip
        return "\n".join([
            f"# seed {self.seed}, {self.mode}; calls: "
            + ", ".join(f"{c.batch} rows/{c.threads} threads" for c in self.calls)
            + ("; NUMBA_DISABLE_JIT=1" if self.plain else ""),
            "import numpy as np",
            "import graphc as gx",
            "from graphc.ir.interpret import evaluate",
            *(["from tests.random_graphs.program import laid"] if laid else []),
            *forced,
            f"gx.config(threads={call.threads})",
            f"B = {call.batch}",
            *self.lines(),
            f"f = gx.function([{names}], outputs, updates)",
            f"feeds = [{', '.join(laid)}]",
            f"wanted = evaluate(outputs, dict(zip([{names}], feeds)), B)",
            "for i, (t, found) in enumerate(zip(outputs, f(*feeds))):",
            "    off = np.abs(np.asarray(found, float) - np.asarray(wanted[t], float))",
            "    print(f'output {i}: off by {off.max(initial=0)}', wanted[t].dtype)",
            *(["numbers.undo()"] if forced else []),
        ])  # fmt: skip

    # -- the graph ----------------------------------------------------------------------------

    def build(self) -> Built:
        """Return the graph's tensors; raises what the declaration raises."""
        scope: dict[str, Any] = {"np": np, "gx": gx, "B": self.calls[0].batch}
        exec("\n".join(self.lines()), scope)
        inputs = {name: scope[name] for name in self.inputs}
        return Built(inputs, scope["outputs"], scope["updates"], scope)

    def needed(self) -> set[int]:
        """Return the nodes that outputs, updates or derivatives need."""
        stack = [*self.outputs, *(i for pair in self.updates for i in pair), *self.wrt]
        seen: set[int] = set()
        while stack:
            i = stack.pop()
            if i not in seen:
                seen.add(i)
                node = self.nodes[i]
                stack += node.operands if isinstance(node, Step) else ()
        return seen

    def pruned(self) -> Program:
        """Return the program without nodes that nothing needs."""
        needed = self.needed()
        if len(needed) == len(self.nodes):
            return self
        at = {old: new for new, old in enumerate(sorted(needed))}
        nodes = tuple(
            replace(n, operands=tuple(at[o] for o in n.operands)) if isinstance(n, Step) else n
            for n in (self.nodes[i] for i in sorted(needed))
        )
        return replace(
            self,
            nodes=nodes,
            outputs=tuple(at[o] for o in self.outputs),
            wrt=tuple(at[o] for o in self.wrt),
            updates=tuple((at[p], at[new]) for p, new in self.updates),
        )


@dataclass(frozen=True)
class Built:
    """The tensors of a program."""

    inputs: dict[str, Tensor]
    outputs: list[Tensor]
    updates: dict[Tensor, Tensor]
    scope: dict[str, Any]


def laid(values: np.ndarray, layout: str) -> np.ndarray:
    """Return ``values`` as an array that lies in memory as ``layout`` says."""
    if layout == "F":
        return np.array(values, order="F")
    if layout == "strided":
        wide = np.zeros([2 * n for n in values.shape], values.dtype)
        view = wide[(..., *(slice(None, None, 2) for _ in values.shape))]
        view[...] = values
        return view
    if layout == "reversed":
        back = tuple(slice(None, None, -1) for _ in values.shape)
        return np.asarray(values[back].copy())[back]
    if layout == "unaligned":
        memory = np.frombuffer(b"x" + values.tobytes(), np.uint8)[1:]
        return memory.view(values.dtype).reshape(values.shape)
    return values
