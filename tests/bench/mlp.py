"""Training steps of multilayer perceptrons beside PyTorch and JAX: ``python -m tests.bench.mlp``.

Every library gets the same initial parameters, data and update (SGD, 0.01); the losses after
three steps must agree before anything is timed. Rounds are interleaved, medians are printed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

CASES = {
    "4-16-16-1, batch 8": ([4, 16, 16, 1], 8),
    "64-128-128-10, batch 32": ([64, 128, 128, 10], 32),
    "784-128-10, batch 32": ([784, 128, 10], 32),
    "784-512-512-10, batch 128": ([784, 512, 512, 10], 128),
}
RATE = 0.01
THREADS = len(os.sched_getaffinity(0))
Runner = Callable[[int], float]  # takes that many steps, returns the last loss


def data(sizes, batch):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, sizes[0])).astype("float32")
    y = rng.integers(0, max(2, sizes[-1]), batch)
    weights = [
        (rng.standard_normal((a, b)) / a**0.5).astype("float32")
        for a, b in itertools.pairwise(sizes)
    ]
    return x, y, weights


def graphc_runners(sizes, batch):
    import graphc as gx
    from graphc import nn, optim

    x, y, weights = data(sizes, batch)
    inputs = gx.input("x", (None, sizes[0]))
    targets = gx.input("y", (None,), dtype="int64")
    h = inputs
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        h = nn.Linear(a, b)(h)
        if i < len(sizes) - 2:
            h = gx.relu(h)
    loss = nn.cross_entropy(h, targets) if sizes[-1] > 1 else gx.mean(h * h)
    model = gx.Model(
        inputs=inputs,
        outputs=h,
        targets=targets if sizes[-1] > 1 else None,
        loss=loss,
        optimizer=optim.SGD(RATE),
    )
    feeds = (x, y) if sizes[-1] > 1 else (x, None)
    many = [None if f is None else np.tile(f, (1000, *[1] * (f.ndim - 1))) for f in feeds]
    for i, w in enumerate(weights):
        model.parameters[f"linear_{i}.weight"][...] = w
        model.parameters[f"linear_{i}.bias"][...] = 0

    def steps(n):
        for _ in range(n):
            value = model.train_step(*feeds)
        return value

    def epoch(n):
        rows = [None if f is None else f[: n * batch] for f in many]
        return model.fit(*rows, batch_size=batch, shuffle=False, verbose=0)["loss"][-1]

    return {"graphc train_step": steps, "graphc fit": epoch}


def torch_runners(sizes, batch):
    import torch

    torch.set_num_threads(THREADS)
    x, y, weights = data(sizes, batch)
    layers = []
    for i, w in enumerate(weights):
        linear = torch.nn.Linear(*w.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w.T))
            linear.bias.zero_()
        layers += [linear, torch.nn.ReLU()] if i < len(weights) - 1 else [linear]
    net = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)

    def steps(n):
        for _ in range(n):
            optimizer.zero_grad(set_to_none=True)
            out = net(inputs)
            if sizes[-1] > 1:
                loss = torch.nn.functional.cross_entropy(out, targets)
            else:
                loss = (out**2).mean()
            loss.backward()
            optimizer.step()
        return loss.item()

    return {"torch eager": steps}


def jax_runners(sizes, batch):
    import jax
    import jax.numpy as jnp

    x, y, weights = data(sizes, batch)
    start = [(jnp.asarray(w), jnp.zeros(w.shape[1], jnp.float32)) for w in weights]
    inputs, targets = jnp.asarray(x), jnp.asarray(y)

    def loss(parameters):
        h = inputs
        for i, (w, b) in enumerate(parameters):
            h = h @ w + b
            if i < len(parameters) - 1:
                h = jax.nn.relu(h)
        if sizes[-1] == 1:
            return jnp.mean(h**2)
        picked = jnp.take_along_axis(jax.nn.log_softmax(h), targets[:, None], 1)
        return -jnp.mean(picked)

    def step(parameters, _=None):
        value, gradients = jax.value_and_grad(loss)(parameters)
        return jax.tree.map(lambda p, g: p - RATE * g, parameters, gradients), value

    jitted = jax.jit(step, donate_argnums=0)
    scanned = jax.jit(lambda p, n: jax.lax.scan(step, p, None, length=n), static_argnums=1)
    state = {"jit": jax.tree.map(jnp.copy, start), "scan": start}

    def steps(n):
        for _ in range(n):
            state["jit"], value = jitted(state["jit"])
        return float(value.block_until_ready())

    def scan(n):
        state["scan"], values = scanned(state["scan"], n)
        return float(values.block_until_ready()[-1])

    return {"jax jit": steps, "jax scan": scan}


def measure(sizes, batch, rounds):
    """Return {name: median microseconds of a step}, after checking that the losses agree."""
    runners = {}
    for make in (graphc_runners, torch_runners, jax_runners):
        try:
            runners.update(make(sizes, batch))
        except ImportError as error:
            print(f"left out: {error}", file=sys.stderr)
    losses = {name: run(1) for name, run in runners.items() if name != "graphc fit"}
    reference = losses["graphc train_step"]
    for name, value in losses.items():
        assert abs(value - reference) < 1e-4 * max(1.0, abs(reference)), (name, value, reference)
    counts, times = {}, {name: [] for name in runners}
    for name, run in runners.items():
        count = 20
        run(count)
        begin = time.perf_counter()
        run(count)
        elapsed = (time.perf_counter() - begin) / count
        counts[name] = max(20, min(1000, int(0.1 / elapsed)))
        run(counts[name])
    for _ in range(rounds):
        for name, run in runners.items():
            begin = time.perf_counter()
            run(counts[name])
            times[name].append((time.perf_counter() - begin) / counts[name] * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    rows = {name: measure(*case, arguments.rounds) for name, case in CASES.items()}
    names = list(next(iter(rows.values())))
    print("| step, microseconds | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for case, row in rows.items():
        print(f"| {case} | " + " | ".join(f"{row[n]:.1f}" for n in names) + " |")


if __name__ == "__main__":
    main()
