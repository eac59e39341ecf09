"""Weights as functions of other parameters: of a direction and a length, and of a bounded norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from graphc import ops
from graphc.errors import ArgumentError, ShapeError, user_location
from graphc.ir.op import Array, register, require_float
from graphc.ir.source import Cell, Parameter
from graphc.ir.tensor import Tensor, apply, name_scope
from graphc.nn.module import Layer, count
from graphc.nn.training import TrainingOp
from graphc.types import TensorType, normalize_axis, size_of

L = TypeVar("L", bound=Layer)

_FIRST_ITERATIONS = 15
"""Steps of the power iteration with which a layer's vectors start, as in PyTorch."""


def weight_norm(layer: L, name: str = "weight", axis: int | None = -1) -> L:
    """Let a weight of ``layer`` be ``g v / |v|``, and return the layer.

    ``v``, the parameter ``<name>_v``, has the weight's shape and start; ``g``, ``<name>_g``, is the
    length of each part of it along ``axis``, the last of a weight being what comes out, or (None)
    of the whole. Salimans and Kingma, *Weight normalization*, NeurIPS 2016; as PyTorch's
    ``parametrizations.weight_norm``, whose ``dim`` is 0 by default.
    """
    old = _weight("weight_norm", layer, name)
    rank = old.ndim
    kept = () if axis is None else (normalize_axis(axis, rank),)
    others = tuple(k for k in range(rank) if k not in kept)
    v = _remade(layer, old, f"{name}_v")
    shape = tuple(n if k in kept else 1 for k, n in enumerate(_cell(old).shape))

    def lengths(_: tuple[int, ...], rng: np.random.Generator) -> Array:
        return np.asarray(np.sqrt(np.sum(_cell(v).array ** 2, others, keepdims=True)))

    g = layer.parameter(f"{name}_g", lengths, shape, dtype=old.dtype)
    with name_scope(layer.scope):
        made = v * (g / ops.vector_norm(v, axis=others, keepdims=True))
    vars(layer)[name] = made
    return layer


def spectral_norm(
    layer: L, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12,
    axis: int = -1,
) -> L:  # fmt: skip
    """Let a weight of ``layer`` be divided by its greatest singular value; return the layer.

    The weight is the matrix of what comes out, ``axis``, by all else. Each step of training moves
    its singular vectors, the state ``<name>_u`` and ``<name>_v``, by power iterations; what
    evaluates and predicts keeps them. They are constants to derivatives. The parameter keeps its
    name. Miyato et al., *Spectral normalization*, ICLR 2018; as PyTorch's
    ``parametrizations.spectral_norm``.
    """
    weight = _weight("spectral_norm", layer, name)
    if weight.ndim < 2:
        raise ShapeError(
            f"spectral_norm: {weight.describe()} must have two axes or more\n  at {user_location()}"
        )
    steps = count("spectral_norm: n_power_iterations", n_power_iterations, 1)
    op = SpectralNormOp(normalize_axis(axis, weight.ndim), steps, float(eps))
    rows = _cell(weight).shape[op.axis]
    columns = int(np.prod(_cell(weight).shape)) // max(rows, 1)

    def first(index: int) -> Any:
        def values(_: tuple[int, ...], rng: np.random.Generator) -> Array:
            own = np.random.default_rng(0)
            u, v = own.standard_normal(rows), own.standard_normal(columns)
            matrix = op.matrix_of(_cell(weight).array)
            return _iterated(matrix, u, v, _FIRST_ITERATIONS, op.eps)[index]

        return values

    u, v = (
        layer.parameter(f"{name}_{n}", first(k), (m,), dtype=weight.dtype, trainable=False)
        for k, (n, m) in enumerate((("u", rows), ("v", columns)))
    )
    with name_scope(layer.scope):
        vars(layer)[name] = weight / apply(op, weight, u, v)
    return layer


def _iterated(matrix: Array, u: Array, v: Array, count: int, eps: float) -> tuple[Array, Array]:
    for _ in range(count):
        u = matrix @ v
        u = u / max(np.linalg.norm(u), eps)
        v = matrix.T @ u
        v = v / max(np.linalg.norm(v), eps)
    return u, v


@register
class SpectralNormOp(TrainingOp):
    """``u^T W v`` with singular vectors after ``iterations`` steps from those of the last step.

    Operands are the weight, whose ``axis`` is the rows of ``W``, and the vectors, which no
    derivative goes through. In inference they are as they are.
    """

    name = "spectral_norm"
    axis: int
    iterations: int
    eps: float

    def infer(self, *types: TensorType) -> TensorType:
        w, u, v = types
        require_float("spectral_norm", w)
        rows = w.shape[self.axis]
        columns = size_of(n for k, n in enumerate(w.shape) if k != self.axis)
        if u.shape != (rows,) or v.shape != (columns,):
            raise ShapeError(f"the vectors of {w} must be of {rows} and {columns} elements")
        return w.with_shape(())

    def matrix_of(self, w: Array) -> Array:
        """Return the weight as a matrix."""
        return np.moveaxis(w, self.axis, 0).reshape(w.shape[self.axis], -1)

    def numpy(self, *arrays: Array) -> Array:
        w, u, v = arrays
        matrix = self.matrix_of(w)
        u, v = _iterated(matrix, u, v, self.iterations, self.eps)
        return np.asarray(u @ matrix @ v, w.dtype)

    def _matrix(self, w: Tensor) -> Tensor:
        return ops.reshape(ops.moveaxis(w, self.axis, 0), (w.type.shape[self.axis], -1))

    def _vectors(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        w, u, v = (ops.stop_gradient(x) for x in inputs)
        matrix = self._matrix(w)
        for _ in range(self.iterations):
            u = ops.normalize(matrix @ v, eps=self.eps)
            v = ops.normalize(ops.matrix_transpose(matrix) @ u, eps=self.eps)
        return u, v

    def _value(self, w: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return ops.sum(u * (self._matrix(w) @ v))

    def expand(self, *inputs: Tensor) -> Tensor:
        return self._value(inputs[0], *self._vectors(*inputs))

    def inference(self, *inputs: Tensor) -> Tensor:
        return self._value(*inputs)

    def learned(self, *inputs: Tensor) -> Sequence[Tensor]:
        return inputs[1:]

    def updates(self, *inputs: Tensor) -> Mapping[Tensor, Tensor]:
        return dict(zip(inputs[1:], self._vectors(*inputs), strict=True))

    def _slope(self, *inputs: Tensor) -> Tensor:
        """Return the derivative by the weight: the outer product of the vectors."""
        u, v = self._vectors(*inputs)
        shape = inputs[0].type.shape
        rows = shape[self.axis]
        outer = ops.reshape(u, (-1, 1)) * ops.reshape(v, (1, -1))
        behind = tuple(n for k, n in enumerate(shape) if k != self.axis)
        return ops.moveaxis(ops.reshape(outer, (rows, *behind)), 0, self.axis)

    def vjp(self, g: Tensor, out: Tensor, *inputs: Tensor) -> Sequence[Tensor | None]:
        return g * self._slope(*inputs), None, None

    def jvp(self, tangents: Sequence[Tensor | None], out: Tensor, *inputs: Tensor) -> Tensor | None:
        t = tangents[0]
        return None if t is None else ops.sum(t * self._slope(*inputs))


def _weight(what: str, layer: Layer, name: str) -> Tensor:
    """Return the parameter of that name of a layer that has not been called."""
    found = getattr(layer, name, None)
    if not isinstance(found, Tensor) or not isinstance(found.op, Parameter):
        raise ArgumentError(
            f"{what}: {type(layer).__name__} has no parameter {name!r}\n  at {user_location()}"
        )
    if vars(layer)["_called"]:
        raise ArgumentError(
            f"{what}: this {type(layer).__name__} has been called with the weight that it had; "
            f"normalise it before\n  at {user_location()}"
        )
    return found


def _cell(tensor: Tensor) -> Cell:
    assert isinstance(tensor.op, Parameter)
    return tensor.op.cell


def _remade(layer: Layer, old: Tensor, label: str) -> Tensor:
    """Make the parameter of a layer anew under another name."""
    cell, own = _cell(old), vars(layer)
    own["_made"] = tuple(t for t in own["_made"] if t is not old)
    return layer.parameter(label, cell.init, cell.shape, dtype=cell.dtype)
