"""Parameters to and from files: all of them or none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from graphc.errors import DTypeError, ShapeError, user_location
from graphc.io import safetensors
from graphc.ir.op import Array
from graphc.ir.source import Cell
from graphc.sealed import Sealed
from graphc.types import show_shape

FORMAT = {"format": "graphc", "version": "1"}
STATE = "state/"
"""Prefix of what a model needs to go on training, beside its parameters."""


class Parameters(Sealed, Mapping[str, Array]):
    """Parameters by name, as views of the values that training reads and writes.

    Assign to the elements: ``parameters["linear_0.bias"][...] = 0``.
    """

    def __init__(self, cells: Mapping[str, Cell]) -> None:
        self._arrays = {name: cell.array for name, cell in cells.items()}

    def __getitem__(self, name: str) -> Array:
        if name not in self._arrays:
            raise KeyError(f"no parameter {name!r}; the model has {', '.join(self._arrays)}")
        return self._arrays[name]

    def __setitem__(self, name: str, value: object) -> None:
        raise DTypeError(
            f"assign to the elements of a parameter: parameters[{name!r}][...] = value"
            f"\n  at {user_location()}"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        rows = (f"{n}: {a.dtype.name}{show_shape(a.shape)}" for n, a in self._arrays.items())
        return f"Parameters({', '.join(rows)})"


def save(
    path: str | os.PathLike[str],
    parameters: Mapping[str, Array],
    state: Mapping[str, Array],
    epochs: int,
) -> None:
    """Write parameters, training state (empty for none) and the count of epochs to ``path``."""
    arrays = {**parameters, **{f"{STATE}{name}": array for name, array in state.items()}}
    safetensors.write(path, arrays, {**FORMAT, "epochs": str(epochs)})


def load(
    path: str | os.PathLike[str], parameters: Mapping[str, Array], state: Mapping[str, Array]
) -> int:
    """Fill parameters and state (empty for none) from ``path``; return its count of epochs.

    Raises :class:`ShapeError` naming everything that is missing, unknown or of another shape
    or data type; then nothing has changed.
    """
    found, metadata = safetensors.read(path)
    wanted = {**parameters, **{f"{STATE}{name}": array for name, array in state.items()}}
    problems = [f"missing: {name} {_type(a)}" for name, a in wanted.items() if name not in found]
    problems += [
        f"unknown: {name} {_type(array)}"
        for name, array in found.items()
        if name not in wanted and not name.startswith(STATE)
    ]
    problems += [
        f"{name}: the model has {_type(array)}, the file {_type(found[name])}"
        for name, array in wanted.items()
        if name in found and _type(found[name]) != _type(array)
    ]
    if problems:
        listed = "\n    ".join(problems)
        raise ShapeError(
            f"{path} does not fit the model; nothing was loaded:\n    {listed}"
            f"\n  at {user_location()}"
        )
    for name, array in wanted.items():
        array[...] = found[name]
    count = metadata.get("epochs", "0")
    return int(count) if count.isdecimal() else 0


def _type(array: Array) -> str:
    return f"{array.dtype.name}{show_shape(array.shape)}"
