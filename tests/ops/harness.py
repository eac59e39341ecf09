"""Checks that every registered function and op must pass, generated from the registry.

A :class:`Trial` is one sample of one function in one data type: its symbolic inputs, its
outputs, and the derivatives made from them. Each ``check_*`` takes a trial, returns if all is
well, and raises an AssertionError that names function, sample and difference otherwise.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np

import graphc.ops
from graphc.autodiff.adjoint import vjp
from graphc.autodiff.tangent import jvp
from graphc.emit.kernel import SCOPE
from graphc.errors import GraphcError
from graphc.functions import function
from graphc.ir.graph import ancestors
from graphc.ir.interpret import evaluate
from graphc.ir.op import ENTRIES, Composite, Elementwise, FunctionEntry, Op, Sample, Source
from graphc.ir.source import Input
from graphc.ir.tensor import Tensor
from graphc.kernel.value import Name, Number
from graphc.print.python import PythonPrinter
from graphc.tree import tree_leaves, tree_map
from graphc.types import BATCH, DTYPES, FLOAT32, FLOAT64, AnyDim, TensorType, shape_at

for module in pkgutil.iter_modules(graphc.ops.__path__, "graphc.ops."):
    importlib.import_module(module.name)

Array = np.ndarray[Any, Any]
Feeds = dict[Tensor, Array]

TOLERANCE = {np.dtype("float64"): (1e-12, 1e-13), np.dtype("float32"): (2e-5, 1e-6)}
STEP = 1e-4
"""Of the five-point central difference: its error is about 1e-12 for functions of scale 1."""


def run(outputs: Sequence[Tensor], feeds: Mapping[Tensor, Array]) -> list[Array]:
    """Return the values of ``outputs`` computed by the NumPy references, node by node."""
    values = evaluate(outputs, feeds)
    return [values[t] for t in outputs]


def compiled(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> Callable[[Mapping[Tensor, Array]], list[Array]]:
    """Return the compiled equivalent of :func:`run`."""
    call = function(list(inputs), list(outputs))
    return lambda feeds: [np.asarray(v) for v in call(*[feeds[t] for t in inputs])]


# -- trials -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Trial:
    """One sample of one function, its floating-point arrays in ``dtype``.

    With ``batch``, the first axis of the leading arrays is the batch.
    """

    entry: FunctionEntry
    number: int
    sample: Sample
    dtype: np.dtype[Any] = FLOAT64
    batch: bool = False

    def __str__(self) -> str:
        shown = [_show(v) for v in self.sample.args]
        shown += [f"{k}={_show(v)}" for k, v in self.sample.kwargs]
        where = "" if self.dtype == FLOAT64 else f" in {self.dtype}"
        return f"{self.entry.name}({', '.join(shown)}) [sample {self.number}{where}]"

    @cached_property
    def arguments(self) -> tuple[Any, ...]:
        """Positional and keyword arguments, arrays in the trial's data type."""
        given = (self.sample.args, dict(self.sample.kwargs))
        natural = all(x.dtype.kind != "f" or x.dtype == FLOAT64 for x in arrays_in(given))
        if natural and self.dtype != FLOAT64:
            given = tree_map(lambda v: _in_dtype(v, self.dtype), given)
        return given

    @cached_property
    def arrays(self) -> list[Array]:
        return arrays_in(self.arguments)

    @cached_property
    def symbolic(self) -> tuple[list[Tensor], list[Tensor]]:
        """The symbolic inputs and outputs."""
        inputs: list[Tensor] = []
        leading = _leading(self.arrays) if self.batch else ()

        def declare(value: Any) -> Any:
            if not isinstance(value, np.ndarray):
                return value
            shape: tuple[AnyDim, ...] = value.shape
            if len(inputs) in leading:
                shape = (BATCH, *shape[1:])
            inputs.append(
                placeholder(f"x{len(inputs)}_{self.number}", TensorType(value.dtype, shape))
            )
            return inputs[-1]

        args, kwargs = tree_map(declare, self.arguments)
        result = tree_leaves(self.entry.function(*args, **kwargs))
        assert all(isinstance(t, Tensor) for t in result), f"{self}: not a Tensor: {result}"
        return inputs, result

    @property
    def inputs(self) -> list[Tensor]:
        return self.symbolic[0]

    @property
    def outputs(self) -> list[Tensor]:
        return self.symbolic[1]

    @property
    def feeds(self) -> Feeds:
        return dict(zip(self.inputs, self.arrays, strict=True))

    @cached_property
    def derivatives(self) -> Derivatives | None:
        """The derivatives, or None where the sample has none."""
        ins = [t for t in self.inputs if t.dtype.kind == "f"]
        outs = [t for t in self.outputs if t.dtype.kind == "f"]
        if not (self.sample.differentiable and ins and outs):
            return None
        return Derivatives(self.number, str(self), ins, outs)

    def expected(self, arrays: Sequence[Array] | None = None, own: bool = False) -> list[Array]:
        """Return what the NumPy reference gives in double precision, or in the arrays' own."""
        given = iter(self.arrays if arrays is None else arrays)
        args, kwargs = tree_map(
            lambda v: _in_dtype(next(given), None if own else FLOAT64)
            if isinstance(v, np.ndarray) else v,
            self.arguments,
        )  # fmt: skip
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy warns of means of nothing
            result = self.entry.reference(*args, **kwargs)
            leaves = tree_leaves(result)
            whole = not any(x.dtype.kind == "f" for x in arrays_in((args, kwargs)))
            if whole and any(np.asarray(x).dtype.kind == "f" for x in leaves):
                # NumPy computes functions of small integers in half precision
                to = tree_map(lambda v: _widened(v), (args, kwargs))
                leaves = tree_leaves(self.entry.reference(*to[0], **to[1]))
        return [np.asarray(x) for x in leaves]


class Derivatives:
    """First and second derivatives of ``outs`` by ``ins``, contracted with random directions."""

    def __init__(self, number: int, what: str, ins: list[Tensor], outs: list[Tensor]) -> None:
        self.ins, self.outs = ins, outs
        self.w = [placeholder(f"w{i}_{number}", t.type) for i, t in enumerate(outs)]
        self.v = [placeholder(f"v{i}_{number}", t.type) for i, t in enumerate(ins)]
        self.u = [placeholder(f"u{i}_{number}", t.type) for i, t in enumerate(ins)]
        self.pulled = vjp(outs, ins, self.w, unconnected="zero")
        self.pushed = jvp(outs, ins, self.v, unconnected="zero")
        for part, tensor in zip(self.pulled, ins, strict=True):
            assert part.type == tensor.type, f"{what}: VJP of type {part.type}, not {tensor.type}"
        for part, tensor in zip(self.pushed, outs, strict=True):
            assert part.type == tensor.type, f"{what}: JVP of type {part.type}, not {tensor.type}"
        self.pulled_twice = vjp(self.pulled, ins, self.u, unconnected="zero")
        self.pushed_pulled = jvp(self.pulled, ins, self.v, unconnected="zero")

    @property
    def all(self) -> list[Tensor]:
        return [*self.pulled, *self.pushed, *self.pulled_twice, *self.pushed_pulled]

    def directions(self, batch: int = 1) -> Feeds:
        """Return random directions, the same at every call."""
        rng = np.random.default_rng(7)
        return {t: np.asarray(rng.standard_normal(shape_at(t.type.shape, batch)), t.dtype)
                for t in (*self.w, *self.v, *self.u)}  # fmt: skip


def placeholder(name: str, type: TensorType) -> Tensor:
    """Return an input of any type, its dimensions depending on the batch as they like."""
    return Tensor(Input(name, type, object()), (), type, label=name)


def arrays_in(tree: Any) -> list[Array]:
    """Return the arrays among the leaves of ``tree``."""
    return [v for v in tree_leaves(tree) if isinstance(v, np.ndarray)]


def _in_dtype(value: Any, dtype: np.dtype[Any] | None) -> Any:
    if dtype is None or not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return value
    return value.astype(dtype)


def _widened(value: Any) -> Any:
    return value.astype(FLOAT64) if isinstance(value, np.ndarray) else value


def _leading(arrays: Sequence[Array]) -> tuple[int, ...]:
    """Return the places of the arrays whose first axis can be the batch."""
    rank = max((a.ndim for a in arrays), default=0)
    full = [i for i, a in enumerate(arrays) if a.ndim == rank and rank]
    sizes = {arrays[i].shape[0] for i in full}
    return tuple(full) if len(sizes) == 1 and min(sizes) > 0 else ()


def _show(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}"
    if isinstance(value, (tuple, list)) and arrays_in(value):
        return f"[{', '.join(_show(v) for v in value)}]"
    return repr(value)


@cache
def trials(name: str, dtype: np.dtype[Any] = FLOAT64) -> tuple[Trial, ...]:
    """Return the trials of one function, made once."""
    entry = ENTRIES[name]
    return tuple(Trial(entry, i, s, dtype) for i, s in enumerate(entry.samples()))


def try_all(check: Callable[[Trial], None], cases: Sequence[Trial]) -> None:
    """Run ``check`` on every case, then raise if any failed, naming all that did."""
    failures = []
    for case in cases:
        try:
            check(case)
        except AssertionError as error:
            failures.append(str(error))
        except Exception as error:
            failures.append(f"{case}: {type(error).__name__}: {error}")
    assert not failures, f"{len(failures)} of {len(cases)} samples:\n" + "\n".join(failures[:8])


# -- checks ---------------------------------------------------------------------------------------


def equal(actual: Array, expected: Array, what: str, scale: float = 1.0) -> None:
    """Raise unless the values agree within the rounding of the data type, NaN with NaN."""
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    if actual.dtype.kind != "f":
        same = np.array_equal(actual, expected)
        assert same, f"{what}: got {actual.tolist()}, expected {expected.tolist()}"
        return
    rtol, atol = TOLERANCE[actual.dtype]
    finite = expected[np.isfinite(expected)]
    atol *= scale * max(1.0, float(np.abs(finite).max(initial=0.0)))
    with np.errstate(all="ignore"):
        rounded = expected.astype(actual.dtype).astype(FLOAT64)  # overflow is infinite here too
        near = np.isclose(actual.astype(FLOAT64), rounded, rtol * scale, atol, equal_nan=True)
    if not near.all():
        at = tuple(int(i) for i in np.argwhere(~near)[0])
        raise AssertionError(
            f"{what}: got {actual[at]!r}, expected {expected[at]!r} at {at} "
            f"({int((~near).sum())} of {near.size} elements differ)"
        )


def equal_all(
    actual: Sequence[Array], expected: Sequence[Array], what: str, scale: float = 1.0
) -> None:
    """Raise unless :func:`equal` holds of every pair."""
    for a, b in zip(actual, expected, strict=True):
        equal(a, b, what, scale)


def check_type(trial: Trial) -> None:
    """Compare shapes and data types of the type rules with what NumPy gives."""
    expected = trial.expected(own=True)
    outputs = trial.outputs
    assert len(outputs) == len(expected), f"{trial}: {len(outputs)} results, not {len(expected)}"
    floats = [x.dtype for x in trial.arrays if x.dtype.kind == "f"]
    real = max(floats, key=lambda d: d.itemsize, default=FLOAT32)
    for tensor, value in zip(outputs, expected, strict=True):
        shape = shape_at(tensor.type.shape, 1)
        assert shape == value.shape, f"{trial}: inferred shape {shape}, NumPy's is {value.shape}"
        assert tensor.dtype in DTYPES, f"{trial}: data type {tensor.dtype}"
        assert tensor.dtype.kind == value.dtype.kind, (
            f"{trial}: inferred {tensor.dtype}, NumPy gives {value.dtype}"
        )
        if tensor.dtype.kind == "f":
            assert tensor.dtype in (real, value.dtype), f"{trial}: {tensor.dtype}, not {real}"


def check_value(trial: Trial) -> None:
    """Compare the value with the NumPy reference in double precision, or else in its own."""
    values = run(trial.outputs, trial.feeds)
    for tensor, value in zip(trial.outputs, values, strict=True):
        assert value.dtype == tensor.dtype, f"{trial}: computed {value.dtype}, not {tensor.dtype}"
    try:
        equal_all(values, trial.expected(), str(trial))
    except AssertionError:  # an ill-conditioned sample
        equal_all(values, trial.expected(own=True), str(trial))


def check_strided(trial: Trial) -> None:
    """Compare the value for operands that are not contiguous in memory."""
    feeds = {t: strided(x) for t, x in trial.feeds.items()}
    equal_all(run(trial.outputs, feeds), trial.expected(), f"{trial} with strided operands")


def strided(x: Array) -> Array:
    wide = np.zeros([2 * n for n in x.shape], x.dtype)
    view = wide[(..., *(slice(None, None, 2) for _ in x.shape))]
    view[...] = x
    return view


SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -1.5, 3.0, -0.0)


def spoiled(trial: Trial) -> list[Array]:
    """Return the trial's arrays with NaN, infinities and zeros in them."""
    arrays = []
    for place, x in enumerate(trial.arrays):
        if x.dtype.kind == "f":
            pattern = np.resize(np.roll(SPECIAL, -2 * place), x.size).reshape(x.shape)
            x = np.where(np.arange(x.size).reshape(x.shape) % (2 + place), pattern, x)
            x = x.astype(trial.arrays[place].dtype)
        arrays.append(x)
    return arrays


def check_special(trial: Trial) -> None:
    """Compare the value where operands are NaN, infinite and zero."""
    arrays = spoiled(trial)
    feeds = dict(zip(trial.inputs, arrays, strict=True))
    own = trial.expected(arrays, own=True)  # overflow is part of the result
    equal_all(run(trial.outputs, feeds), own, f"{trial} with NaN and infinities")


def resized(trial: Trial, size: int) -> list[Array]:
    """Return the trial's arrays, the leading ones with ``size`` rows."""
    leading = _leading(trial.arrays)
    return [np.take(x, range(size), 0, mode="wrap") if i in leading else x
            for i, x in enumerate(trial.arrays)]  # fmt: skip


def check_batch(trial: Trial) -> None:
    """Compare values and derivatives for several sizes of a batch axis, where there can be one."""
    batched = replace(trial, batch=True)
    leading = _leading(trial.arrays)
    if not leading:
        return
    try:
        inputs, outputs = batched.symbolic
    except GraphcError:
        return  # the sample needs its first axis to have this length
    own = trial.arrays[leading[0]].shape[0]
    for size in (own, 1, own + 2):
        arrays = resized(trial, size)
        try:
            wanted = batched.expected(arrays)
        except (ValueError, IndexError):
            continue
        if [x.ndim for x in wanted] != [t.ndim for t in outputs]:
            continue  # squeeze: the batch is no axis of length 1, not even when it is
        feeds = dict(zip(inputs, arrays, strict=True))
        equal_all(run(outputs, feeds), wanted, f"{trial} with a batch of {size}")
    fixed, free = trial.derivatives, batched.derivatives
    if fixed is None or free is None:
        return
    if [x.ndim for x in fixed.outs] != [x.ndim for x in free.outs]:
        return
    values = run(free.all, {**batched.feeds, **free.directions(own)})
    wanted = run(fixed.all, {**trial.feeds, **fixed.directions()})
    equal_all(values, wanted, f"derivatives of {trial} with a batch axis", scale=10.0)


def check_derivatives(trial: Trial) -> None:
    """Compare VJP and JVP, to second order, with finite differences and with each other."""
    d = trial.derivatives
    if d is None or any(x.size == 0 for x in trial.arrays):
        return  # of no elements, only the types are checked
    feeds = {**trial.feeds, **d.directions()}
    values = dict(zip(d.all, run(d.all, feeds), strict=True))

    def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
        pairs = zip(a, b, strict=True)
        return sum(float(np.vdot(_wide(values, feeds, x), _wide(values, feeds, y)))
                   for x, y in pairs)  # fmt: skip

    def size(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
        pairs = zip(a, b, strict=True)
        return sum(float(np.abs(_wide(values, feeds, x) * _wide(values, feeds, y)).sum())
                   for x, y in pairs)  # fmt: skip

    exact = all(t.dtype == FLOAT64 for t in (*d.ins, *d.outs))
    close = 1e-10 if exact else 1e-4
    first, second = dot(d.pulled, d.v), dot(d.pulled_twice, d.v)
    _near(first, dot(d.w, d.pushed), close * (1 + size(d.pulled, d.v)),
          f"{trial}: VJP and JVP disagree")  # fmt: skip
    _near(second, dot(d.u, d.pushed_pulled), close * (1 + size(d.pulled_twice, d.v)),
          f"{trial}: second derivatives by VJP and JVP disagree")  # fmt: skip
    if not exact:
        return
    by_value, by_gradient = _differences(trial, d, feeds, d.ins)
    off = _off(first, by_value, 1e-7 * (1 + size(d.pulled, d.v)))
    assert not off, f"{trial}: VJP {off}{_culprits(trial, d, feeds, values, 0)}"
    off = _off(second, by_gradient, 1e-7 * (1 + size(d.pulled_twice, d.v)))
    assert not off, f"{trial}: second derivative {off}{_culprits(trial, d, feeds, values, 1)}"


def _wide(values: Mapping[Tensor, Array], feeds: Feeds, t: Tensor) -> Array:
    return np.asarray(feeds[t] if t in feeds else values[t], FLOAT64)


def _off(actual: float, expected: float, tolerance: float) -> str:
    if abs(actual - expected) <= tolerance:
        return ""
    return f"gives {actual!r}, finite differences {expected!r}"


def _near(a: float, b: float, tolerance: float, what: str) -> None:
    assert abs(a - b) <= tolerance, f"{what}: {a!r} and {b!r}"


def _differences(
    trial: Trial, d: Derivatives, feeds: Feeds, moved: Sequence[Tensor]
) -> tuple[float, float]:
    """Return the rates of ``<w, outputs>`` and ``<u, gradients>`` as ``moved`` go along ``v``."""
    rates = [0.0, 0.0]
    for steps, weight in ((1, 8.0), (-1, -8.0), (2, -1.0), (-2, 1.0)):
        there = dict(feeds)
        for x, v in zip(d.ins, d.v, strict=True):
            if any(x is y for y in moved):
                there[x] = np.asarray(feeds[x] + steps * STEP * feeds[v])
        values = run([*d.outs, *d.pulled], there)
        n = len(d.outs)
        for k, (parts, weights) in enumerate(((values[:n], d.w), (values[n:], d.u))):
            for part, w in zip(parts, weights, strict=True):
                rates[k] += weight * float(np.vdot(feeds[w], part))
    return rates[0] / (12 * STEP), rates[1] / (12 * STEP)


def _culprits(
    trial: Trial, d: Derivatives, feeds: Feeds, values: Mapping[Tensor, Array], order: int
) -> str:
    """Name the operands by which the derivative is wrong."""
    parts = d.pulled_twice if order else d.pulled
    text = ""
    for x, v, part in zip(d.ins, d.v, parts, strict=True):
        mine = float(np.vdot(feeds[v], values[part]))
        rate = _differences(trial, d, feeds, [x])[order]
        text += f"\n  by {x.describe()}: {mine!r}, finite differences {rate!r}"
    return text


def check_text(trial: Trial) -> None:
    """Evaluate the scalar text of every elementwise op as plain Python, element by element."""
    values = evaluate(trial.outputs, trial.feeds)
    for node in ancestors(trial.outputs):
        op = node.op
        if (
            isinstance(op, Elementwise)
            and not op.indexed
            and all(isinstance(d, int) for d in node.shape)
        ):
            operands = [values[x] for x in node.inputs]
            what = f"{trial}: scalar text of {op.name}({op.parameters()})"
            got = evaluate_text(op, operands, values[node], what)
            equal(got, values[node], what)


def evaluate_text(op: Elementwise, operands: Sequence[Array], like: Array, what: str) -> Array:
    """Return an op's scalar text evaluated on every element of ``operands``."""
    names = [f"x{i}" for i in range(len(operands))]
    given = [Name(name, x.dtype) for name, x in zip(names, operands, strict=True)]
    value = op.scalar(lambda number: Number(number, operands[-1].dtype), *given)
    assert value.dtype.kind == like.dtype.kind, f"{what} gives {value.dtype}"
    code = compile(PythonPrinter().value(value), f"<{op.name}>", "eval")
    scope = dict(SCOPE)
    columns = [a.reshape(-1) for a in np.broadcast_arrays(*operands)]
    with np.errstate(all="ignore"):
        flat = [eval(code, scope, dict(zip(names, row, strict=True)))
                for row in zip(*columns, strict=True)]  # fmt: skip
        for value in flat:
            kind = np.asarray(value).dtype.kind
            assert kind == like.dtype.kind, f"{what} gives {type(value).__name__}"
            wide = kind == "f" and np.asarray(value).dtype != like.dtype
            assert not wide, f"{what} gives {value.dtype}, not {like.dtype}"
        return np.array(flat, like.dtype).reshape(like.shape)


def ops_used(names: Sequence[str]) -> Iterator[type[Op]]:
    """Yield the op classes that the trials of some functions reach.

    In value or derivative, or in the formula that a composite op of theirs stands for.
    """
    for name in names:
        for trial in trials(name):
            derivatives = trial.derivatives
            roots = [*trial.outputs, *(derivatives.all if derivatives else [])]
            seen: set[Tensor] = set()
            while roots:
                nodes = [t for t in ancestors(roots) if t not in seen]
                seen.update(nodes)
                yield from (type(t.op) for t in nodes if not isinstance(t.op, Source))
                roots = [t.op.expand(*t.inputs) for t in nodes if isinstance(t.op, Composite)]
