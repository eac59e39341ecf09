"""The memory that a generated module sees as ``m``, and the two ways of running it.

Captured, the module's functions are executed once for each batch size, and every
``m.run(kernel, extent, *arguments)`` appends a record to a table. The table is then replayed
by one compiled loop, as CUDA graphs are. Plain, each call runs the kernel as Python code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir.op import Array
from graphc.ir.source import address_of
from graphc.runtime.kernel import Kernel

RECORD_HEAD = 4
"""Words before the arguments: record length, entry address, extent, and sharing."""

SHARED = 1
"""In the sharing word: the threads divide the extent, else the first takes it whole."""

BARRIER = 2
"""In the sharing word: all threads meet before this record."""

WORTH_SHARING = 3000.0
"""Predicted nanoseconds of a kernel from which it is divided: two barriers take 400."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """An address with the size of what it points to; ``p[n:]`` is ``n`` elements further."""

    address: int
    itemsize: int

    def __getitem__(self, part: slice) -> Pointer:
        return Pointer(self.address + part.start * self.itemsize, self.itemsize)

    def __index__(self) -> int:
        return self.address


class Frame:
    """Names of buffers as attributes, for a batch of ``batch`` rows."""

    def __init__(self, memory: Mapping[str, Array], batch: int) -> None:
        self.batch = batch
        self._memory = dict(memory)

    def __getattr__(self, name: str) -> Any:
        try:
            array = self._memory[name]
        except KeyError:
            raise AttributeError(f"the program has no buffer {name!r}") from None
        return self.view(array)

    def view(self, array: Array) -> Any:
        raise NotImplementedError


class CaptureFrame(Frame):
    """Appends a record for each kernel call."""

    def __init__(
        self,
        memory: Mapping[str, Array],
        batch: int,
        entries: Mapping[str, int],
        predicted: Sequence[tuple[str, float]] = (),
    ) -> None:
        """Capture into a table; ``predicted`` gives name and nanoseconds of each call."""
        super().__init__(memory, batch)
        self._entries = entries
        self._predicted = iter(predicted)
        self._words: list[int] = []
        self._last_shared = False
        self.shared_nanoseconds = 0.0

    def view(self, array: Array) -> Pointer:
        return Pointer(address_of(array), array.itemsize)

    def run(self, kernel: Kernel, extent: int, *arguments: Any) -> None:
        name, nanoseconds = next(self._predicted, (kernel.name, 0.0))
        assert name == kernel.name, f"{name} was planned where {kernel.name} is called"
        if extent <= 0:
            return
        shared = nanoseconds >= WORTH_SHARING and extent > 1
        self.shared_nanoseconds += nanoseconds * shared
        sharing = SHARED * shared | BARRIER * (shared or self._last_shared)
        self._last_shared = shared
        head = (RECORD_HEAD + len(arguments), self._entries[kernel.name], extent, sharing)
        self._words.extend(head)
        self._words.extend(int(a.__index__()) for a in arguments)

    def steps(self) -> Iterator[int]:
        """Yield once: the replay repeats what one iteration records."""
        yield 0

    def table(self) -> Array:
        """Return the records so far as one array of words.

        The first record meets the last when the table is repeated.
        """
        if self._last_shared and self._words:
            self._words[3] |= BARRIER
        return np.array(self._words, np.int64)


class PlainFrame(Frame):
    """Runs each kernel call at once, as Python code on flat NumPy arrays."""

    def __init__(self, memory: Mapping[str, Array], batch: int, repeat: int = 1) -> None:
        super().__init__(memory, batch)
        self._repeat = repeat

    def view(self, array: Array) -> Array:
        flat = array.reshape(-1)
        return flat.view(np.uint8) if array.dtype.kind == "b" else flat

    def run(self, kernel: Kernel, extent: int, *arguments: Any) -> None:
        with np.errstate(all="ignore"):
            kernel(0, extent, *arguments)

    def steps(self) -> Iterator[int]:
        yield from range(self._repeat)
