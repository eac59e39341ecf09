"""Random numbers that are a pure function of their place: the same whatever the thread count.

The generator is Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw, *Parallel random
numbers: as easy as 1, 2, 3*, SC 2011, section 4.2), a bijection of a 64-bit counter under a
64-bit key that passes BigCrush. The seed is the key of a first pass over ``(stream, step)``;
its result, different for every pair, is the key of a second pass over the element's number.

``seed`` is an integer, or a scalar tensor of integers. Without a ``stream`` the draws of a
function or model are numbered for each seed in the order in which they were made, so that no
two are alike; with one, a draw can be repeated. Without a ``step`` a draw is another one at
each step of a model, or of a function with updates, and the same at each call of a function
without: it is pure. A parameter given as ``step`` counts such steps itself; an integer, or
another tensor, is taken as it is. Outside training (``evaluate``, ``predict``, ``forward``) a
model draws what its next step will, and a row the same in whatever batch it comes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.ir.op import Array, Composite, Elementwise, Sample, function, register
from graphc.ir.source import Parameter, constant
from graphc.ir.tensor import Tensor, apply
from graphc.kernel.value import Integer, Literal, Value, call
from graphc.ops.cast import Cast, astype
from graphc.ops.comparison import less
from graphc.ops.creation import asarray
from graphc.ops.state import Stateful
from graphc.types import (
    FLOAT32,
    INT64,
    DTypeLike,
    Shape,
    TensorType,
    as_dtype,
    as_shape,
    broadcast_shapes,
    shape_at,
    show_shape,
)

SECTION = "Random numbers"

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
LOW = 0xFFFFFFFF


def threefry(key: tuple[Array, Array], counter: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return the two 32-bit words to which ``key`` takes ``counter``, all uint32."""
    words = (*key, key[0] ^ key[1] ^ np.uint32(PARITY))
    x, y = counter[0] + words[0], counter[1] + words[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x = x + y
            y = (y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation))
            y = y ^ x
        x = x + words[(group + 1) % 3]
        y = y + words[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def _words(value: Any) -> tuple[Array, Array]:
    """Return the low and the high 32 bits of 64-bit integers, as arrays."""
    whole = np.atleast_1d(np.asarray(value)).astype(np.uint64)
    return (whole & np.uint64(LOW)).astype(np.uint32), (whole >> np.uint64(32)).astype(np.uint32)


def bits(seed: Any, stream: int, step: Any, count: int, first: int = 0) -> tuple[Array, Array]:
    """Return 64 random bits, as two words, for ``count`` elements from number ``first`` on."""
    key = threefry(_words(seed), (_words(stream)[0], _words(step)[0]))
    return threefry(key, _words(np.arange(count) + first))


class Stream:
    """The stream of a draw whose user gave none; its graph decides the number, in their order."""

    __slots__ = ("order",)

    def __init__(self) -> None:
        self.order = next(_streams)

    def __repr__(self) -> str:
        return "own"


_streams = itertools.count()


class _Counter(Composite):
    """A number that whoever settles the draws of a graph knows; until then, 0."""

    weak = False

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(INT64, ())

    def numpy(self, *arrays: Array) -> Array:
        return np.zeros((), INT64)

    def expand(self, *inputs: Tensor) -> Tensor:
        return constant(0, INT64)


@register
class Clock(_Counter):
    """The number of steps that the graph has taken before, with a user's updates or training."""


@register
class Turn(_Counter):
    """The number of the step among all steps of the loops around it; 0 outside."""


PART = 2**61
"""Distance between the elements' numbers of the parts of one draw."""


@register
class RandomUniform(Elementwise, Stateful):
    """Uniform numbers in [0, 1), a pure function of seed, stream, step and element.

    The operands are the seed, the step and perhaps the number of the first element, scalars of
    int64; ``stream`` and the step count modulo 2^32. float32 has the upper 24 of the random
    bits, float64 the upper 53. A distribution that needs several numbers for an element takes
    them from several parts of one draw. With ``counts`` the step stands for that of the graph.
    """

    indexed = "flat"
    cost = 30.0

    shape: Shape
    stream: int | Stream
    dtype: np.dtype[Any]
    part: int = 0

    def infer(self, *types: TensorType) -> TensorType:
        for t in types:
            if t != TensorType(INT64, ()):
                raise DTypeError(f"seed and step must be int64 scalars, got {t}")
        return TensorType(self.dtype, self.shape)

    @property
    def _number(self) -> int:
        return self.stream if isinstance(self.stream, int) else 0

    def numpy(self, *arrays: Array) -> Array:
        shape = shape_at(self.shape, 0)
        first = self.part * PART
        if len(arrays) > 2:
            first += int(arrays[2])
        x, y = bits(arrays[0], self._number, arrays[1], math.prod(shape), first)
        if self.dtype == FLOAT32:
            value = (x >> np.uint32(8)) * 2.0**-24
        else:
            value = ((x.astype(np.uint64) << np.uint64(21)) | (y >> np.uint32(11))) * 2.0**-53
        return np.reshape(value, shape).astype(self.dtype)

    def scalar(self, lit: Literal, *args: Value) -> Value:
        index, seed, step, *first = args
        width = 8 * self.dtype.itemsize
        if self.part:
            index = index + self.part * PART
        if first:
            index = index + first[0]
        function = f"random.uniform{width}"
        return call(function, seed, Integer(self._number), step, index, dtype=self.dtype)

    def partials(self, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return (None,) * len(inputs)

    def updates(self, *inputs: Tensor) -> Mapping[Tensor, Tensor]:
        step = inputs[1]
        while isinstance(step.op, Cast):
            (step,) = step.inputs
        return {step: step + 1} if isinstance(step.op, Parameter) else {}


@dataclass(frozen=True)
class Key:
    """What tells one draw of a user from all others."""

    seed: Tensor
    step: Tensor
    stream: int | Stream

    @staticmethod
    def of(seed: Any, step: Any, stream: int | None) -> Key:
        """Return the key of a new draw for a user's arguments."""
        number = Stream() if stream is None else _stream(stream)
        when = apply(Clock()) if step is None else _scalar("step", step)
        return Key(_scalar("seed", seed), when, number)

    def uniform(self, shape: Shape, dtype: np.dtype[Any], part: int = 0) -> Tensor:
        """Return numbers in [0, 1)."""
        op = RandomUniform(shape, self.stream, dtype, part)
        return apply(op, self.seed, self.step)


def _stream(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise DTypeError(f"stream must be an integer, not {value!r}")
    if not 0 <= value <= LOW:
        raise ArgumentError(f"stream must be at least 0 and less than 2^32, got {value}")
    return int(value)


def at_least(what: str, least: float, value: Any, most: float = math.inf) -> None:
    """Raise unless a user's numbers lie within bounds; those of tensors are not known."""
    if isinstance(value, Tensor):
        return
    numbers = np.asarray(value)
    if numbers.dtype.kind in "biuf" and not ((numbers >= least) & (numbers <= most)).all():
        known = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise ArgumentError(f"{what} must be {known}, got {value}")


def float_type(what: str, dtype: DTypeLike) -> np.dtype[Any]:
    """Return a user's floating-point type."""
    kind = as_dtype(dtype)
    if kind.kind != "f":
        raise DTypeError(f"{what} gives floating-point numbers, not {kind}")
    return kind


def _draws() -> Iterable[Sample]:
    for shape in ((2, 3), (), (0, 4), (1,)):
        for dtype in ("float32", "float64"):
            yield Sample((shape,), (("seed", 7), ("step", 3), ("stream", 5), ("dtype", dtype)))
    yield Sample(((5,),), (("seed", np.array(-1)), ("step", np.array(2**40 + 1))))


def reference_uniform(
    shape: Any, *, seed: Any, step: Any = None, stream: int | None = None,
    dtype: DTypeLike = FLOAT32, part: int = 0,
) -> Array:  # fmt: skip
    """Return what :meth:`Key.uniform` gives for the first draw of a graph without steps."""
    op = RandomUniform(as_shape(shape), stream or 0, as_dtype(dtype), part)
    return op.numpy(np.asarray(seed, INT64), np.asarray(step or 0, INT64))


def _numpy_uniform(
    shape: Any, low: Any = 0.0, high: Any = 1.0, *, dtype: DTypeLike = FLOAT32, **key: Any
) -> Array:
    low, high = np.asarray(low, dtype), np.asarray(high, dtype)
    return np.asarray(low + (high - low) * reference_uniform(shape, dtype=dtype, **key))


@function(samples=_draws, reference=_numpy_uniform, section=SECTION)
def random_uniform(
    shape: Any, low: Any = 0.0, high: Any = 1.0, *, seed: Any, step: Any = None,
    stream: int | None = None, dtype: DTypeLike = FLOAT32,
) -> Tensor:  # fmt: skip
    """Return uniform numbers in [low, high): numbers, or tensors to differentiate by.

    ``None`` in ``shape`` stands for the batch. The module's text says what ``seed``,
    ``stream`` and ``step`` do: another draw for each node, and at each step of training.
    """
    kind = float_type("random_uniform", dtype)
    u = Key.of(seed, step, stream).uniform(as_shape(shape), kind)
    if is_given(low, 0.0) and is_given(high, 1.0):
        return u
    least, most = parameters_like(u, low, high)
    return least + (most - least) * u


def is_given(value: Any, number: float) -> bool:
    """Tell whether a user's argument is a Python number, and this one."""
    return isinstance(value, (int, float)) and value == number


def parameters_like(u: Tensor, *values: Any) -> list[Tensor]:
    """Return a user's arguments in the type of ``u``; they must broadcast to its shape."""
    result = []
    for value in values:
        t = astype(asarray(value, dtype=None if isinstance(value, Tensor) else u.dtype), u.dtype)
        if broadcast_shapes(t.type.shape, u.type.shape) != u.type.shape:
            raise ShapeError(
                f"an argument of shape {show_shape(t.type.shape)} does not fit the shape "
                f"{show_shape(u.type.shape)}"
            )
        result.append(t)
    return result


def _scalar(what: str, value: Any) -> Tensor:
    if not isinstance(value, (Tensor, int, float, np.ndarray, np.generic)):
        raise DTypeError(f"{what} must be an integer, got {value!r}")
    t = asarray(value)
    if t.type.shape != ():
        raise ShapeError(f"{what} must be a scalar, got shape {show_shape(t.type.shape)}")
    if t.dtype.kind != "i":
        raise DTypeError(f"{what} must be an integer, got {t.dtype}")
    return asarray(t, dtype=INT64)


def _trials() -> Iterable[Sample]:
    keys = (("seed", 7), ("step", 3), ("stream", 5))
    for p in (0.0, 0.25, 1.0):
        yield Sample((p, (3, 4)), keys, differentiable=False)


def _numpy_bernoulli(p: Any, shape: Any, **key: Any) -> Array:
    return np.asarray(reference_uniform(shape, **key) < p)


@function(samples=_trials, reference=_numpy_bernoulli, section=SECTION)
def random_bernoulli(
    p: Any, shape: Any, *, seed: Any, step: Any = None, stream: int | None = None
) -> Tensor:
    """Return booleans that are True with probability ``p``; see :func:`random_uniform`."""
    at_least("p", 0.0, p, 1.0)
    return less(Key.of(seed, step, stream).uniform(as_shape(shape), FLOAT32), p)
