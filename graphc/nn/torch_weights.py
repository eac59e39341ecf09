"""Weights of PyTorch's modules for layers whose parts are named as theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError, user_location
from graphc.ir.source import Parameter
from graphc.ir.tensor import Tensor
from graphc.nn.module import Layer, Linear
from graphc.types import show_shape


class FromTorch(Layer):
    """A layer whose parameters, and those of its parts, have PyTorch's names."""

    def load_torch(self, state_dict: Mapping[str, Any], prefix: str = "") -> None:
        """Take the weights of a module of PyTorch of the same class and arguments.

        ``state_dict`` is its ``state_dict()``, of tensors or arrays; ``prefix`` what stands before
        the names in that of a larger module, such as ``"decoder."``. The names are the same here;
        matrices that inputs are multiplied by are ``(out, in)`` there, and transposed. A model that
        was made takes them, too.

        Raises :class:`ArgumentError` if a name is missing or there are others, :class:`ShapeError`
        if sizes differ; then nothing has changed.
        """
        own = dict(_named(self))
        given = {n[len(prefix) :]: v for n, v in state_dict.items() if n.startswith(prefix)}
        take_weights(type(self).__name__, own, given, prefix)


def take_weights(
    kind: str, own: Mapping[str, tuple[Tensor, bool]], given: Mapping[str, Any], prefix: str
) -> None:
    """Write arrays into the parameters of their names, those marked transposed; or raise."""
    where = f"\n  at {user_location()}"
    for what, names in (
        ("lacks", own.keys() - given.keys()),
        ("has what this layer does not:", given.keys() - own.keys()),
    ):
        if names:
            listed = ", ".join(sorted(prefix + n for n in names))
            raise ArgumentError(f"{kind}.load_torch: the state {what} {listed}{where}")
    arrays = {}
    for name, (parameter, turned) in own.items():
        value = given[name]
        array = np.asarray(value.detach() if hasattr(value, "detach") else value)
        arrays[name] = array = array.T if turned else array
        if array.shape != parameter.shape:
            raise ShapeError(
                f"{kind}.load_torch: {prefix}{name}{' transposed' * turned} has shape "
                f"{show_shape(array.shape)}, and {parameter.describe()} is needed{where}"
            )
    for name, array in arrays.items():
        op = own[name][0].op
        assert isinstance(op, Parameter)
        op.cell.array[...] = array


def _named(layer: Layer) -> Iterator[tuple[str, tuple[Tensor, bool]]]:
    """Yield the names of parameters, and whether a matrix is transposed."""
    matrices = isinstance(layer, (Linear, FromTorch))
    for name, value in vars(layer).items():
        if name.startswith("_"):
            continue
        if isinstance(value, Tensor) and isinstance(value.op, Parameter):
            yield name, (value, matrices and value.ndim == 2)
        parts = enumerate(value) if isinstance(value, (list, tuple)) else ((None, value),)
        for number, part in parts:
            if isinstance(part, Layer):
                inner = name if number is None else f"{name}.{number}"
                yield from ((f"{inner}.{own}", found) for own, found in _named(part))
