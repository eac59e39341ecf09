"""Random programs of loops within branches within loops, for graphc and for JAX alike.

A program is a pure function of a seed, written over a library (:class:`Graphc` or :class:`Jax`):
blocks of operations on scalars, vectors and matrices, among them scans, branches and loops whose
end the values tell, each over blocks of its own, which use parameters from outside. A block draws
from its own seed whenever it is traced, so that it does not matter how often a library does that.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc as gx

SHAPES = ((), (3,), (2, 3))
LENGTHS = (1, 2, 3, 11)


class Graphc:
    """The functions of a program in graphc."""

    np = gx
    scan, cond, switch = staticmethod(gx.scan), staticmethod(gx.cond), staticmethod(gx.switch)
    while_loop = staticmethod(gx.while_loop)

    @staticmethod
    def integer(x: Any) -> Any:
        return gx.astype(gx.floor(x), "int64")


class Jax:
    """The functions of a program in JAX."""

    def __init__(self) -> None:
        import jax

        self.np = jax.numpy
        self.lax = jax.lax
        self.cond, self.switch = jax.lax.cond, jax.lax.switch

    def scan(self, step: Any, init: Any, xs: Any, length: Any = None, reverse: bool = False) -> Any:
        return self.lax.scan(step, init, xs, length, reverse=reverse)

    def while_loop(self, condition: Any, body: Any, init: Any, max_steps: int) -> Any:
        """Return what the loop does, by one that has derivatives in reverse mode, too."""

        def step(carry: Any, _: Any) -> Any:
            return self.lax.cond(condition(carry), body, lambda c: c, carry), None

        return self.lax.scan(step, init, None, max_steps)[0]

    def integer(self, x: Any) -> Any:
        return self.np.floor(x).astype("int64")


class Block:
    """Operations drawn from a seed, on values that are there and values that they make."""

    def __init__(self, lib: Any, seed: int, values: list[Any], depth: int) -> None:
        self.lib, self.rng, self.depth = lib, np.random.default_rng(seed), depth
        self.values: dict[tuple[int, ...], list[Any]] = {shape: [] for shape in SHAPES}
        for value in values:
            self.add(value)

    def add(self, value: Any) -> None:
        self.values[tuple(value.shape)].append(value)

    def seed(self) -> int:
        return int(self.rng.integers(1 << 30))

    def shape(self) -> tuple[int, ...]:
        return SHAPES[int(self.rng.integers(len(SHAPES)))]

    def any(self, shape: tuple[int, ...]) -> Any:
        """Return a value of a shape, of the last ones rather than of the first."""
        known = self.values[shape]
        return known[-1 - min(int(self.rng.geometric(0.4)) - 1, len(known) - 1)]

    def run(self, count: int, params: dict[str, Any]) -> None:
        kinds = ["unary", "unary", "binary", "binary", "product", "reduce", "pick", "where"]
        if self.depth:
            kinds += ["scan", "scan", "cond", "switch", "while_loop"]
        for _ in range(count):
            getattr(self, kinds[int(self.rng.integers(len(kinds)))])(params)

    def finished(self, shapes: list[tuple[int, ...]]) -> list[Any]:
        """Return values of these shapes, none large."""
        return [self.lib.np.tanh(self.any(shape)) for shape in shapes]

    def unary(self, params: dict[str, Any]) -> None:
        f = self.lib.np
        choices = [f.sin, f.cos, f.tanh, lambda t: t * 0.5 + 0.25, lambda t: f.exp(-t * t),
                   lambda t: -t, lambda t: f.flip(t, axis=-1) if t.ndim else t]  # fmt: skip
        self.add(choices[int(self.rng.integers(len(choices)))](self.any(self.shape())))

    def binary(self, params: dict[str, Any]) -> None:
        first, second = sorted([self.shape(), self.shape()], key=len)
        a, b = self.any(first), self.any(second)
        choices = [lambda: a + b, lambda: a * b, lambda: b - a, lambda: b / (1.5 + a * a),
                   lambda: self.lib.np.maximum(a, b)]  # fmt: skip
        self.add(choices[int(self.rng.integers(len(choices)))]())

    def product(self, params: dict[str, Any]) -> None:
        which = "uw"[int(self.rng.integers(2))]
        self.add(0.5 * (self.any(SHAPES[1 + int(self.rng.integers(2))]) @ params[which]))

    def reduce(self, params: dict[str, Any]) -> None:
        f, axis = self.lib.np, int(self.rng.integers(2))
        if axis:
            self.add(f.mean(self.any((2, 3)), axis=0))
        else:
            self.add(f.sum(self.any(SHAPES[1 + int(self.rng.integers(2))])) * 0.3)

    def pick(self, params: dict[str, Any]) -> None:
        f, v = self.lib.np, self.any((3,))
        choices = [lambda: v[int(self.rng.integers(3))], lambda: self.any((2, 3))[1],
                   lambda: f.stack([v, params["b"]]), lambda: f.concat([v[1:], v[:1]])
                   if f is gx else f.concatenate([v[1:], v[:1]])]  # fmt: skip
        self.add(choices[int(self.rng.integers(len(choices)))]())

    def where(self, params: dict[str, Any]) -> None:
        a, b = self.any((2, 3)), self.any((3,))
        self.add(self.lib.np.where(a > 0.1, b, a))

    def inner(self, seed: int, values: list[Any], shapes: Any, params: dict[str, Any]) -> list[Any]:
        """Return what a block of its own makes of values that are handed to it."""
        block = Block(self.lib, seed, [*self.outside(), *values], self.depth - 1)
        block.run(int(block.rng.integers(1, 5)), params)
        return block.finished(shapes)

    def outside(self) -> list[Any]:
        """Return what inner blocks use from here: a value of each shape."""
        return [self.values[shape][-1] for shape in SHAPES]

    def scan(self, params: dict[str, Any]) -> None:
        f, seed = self.lib.np, self.seed()
        shapes = [self.shape() for _ in range(int(self.rng.integers(1, 3)))]
        left, length = self.shape(), LENGTHS[int(self.rng.integers(len(LENGTHS)))]
        kind, reverse = self.shape(), bool(self.rng.integers(2))
        xs = None
        if self.rng.integers(4):
            v = self.any(kind)
            xs = f.stack([v * (0.3 * k - 0.5) for k in range(length)])

        def step(carry: Any, x: Any) -> Any:
            given = [*carry, *([] if x is None else [x])]
            *new, y = self.inner(seed, given, [*shapes, left], params)
            return tuple(new), {"y": y}

        init = tuple(self.any(shape) for shape in shapes)
        last, ys = self.lib.scan(step, init, xs, length, reverse=reverse)
        for value in last:
            self.add(value)
        self.add(f.mean(ys["y"], axis=0))
        self.add(ys["y"][length // 2])

    def cond(self, params: dict[str, Any]) -> None:
        yes, no, shape, other = self.seed(), self.seed(), self.shape(), self.shape()
        branches = [lambda v, seed=seed: self.inner(seed, [v], [shape], params)[0]
                    for seed in (yes, no)]  # fmt: skip
        self.add(self.lib.cond(self.any(()) > 0.05, *branches, self.any(other)))

    def switch(self, params: dict[str, Any]) -> None:
        seeds, shape = [self.seed() for _ in range(3)], self.shape()
        branches = [lambda v, seed=seed: self.inner(seed, [v], [shape], params)[0]
                    for seed in seeds]  # fmt: skip
        index = self.lib.integer(self.any(()) * 3.0)
        self.add(self.lib.switch(index, branches, self.any(self.shape())))

    def while_loop(self, params: dict[str, Any]) -> None:
        seed, shape, most = self.seed(), self.shape(), int(self.rng.integers(1, 6))
        start = self.any(())

        def body(carry: Any) -> Any:
            level, value = carry
            (new,) = self.inner(seed, [value, level], [shape], params)
            return level + 0.3, new

        level, value = self.lib.while_loop(
            lambda c: c[0] < 0.8, body, (start, self.any(shape)), max_steps=most
        )
        self.add(level * 0.2)
        self.add(value)


INPUTS = {"s": (), "v": (3,), "m": (2, 3), "u": (3, 3), "w": (3, 3), "b": (3,)}


def program(lib: Any, seed: int, args: list[Any], depth: int = 2) -> Any:
    """Return a scalar made of all that the program of ``seed`` leaves."""
    named = dict(zip(INPUTS, args, strict=True))
    block = Block(lib, seed, [named[k] for k in ("s", "v", "m", "b")], depth)
    for _ in range(2):
        block.scan(named)
        block.run(3, named)
    last = [t for shape in SHAPES for t in block.values[shape][-3:]]
    return sum((lib.np.sum(lib.np.sin(t)) for t in last), 0.0)


def drawn(seed: int) -> list[np.ndarray[Any, Any]]:
    """Return values for the inputs."""
    rng = np.random.default_rng(seed + 1)
    return [np.asarray(0.6 * rng.standard_normal(shape)) for shape in INPUTS.values()]
