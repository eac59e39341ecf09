"""Bases of the elementwise ops, and the operands that their tests try them on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np

from graphc.ir.op import Array, Elementwise, Sample, add_all, broadcast_like, unbroadcast
from graphc.ir.tensor import Tensor
from graphc.kernel.value import Literal, Value, vmath

DType: TypeAlias = np.dtype[Any]
Partials: TypeAlias = Sequence[Tensor | None]
Samples: TypeAlias = Callable[[], Iterable[Sample]]


class Math(Elementwise):
    """An op that one NumPy function computes, and one of :mod:`graphc.emit.vmath`.

    ``ufunc`` is the first; the second has the op's name, unless there is a ``formula`` of values.
    """

    ufunc: ClassVar[Callable[..., Any]]
    formula: ClassVar[Callable[..., Value] | None] = None

    def numpy(self, *arrays: Array) -> Array:
        dtype = self.result_dtype(*[a.dtype for a in arrays])
        return np.asarray(type(self).ufunc(*arrays), dtype)

    def scalar(self, lit: Literal, *args: Value) -> Value:
        formula = type(self).formula
        if formula is not None:
            return formula(*args)
        return vmath(self.name, *args, dtype=self.result_dtype(*[x.dtype for x in args]))


class Piecewise(Elementwise):
    """An op that is linear in each operand between kinks: it passes, scales or stops a tangent.

    Elementwise Jacobians are diagonal, so one rule serves forward and reverse mode. It selects
    where a product with 0 would turn an infinite tangent into NaN.
    """

    @abstractmethod
    def push(self, t: Tensor, place: int, out: Tensor, *inputs: Tensor) -> Tensor | None:
        """Return the derivative by operand number ``place`` applied to ``t``, or None."""

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Partials:
        parts = [self.push(g, i, out, *inputs) for i in range(len(inputs))]
        return [
            None if p is None else unbroadcast(p, x.type.shape)
            for p, x in zip(parts, inputs, strict=True)
        ]

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        parts = [None if t is None else self.push(t, i, out, *inputs)
                 for i, t in enumerate(tangents)]  # fmt: skip
        return broadcast_like(add_all([p for p in parts if p is not None]), out)


def unary(
    low: float, high: float, *special: float, booleans: bool = True, **kwargs: Any
) -> Samples:
    """Return samples of a function of one operand, differentiable between ``low`` and ``high``.

    At the ``special`` points, kinks or saturated ends, only the value is checked.
    """
    keys = tuple(kwargs.items())

    def samples() -> Iterable[Sample]:
        x = np.random.default_rng(0).uniform(low, high, (3, 4))
        yield Sample((x,), keys)
        yield Sample((np.asarray(x[1, 2]),), keys)
        yield Sample((x[:, :1],), keys)
        yield Sample((x[:0],), keys)
        if special:
            yield Sample((np.array(special),), keys, differentiable=False)
        yield Sample((np.array([[0, 1], [2, 3]], np.int32),), keys, differentiable=False)
        yield Sample((np.array([-3, -1, 0, 5]),), keys, differentiable=False)
        if booleans:
            yield Sample((np.array([True, False]),), keys, differentiable=False)

    return samples


def binary(
    low: float,
    high: float,
    scalar: float = 2.0,
    *,
    integers: bool = True,
    differentiable: bool = True,
) -> Samples:
    """Return samples of a function of two operands, differentiable between ``low`` and ``high``.

    They broadcast, one is a Python number, some are empty; ``integers`` adds whole numbers.
    """

    def samples() -> Iterable[Sample]:
        a, b = np.random.default_rng(0).uniform(low, high, (2, 3, 4))
        for args in (
            (a, b), (a, b[0]), (a[:, :1], b[0]), (a[1], b[:, :1]), (a, np.asarray(b[0, 0])),
            (a, scalar), (scalar, b), (a[:0], b[:0]), (a[:0], b[0]), (a[:1, :1], b[:1]),
        ):  # fmt: skip
            yield Sample(args, differentiable=differentiable)
        if integers:
            i, j = np.array([[7, -7, 7, -7, 0], [2, 2, -2, -2, 3]])
            for args in ((i, j), (i.astype(np.int32), j.astype(np.int32)), (i, 3), (2, abs(j)),
                         (i[:, None], a[0]), (a[:1, :1], j)):  # fmt: skip
                yield Sample(args, differentiable=False)

    return samples
