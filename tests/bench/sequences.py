"""Networks of sequences: a training step, and a long loop, beside PyTorch and JAX."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.bench.harness import Row, agree, interleaved, least, ratio
from tests.bench.problem import ADAM_RATE, BETA1, BETA2, EPSILON

TITLE = "Networks of sequences"
NOTE = (
    "Milliseconds, float32, Adam. The recurrence is s = a s + x, sum(s^2), with its gradient by a "
    "and x."
)
THREADS = (2,)
LONG = 100_000


@dataclass(frozen=True)
class Network:
    """A recurrent layer: of characters and their next ones, or of numbers and one number a step."""

    kind: str
    hidden: int
    batch: int
    steps: int
    classes: int = 0
    features: int = 0

    @property
    def name(self) -> str:
        read = f"vocabulary {self.classes}" if self.classes else f"{self.features} features"
        return f"{self.kind} {self.hidden}, {read}, batch {self.batch} x {self.steps}"

    @property
    def gates(self) -> int:
        return {"LSTM": 4, "GRU": 3}[self.kind]

    def weights(self) -> dict[str, np.ndarray]:
        """Return initial weights, ``(in, out)``, the same for everyone."""
        rng, h = np.random.default_rng(0), self.hidden
        fan_in = h if self.classes else self.features
        out = self.classes or 1
        shapes: dict[str, tuple[int, ...]] = {"table": (self.classes, h)} if self.classes else {}
        shapes |= {
            "weight_ih": (fan_in, self.gates * h), "weight_hh": (h, self.gates * h),
            "bias_ih": (self.gates * h,), "bias_hh": (self.gates * h,), "head": (h, out),
            "bias": (out,),
        }  # fmt: skip
        return {n: rng.uniform(-1, 1, s).astype(np.float32) / h**0.5 for n, s in shapes.items()}

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        rng, shape = np.random.default_rng(1), (self.batch, self.steps)
        if self.classes:
            return rng.integers(0, self.classes, shape), rng.integers(0, self.classes, shape)
        return (rng.standard_normal((*shape, self.features), np.float32),
                rng.standard_normal((*shape, 1), np.float32))  # fmt: skip


NETWORKS = (
    Network("LSTM", 128, 32, 64, classes=65),
    Network("GRU", 64, 8, 100, features=16),
)

# -- contestants -----------------------------------------------------------------------------------


def with_graphc(network: Network) -> Callable[..., float]:
    import graphc as gx
    from graphc import nn, optim

    given = network.weights()

    def start(name: str) -> Callable[..., np.ndarray]:
        return lambda shape, rng: given[name]

    h, steps = network.hidden, network.steps
    if network.classes:
        x = gx.input("x", (None, steps), "int64")
        y = gx.input("y", (None, steps), "int64")
        read = nn.Embedding(network.classes, h, weight_init=start("table"))(x)
    else:
        read = x = gx.input("x", (None, steps, network.features))
        y = gx.input("y", (None, steps, 1))
    layer = getattr(nn, network.kind)(read.shape[-1], h)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    layer.load_torch({f"{n}_l0": given[n].T for n in names})
    head = nn.Linear(h, network.classes or 1, weight_init=start("head"), bias_init=start("bias"))
    out = head(layer(read)[0])
    loss = nn.cross_entropy(out, y) if network.classes else nn.mse_loss(out, y)
    model = gx.Model(inputs=x, outputs=out, targets=y, loss=loss, optimizer=optim.Adam(ADAM_RATE))
    return lambda x, y: model.train_step(x, y)


def with_torch(network: Network, compiled: bool = False) -> Callable[..., float]:
    import torch
    from torch import nn

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    given = {n: torch.tensor(np.ascontiguousarray(v.T)) for n, v in network.weights().items()}

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            if network.classes:
                self.table = nn.Embedding(network.classes, network.hidden)
                self.table.weight.data = given["table"].T.contiguous()
            fan_in = network.hidden if network.classes else network.features
            self.layer = getattr(nn, network.kind)(fan_in, network.hidden, batch_first=True)
            for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(self.layer, f"{n}_l0").data = given[n]
            self.head = nn.Linear(network.hidden, network.classes or 1)
            self.head.weight.data, self.head.bias.data = given["head"], given["bias"]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.layer(self.table(x) if network.classes else x)[0])

    net = Net()
    descent = torch.optim.Adam(net.parameters(), ADAM_RATE)
    called = torch.compile(net) if compiled else net

    def step(x: np.ndarray, y: np.ndarray) -> float:
        descent.zero_grad()
        out, target = called(torch.from_numpy(x)), torch.from_numpy(y)
        if network.classes:
            loss = nn.functional.cross_entropy(out.flatten(0, 1), target.flatten())
        else:
            loss = nn.functional.mse_loss(out, target)
        loss.backward()
        descent.step()
        return float(loss.detach())

    return step


def with_jax(network: Network) -> Callable[..., float]:
    import jax
    import jax.numpy as jnp

    def gated(p: Any, state: Any, v: Any) -> Any:
        r = state[0] @ p["weight_hh"]
        if network.kind == "LSTM":
            i, f, g, o = jnp.split(v + r + p["bias_hh"], 4, -1)
            c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
            new = jax.nn.sigmoid(o) * jnp.tanh(c), c
        else:
            v, r = jnp.split(v, 3, -1), jnp.split(r + p["bias_hh"], 3, -1)
            reset, update = (jax.nn.sigmoid(v[k] + r[k]) for k in (0, 1))
            n = jnp.tanh(v[2] + reset * r[2])
            new = ((1 - update) * n + update * state[0],)
        return new, new[0]

    def loss_of(p: Any, x: Any, y: Any) -> Any:
        read = p["table"][x] if network.classes else x
        v = jnp.moveaxis(read @ p["weight_ih"] + p["bias_ih"], 1, 0)
        first = (jnp.zeros((len(x), network.hidden)),) * (2 if network.kind == "LSTM" else 1)
        _, hs = jax.lax.scan(lambda s, v: gated(p, s, v), first, v)
        out = jnp.moveaxis(hs, 0, 1) @ p["head"] + p["bias"]
        if not network.classes:
            return jnp.mean((out - y) ** 2)
        return -jnp.take_along_axis(jax.nn.log_softmax(out), y[..., None], -1).mean()

    tree = jax.tree.map

    @jax.jit
    def stepped(p: Any, m: Any, v: Any, t: Any, x: Any, y: Any) -> Any:
        loss, g = jax.value_and_grad(loss_of)(p, x, y)
        t = t + 1
        m = tree(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
        v = tree(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
        rate, root = ADAM_RATE / (1 - BETA1**t), jnp.sqrt(1 - BETA2**t)
        p = tree(lambda w, m, v: w - rate * m / (jnp.sqrt(v) / root + EPSILON), p, m, v)
        return p, m, v, t, loss

    p = network.weights()
    held = [p, tree(np.zeros_like, p), tree(np.zeros_like, p), np.float32(0)]

    def step(x: np.ndarray, y: np.ndarray) -> float:
        *held[:], loss = stepped(*held, x, y)
        return float(loss)

    return step


CONTESTANTS = {
    "graphc": with_graphc,
    "torch": with_torch,
    "torch.compile": lambda network: with_torch(network, compiled=True),
    "jax": with_jax,
}


def recurrence_by_graphc() -> Callable[..., Any]:
    import graphc as gx

    a, xs = gx.input("a", ()), gx.input("xs", (LONG,))
    _, trail = gx.scan(lambda s, x: (a * s + x,) * 2, gx.constant(np.float32(0)), xs)
    loss = gx.sum(trail * trail)
    return gx.function([a, xs], [loss, *gx.grad(loss, [a, xs])])


def recurrence_by_jax() -> Callable[..., Any]:
    import jax

    def loss_of(a: Any, xs: Any) -> Any:
        _, trail = jax.lax.scan(lambda s, x: (a * s + x,) * 2, np.float32(0), xs)
        return (trail * trail).sum()

    f = jax.jit(jax.value_and_grad(loss_of, (0, 1)))

    def call(a: Any, xs: Any) -> list[np.ndarray]:
        loss, slopes = f(a, xs)
        return [np.asarray(v) for v in (loss, *slopes)]

    return call


def rows(quick: bool) -> list[Row]:
    without = os.environ.get("BENCH_WITHOUT", "").split(",")
    there = [n for n in CONTESTANTS if importlib.util.find_spec(n.partition(".")[0])]
    there = [n for n in there if n.partition(".")[0] not in without]
    there = [n for n in there if not quick or n != "torch.compile"]
    table = []
    for network in NETWORKS:
        x, y = network.data()
        made = {n: CONTESTANTS[n](network) for n in there}
        agree({n: [np.float64(step(x, y)) for _ in range(3)] for n, step in made.items()}, 1e-3)
        seconds = interleaved({n: lambda step=step: step(x, y) for n, step in made.items()})
        table.append(row(network.name, "training step", seconds))
    rng = np.random.default_rng(0)
    a, xs = np.float32(0.9), rng.standard_normal(LONG, np.float32)
    calls = {"graphc": recurrence_by_graphc, "jax": recurrence_by_jax}
    made = {n: make() for n, make in calls.items() if n in there}
    agree({n: f(a, xs) for n, f in made.items()}, 1e-3)
    seconds = interleaved({n: lambda f=f: f(a, xs) for n, f in made.items()})
    return [*table, row(f"recurrence of {LONG:,} steps", "value and gradient", seconds)]


def row(name: str, task: str, seconds: dict[str, float]) -> Row:
    """Return a line of the table, and how much faster than the best of the others graphc is."""
    best = least(*(s for n, s in seconds.items() if n != "graphc"))
    found: Row = {"network": name, "task": task}
    found |= {n: seconds[n] * 1e3 if n in seconds else None for n in CONTESTANTS}
    return found | {"best / graphc": ratio(best, seconds["graphc"])}
