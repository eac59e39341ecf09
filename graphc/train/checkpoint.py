"""Parameters to and from files: all of them or none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from graphc.errors import ArgumentError, DTypeError, FileError, user_location
from graphc.io import safetensors
from graphc.ir.op import Array
from graphc.ir.source import Cell
from graphc.sealed import Sealed
from graphc.types import show_shape

FORMAT = {"format": "graphc", "version": "1"}
_DIGITS = 18
"""Of a count of epochs: that of 64 bits has no more."""

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
        if value is self._arrays.get(name):  # parameters[name] += 1 has changed the elements
            return
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
    safetensors.write(path, _stored(parameters, state), {**FORMAT, "epochs": str(epochs)})


def _stored(parameters: Mapping[str, Array], state: Mapping[str, Array]) -> dict[str, Array]:
    """Return parameters and state by their names in a file."""
    prefixed = {f"{STATE}{name}": array for name, array in state.items()}
    for name in prefixed:
        if name in parameters:
            raise ArgumentError(
                f"the parameter {name!r} has the name under which a state is stored; give it "
                f"another\n  at {user_location()}"
            )
    return {**parameters, **prefixed}


def load(
    path: str | os.PathLike[str],
    parameters: Mapping[str, Array],
    state: Mapping[str, Array],
    include_state: bool | None = None,
) -> int | None:
    """Fill parameters and state from ``path``; return its count of epochs, None without state.

    ``include_state`` None takes the state that the file has, if it has any; True demands one.
    Raises :class:`FileError` naming everything that is missing, unknown or of another shape
    or data type; then nothing has changed.
    """
    found, metadata = safetensors.read(path)
    stored = any(name.startswith(STATE) and name not in parameters for name in found)
    if not (include_state or (include_state is None and stored and state)):
        state = {}
    wanted = _stored(parameters, state)
    problems = [f"missing: {name} {_type(a)}" for name, a in wanted.items() if name not in found]
    problems += [
        f"unknown: {name} {_type(array)}"
        for name, array in found.items()
        if name not in wanted and (state or not name.startswith(STATE))
    ]
    problems += [
        f"{name}: the model has {_type(array)}, the file {_type(found[name])}"
        for name, array in wanted.items()
        if name in found and _type(found[name]) != _type(array)
    ]
    if problems:
        listed = "\n    ".join(problems)
        left = all(f" {STATE}" in problem or problem.startswith(STATE) for problem in problems)
        advice = "\n  include_optimizer=False leaves the state of training out" if left else ""
        raise FileError(
            f"{path} does not fit the model; nothing was loaded:\n    {listed}{advice}"
            f"\n  at {user_location()}"
        )
    epochs = _epochs(path, metadata) if state or include_state else None
    for name, array in wanted.items():
        array[...] = found[name]
    return epochs


def _epochs(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> int:
    """Return the count of epochs in a file's metadata, 0 if there is none."""
    count = metadata.get("epochs", "0")
    if not (count.isascii() and count.isdecimal() and len(count) <= _DIGITS):
        raise FileError(
            f"{path}: the metadata's count of epochs is no number: {count[:40]!r}; nothing was "
            f"loaded\n  at {user_location()}"
        )
    return int(count)


def _type(array: Array) -> str:
    return f"{array.dtype.name}{show_shape(array.shape)}"
