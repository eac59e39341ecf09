"""Make a program that fails as small as it can be and still fail in the same way."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from .check import Failure, check
from .program import Call, Leaf, Program, Step


def shrink(
    program: Program, failure: Failure, *, jax: bool = False, seconds: float = 60.0
) -> tuple[Program, Failure]:
    """Return the smallest program found in ``seconds`` that fails as ``failure`` did, and how."""
    end = time.monotonic() + seconds
    progress = True
    while progress and time.monotonic() < end:
        progress = False
        for candidate in _smaller(program):
            if time.monotonic() > end:
                break
            found = _fails(candidate, failure.kind, jax)
            if found:
                program, failure, progress = candidate, found, True
                break
    return program, failure


def _fails(candidate: Program, kind: str, jax: bool) -> Failure | None:
    try:
        candidate.build()
    except Exception:
        if not kind.startswith("declaration"):
            return None
    found = check(candidate, jax=jax and kind == "jax")
    return found if found and found.kind == kind else None


def _smaller(p: Program) -> Iterator[Program]:
    """Yield programs with something left out, what saves most first."""
    for candidate in _candidates(p):
        try:
            candidate = candidate.pruned()
        except Exception:
            continue
        if candidate != p and _size(candidate) < _size(p):
            yield candidate


def _size(p: Program) -> tuple[int, ...]:
    """Return how large a program is: what is compared first counts most."""
    leaves = [n for n in p.nodes if isinstance(n, Leaf)]
    elements = sum(int(np.prod([d or 3 for d in leaf.shape])) for leaf in leaves)
    steps = len(p.nodes) - len(leaves)
    text = sum(len(n.text) for n in p.nodes if isinstance(n, Step))
    odd = sum(leaf.layout != "C" for leaf in leaves) + sum(c.odd + c.threads for c in p.calls)
    derived = ("values", "grad", "vjp", "jvp", "second").index(p.mode) + len(p.wrt)
    kinds = sum(leaf.kind != "input" for leaf in leaves)
    derived += len(p.thresholds)
    return (steps + len(leaves) + len(p.outputs) + len(p.updates) + len(p.calls) + derived,
            elements + text + odd + kinds)  # fmt: skip


def _candidates(p: Program) -> Iterator[Program]:
    for i in range(len(p.outputs)):
        if len(p.outputs) > 1:
            yield replace(p, outputs=(p.outputs[i],))
    for i in range(len(p.outputs)):
        yield replace(p, outputs=p.outputs[:i] + p.outputs[i + 1 :]) if len(p.outputs) > 1 else p
    if p.mode != "values":
        yield replace(p, mode="values", wrt=())
        for mode in ("grad", "vjp", "jvp"):
            yield replace(p, mode=mode)
    if p.thresholds:
        yield replace(p, thresholds=())
    for i in range(len(p.thresholds)):
        yield replace(p, thresholds=p.thresholds[:i] + p.thresholds[i + 1 :])
    if p.updates:
        yield replace(p, updates=())
    for i in range(len(p.updates)):
        yield replace(p, updates=p.updates[:i] + p.updates[i + 1 :])
    for i in range(len(p.wrt)):
        if len(p.wrt) > 1:
            yield replace(p, wrt=p.wrt[:i] + p.wrt[i + 1 :])
    for call in p.calls:
        if len(p.calls) > 1:
            yield replace(p, calls=(call,))
    for i, node in enumerate(p.nodes):  # what comes first goes with all it needs
        if isinstance(node, Step):
            yield from _as_leaf(p, i)
    for i in reversed(range(len(p.nodes))):
        node = p.nodes[i]
        if isinstance(node, Step):
            for operand in dict.fromkeys(node.operands):
                yield _bypassed(p, i, operand)
                outputs = tuple(operand if o == i else o for o in p.outputs)
                if outputs != p.outputs:
                    yield replace(p, outputs=outputs)
    yield from _shorter(p)
    calls = tuple(Call(c.batch, 1, False, 0) for c in p.calls)
    yield replace(p, calls=calls)
    yield replace(p, calls=tuple(replace(c, odd=False) for c in p.calls))
    yield replace(p, calls=tuple(replace(c, threads=1) for c in p.calls))
    for i, node in enumerate(p.nodes):
        if isinstance(node, Leaf):
            for change in ({"layout": "C"}, {"kind": "input"}):
                yield _with(p, i, replace(node, **change))


def _with(p: Program, i: int, node: Leaf | Step) -> Program:
    return replace(p, nodes=(*p.nodes[:i], node, *p.nodes[i + 1 :]))


def _bypassed(p: Program, i: int, operand: int) -> Program:
    """Return the program with ``operand`` in place of node ``i`` wherever it is used."""

    def at(j: int) -> int:
        return operand if j == i else j

    nodes = tuple(replace(n, operands=tuple(map(at, n.operands))) if isinstance(n, Step) else n
                  for n in p.nodes)  # fmt: skip
    return replace(p, nodes=nodes, outputs=tuple(map(at, p.outputs)),
                   updates=tuple((a, at(b)) for a, b in p.updates))  # fmt: skip


def _as_leaf(p: Program, i: int) -> Iterator[Program]:
    """Yield the program with an input in place of step ``i``."""
    t = p.types[i]
    if not all(isinstance(s, int) or (s is None and a == 0) for a, s in enumerate(t.shape)):
        return
    name = t.dtype.name
    for low, high in ((0.5, 2.0), (-2.0, 2.0)):
        yield _with(p, i, Leaf("input", t.shape, name, low, high, 100 * i))  # type: ignore[arg-type]


def _shorter(p: Program) -> Iterator[Program]:
    """Yield the program with a size, wherever the number stands, made smaller."""
    sizes = {d for n in p.nodes if isinstance(n, Leaf) for d in n.shape if d is not None and d > 1}
    batches = {c.batch for c in p.calls if c.batch > 1}
    for size in sorted(sizes | batches, reverse=True):
        for smaller in dict.fromkeys((1, 2, size // 2, size - size // 4, size - 1)):
            if smaller >= size:
                continue
            word = re.compile(rf"(?<![\w.{{]){size}(?![\w.}}])")

            def resized(n: Leaf | Step) -> Leaf | Step:
                if isinstance(n, Leaf):
                    return replace(n, shape=tuple(smaller if d == size else d for d in n.shape))
                return replace(n, text=word.sub(str(smaller), n.text))

            calls = tuple(replace(c, batch=smaller if c.batch == size else c.batch)
                          for c in p.calls)  # fmt: skip
            only = tuple(resized(n) if isinstance(n, Leaf) else n for n in p.nodes)
            yield replace(p, nodes=tuple(resized(n) for n in p.nodes), calls=calls)
            yield replace(p, nodes=only, calls=calls)
