"""Derivatives of programs against finite differences, each other, and JAX.

The rules that make a derivative are part of the graph that the oracle evaluates, so the oracle
cannot tell that one is wrong. Here the graph is made in double precision and moved along its
directions. Where it has a kink there is no derivative to compare with, and none is compared.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

import graphc as gx
from graphc.errors import ShapeError
from graphc.ir.interpret import evaluate

from .program import Leaf, Program, Step
from .reference import Reference

STEP = 1e-4
NOT_DIFFERENTIATED = ("stop_gradient", "nextafter")
"""Functions that are constants to a derivative, whatever differences say."""


def _double(program: Program) -> Program:
    """Return the program in double precision."""

    def wide(node: Any) -> Any:
        if isinstance(node, Leaf):
            return replace(node, dtype="float64") if node.dtype == "float32" else node
        return replace(node, text=node.text.replace("float32", "float64"))

    return replace(program, nodes=tuple(wide(n) for n in program.nodes))


def _dot(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return float(sum(np.vdot(x, y) for x, y in zip(a, b, strict=True)))


class Smoothness:
    """A program's outputs (or their gradient, for second order) along a random direction."""

    def __init__(self, program: Program) -> None:
        self.second = program.mode == "second"
        program = replace(_double(program), mode="values", updates=())
        scope = program.build().scope
        self.batch = program.calls[0].batch
        self.feeds = {scope[f"t{i}"]: np.asarray(n.values(self.batch))
                      for i, n in enumerate(program.nodes)
                      if isinstance(n, Leaf) and n.kind != "constant"}  # fmt: skip
        outs = [scope[f"t{i}"] for i in program.floating]
        self.wrt = [scope[f"t{i}"] for i in program.wrt]
        loss = sum((gx.sum(t) for t in outs), start=gx.constant(np.float64(0)))
        self.results = gx.grad(loss, self.wrt, unconnected="zero") if self.second else outs
        values = evaluate([*self.results, *self.wrt], self.feeds, self.batch)
        rng = np.random.default_rng(program.seed)
        self.v, self.w = (
            [rng.uniform(-1, 1, np.shape(values[t])) for t in tensors]
            for tensors in (self.wrt, self.results)
        )

    def rates(self) -> tuple[float, float, float] | None:
        """Return the rate by reverse and by forward mode, and a magnitude to compare them by."""
        v, w = ([gx.constant(a) for a in arrays] for arrays in (self.v, self.w))
        try:
            pulled = gx.vjp(self.results, self.wrt, w, unconnected="zero")
            pushed = gx.jvp(self.results, self.wrt, v, unconnected="zero")
        except ShapeError:
            return None  # an open shape has no constant direction
        got = evaluate([*pulled, *pushed], self.feeds, self.batch)
        a, b = ([got[t] for t in tensors] for tensors in (pulled, pushed))
        size = 1.0 + sum(float(np.abs(x * y).sum())
                         for x, y in zip([*a, *b], [*self.v, *self.w], strict=True))  # fmt: skip
        return _dot(a, self.v), _dot(b, self.w), size

    def _along(self, h: float) -> float:
        moves = {t: self.feeds[t] + h * a for t, a in zip(self.wrt, self.v, strict=True)}
        values = evaluate(self.results, {**self.feeds, **moves}, self.batch)
        return _dot([values[t] for t in self.results], self.w)

    def slope(self, size: float) -> float | None:
        """Return the rate by finite differences, or None where there is a kink nearby."""
        at = self._along(0.0)

        def slopes(h: float) -> tuple[float, float]:
            return (self._along(h) - at) / h, (at - self._along(-h)) / h

        (ahead, behind), (near, hind) = slopes(STEP), slopes(STEP / 8)
        central = (ahead + behind) / 2
        if abs(near - hind) > 0.3 * abs(ahead - behind) + 1e-7 * size:
            return None
        if not abs(central - (near + hind) / 2) <= 1e-6 * size:
            return None
        return central


def has_kink(program: Program) -> bool:
    """Tell whether finite differences do not exist."""
    along = Smoothness(program)
    rates = along.rates()
    return rates is None or along.slope(rates[2]) is None


def wrong_derivative(program: Program) -> str:
    """Return how reverse mode, forward mode and finite differences disagree, or nothing."""
    if program.mode == "values":
        return ""
    along = Smoothness(program)
    rates = along.rates()
    if rates is None or not np.isfinite(rates[2]):
        return ""
    reverse, forward, size = rates
    stopped = any(f in n.text for f in NOT_DIFFERENTIATED for n in program.nodes
                  if isinstance(n, Step))  # fmt: skip
    central = reverse if stopped else along.slope(size)
    if central is None or max(abs(reverse - central), abs(forward - central)) <= 3e-6 * size:
        return ""
    return (f"{'second' if along.second else 'first'} derivative {reverse!r} by reverse mode, "
            f"{forward!r} by forward mode, {central!r} by finite differences")  # fmt: skip


# -- JAX ----------------------------------------------------------------------------------------


COMPARISONS = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")


def _wide(value: Any) -> Any:
    return np.asarray(value, np.float64) if isinstance(value, int) else value


@cache
def jax_names() -> Any:
    """Return the functions of JAX under graphc's names, or None where JAX is not installed."""
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return None
    jax.config.update("jax_enable_x64", True)
    special = jax.scipy.special

    class Names:
        rsqrt = staticmethod(jax.lax.rsqrt)
        erf = staticmethod(special.erf)
        hardtanh = staticmethod(lambda x, min_val=-1.0, max_val=1.0: jnp.clip(x, min_val, max_val))
        gelu = staticmethod(
            lambda x, approximate="none": jax.nn.gelu(x, approximate=approximate == "tanh")
        )
        softsign = staticmethod(jax.nn.soft_sign)
        stop_gradient = staticmethod(jax.lax.stop_gradient)
        getitem = staticmethod(lambda x, key: x[key])
        constant = staticmethod(jnp.asarray)

        def __getattr__(self, name: str) -> Any:
            if name in ("arange", "linspace"):  # of integers, JAX rounds otherwise than NumPy
                return lambda *args, **kwargs: jnp.asarray(getattr(np, name)(*args, **kwargs))
            if name in COMPARISONS:  # JAX wraps Python integers that NumPy compares exactly
                return lambda a, b: getattr(jnp, name)(_wide(a), _wide(b))
            if hasattr(jnp, name):
                return getattr(jnp, name)
            return getattr(jax.nn, name)

    return Names()


COMPARED: Counter[str] = Counter()
"""How many programs JAX was compared on, by mode, and how many it cannot run."""


def wrong_in_jax(program: Program) -> str:
    """Return how JAX's values and derivatives differ from the oracle's, or nothing.

    A derivative at a kink may be another convention: it is wrong only where finite differences
    exist, and those have been compared before.
    """
    names = jax_names()
    if names is None or any("random" in n.text for n in program.nodes if isinstance(n, Step)):
        COMPARED["none"] += 1
        return ""
    double = replace(_double(program), updates=())
    batch = program.calls[0].batch
    built = double.build()
    arrays = {f"t{i}": n.values(batch) for i, n in enumerate(double.nodes) if isinstance(n, Leaf)}
    arrays |= {name: leaf.values(batch) for name, leaf in double.extra.items()}
    feeds = {t: arrays[name] for name, t in built.scope.items() if name in arrays}
    reference = Reference(built.outputs, feeds, batch)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = _by_jax(double, arrays, names)
    except Exception as error:  # a function that JAX lacks, or lacks with these arguments
        COMPARED[f"not in JAX: {type(error).__name__}"] += 1
        return ""
    COMPARED[program.mode] += 1
    for i, (tensor, value) in enumerate(zip(built.outputs, found, strict=True)):
        derived = i >= len(program.outputs)
        value = np.asarray(value)
        if value.shape != reference.middle[tensor].shape:
            return f"output {i}: shape {value.shape} in JAX, {reference.middle[tensor].shape} here"
        wrong = reference.difference(tensor, value.astype(tensor.dtype), slack=1e-9)
        if wrong and not (derived and has_kink(double)):
            return f"output {i}: JAX has {wrong}"
    return ""


def _by_jax(program: Program, arrays: dict[str, np.ndarray], names: Any) -> list[Any]:
    """Return the outputs and derivatives of a program as JAX computes them."""
    import jax
    import jax.numpy as jnp

    def outs(given: dict[str, Any], *wrt: Any) -> tuple[list[Any], list[Any]]:
        scope: dict[str, Any] = {"gx": names, "np": np, **given}
        scope |= {f"t{i}": a for i, a in zip(program.wrt, wrt, strict=True)}
        for i, node in enumerate(program.nodes):
            if isinstance(node, Step):
                scope[f"t{i}"] = eval(program.line(i), scope)
        return [scope[f"t{i}"] for i in program.floating], [scope[f"t{i}"] for i in program.outputs]

    def everything(given: dict[str, Any]) -> list[Any]:
        point = tuple(given[f"t{i}"] for i in program.wrt)
        tangents = tuple(given[f"d{i}"] for i in program.wrt if f"d{i}" in given)

        def run(*wrt: Any) -> list[Any]:
            return outs(given, *wrt)[0]

        gradient = jax.grad(lambda *p: sum(jnp.sum(o) for o in run(*p)), range(len(point)))
        found = list(outs(given, *point)[1])
        if program.mode == "jvp":
            found += jax.jvp(run, point, tangents)[1]
        elif program.mode == "vjp":
            found += jax.vjp(run, *point)[1]([given[f"w{i}"] for i in program.floating])
        elif program.mode == "grad":
            found += gradient(*point)
        elif program.mode == "second":
            found += jax.jvp(gradient, point, tangents)[1]
        return found

    return jax.jit(everything)(arrays)
