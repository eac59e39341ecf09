"""Random numbers that are a pure function of their place: the same whatever the thread count.

The generator is Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw, *Parallel random
numbers: as easy as 1, 2, 3*, SC 2011, section 4.2), a bijection of a 64-bit counter under a
64-bit key that passes BigCrush. The seed is the key of a first pass over ``(stream, step)``;
its result, different for every pair, is the key of a second pass over the element's number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir.op import Array, Elementwise, Literal, Sample, function, register
from graphc.ir.tensor import Tensor, apply
from graphc.ops.comparison import less
from graphc.ops.creation import asarray
from graphc.types import (
    FLOAT32,
    INT64,
    DTypeLike,
    Shape,
    TensorType,
    as_dtype,
    as_shape,
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


def bits(seed: Any, stream: int, step: Any, count: int) -> tuple[Array, Array]:
    """Return 64 random bits, as two words, for each of ``count`` elements."""
    key = threefry(_words(seed), (_words(stream)[0], _words(step)[0]))
    return threefry(key, _words(np.arange(count)))


@register
class RandomUniform(Elementwise):
    """Uniform numbers in [0, 1), a pure function of seed, stream, step and element.

    The operands are the seed and the step, scalars of int64; ``stream`` and the step count
    modulo 2^32. float32 has the upper 24 of the random bits, float64 the upper 53.
    """

    indexed = "flat"
    cost = 30.0

    shape: Shape
    stream: int
    dtype: np.dtype[Any]

    def infer(self, *types: TensorType) -> TensorType:
        for t in types:
            if t != TensorType(INT64, ()):
                raise DTypeError(f"seed and step must be int64 scalars, got {t}")
        return TensorType(self.dtype, self.shape)

    def numpy(self, *arrays: Array) -> Array:
        shape = shape_at(self.shape, 0)
        x, y = bits(arrays[0], self.stream, arrays[1], int(np.prod(shape)))
        if self.dtype == FLOAT32:
            value = (x >> np.uint32(8)) * 2.0**-24
        else:
            value = ((x.astype(np.uint64) << np.uint64(21)) | (y >> np.uint32(11))) * 2.0**-53
        return np.reshape(value, shape).astype(self.dtype)

    def scalar(self, lit: Literal, *args: str) -> str:
        index, seed, step = args
        width = 8 * self.dtype.itemsize
        return f"random.uniform{width}({seed}, {self.stream}, {step}, {index})"

    def partials(self, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return None, None


def _draws() -> Iterable[Sample]:
    for shape in ((2, 3), (), (0, 4), (1,)):
        for dtype in ("float32", "float64"):
            yield Sample((shape,), (("seed", 7), ("step", 3), ("stream", 5), ("dtype", dtype)))
    yield Sample(((5,),), (("seed", np.array(-1)), ("step", np.array(2**40 + 1))))


def _numpy_uniform(
    shape: Any, *, seed: Any, step: Any = 0, stream: int = 0, dtype: DTypeLike = FLOAT32
) -> Array:
    op = RandomUniform(as_shape(shape), stream, as_dtype(dtype))
    return op.numpy(np.asarray(seed, INT64), np.asarray(step, INT64))


@function(samples=_draws, reference=_numpy_uniform, section=SECTION)
def random_uniform(
    shape: Any, *, seed: Any, step: Any = 0, stream: int = 0, dtype: DTypeLike = FLOAT32
) -> Tensor:
    """Return uniform numbers in [0, 1), a pure function of seed, stream, step and element.

    ``seed`` and ``step`` are integers or integer scalars, symbolic ones too; ``stream`` is an
    integer that tells draws of one step apart. ``None`` in ``shape`` stands for the batch.
    """
    kind = as_dtype(dtype)
    if kind.kind != "f":
        raise DTypeError(f"random_uniform gives floating-point numbers, not {kind}")
    operands = [_scalar("seed", seed), _scalar("step", step)]
    return apply(RandomUniform(as_shape(shape), int(stream) & LOW, kind), *operands)


def _scalar(what: str, value: Any) -> Tensor:
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


def _numpy_bernoulli(p: Any, shape: Any, *, seed: Any, step: Any = 0, stream: int = 0) -> Array:
    return np.asarray(_numpy_uniform(shape, seed=seed, step=step, stream=stream) < p)


@function(samples=_trials, reference=_numpy_bernoulli, section=SECTION)
def random_bernoulli(p: Any, shape: Any, *, seed: Any, step: Any = 0, stream: int = 0) -> Tensor:
    """Return booleans that are True with probability ``p``; see :func:`random_uniform`."""
    return less(random_uniform(shape, seed=seed, step=step, stream=stream), p)
