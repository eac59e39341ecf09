"""What memory bounds: a chain of elementwise operations, reductions, and rows of both.

The bytes counted are each operand read once and each result written once. The operands are
graphc's parameters and the others' own arrays, so that nobody copies them at a call; graphc
writes large results into parameters, NumPy's chain into an array that is there, the others into
new memory.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import graphc as gx
from graphc import nn
from tests.bench.harness import Row, agree, interleaved, least, ratio
from tests.bench.machine import at_once
from tests.bench.tables import markdown

TITLE = "Memory-bound chains and reductions"
NOTE = """Milliseconds, float32. *GB/s*: each operand read once and each result written once, by
graphc; *of a copy*: that over what the machine copies in the same rounds, from 64 MB to 64 MB (the
better of `memmove` and `numpy.copyto`). *faster*: than the fastest of the others. `torch.compile`
needs a C++ compiler and is left out without one."""
THREADS = (1, None)

Function = Callable[..., Any]
MEGABYTES = 64
LARGE = 1 << 18  # elements of a result that graphc writes into a parameter
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """A function as each library writes it, of the arrays ``operands``."""

    name: str
    operands: tuple[np.ndarray, ...]
    graphc: Function
    numpy: Function | None
    torch: Function
    jax: Function


def chain(x: Any) -> Any:
    """Ten operations, written alike for every library."""
    for scale in (1.5, 0.75, 1.25):
        x = abs(x * scale - 0.5)
    return x + 0.25


def numpy_chain(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The same, as NumPy does it best."""
    for scale in (1.5, 0.75, 1.25):
        np.multiply(x, np.float32(scale), out)
        np.subtract(out, np.float32(0.5), out)
        x = np.abs(out, out)
    return np.add(out, np.float32(0.25), out)


def normalised(x: Any, mean: Function) -> Any:
    """Layer normalisation out of means."""
    centred = x - mean(x)
    return centred / (mean(centred * centred) + 1e-5) ** 0.5


def cases(quick: bool) -> Iterator[Case]:
    import jax
    import jax.numpy as jnp
    import torch

    count = (MEGABYTES << 20) // 4
    rng = np.random.default_rng(0)
    flat = rng.random(count, np.float32)
    into = partial(numpy_chain, out=np.empty_like(flat))
    yield Case("ten elementwise operations", (flat,), chain, into, chain, chain)
    yield Case("sum of all", (flat,), gx.sum, np.sum, torch.sum, jnp.sum)
    square = flat.reshape(4096, -1)
    tall = flat.reshape(-1, 16)
    for name, x, axis in (("sum over the first of (4096, 4096)", square, 0),
                          ("sum over the last of (4096, 4096)", square, 1),
                          ("sum over the first of (1048576, 16)", tall, 0),
                          ("sum over the last of (1048576, 16)", tall, 1)):  # fmt: skip
        yield Case(
            name, (x,), *(partial(f, axis=axis) for f in (gx.sum, np.sum, torch.sum, jnp.sum))
        )
    if quick:
        return
    yield Case(
        "variance of all", (flat,), gx.var, np.var, partial(torch.var, correction=0), jnp.var
    )
    yield Case("maximum of all", (flat,), gx.max, np.max, torch.max, jnp.max)
    rows = rng.standard_normal((16384, 1024), np.float32)
    labels = rng.integers(0, 1024, len(rows))
    yield Case("softmax of (16384, 1024)", (rows,), gx.softmax, None,
               partial(torch.softmax, dim=-1), jax.nn.softmax)  # fmt: skip
    yield Case("layer normalisation of (16384, 1024)", (rows,),
               *(partial(normalised, mean=partial(f, axis=-1, keepdims=True))
                 for f in (gx.mean, np.mean, torch.mean, jnp.mean)))  # fmt: skip

    def losses(x: Any, y: Any) -> Any:
        loss = nn.cross_entropy(x, y)
        return loss, gx.grad(loss, x)

    def torch_losses(x: Any, y: Any) -> Any:
        x = x.detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(x, y)
        loss.backward()
        return loss.detach(), x.grad

    def jax_losses(x: Any, y: Any) -> Any:
        def loss(x):
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], 1))

        return jax.value_and_grad(loss)(x)

    yield Case("cross-entropy and gradient of (16384, 1024)", (rows, labels), losses, None,
               torch_losses, jax_losses)  # fmt: skip


# -- contestants -----------------------------------------------------------------------------------


def graphc_runner(case: Case) -> tuple[Function, Function]:
    """Return a call that computes, and one that then returns the results."""
    operands = [gx.parameter(a) if a.dtype.kind == "f" else gx.constant(a) for a in case.operands]
    results = listed(case.graphc(*operands))
    kept = {r: gx.parameter(np.zeros(r.shape, np.float32)) for r in results if r.size >= LARGE}
    run = gx.function([], [r for r in results if r not in kept], {p: r for r, p in kept.items()})
    values = gx.function([], [kept.get(r, r) for r in results])
    return run, values


def numpy_runner(case: Case) -> tuple[Function, Function] | None:
    if case.numpy is None:
        return None
    run = partial(case.numpy, *case.operands)
    return run, lambda: listed(run())


def torch_runner(case: Case, compiled: bool = False) -> tuple[Function, Function]:
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    function = torch.compile(case.torch) if compiled else case.torch
    run = partial(function, *map(torch.from_numpy, case.operands))
    return run, lambda: listed(run())


def jax_runner(case: Case) -> tuple[Function, Function]:
    import jax

    jitted, operands = jax.jit(case.jax), [jax.device_put(a) for a in case.operands]

    def run() -> Any:
        return jax.block_until_ready(jitted(*operands))

    return run, lambda: listed(run())


def listed(results: Any) -> list[Any]:
    return list(results) if isinstance(results, (tuple, list)) else [results]


def copies() -> dict[str, Function]:
    """Return the ways to copy 64 MB to other 64 MB, both written before: zeros may be no memory."""
    source, target = (np.ones(MEGABYTES << 20, np.uint8) for _ in range(2))
    threads = len(os.sched_getaffinity(0))
    parts = list(zip(np.split(target, threads), np.split(source, threads), strict=True))
    shares = [partial(ctypes.memmove, t.ctypes.data, s.ctypes.data, len(s)) for t, s in parts]
    return {
        "copyto": partial(np.copyto, target, source),
        "memmove": lambda keep=(source, target): at_once(shares),
    }


def rows(quick: bool) -> list[Row]:
    makers = {"graphc": graphc_runner, "NumPy": numpy_runner, "torch": torch_runner,
              "torch.compile": partial(torch_runner, compiled=True), "JAX": jax_runner}  # fmt: skip
    return [measured(case, makers) for case in cases(quick)]


def measured(case: Case, makers: Mapping[str, Function]) -> Row:
    """Return the row of a case, after comparing what the contestants compute."""
    runs, results = {}, {}
    for name, make in makers.items():
        try:
            pair = make(case)
            if pair is None:
                continue
            pair[0]()
            results[name] = [np.asarray(r).astype(np.float64) for r in pair[1]()]
            runs[name] = pair[0]
        except ImportError:
            continue
        except Exception as error:
            if name != "torch.compile":  # without a C++ compiler
                raise
            print(f"torch.compile left out: {type(error).__name__}", file=sys.stderr)
    agree(results, TOLERANCE)
    moved = sum(a.nbytes for a in case.operands) + sum(r.size * 4 for r in results["graphc"])
    ways = copies()
    seconds = interleaved(runs | ways)
    copied = 2 * (MEGABYTES << 20) / min(seconds[way] for way in ways)
    others = [s for name, s in seconds.items() if name in runs and name != "graphc"]
    ours = seconds["graphc"]
    return {
        "": case.name,
        **{name: runs.get(name) and seconds[name] * 1e3 for name in makers},
        "GB/s": moved / ours / 1e9,
        "of a copy": moved / ours / copied,
        "faster": ratio(least(*others), ours),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(markdown(rows(parser.parse_args().quick)))


if __name__ == "__main__":
    main()
