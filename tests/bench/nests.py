"""What the cost model predicts of loop nests and copies, beside what they take, on one thread.

Each kernel is replayed by itself, its operands where they lie. ``python -m tests.bench nests``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

import graphc as gx
from graphc.ir.tensor import Tensor
from graphc.plan.cost import Cost
from tests.bench.harness import Row

TITLE = "Predicted times of loop nests"
NOTE = """Microseconds, one thread: what the cost model says of a kernel by the machine's record,
and the least of several turns. *ratio*: predicted over measured; it is good within 30 %."""
THREADS = (1,)
GOOD = 1.3

RNG = np.random.default_rng(0)
Make = Callable[[], Tensor]


def array(*shape: int) -> Tensor:
    return gx.parameter(RNG.standard_normal(shape).astype("float32"))


def indices(count: int, below: int) -> np.ndarray:
    return RNG.integers(0, below, count)


def cases() -> Iterator[tuple[str, Make]]:
    """Yield the kernels; each takes tens of microseconds or more."""
    for where, n in (("first", 2500), ("second", 30_000), ("third", 1_000_000)):
        yield f"x * 2, {where} cache", lambda n=n: array(n) * 2
        yield f"x + y, {where} cache", lambda n=n: array(n) + array(n)
        yield f"x * y + z, {where} cache", lambda n=n: array(n) * array(n) + array(n)
        yield f"exp, {where} cache", lambda n=n: gx.exp(array(n))
        yield f"tanh, {where} cache", lambda n=n: gx.tanh(array(n))
        yield f"sum, {where} cache", lambda n=n: gx.sum(array(n))
    yield "x + y, memory", lambda: array(6_000_000) + array(6_000_000)
    yield "gelu", lambda: gx.gelu(array(30_000))
    yield "sigmoid", lambda: gx.sigmoid(array(30_000))
    yield "log", lambda: gx.log(abs(array(30_000)))
    yield "sqrt", lambda: gx.sqrt(abs(array(30_000)))
    yield "x / y", lambda: array(30_000) / array(30_000)
    for shape in ((1000, 64), (64, 1000)):
        yield f"sum of rows, {shape}", lambda s=shape: gx.sum(array(*s), axis=1)
        yield f"sum of columns, {shape}", lambda s=shape: gx.sum(array(*s), axis=0)
        yield f"greatest of rows, {shape}", lambda s=shape: gx.max(array(*s), axis=1)
        yield f"softmax, {shape}", lambda s=shape: gx.softmax(array(*s))
    yield "sum over the middle, (64, 1000, 8)", lambda: gx.sum(array(64, 1000, 8), axis=1)
    yield "sum over 0 and 2, (32, 56, 56, 16)", lambda: gx.sum(array(32, 56, 56, 16), axis=(0, 2))
    yield "sum over 2 and 3, (32, 16, 56, 56)", lambda: gx.sum(array(32, 16, 56, 56), axis=(2, 3))
    yield "mean and variance, (1000, 64)", lambda: gx.var(array(1000, 64), axis=1)
    yield "softmax of short rows", lambda: gx.softmax(array(5000, 10))
    yield "sum of short rows", lambda: gx.sum(array(5000, 10), axis=1)
    yield "cumulative sum along rows", lambda: gx.cumulative_sum(array(1000, 64), axis=1)
    yield "cumulative sum along columns", lambda: gx.cumulative_sum(array(1000, 64), axis=0)
    yield "take", lambda: gx.take(array(1000, 64), indices(4096, 1000), axis=0)
    yield "scatter", lambda: scattered(1000, 64, 4096)
    yield "a copy, transposed", lambda: gx.reshape(array(300, 200).T, (60_000,))


def scattered(rows: int, width: int, count: int) -> Tensor:
    table, weights = array(rows, width), array(count, width)
    taken = gx.take(table, indices(count, rows), axis=0)
    return gx.grad(gx.sum(taken * weights), [table])[0]


def measured(make: Make, rounds: int) -> tuple[float, float]:
    """Return the predicted and the measured nanoseconds of a function's kernels."""
    executable = gx.function([], make())._executable
    bound, moved = executable._bind(1), {}
    results = executable._results(bound, moved)  # kept: kernels write them where they lie

    def turn(times: int) -> float:
        start = time.perf_counter_ns()
        executable._execute(bound, "call", moved, times)
        return (time.perf_counter_ns() - start) / times

    turn(2)
    times = max(1, int(2e6 / turn(2)))
    best = min(turn(times) for _ in range(rounds))
    del results
    return sum(Cost(call).nanoseconds(1) for call in executable.program.calls), best


def rows(quick: bool) -> list[Row]:
    found, good = [], 0
    for name, make in cases():
        predicted, best = measured(make, 5 if quick else 25)
        good += 1 / GOOD <= predicted / best <= GOOD
        found.append({"kernel": name, "predicted": predicted / 1e3, "measured": best / 1e3,
                     "ratio": predicted / best})  # fmt: skip
    found.append({"kernel": f"within 30 %: {good} of {len(found)}"})
    return found
