"""Networks of images: a training step, and inference of one image, beside PyTorch and JAX."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.harness import Row, agree, interleaved, least, ratio
from tests.bench.problem import ADAM_RATE, BETA1, BETA2, EPSILON

TITLE = "Networks of images"
NOTE = "Milliseconds, float32, Adam. PyTorch: the faster of channels first and last."
THREADS = (2,)

Network = list[tuple[Any, ...]]
"""Layers: ("conv", in, out, window, stride, groups), ("norm", channels), ("relu",), ("max", 2),
("mean",), ("flatten",), ("linear", in, out), ("residual", network, network)."""


def conv(a: int, b: int, window: Any = 3, stride: Any = 1, groups: int = 1) -> tuple[Any, ...]:
    window = (window, window) if isinstance(window, int) else window
    return ("conv", a, b, window, stride, groups)


def block(a: int, b: int, stride: int) -> Network:
    """Return a residual block of two convolutions (He et al., CVPR 2016)."""
    inner = [conv(a, b, 3, stride), ("norm", b), ("relu",), conv(b, b), ("norm", b)]
    outer = [] if a == b else [conv(a, b, 1, stride)]
    return [("residual", inner, outer), ("relu",)]


def separable(a: int) -> Network:
    """Return a depthwise separable convolution."""
    return [conv(a, a, 3, 1, a), ("norm", a), ("relu",), conv(a, a, 1), ("norm", a), ("relu",)]


NETWORKS: dict[str, tuple[Network, tuple[int, ...], int, int]] = {
    "LeNet-5": (
        [conv(1, 6, 5), ("relu",), ("max", 2), conv(6, 16, 5), ("relu",), ("max", 2),
         ("flatten",), ("linear", 784, 120), ("relu",), ("linear", 120, 84), ("relu",),
         ("linear", 84, 10)], (28, 28, 1), 128, 10,
    ),
    "CNN 32-32-64-64": (
        [conv(3, 32), ("relu",), conv(32, 32), ("relu",), ("max", 2), conv(32, 64), ("relu",),
         conv(64, 64), ("relu",), ("max", 2), ("flatten",), ("linear", 4096, 10)],
        (32, 32, 3), 32, 10,
    ),
    "ResNet-8": (
        [conv(3, 16), ("norm", 16), ("relu",), *block(16, 16, 1), *block(16, 32, 2),
         *block(32, 64, 2), ("mean",), ("linear", 64, 10)], (32, 32, 3), 32, 10,
    ),
    "DS-CNN": (
        [conv(1, 64, (10, 4), 2), ("norm", 64), ("relu",), *(separable(64) * 4), ("mean",),
         ("linear", 64, 12)], (49, 10, 1), 32, 12,
    ),
}  # fmt: skip
"""Each with the shape of an image, rows of a batch, and classes. The last two are MLPerf Tiny's."""


def padding(window: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(k // 2 for k in window)


class Weights:
    """Initial weights in the order in which a network asks for them, the same for everyone."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def draw(self, *shape: int) -> np.ndarray:
        fan = math.prod(shape[:-1])
        return (self._rng.standard_normal(shape) * (2 / fan) ** 0.5).astype(np.float32)


# -- contestants -----------------------------------------------------------------------------------


def with_graphc(name: str) -> dict[str, Callable[..., Any]]:
    import graphc as gx
    from graphc import nn, optim

    network, shape, _, _ = NETWORKS[name]
    weights = Weights()

    def given(value: np.ndarray) -> Callable[..., np.ndarray]:
        return lambda shape, rng: value

    def layer(kind: str, *rest: Any) -> Callable[[Any], Any]:
        if kind == "conv":
            a, b, window, stride, groups = rest
            start = given(weights.draw(*window, a // groups, b))
            return nn.Conv2d(a, b, window, stride, padding(window), groups=groups,
                             weight_init=start, bias_init=nn.init.zeros)  # fmt: skip
        if kind == "linear":
            start = given(weights.draw(*rest))
            return nn.Linear(*rest, weight_init=start, bias_init=nn.init.zeros)
        if kind == "residual":
            inner, outer = (nn.Sequential(*(layer(*part) for part in net)) for net in rest)
            return nn.Add(inner, outer)
        kinds = {"norm": nn.BatchNorm2d, "relu": nn.ReLU, "max": nn.MaxPool2d,
                 "flatten": nn.Flatten}  # fmt: skip
        if kind == "mean":
            return lambda x: gx.mean(x, (1, 2))
        return kinds[kind](*rest)

    x, y = gx.input("x", (None, *shape)), gx.input("y", (None,), "int64")
    out = nn.Sequential(*(layer(*part) for part in network))(x)
    model = gx.Model(
        inputs=x, outputs=out, targets=y, loss=nn.cross_entropy(out, y), seed=0,
        optimizer=optim.Adam(ADAM_RATE),
    )  # fmt: skip
    return {"step": lambda x, y: model.train_step(x, y), "predict": model.predict}


def with_torch(name: str, last: bool = False) -> dict[str, Callable[..., Any]]:
    import torch
    from torch import nn

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network, _, _, _ = NETWORKS[name]
    weights = Weights()

    def layer(kind: str, *rest: Any) -> nn.Module:
        if kind == "conv":
            a, b, window, stride, groups = rest
            made = nn.Conv2d(a, b, window, stride, padding(window), groups=groups)
            start = weights.draw(*window, a // groups, b).transpose(3, 2, 0, 1)
        elif kind == "linear":
            made, start = nn.Linear(*rest), weights.draw(*rest).T
        elif kind == "residual":
            return Residual(*(nn.Sequential(*(layer(*p) for p in net)) for net in rest))
        else:
            kinds = {"norm": nn.BatchNorm2d, "relu": nn.ReLU, "max": nn.MaxPool2d,
                     "flatten": Flat, "mean": Mean}  # fmt: skip
            return kinds[kind](*rest)
        made.weight.data = torch.tensor(np.ascontiguousarray(start))
        made.bias.data.zero_()
        return made

    class Residual(nn.Module):
        def __init__(self, inner: nn.Module, outer: nn.Module) -> None:
            super().__init__()
            self.inner, self.outer = inner, outer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x) + self.outer(x)

    class Flat(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.permute(0, 2, 3, 1).flatten(1)

    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3))

    net = nn.Sequential(*(layer(*part) for part in network))
    if last:
        net = net.to(memory_format=torch.channels_last)
    descent = torch.optim.Adam(net.parameters(), ADAM_RATE)

    def images(x: np.ndarray) -> torch.Tensor:
        given = torch.from_numpy(x).permute(0, 3, 1, 2)
        return given if last else given.contiguous()

    def step(x: np.ndarray, y: np.ndarray) -> float:
        net.train()
        descent.zero_grad()
        loss = nn.functional.cross_entropy(net(images(x)), torch.from_numpy(y))
        loss.backward()
        descent.step()
        return float(loss.detach())

    def predict(x: np.ndarray) -> np.ndarray:
        net.eval()
        with torch.inference_mode():
            return net(images(x)).numpy()

    return {"step": step, "predict": predict}


def with_jax(name: str) -> dict[str, Callable[..., Any]]:
    import jax
    import jax.numpy as jnp
    from jax import lax

    network, _, _, _ = NETWORKS[name]
    weights = Weights()
    values: list[np.ndarray] = []

    def make(net: Network) -> None:
        for kind, *rest in net:
            if kind == "conv":
                a, b, window, _, groups = rest
                values.extend([weights.draw(*window, a // groups, b), np.zeros(b, np.float32)])
            elif kind == "linear":
                values.extend([weights.draw(*rest), np.zeros(rest[1], np.float32)])
            elif kind == "norm":
                values.extend([np.ones(rest[0], np.float32), np.zeros(rest[0], np.float32)])
                running.extend([np.zeros(rest[0], np.float32), np.ones(rest[0], np.float32)])
            elif kind == "residual":
                for part in rest:
                    make(part)

    def forward(net: Network, x: Any, p: Any, state: Any, moved: list[Any] | None) -> Any:
        for kind, *rest in net:
            if kind == "conv":
                window, stride, groups = rest[2:]
                steps = (stride, stride) if isinstance(stride, int) else stride
                x = lax.conv_general_dilated(
                    x, next(p), steps, [(k, k) for k in padding(window)],
                    dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
                ) + next(p)  # fmt: skip
            elif kind == "linear":
                x = x @ next(p) + next(p)
            elif kind == "norm":
                mean, var = next(state), next(state)
                if moved is not None:
                    rows = math.prod(x.shape[:-1])
                    m, v = x.mean((0, 1, 2)), x.var((0, 1, 2))
                    moved += [0.9 * mean + 0.1 * m, 0.9 * var + 0.1 * v * rows / (rows - 1)]
                    mean, var = m, v
                x = (x - mean) / jnp.sqrt(var + 1e-5) * next(p) + next(p)
            elif kind == "relu":
                x = jax.nn.relu(x)
            elif kind == "max":
                x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
            elif kind == "mean":
                x = x.mean((1, 2))
            elif kind == "flatten":
                x = x.reshape(len(x), -1)
            else:
                inner, outer = rest
                x = forward(inner, x, p, state, moved) + forward(outer, x, p, state, moved)
        return x

    running: list[np.ndarray] = []
    make(network)

    def loss_of(p: Any, state: Any, x: Any, y: Any) -> Any:
        moved: list[Any] = []
        out = forward(network, x, iter(p), iter(state), moved)
        picked = jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], -1)
        return -picked.mean(), moved

    @jax.jit
    def stepped(p: Any, first: Any, second: Any, t: Any, state: Any, x: Any, y: Any) -> Any:
        (loss, state), g = jax.value_and_grad(loss_of, has_aux=True)(p, state, x, y)
        t = t + 1
        first = [BETA1 * m + (1 - BETA1) * d for m, d in zip(first, g, strict=True)]
        second = [BETA2 * v + (1 - BETA2) * d * d for v, d in zip(second, g, strict=True)]
        rate, root = ADAM_RATE / (1 - BETA1**t), jnp.sqrt(1 - BETA2**t)
        p = [
            w - rate * m / (jnp.sqrt(v) / root + EPSILON)
            for w, m, v in zip(p, first, second, strict=True)
        ]
        return p, first, second, t, state, loss

    predicted = jax.jit(lambda p, s, x: forward(network, x, iter(p), iter(s), None))
    zeros = [np.zeros_like(v) for v in values]
    held = [values, zeros, zeros, np.float32(0), running]

    def step(x: np.ndarray, y: np.ndarray) -> float:
        *held[:], loss = stepped(*held, x, y)
        return float(loss)

    return {
        "step": step,
        "predict": lambda x: np.asarray(predicted(held[0], held[4], x)),
    }


CONTESTANTS = {
    "graphc": with_graphc,
    "torch": with_torch,
    "torch, channels last": lambda name: with_torch(name, last=True),
    "jax": with_jax,
}


def rows(quick: bool) -> list[Row]:
    without = os.environ.get("BENCH_WITHOUT", "").split(",")
    there = [n for n in CONTESTANTS if importlib.util.find_spec(n.partition(",")[0])]
    there = [n for n in there if n.partition(",")[0] not in without]
    table = []
    for name, (_, shape, batch, classes) in NETWORKS.items():
        rng = np.random.default_rng(1)
        x = rng.standard_normal((batch, *shape), np.float32)
        y = rng.integers(0, classes, batch)
        made = {n: CONTESTANTS[n](name) for n in there}
        losses = {n: [np.float64(c["step"](x, y)) for _ in range(3)] for n, c in made.items()}
        agree(losses, 1e-3)
        tasks: dict[str, Callable[[dict[str, Any]], Callable[[], object]]] = {
            f"training step, batch {batch}": lambda c: lambda: c["step"](x, y),
            "inference, batch 1": lambda c: lambda: c["predict"](x[:1]),
        }
        for task, of in tasks.items():
            seconds = interleaved({n: of(c) for n, c in made.items()})
            best = least(*(s for n, s in seconds.items() if n != "graphc"))
            row: Row = {"network": name, "task": task}
            row |= {n: s * 1e3 for n, s in seconds.items()}
            table.append(row | {"best / graphc": ratio(best, seconds["graphc"])})
    return table
