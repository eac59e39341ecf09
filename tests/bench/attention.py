"""Transformers beside PyTorch and JAX: training steps of a GPT, and tokens one by one."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import graphc as gx
from graphc import nn, optim
from tests.bench.harness import Row, agree, interleaved, least, ratio
from tests.bench.machine import fma_peak

TITLE = "Transformers"
NOTE = """Milliseconds of a training step of a GPT (norm first, GELU by tanh, Adam), float32, and of
one token with the keys and values of 256 before it. All begin with the same weights, and the first
losses or logits agree. PyTorch's attention is its `scaled_dot_product_attention`, JAX's
`jax.nn.dot_product_attention`. "of limit" is how many times the limit of the products'
multiply-adds a step takes, those of causal attention counted half. "memory" is the arena's MB."""

RATE = 3e-4
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Size:
    name: str
    vocabulary: int
    length: int
    width: int
    heads: int
    layers: int
    batch: int

    def flops(self) -> int:
        """Return the operations in the products of a training step."""
        w, tokens = self.width, self.batch * self.length
        per_token = self.layers * (12 * w * w + self.length * w) + self.vocabulary * w
        return 6 * tokens * per_token


SIZES = [
    Size("GPT, 4 layers, d 128, batch 12 x 64", 65, 64, 128, 4, 4, 12),
    Size("GPT, 4 layers, d 128, batch 1 x 1024", 65, 1024, 128, 4, 4, 1),
    Size("GPT, 4 layers, d 128, batch 1 x 4096", 65, 4096, 128, 4, 4, 1),
    Size("GPT, 1 layer, d 16, batch 16 x 16", 27, 16, 16, 4, 1, 16),
]
TOKEN = Size("one token, cache of 256", 65, 256, 128, 4, 4, 1)


class Ours:
    """The network in graphc, and its weights by PyTorch's names."""

    def __init__(self, size: Size) -> None:
        w = size.width
        self.size = size
        self.tokens, self.places = (
            nn.Embedding(size.vocabulary, w),
            nn.LearnedPositions(size.length, w),
        )
        layer = nn.TransformerEncoderLayer(
            w, size.heads, 4 * w, 0.0, partial(gx.gelu, approximate="tanh"), norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, size.layers, nn.LayerNorm(w))
        self.head = nn.Linear(w, size.vocabulary)

    def model(self) -> gx.Model:
        ids, y = (gx.input(n, (None, self.size.length), "int64") for n in ("ids", "y"))
        logits = self.head(self.body(self.places(self.tokens(ids)), is_causal=True))
        return gx.Model(inputs=ids, outputs=logits, targets=y, loss=nn.cross_entropy(logits, y),
                        optimizer=optim.Adam(RATE), seed=0)  # fmt: skip

    def step(self) -> gx.Function:
        """Return a function of the last token; what it looks at does not grow."""
        ids = gx.input("ids", (1, 1), "int64")
        caches = self.body.cache(1, self.size.length)
        h, after = self.body(self.places(self.tokens(ids), start=caches[0].length), cache=caches)
        updates = {}
        for before, new in zip(caches, after, strict=True):
            updates |= {before.keys: new.keys, before.values: new.values}
        f = gx.function(ids, self.head(h), updates=updates)
        f(np.zeros((1, 1), np.int64))
        for cache in caches:
            cache.length.op.cell.array[...] = self.size.length - 1
            cache.keys.op.cell.array[...] = cache.values.op.cell.array[...] = 0
        return f

    def weights(self) -> dict[str, np.ndarray]:
        """Return arrays by the names of their tensors, matrices (in, out)."""
        named = {"tokens": self.tokens.weight, "places": self.places.weight,
                 "head": self.head.weight, "head_bias": self.head.bias,
                 "norm": self.body.norm.weight, "norm_bias": self.body.norm.bias}  # fmt: skip
        for n, layer in enumerate(self.body.layers):
            attention = layer.self_attn
            parts = {"out": attention.out_proj, "up": layer.linear1, "down": layer.linear2,
                     "one": layer.norm1, "two": layer.norm2}  # fmt: skip
            for name, part in parts.items():
                named |= {f"{name}{n}": part.weight, f"{name}_bias{n}": part.bias}
            named |= {f"qkv{n}": attention.in_proj_weight, f"qkv_bias{n}": attention.in_proj_bias}
        return {name: t.op.cell.array.copy() for name, t in named.items()}


def torch_network(size: Size, w: dict[str, Any], ids: Any, cache: Any = None) -> Any:
    """Return the logits in PyTorch; ``cache`` holds keys and values, whose last place is new."""
    import torch
    from torch.nn import functional as F

    n, t = ids.shape
    place = size.length - 1 if cache else 0
    h = w["tokens"][ids] + w["places"][place : place + t]
    split = (n, t, 3, size.heads, size.width // size.heads)

    def norm(h: Any, name: str, k: Any) -> Any:
        return F.layer_norm(h, (size.width,), w[f"{name}{k}"], w[f"{name}_bias{k}"])

    for k in range(size.layers):
        made = torch.addmm(w[f"qkv_bias{k}"], norm(h, "one", k).view(n * t, -1), w[f"qkv{k}"])
        q, keys, values = made.view(split).permute(2, 0, 3, 1, 4)
        if cache:
            for kept, new in zip(cache[k], (keys, values), strict=True):
                kept[:, :, place : place + 1] = new
            keys, values = cache[k]
        a = F.scaled_dot_product_attention(q, keys, values, is_causal=not cache)
        h = h + a.transpose(1, 2).reshape(n, t, -1) @ w[f"out{k}"] + w[f"out_bias{k}"]
        up = F.gelu(norm(h, "two", k) @ w[f"up{k}"] + w[f"up_bias{k}"], approximate="tanh")
        h = h + up @ w[f"down{k}"] + w[f"down_bias{k}"]
    return norm(h, "norm", "") @ w["head"] + w["head_bias"]


def torch_steps(
    size: Size, weights: dict[str, np.ndarray], ids: Any, y: Any, way: str
) -> Callable[[], float]:
    import torch
    from torch.nn import functional as F

    w = {name: torch.tensor(a, requires_grad=True) for name, a in weights.items()}
    optimizer = torch.optim.Adam(list(w.values()), RATE)
    network = partial(torch_network, size, w)
    if way == "compile":
        network = torch.compile(network)
    x, targets = torch.tensor(ids), torch.tensor(y)

    def step() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x).flatten(0, 1), targets.flatten())
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torch_token(size: Size, weights: dict[str, np.ndarray], ids: Any) -> Callable[[], np.ndarray]:
    import torch

    w = {name: torch.tensor(a) for name, a in weights.items()}
    shape = (1, size.heads, size.length, size.width // size.heads)
    cache = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(size.layers)]
    x = torch.tensor(ids)

    def step() -> np.ndarray:
        with torch.inference_mode():
            return torch_network(size, w, x, cache).numpy()

    return step


def jax_network(size: Size, w: dict[str, Any], ids: Any, cache: Any = None) -> tuple[Any, Any]:
    """Return the logits in JAX, and the keys and values after."""
    import jax
    import jax.numpy as jnp

    n, t = ids.shape
    place = size.length - 1 if cache else 0
    h = w["tokens"][ids] + w["places"][place : place + t]
    after = []

    def norm(h: Any, name: str, k: Any) -> Any:
        centred = h - h.mean(-1, keepdims=True)
        scale = jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return centred * scale * w[f"{name}{k}"] + w[f"{name}_bias{k}"]

    for k in range(size.layers):
        made = norm(h, "one", k) @ w[f"qkv{k}"] + w[f"qkv_bias{k}"]
        q, keys, values = jnp.moveaxis(made.reshape(n, t, 3, size.heads, -1), 2, 0)
        if cache:
            keys, values = (jax.lax.dynamic_update_slice(old, new, (0, place, 0, 0))
                            for old, new in zip(cache[k], (keys, values), strict=True))  # fmt: skip
            after.append((keys, values))
        a = jax.nn.dot_product_attention(q, keys, values, is_causal=not cache)
        h = h + a.reshape(n, t, -1) @ w[f"out{k}"] + w[f"out_bias{k}"]
        up = jax.nn.gelu(norm(h, "two", k) @ w[f"up{k}"] + w[f"up_bias{k}"], approximate=True)
        h = h + up @ w[f"down{k}"] + w[f"down_bias{k}"]
    return norm(h, "norm", "") @ w["head"] + w["head_bias"], after


def jax_steps(size: Size, weights: dict[str, np.ndarray], ids: Any, y: Any) -> Callable[[], float]:
    import jax
    import jax.numpy as jnp
    import optax

    def loss(w: Any, ids: Any, y: Any) -> Any:
        logits, _ = jax_network(size, w, ids)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    optimizer = optax.adam(RATE)

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(w: Any, state: Any, ids: Any, y: Any) -> Any:
        value, slopes = jax.value_and_grad(loss)(w, ids, y)
        changes, state = optimizer.update(slopes, state)
        return optax.apply_updates(w, changes), state, value

    w = {name: jnp.asarray(a) for name, a in weights.items()}
    kept = [w, optimizer.init(w)]
    x, targets = jnp.asarray(ids), jnp.asarray(y)

    def step() -> float:
        kept[0], kept[1], value = update(*kept, x, targets)
        return float(value)

    return step


def jax_token(size: Size, weights: dict[str, np.ndarray], ids: Any) -> Callable[[], np.ndarray]:
    import jax
    import jax.numpy as jnp

    w = {name: jnp.asarray(a) for name, a in weights.items()}
    shape = (1, size.length, size.heads, size.width // size.heads)
    kept = [[(jnp.zeros(shape), jnp.zeros(shape)) for _ in range(size.layers)]]
    forward = jax.jit(lambda w, x, cache: jax_network(size, w, x, cache), donate_argnums=2)
    x = jnp.asarray(ids)

    def step() -> np.ndarray:
        logits, kept[0] = forward(w, x, kept[0])
        return np.asarray(logits)

    return step


def there(library: str) -> bool:
    left_out = os.environ.get("BENCH_WITHOUT", "").split(",")
    return library not in left_out and importlib.util.find_spec(library) is not None


def training(size: Size, rounds: int | None) -> Row:
    """Return the row of a training step."""
    rng = np.random.default_rng(0)
    ids, y = (rng.integers(0, size.vocabulary, (size.batch, size.length)) for _ in range(2))
    ours = Ours(size)
    model = ours.model()
    model.forward(ids, y)
    weights = ours.weights()
    runs: dict[str, Callable[[], Any]] = {"graphc": lambda: model.train_step(ids, y)}
    if there("torch"):
        runs["torch"] = torch_steps(size, weights, ids, y, "eager")
        runs["torch.compile"] = torch_steps(size, weights, ids, y, "compile")
    if there("jax"):
        runs["JAX"] = jax_steps(size, weights, ids, y)
    limit = size.flops() / (fma_peak("float32", len(os.sched_getaffinity(0))) * 1e9)
    return measured(size, runs, limit, rounds) | {"memory": model.report.arena_bytes / 1e6}


def token(size: Size, rounds: int | None) -> Row:
    """Return the row of one token."""
    ids = np.array([[3]])
    ours = Ours(size)
    f = ours.step()
    weights = ours.weights()
    runs: dict[str, Callable[[], Any]] = {"graphc": lambda: f(ids)}
    if there("torch"):
        runs["torch"] = torch_token(size, weights, ids)
    if there("jax"):
        runs["JAX"] = jax_token(size, weights, ids)
    return measured(size, runs, None, rounds)


def measured(
    size: Size, runs: dict[str, Callable[[], Any]], limit: float | None, rounds: int | None
) -> Row:
    """Return milliseconds, after the first results agreed; leave out what does not compile."""
    found = {}
    for name, run in list(runs.items()):
        try:
            found[name] = [np.asarray(run(), np.float64)]
        except Exception as error:
            if name != "torch.compile":
                raise
            print(f"{size.name}: torch.compile fails: {type(error).__name__}")
            del runs[name]
    agree(found, TOLERANCE)
    seconds = interleaved(runs, rounds)
    columns = ("graphc", "torch", "torch.compile", "JAX")
    row: Row = {"network": size.name}
    row |= {n: seconds[n] * 1e3 if n in seconds else None for n in columns}
    best = least(*(seconds.get(n) for n in columns[1:]))
    row["times faster than the best"] = ratio(best, seconds["graphc"])
    return row | {"of limit": ratio(seconds["graphc"], limit)}


def rows(quick: bool) -> list[Row]:
    rounds = 3 if quick else None
    sizes = [SIZES[0], SIZES[-1]] if quick else SIZES
    return [*(training(size, rounds) for size in sizes), token(TOKEN, rounds)]
