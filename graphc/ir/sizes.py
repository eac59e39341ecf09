"""The sizes that inputs leave open, read off the arrays that are fed."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.errors import ShapeError, user_location
from graphc.ir.tensor import Tensor
from graphc.types import BATCH, AnyDim, Dim, Sizes


class OpenSizes:
    """Where the batch and every named size stand in the shapes of some inputs."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = tuple(tensors)
        self._batch: list[tuple[int, int]] = []
        self._named: dict[str, list[tuple[int, int]]] = {}
        for place, tensor in enumerate(tensors):
            for axis, dim in enumerate(tensor.type.shape):
                if dim == BATCH:
                    self._batch.append((place, axis))
                elif (name := size_name(dim)) is not None:
                    self._named.setdefault(name, []).append((place, axis))

    def of(self, arrays: Sequence[object]) -> int:
        """Return the sizes that ``arrays``, one for each input, have; 1 for a batch that none has.

        Raises :class:`ShapeError` if two of them disagree.
        """
        batch = self._common("the batch", self._batch, arrays) if self._batch else 1
        if not self._named:
            return batch
        found = [(n, self._common(f"{n!r}", at, arrays)) for n, at in self._named.items()]
        return Sizes(batch, found)

    def _common(self, what: str, places: list[tuple[int, int]], arrays: Sequence[object]) -> int:
        """Return the size that stands at all of ``places``: (input, axis)."""
        (first, axis), *others = places
        size = _shape(arrays[first])[axis]
        for place, other in others:
            if _shape(arrays[place])[other] != size:
                said = " and ".join(
                    f"input {self._tensors[p].name!r} has {_shape(arrays[p])[a]} along axis {a}"
                    for p, a in ((first, axis), (place, other))
                )
                raise ShapeError(
                    f"the inputs disagree on the size of {what}: {said}\n  at {user_location()}"
                )
        return size


def _shape(array: object) -> tuple[int, ...]:
    shape: tuple[int, ...] = array.shape  # type: ignore[attr-defined]
    return shape


def size_name(dim: AnyDim) -> str | None:
    """Return the name of a dimension that is a named size and no more."""
    atom = dim.atom if isinstance(dim, Dim) else None
    return atom.a if atom is not None and atom.kind == "size" else None
