"""Batches for a training loop of one's own: ``gx.data``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Any

import numpy as np

from graphc.errors import ShapeError, user_location
from graphc.ir.op import Array
from graphc.sealed import Sealed
from graphc.train.feeds import whole_number
from graphc.tree import tree_leaves, tree_map


class Batches(Sealed):
    """An iterable of batches; every iteration is one pass over the data.

    With ``shuffle`` each pass has an order of its own, all of them decided by ``seed``.
    """

    def __init__(
        self,
        X: Any,
        Y: Any = None,
        *,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int | None = None,
        drop_last: bool = False,
    ) -> None:
        self.batch_size = whole_number("batches: batch_size", batch_size, 1)
        self.drop_last = drop_last
        self._rng = np.random.default_rng(seed) if shuffle else None
        self._paired = Y is not None
        self._data = (_arrays(X), _arrays(Y)) if self._paired else _arrays(X)
        self.rows = _common_rows(tree_leaves(self._data))

    def fixed(self, name: str) -> str | None:
        return "it is the number of rows of the data" if name == "rows" else None

    def __len__(self) -> int:
        """The number of batches in a pass."""
        whole, rest = divmod(self.rows, self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    def __iter__(self) -> Iterator[Any]:
        order = None if self._rng is None else self._rng.permutation(self.rows)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            stop = start + self.batch_size
            pick = slice(start, stop) if order is None else order[start:stop]
            yield tree_map(itemgetter(pick), self._data)


def batches(
    X: Any,
    Y: Any = None,
    *,
    batch_size: int = 32,
    shuffle: bool = False,
    seed: int | None = None,
    drop_last: bool = False,
) -> Batches:
    """Return an iterable of ``(xb, yb)``, or of ``xb`` without ``Y``.

    ``X`` and ``Y`` are arrays, or tuples or dicts of arrays with equally many rows; a batch has
    their structure. The last batch is as short as it comes, unless ``drop_last``. Without
    ``shuffle`` a batch is a view, with it one gather. ``len()`` is the number of batches.
    Without a ``seed`` every run shuffles differently.
    """
    return Batches(X, Y, batch_size=batch_size, shuffle=shuffle, seed=seed, drop_last=drop_last)


def _arrays(data: Any) -> Any:
    if isinstance(data, tuple):
        return tuple(_arrays(part) for part in data)
    if isinstance(data, Mapping):
        return {key: _arrays(part) for key, part in data.items()}
    return np.asarray(data)


def _common_rows(arrays: list[Array]) -> int:
    for array in arrays:
        if not array.ndim:
            raise ShapeError(f"batches: a scalar has no rows\n  at {user_location()}")
    counts = {len(array) for array in arrays}
    if len(counts) != 1:
        shown = ", ".join(str(len(array)) for array in arrays) or "none"
        raise ShapeError(
            f"batches: the arrays must have equally many rows, got {shown}\n  at {user_location()}"
        )
    return int(counts.pop())
